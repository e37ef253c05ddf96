//! What apt decided the last time, so that a rebuild with nothing changed need not ask it again: apt decides the same
//! from the same index and the same list.

use super::{Package, Resolved, apt::Apt, parse_stanzas};
use edgepair_host_io::{atomic, digest};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A package index that was fetched within this time is not asked for again, unless `--refresh` says so.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// What was decided: digests of the packages, in order.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    packages: Vec<String>,
}

/// The question that apt is asked, and where its answer is kept.
#[derive(Debug)]
pub struct Question {
    path: PathBuf,
}

impl Question {
    /// `commands` as they are run; `local` are the user's own packages.
    ///
    /// # Errors
    /// When the index's folder cannot be read.
    pub fn new(apt: &Apt<'_>, commands: &[Vec<String>], local: &[Package]) -> anyhow::Result<Self> {
        let mut text = format!("1 {commands:?}\n");
        for package in local {
            text += &format!("{}\n", package.sha256);
        }
        let mut lists = Vec::new();
        for entry in fs::read_dir(apt.folder.join("state/lists"))? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_file() && entry.file_name() != "lock" {
                // apt gives an index the time that its archive gives it.
                lists.push(format!(
                    "{:?} {} {} {}\n",
                    entry.file_name(),
                    meta.len(),
                    meta.mtime(),
                    meta.ino()
                ));
            }
        }
        lists.sort();
        text += &lists.concat();
        Ok(Self { path: apt.folder.join("resolved").join(digest::of_bytes(text.as_bytes())) })
    }

    /// The answer, if it is known and every file of it is there.
    pub fn known(&self, apt: &Apt<'_>) -> Option<Resolved> {
        let memo: Memo = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        let stanzas: Option<Vec<String>> =
            memo.packages.iter().map(|sha256| apt.kept_stanza(sha256)).collect();
        let packages = parse_stanzas(&stanzas?.join("\n\n")).ok()?;
        let archives = apt.archives();
        let whole = packages.len() == memo.packages.len()
            && packages.iter().all(|package| archives.join(package.archive_name()).is_file());
        whole.then_some(Resolved { packages, archives })
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, resolved: &Resolved) -> anyhow::Result<()> {
        let memo = Memo { packages: resolved.packages.iter().map(|p| p.sha256.clone()).collect() };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(atomic::write(&self.path, &serde_json::to_vec(&memo)?, 0o644)?)
    }
}

/// How old the index is, when it was fetched within [`FRESH`].
#[expect(
    clippy::disallowed_methods,
    reason = "whether the archive is asked again; what is built depends on the index alone"
)]
pub fn fresh(apt: &Apt<'_>) -> Option<Duration> {
    let fetched = fs::metadata(apt.folder.join("fetched")).and_then(|meta| meta.modified()).ok()?;
    // A clock that went back makes it an index of unknown age.
    SystemTime::now().duration_since(fetched).ok().filter(|age| *age < FRESH)
}

/// Notes that the index is the archive's of this moment.
///
/// # Errors
/// When it cannot be written.
pub fn fetched(apt: &Apt<'_>) -> anyhow::Result<()> {
    Ok(atomic::write(&apt.folder.join("fetched"), b"", 0o644)?)
}
