//! What the stages of one boot tell each other and the console: small JSON files under `/run/edgepair`, gone with the
//! boot they describe.

use edgepair_host_io::atomic;
use edgepair_layout::path::RUN_DIR;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use std::path::{Path, PathBuf};

/// Found by `early`: what was really booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// `A` or `B`; absent when the root is on no disk (network boot).
    pub slot: Option<String>,
    /// Kernel name of the disk, for example `vda`.
    pub disk: Option<String>,
    /// What `/var` is on.
    pub state: State,
    /// Whether this boot made the state partition.
    pub first_boot: bool,
}

/// What the writable part of this boot is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The state partition.
    Disk,
    /// Memory: nothing is kept. Something is wrong, see the problems.
    Memory,
}

/// Found by `provision`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provisioned {
    /// What the node waits for, in words; empty when it waits for nothing.
    pub waiting: Vec<String>,
    /// Steps taken in this boot.
    pub steps: Vec<String>,
    /// Which box this is, in words; absent without a seed.
    #[serde(default)]
    pub member: Option<String>,
}

/// A step that takes long, while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// Done of it, 0 to 100.
    pub percent: u64,
    /// Seconds that are probably left, where that is known.
    pub seconds_left: Option<u64>,
}

/// Found by `ready`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Units that failed.
    pub failed_units: Vec<String>,
    /// Seconds from the kernel's start to here.
    pub seconds: f64,
    /// Whether this version may stay, in words.
    pub verdict: String,
}

/// Something that is wrong, for the screen and for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What failed and why.
    pub what: String,
    /// What a person can do.
    pub fix: String,
    /// One line for each finding, where there are several.
    #[serde(default)]
    pub lines: Vec<String>,
}

/// The folder of facts.
#[derive(Debug, Clone)]
pub struct Facts {
    dir: PathBuf,
}

impl Default for Facts {
    fn default() -> Self {
        Self { dir: PathBuf::from(RUN_DIR) }
    }
}

impl Facts {
    /// Facts in another folder, for tests.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Writes `NAME.json`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn put<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        atomic::write(&self.dir.join(format!("{name}.json")), text.as_bytes(), 0o644)
    }

    /// Reads `NAME.json`; absent or unreadable is `None`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&std::fs::read_to_string(self.dir.join(format!("{name}.json"))).ok()?).ok()
    }

    /// Notes a problem of one stage; it replaces the stage's earlier ones with the same key.
    ///
    /// # Errors
    /// The kernel's.
    pub fn problem(&self, key: &str, what: impl Into<String>, fix: impl Into<String>) -> io::Result<()> {
        self.put_problem(key, &Problem { what: what.into(), fix: fix.into(), lines: Vec::new() })
    }

    /// The same with findings.
    ///
    /// # Errors
    /// The kernel's.
    pub fn put_problem(&self, key: &str, problem: &Problem) -> io::Result<()> {
        eprintln!("edgepair: {}", problem.what);
        problem.lines.iter().for_each(|line| eprintln!("  {line}"));
        eprintln!("  to do: {}", problem.fix);
        self.put(&format!("problem-{key}"), problem)
    }

    /// Takes a problem back: it is solved.
    pub fn solved(&self, key: &str) {
        self.remove(&format!("problem-{key}"));
    }

    /// Removes `NAME.json`.
    pub fn remove(&self, name: &str) {
        // What is not there any more is what was wanted; any other failure shows in the next write.
        let _ = std::fs::remove_file(self.dir.join(format!("{name}.json")));
    }

    /// Takes a problem back.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self, key: &str) -> io::Result<()> {
        match std::fs::remove_file(self.dir.join(format!("problem-{key}.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All problems of this boot, by key.
    pub fn problems(&self) -> Vec<Problem> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .filter(|name| name.starts_with("problem-"))
            .collect();
        names.sort();
        names.iter().filter_map(|name| self.get(name)).collect()
    }
}

/// What was built: `key=value` lines of `/usr/lib/edgepair/image`, relative to a root.
pub fn image_info(root: &Path, key: &str) -> Option<String> {
    let path = root.join(edgepair_layout::path::IMAGE_INFO.trim_start_matches('/'));
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_and_damage_is_absence() {
        let dir = tempfile::tempdir().unwrap();
        let facts = Facts::at(dir.path());
        assert_eq!(facts.get::<Provisioned>("provisioned"), None);
        let fact = Provisioned { waiting: vec!["a seed".into()], ..Provisioned::default() };
        facts.put("provisioned", &fact).unwrap();
        assert_eq!(facts.get("provisioned"), Some(fact));
        facts.problem("state", "no room", "use a larger disk").unwrap();
        assert_eq!(facts.problems().len(), 1);
        facts.solved("state");
        assert_eq!(facts.problems(), []);
        atomic::write(&dir.path().join("provisioned.json"), b"{", 0o644).unwrap();
        assert_eq!(facts.get::<Provisioned>("provisioned"), None);
    }
}
