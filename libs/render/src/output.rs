//! What rendering gives: files and units.

use std::fmt;

use edgepair_seed::Secret;

/// A file of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// User and group, `root:root`.
    pub owner: &'static str,
    /// Text.
    pub content: String,
    /// Whether the text has a secret in it. `Debug` then does not print it.
    pub secret: bool,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = if self.secret { "[redacted]" } else { &self.content };
        f.debug_struct("File")
            .field("path", &self.path)
            .field("mode", &format_args!("{:04o}", self.mode))
            .field("owner", &self.owner)
            .field("content", &content)
            .finish()
    }
}

impl File {
    /// The text with every one of `secrets` blanked out, for printing. Short ones are left: they would blank out
    /// half the file, and cannot be told from ordinary words.
    #[must_use]
    pub fn redacted(&self, secrets: &[Secret]) -> String {
        let present = secrets.iter().map(Secret::expose_secret).filter(|secret| secret.len() >= 8);
        present.fold(self.content.clone(), |text, secret| text.replace(secret, "[redacted]"))
    }
}

/// When a unit runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From boot on.
    Boot,
    /// Only on the active node, started and stopped by the agent.
    Active,
    /// Only on the standby, started and stopped by the agent.
    Standby,
    /// Never: it would get in the way.
    Masked,
}

impl Start {
    /// In words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Boot => "from boot on",
            Self::Active => "on the active node",
            Self::Standby => "on the standby",
            Self::Masked => "masked",
        }
    }
}

/// A systemd unit and when it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Name with suffix.
    pub name: String,
    /// When.
    pub start: Start,
}

/// Everything of one box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Files, each path once.
    pub files: Vec<File>,
    /// Units, in the order in which they are started.
    pub units: Vec<Unit>,
    /// What the operator should know: a card that was guessed, for example.
    pub notes: Vec<String>,
}

impl Rendered {
    /// The file at a path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn add(&mut self, path: impl Into<String>, content: impl Into<String>) {
        self.put(path.into(), 0o644, "root:root", content.into(), false);
    }

    pub(crate) fn add_secret(
        &mut self,
        path: impl Into<String>,
        owner: &'static str,
        content: impl Into<String>,
    ) {
        self.put(path.into(), 0o600, owner, content.into(), true);
    }

    pub(crate) fn put(
        &mut self,
        path: String,
        mode: u32,
        owner: &'static str,
        content: String,
        secret: bool,
    ) {
        self.files.push(File { path, mode, owner, content, secret });
    }

    pub(crate) fn unit(&mut self, name: impl Into<String>, start: Start) {
        self.units.push(Unit { name: name.into(), start });
    }
}
