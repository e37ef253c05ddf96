//! The lock file: which packages the last accepted build was made of, of the image's root and of the tools tree.
//!
//! Text in, text out; [`drift`] compares. Who reads and writes files is `commands/lock.rs` and `commands/build.rs`.

mod drift;

pub use drift::Drift;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What the file's first lines say to whoever opens it.
const HEAD: &str = "# Every package of the image and of the tools that make it. Written by `edgepair lock`; `edgepair lock IMAGE.toml --update`\n\
                    # takes the archive's present state over, `edgepair build IMAGE.toml --locked` refuses anything else.\n";

/// One package, as the signed index of the archive described it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Version, with epoch.
    pub version: String,
    /// `amd64`, `arm64`, `all`.
    pub architecture: String,
    /// SHA-256 of the `.deb`, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Packages by name; one of a second architecture is called `name:architecture`.
pub type Packages = BTreeMap<String, Locked>;

/// A lock file's content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of this format.
    pub schema: u32,
    /// Debian suite.
    pub suite: String,
    /// Debian's name of the image's architecture.
    pub architecture: String,
    /// Debian's name of the architecture of the tools.
    pub host: String,
    /// The names that the definition and its board ask for, sorted.
    pub wanted: Vec<String>,
    /// What the root file system is made of.
    pub root: Packages,
    /// What the tools tree is made of.
    pub tools: Packages,
}

/// `images/x86-64.toml` → `images/x86-64.lock`.
pub fn path_of(definition: &Path) -> PathBuf {
    definition.with_extension("lock")
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if lock.schema != 1 {
            return Err(format!("this edgepair reads lock files of schema 1, this one says {}", lock.schema));
        }
        let digest =
            |sum: &str| sum.len() == 64 && sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let wrong: Vec<&str> = [&lock.root, &lock.tools]
            .into_iter()
            .flatten()
            .filter(|(_, locked)| !digest(&locked.sha256))
            .map(|(name, _)| name.as_str())
            .collect();
        if wrong.is_empty() {
            Ok(lock)
        } else {
            Err(format!("not a SHA-256 in lower-case hexadecimal digits: that of {}", wrong.join(", ")))
        }
    }

    /// The file's text: one line a package, so that version control shows what moved.
    pub fn render(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let wanted: String = self.wanted.iter().map(|name| format!("  {},\n", quoted(name))).collect();
        let mut text = format!(
            "{HEAD}schema = {}\nsuite = {}\narchitecture = {}\nhost = {}\nwanted = [\n{wanted}]\n",
            self.schema,
            quoted(&self.suite),
            quoted(&self.architecture),
            quoted(&self.host)
        );
        for (table, packages) in [("root", &self.root), ("tools", &self.tools)] {
            let _ = write!(text, "\n[{table}]\n");
            for (name, locked) in packages {
                let _ = writeln!(
                    text,
                    "{} = {{ version = {}, architecture = {}, sha256 = {} }}",
                    quoted(name),
                    quoted(&locked.version),
                    quoted(&locked.architecture),
                    quoted(&locked.sha256)
                );
            }
        }
        text
    }

    /// Names that are asked for and that the lock was not made with, and the other way round.
    pub fn unwanted(&self, wanted: &[String]) -> Vec<String> {
        let missing = wanted.iter().filter(|name| !self.wanted.contains(name));
        let more = self.wanted.iter().filter(|name| !wanted.contains(name));
        missing
            .map(|name| format!("{name} is asked for and was not when the lock file was written"))
            .chain(more.map(|name| format!("{name} is not asked for any more")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn locked(version: &str) -> Locked {
        Locked { version: version.into(), architecture: "amd64".into(), sha256: "0".repeat(64) }
    }

    fn example() -> Lock {
        Lock {
            schema: 1,
            suite: "trixie".into(),
            architecture: "amd64".into(),
            host: "amd64".into(),
            wanted: vec!["libstdc++6".into()],
            root: Packages::from([("libstdc++6".into(), locked("1:14.2~0-1+b1"))]),
            tools: Packages::from([("libc6:arm64".into(), locked("2.41-12"))]),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = example().render();
        assert_eq!(Lock::parse(&text), Ok(example()));
        assert!(text.contains("\"libstdc++6\" = { version = \"1:14.2~0-1+b1\", "), "{text}");
    }

    #[test]
    fn a_damaged_lock_is_refused_with_its_place() {
        let text = example().render();
        let wrong = Lock::parse(&text.replace("[tools]", "[toolz]")).expect_err("unknown table");
        assert!(wrong.contains("toolz"), "{wrong}");
        let wrong = Lock::parse(&text.replace("sha256 = \"0", "sha256 = \"x")).expect_err("no digest");
        assert!(wrong.contains("libc6:arm64") && wrong.contains("libstdc++6"), "{wrong}");
        assert!(Lock::parse(&text.replace("schema = 1", "schema = 2")).is_err());
        assert!(Lock::parse("schema = [").expect_err("syntax").contains("line 1"));
    }

    #[test]
    fn a_changed_package_list_is_named() {
        let said = example().unwanted(&["curl".into()]);
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("curl is asked for") && said[1].starts_with("libstdc++6 is not"));
        assert!(example().unwanted(&["libstdc++6".into()]).is_empty());
    }
}
