//! Archives of container images that lie in `images/` beside the seed, on the boot disk's seed partition or on a stick: they
//! are copied to where k3s looks for such archives when it starts, so that a site without a network has its programs.

use super::install::room;
use crate::member::Place;
use anyhow::{Context, bail};
use edgepair_host_io::atomic;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folder beside the seed.
pub const FOLDER: &str = "images";
/// Where k3s looks when it starts (k3s, "Air-Gap Install").
pub const AGENT_IMAGES: &str = "/var/lib/rancher/k3s/agent/images";
/// What k3s takes, by the end of its name.
const KINDS: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.lz4", ".tar.zst", ".tzst"];
/// What is left free on state, bytes: k3s unpacks what is copied here.
const RESERVE: u64 = 512 << 20;

/// The end of the name of one that is being copied. k3s takes no such file.
const PART: &str = ".edgepair-part";

/// What is read at once, between two looks at the time.
const PIECE: usize = 1 << 20;

/// The folder that k3s takes archives from, held by one process at a time.
#[derive(Debug)]
pub struct Target {
    folder: PathBuf,
    _held: Flock<File>,
}

impl Target {
    /// Takes hold of it. What a power cut has left half goes.
    ///
    /// # Errors
    /// When another process copies, and the kernel's.
    pub fn hold(place: &Place) -> anyhow::Result<Self> {
        let folder = place.path(AGENT_IMAGES);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let Ok(held) = Flock::lock(File::open(&folder)?, FlockArg::LockExclusiveNonblock) else {
            bail!("another `node-init images` is copying");
        };
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().ends_with(PART) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder, _held: held })
    }

    /// Copies what is new or has changed; returns the names. `over`: no time is left.
    ///
    /// # Errors
    /// Each archive that could not be copied, and why; the others are.
    pub fn import(&self, from: &Path, over: &dyn Fn() -> bool) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A laptop leaves files of its own beside them, with a dot in front.
            let is_archive =
                !name.starts_with('.') && KINDS.iter().any(|kind| name.to_lowercase().ends_with(kind));
            if is_archive && entry.file_type()?.is_file() {
                names.push(name);
            }
        }
        names.sort();
        let (mut copied, mut failed) = (Vec::new(), Vec::new());
        for name in names {
            match copy(&from.join(&name), &self.folder.join(&name), over) {
                Ok(true) => copied.push(name),
                Ok(false) => {}
                Err(error) => failed.push(format!("{name}: {error:#}")),
            }
        }
        if failed.is_empty() { Ok(copied) } else { bail!("{}", failed.join("; ")) }
    }
}

/// Copies one, whole or not at all. Says whether it had to.
fn copy(from: &Path, to: &Path, over: &dyn Fn() -> bool) -> anyhow::Result<bool> {
    let mut source = File::open(from)?;
    let (size, changed) = (source.metadata()?.size(), source.metadata()?.modified()?);
    match fs::symlink_metadata(to) {
        // One of the extension has that name: it is signed, and this one is not.
        Ok(there) if there.is_symlink() => return Ok(false),
        Ok(there) if there.size() == size && same(there.modified()?, changed) => return Ok(false),
        _ => {}
    }
    room(to.parent().context("no folder")?, size, RESERVE)?;
    let mut part = to.as_os_str().to_owned();
    part.push(PART);
    let part = PathBuf::from(part);
    let written = (|| -> anyhow::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(&part)?;
        let mut piece = vec![0; PIECE];
        loop {
            if over() {
                bail!("it was not copied in time: the medium is slow, or the archives are large");
            }
            match source.read(&mut piece)? {
                0 => break,
                read => file.write_all(&piece[..read])?,
            }
        }
        file.set_modified(changed)?;
        file.sync_all()?;
        Ok(atomic::publish(&part, to)?)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written.map(|()| true)
}

/// FAT counts in steps of two seconds.
fn same(one: SystemTime, other: SystemTime) -> bool {
    let apart = one.duration_since(other).or_else(|_| other.duration_since(one));
    apart.is_ok_and(|apart| apart.as_secs() < 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    #[test]
    fn archives_are_copied_once_and_again_when_they_change() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let stick = tempfile::tempdir().unwrap();
        let import = |from: &Path| Target::hold(&place)?.import(from, &|| false);
        assert!(import(&stick.path().join(FOLDER)).is_err(), "no such folder");
        fs::create_dir(stick.path().join("folder.tar")).unwrap();
        let put =
            |name: &str, text: &str| atomic::write(&stick.path().join(name), text.as_bytes(), 0o600).unwrap();
        for (name, text) in
            [("b.tar.zst", "b"), ("a.TAR", "a"), ("notes.txt", "n"), ("._a.tar", "x"), ("c.tar", "c")]
        {
            put(name, text);
        }
        let target = place.path(AGENT_IMAGES);
        fs::create_dir_all(&target).unwrap();
        symlink("/elsewhere", target.join("c.tar")).unwrap();
        // Of an archive that is not on the stick any more.
        atomic::write(&target.join(format!("gone.tar{PART}")), b"half", 0o600).unwrap();
        assert_eq!(import(stick.path()).unwrap(), ["a.TAR", "b.tar.zst"]);
        assert_eq!(import(stick.path()).unwrap(), [""; 0]);
        assert_eq!(fs::read_to_string(target.join("a.TAR")).unwrap(), "a");
        assert!(fs::symlink_metadata(target.join("c.tar")).unwrap().is_symlink(), "the signed one stays");
        put("a.TAR", "A");
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        File::options().write(true).open(stick.path().join("a.TAR")).unwrap().set_modified(later).unwrap();
        assert_eq!(import(stick.path()).unwrap(), ["a.TAR"]);
        assert_eq!(fs::read_to_string(target.join("a.TAR")).unwrap(), "A");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 3, "nothing half is left");
    }

    #[test]
    fn one_at_a_time_and_no_longer_than_there_is_time() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let stick = tempfile::tempdir().unwrap();
        atomic::write(&stick.path().join("large.tar"), &vec![7; 3 * PIECE], 0o600).unwrap();
        let target = Target::hold(&place).unwrap();
        assert!(Target::hold(&place).unwrap_err().to_string().contains("another"));
        let looks = std::cell::Cell::new(0);
        let over = || looks.replace(looks.get() + 1) == 2;
        let said = target.import(stick.path(), &over).unwrap_err().to_string();
        assert!(said.contains("large.tar: it was not copied in time"), "{said}");
        assert_eq!(fs::read_dir(place.path(AGENT_IMAGES)).unwrap().count(), 0, "nothing half is left");
        assert_eq!(target.import(stick.path(), &|| false).unwrap(), ["large.tar"]);
        drop(target);
        assert_eq!(
            Target::hold(&place).unwrap().import(stick.path(), &|| true).unwrap(),
            [""; 0],
            "it is there"
        );
    }
}
