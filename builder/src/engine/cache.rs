//! Finished steps by content key.
//!
//! `steps/NAME/KEY/` holds a step's outputs and `step.json`: the inputs that made the key and the outputs' digests.
//! A step is made in `work/` and renamed into place, so a folder with a final name is always whole.

use super::step::{Action, Step};
use anyhow::Context;
use edgepair_host_io::{atomic, digest};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Name of the record in a finished step's folder.
const RECORD: &str = "step.json";

/// Name of the lock that builds share and pruning takes alone.
const IN_USE: &str = "in-use";

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What made a step's key, and what came out.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Record {
    /// Everything that the key covers, by name.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of each output file.
    pub outputs: BTreeMap<String, String>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// Whether a finished step can be used.
#[derive(Debug)]
pub enum Verdict {
    /// It can.
    Hit(PathBuf, Record),
    /// It must be made, for this reason.
    Miss(String),
}

impl Cache {
    /// Opens `$EDGEPAIR_CACHE`, `$XDG_CACHE_HOME/edgepair` or `~/.cache/edgepair`.
    ///
    /// # Errors
    /// When none of the three is set, or the folder cannot be made.
    pub fn open() -> anyhow::Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("EDGEPAIR_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("edgepair")))
            .or_else(|| variable("HOME").map(|dir| dir.join(".cache/edgepair")))
            .context("no place for the cache: set EDGEPAIR_CACHE to a folder with 10 GB free")?;
        Self::at(&root)
    }

    /// Opens a cache in this folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn at(root: &Path) -> anyhow::Result<Self> {
        for sub in ["steps", "work", "tools", "apt", "locks"] {
            fs::create_dir_all(root.join(sub)).with_context(|| {
                format!(
                    "cannot make the cache folder {}: set EDGEPAIR_CACHE to a writable one",
                    root.display()
                )
            })?;
        }
        Ok(Self { root: fs::canonicalize(root)? })
    }

    /// A path in the cache.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Holds a named lock until the result is dropped; waits for another process that has it.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self, name: &str) -> anyhow::Result<Flock<File>> {
        let path = self.path("locks").join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| anyhow::anyhow!("lock {}: {errno}", path.display()))
    }

    /// Says that results and tools trees are in use, as long as the value lives: nothing is pruned meanwhile. Builds do
    /// not exclude each other.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn in_use(&self) -> anyhow::Result<Flock<File>> {
        let path = self.path("locks").join(IN_USE);
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        Flock::lock(file, FlockArg::LockShared)
            .map_err(|(_, errno)| anyhow::anyhow!("lock {}: {errno}", path.display()))
    }

    /// The right to remove things; none while a build runs.
    pub fn unused(&self) -> Option<Flock<File>> {
        self.try_lock(IN_USE)
    }

    /// Takes the lock only if nobody has it.
    pub fn try_lock(&self, name: &str) -> Option<Flock<File>> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path("locks").join(name))
            .ok()?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
    }

    /// The key of a step and what it covers.
    pub fn key(step: &Step, input_digests: &BTreeMap<String, String>) -> (String, BTreeMap<String, String>) {
        let mut parts = BTreeMap::new();
        for (name, value) in input_digests {
            parts.insert(format!("input {name}"), value.clone());
        }
        for (path, content) in &step.files {
            parts.insert(format!("file {path}"), digest::of_bytes(content));
        }
        let actions: Vec<String> = step.actions.iter().map(Action::line).collect();
        parts.insert("commands".to_owned(), digest::of_bytes(actions.join("\n")));
        let text: String = parts.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        (digest::of_bytes(format!("{}\n{text}", step.name))[..32].to_owned(), parts)
    }

    /// Looks a step up. A damaged entry is a miss and is set aside.
    pub fn look_up(&self, name: &str, key: &str, parts: &BTreeMap<String, String>) -> Verdict {
        let dir = self.path("steps").join(name).join(key);
        match Self::read(&dir) {
            Ok(Some(record)) => Verdict::Hit(dir, record),
            Ok(None) => Verdict::Miss(self.why_not(name, parts)),
            Err(damage) => Verdict::Miss(format!("the cached result is damaged: {damage}")),
        }
    }

    fn read(dir: &Path) -> Result<Option<Record>, String> {
        if !dir.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(dir.join(RECORD)).map_err(|error| format!("{RECORD}: {error}"))?;
        let record: Record = serde_json::from_str(&text).map_err(|error| format!("{RECORD}: {error}"))?;
        for name in record.outputs.keys() {
            if !dir.join(name).exists() {
                return Err(format!("{name} is missing"));
            }
        }
        Ok(Some(record))
    }

    /// Reads every output of a cached step again and compares digests: for `edgepair cache verify` and for a build
    /// that has to be certain.
    ///
    /// # Errors
    /// What differs.
    pub fn verify(dir: &Path) -> Result<(), String> {
        let record = Self::read(dir)?.ok_or("it is gone")?;
        for (name, want) in &record.outputs {
            digest::check_file(&dir.join(name), want)
                .map_err(|error| format!("{name}: {error}"))?
                .map_err(|have| format!("{name} has digest {have}, recorded was {want}"))?;
        }
        Ok(())
    }

    /// Compares with the likest result of the same step, of several the newest: which input changed. The newest alone
    /// may be that of another board.
    fn why_not(&self, name: &str, parts: &BTreeMap<String, String>) -> String {
        let changed = |record: &Record| -> Vec<String> {
            parts
                .iter()
                .filter(|(key, value)| record.inputs.get(*key) != Some(value))
                .map(|(key, _)| key)
                .chain(record.inputs.keys().filter(|key| !parts.contains_key(*key)))
                .cloned()
                .collect()
        };
        let likest = fs::read_dir(self.path("steps").join(name)).ok().and_then(|entries| {
            entries
                .flatten()
                .filter_map(|entry| {
                    let text = fs::read_to_string(entry.path().join(RECORD)).ok()?;
                    let record: Record = serde_json::from_str(&text).ok()?;
                    Some((entry.metadata().ok()?.modified().ok()?, changed(&record)))
                })
                .min_by_key(|(time, changed)| (changed.len(), std::cmp::Reverse(*time)))
        });
        match likest {
            None => "never built before".to_owned(),
            Some((_, names)) if names.is_empty() => "its result was removed".to_owned(),
            Some((_, names)) => format!("changed: {}", names.join(", ")),
        }
    }

    /// Gives a finished work folder its final name.
    ///
    /// # Errors
    /// When an output is missing or cannot be read.
    pub fn store(
        &self,
        step: &Step,
        key: &str,
        parts: BTreeMap<String, String>,
        work: &Path,
        took_ms: u64,
    ) -> anyhow::Result<(PathBuf, Record)> {
        let steps = self.path("steps").join(step.name);
        fs::create_dir_all(&steps)?;
        let staged = steps.join(format!(".{key}.{}", std::process::id()));
        remove_tree(&staged)?;
        fs::create_dir(&staged)?;
        let mut outputs = BTreeMap::new();
        for name in &step.outputs {
            let from = work.join(name);
            let sum = digest::of_content(&from)
                .with_context(|| format!("step {}: its output {name} is missing", step.name))?;
            fs::rename(&from, staged.join(name))?;
            outputs.insert((*name).to_owned(), sum);
        }
        let record = Record { inputs: parts, outputs, took_ms };
        atomic::write(&staged.join(RECORD), serde_json::to_string_pretty(&record)?.as_bytes(), 0o644)?;
        let dir = steps.join(key);
        if dir.exists() {
            // Damaged, or made by another process in the meantime; either way this one is whole.
            fs::rename(&dir, steps.join(format!(".old.{key}.{}", std::process::id())))?;
            remove_tree(&steps.join(format!(".old.{key}.{}", std::process::id())))?;
        }
        atomic::publish(&staged, &dir)?;
        Ok((dir, record))
    }
}

/// Removes a folder that this process may remove by itself; absent is fine.
pub fn remove_tree(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::step::Input;

    fn step(content: &str) -> Step {
        Step {
            name: "demo",
            title: String::new(),
            inputs: vec![Input::Fact { name: "suite".into(), value: "trixie".into() }],
            files: vec![("config".into(), content.into())],
            actions: vec![Action::run(["true"])],
            outputs: vec!["result"],
            network: false,
            mounts: Vec::new(),
        }
    }

    #[test]
    fn a_miss_names_the_input_that_changed_and_damage_is_a_miss() {
        let dir = tempfile::tempdir().expect("tempdir");
        let cache = Cache::at(dir.path()).expect("cache");
        let digests = BTreeMap::from([("suite".to_owned(), "trixie".to_owned())]);
        let (key, parts) = Cache::key(&step("one"), &digests);
        assert!(
            matches!(cache.look_up("demo", &key, &parts), Verdict::Miss(why) if why == "never built before")
        );

        let work = dir.path().join("w");
        fs::create_dir(&work).expect("mkdir");
        atomic::write(&work.join("result"), b"hello", 0o644).expect("write");
        let (stored, _) = cache.store(&step("one"), &key, parts.clone(), &work, 5).expect("store");
        assert!(matches!(cache.look_up("demo", &key, &parts), Verdict::Hit(..)));
        assert_eq!(Cache::verify(&stored), Ok(()));

        let (other, other_parts) = Cache::key(&step("two"), &digests);
        assert_ne!(key, other);
        assert!(
            matches!(cache.look_up("demo", &other, &other_parts), Verdict::Miss(why) if why == "changed: file config")
        );

        // The newest is another board's by now: it differs in more, and says nothing about this one.
        let other_board = BTreeMap::from([("suite".to_owned(), "forky".to_owned())]);
        let (key_of_other, parts_of_other) = Cache::key(&step("three"), &other_board);
        std::thread::sleep(std::time::Duration::from_millis(10));
        atomic::write(&work.join("result"), b"other", 0o644).expect("write");
        cache.store(&step("three"), &key_of_other, parts_of_other, &work, 5).expect("store");
        assert!(
            matches!(cache.look_up("demo", &other, &other_parts), Verdict::Miss(why) if why == "changed: file config")
        );

        atomic::write(&stored.join("result"), b"jello", 0o644).expect("write");
        assert!(Cache::verify(&stored).expect_err("differs").contains("result has digest"));
        fs::remove_file(stored.join("result")).expect("rm");
        assert!(
            matches!(cache.look_up("demo", &key, &parts), Verdict::Miss(why) if why.contains("result is missing"))
        );
    }

    #[test]
    fn nothing_is_pruned_while_a_build_runs() {
        let dir = tempfile::tempdir().expect("tempdir");
        let cache = Cache::at(dir.path()).expect("cache");
        let (one, two) = (cache.in_use().expect("build"), cache.in_use().expect("another build"));
        assert!(cache.unused().is_none());
        drop(one);
        assert!(cache.unused().is_none());
        drop(two);
        assert!(cache.unused().is_some());
    }

    #[test]
    fn a_lock_is_exclusive() {
        let dir = tempfile::tempdir().expect("tempdir");
        let cache = Cache::at(dir.path()).expect("cache");
        let held = cache.lock("x").expect("lock");
        assert!(cache.try_lock("x").is_none());
        drop(held);
        assert!(cache.try_lock("x").is_some());
    }
}
