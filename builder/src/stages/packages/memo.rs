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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cache::Cache;
    use edgepair_host_io::sandbox::Sandbox;
    use std::path::Path;

    struct World {
        _folder: tempfile::TempDir,
        cache: Cache,
        sandbox: Sandbox,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::at(&folder.path().join("cache")).unwrap();
            let sandbox = Sandbox { tools: folder.path().join("tools") };
            Self { _folder: folder, cache, sandbox }
        }

        fn apt(&self) -> Apt<'_> {
            let sources = ["deb copy:/archive trixie main".to_owned()];
            Apt::open(&self.cache, &self.sandbox, "trixie", &sources, &["amd64"], &[]).unwrap()
        }
    }

    fn package(name: &str) -> Package {
        let sha256 = digest::of_bytes(name.as_bytes());
        let stanza = format!("Package: {name}\nVersion: 1:2.3-1\nArchitecture: amd64\nSHA256: {sha256}\n");
        parse_stanzas(&stanza).unwrap().remove(0)
    }

    /// Downloads and describes, as apt does.
    fn download(apt: &Apt<'_>, packages: &[Package]) -> Resolved {
        for package in packages {
            atomic::write(&apt.archives().join(package.archive_name()), b"archive", 0o644).unwrap();
            apt.keep_stanza(package).unwrap();
        }
        Resolved { packages: packages.to_vec(), archives: apt.archives() }
    }

    fn list(apt: &Apt<'_>, text: &str) {
        atomic::write(&apt.folder.join("state/lists/archive_main_Packages"), text.as_bytes(), 0o644).unwrap();
    }

    #[test]
    fn an_answer_is_known_as_long_as_index_question_and_files_are_the_same() {
        let world = World::new();
        let apt = world.apt();
        list(&apt, "first");
        let commands = vec![vec!["install".to_owned(), "one".to_owned()]];
        let ask = |commands: &[Vec<String>], local: &[Package]| Question::new(&apt, commands, local).unwrap();
        assert!(ask(&commands, &[]).known(&apt).is_none(), "nothing was asked yet");

        let resolved = download(&apt, &[package("one"), package("two")]);
        ask(&commands, &[]).keep(&resolved).unwrap();
        let known = ask(&commands, &[]).known(&apt).unwrap();
        assert_eq!((known.packages, known.archives), (resolved.packages.clone(), resolved.archives.clone()));

        let other = vec![vec!["install".to_owned(), "two".to_owned()]];
        assert!(ask(&other, &[]).known(&apt).is_none(), "another list of packages");
        assert!(ask(&commands, &[package("own")]).known(&apt).is_none(), "an own package changed");

        let file = resolved.archives.join(resolved.packages[1].archive_name());
        fs::remove_file(&file).unwrap();
        assert!(ask(&commands, &[]).known(&apt).is_none(), "a downloaded file is gone");
        atomic::write(&file, b"archive", 0o644).unwrap();
        assert!(ask(&commands, &[]).known(&apt).is_some());

        list(&apt, "second");
        assert!(ask(&commands, &[]).known(&apt).is_none(), "another index");
    }

    fn set_fetched(path: &Path, time: SystemTime) {
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn an_index_is_fresh_for_an_hour_and_not_before_it_was_fetched() {
        let world = World::new();
        let apt = world.apt();
        assert_eq!(fresh(&apt), None, "it was never fetched");
        fetched(&apt).unwrap();
        assert!(fresh(&apt).is_some());
        let file = apt.folder.join("fetched");
        let now = fs::metadata(&file).unwrap().modified().unwrap();
        set_fetched(&file, now - Duration::from_secs(59 * 60));
        assert!(fresh(&apt).is_some());
        for other in [now - 2 * FRESH, now + FRESH] {
            set_fetched(&file, other);
            assert_eq!(fresh(&apt), None);
        }
    }
}
