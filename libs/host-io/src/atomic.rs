//! Files and folders that appear under their final name whole, or not at all.
//!
//! The order is: write under a temporary name in the same folder, fsync, rename, fsync the folder (POSIX `rename(2)`
//! replaces atomically; the folder's fsync makes the new name durable).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a whole file with the given permission bits.
///
/// # Errors
/// The kernel's; the final name then holds what it held before.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_name(path);
    // A power cut may have left the same name behind: early in a boot, process ids are the same every time.
    if let Err(error) = fs::remove_file(&temporary) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
    }
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&temporary)?;
        file.write_all(bytes)?;
        // The mode given to open(2) is cut by the umask; a secret must not depend on it, nor a reproducible file.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.sync_all()?;
        publish(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Gives a finished file or folder its final name and makes the name durable. Both must be on one file system.
///
/// # Errors
/// The kernel's.
pub fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// A name beside `path` that no other process uses.
pub fn temporary_name(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_whole_and_sets_the_mode_despite_the_umask() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("pair.secret");
        write(&path, b"old", 0o644).expect("writes");
        write(&path, b"new", 0o600).expect("writes");
        assert_eq!(fs::read(&path).expect("reads"), b"new");
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_temporary_file_of_a_cut_run_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("target");
        let name = temporary_name(&path).file_name().expect("name").to_string_lossy().into_owned();
        let count: u32 =
            name.trim_end_matches(".tmp").rsplit('-').next().expect("count").parse().expect("number");
        for later in count..count + 50 {
            let left = dir.path().join(format!(".target.{}-{later}.tmp", std::process::id()));
            File::create(left).expect("create");
        }
        write(&path, b"new", 0o644).expect("writes");
        assert_eq!(fs::read(&path).expect("reads"), b"new");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("target");
        fs::create_dir(&path).expect("mkdir");
        fs::create_dir(path.join("full")).expect("mkdir");
        assert!(write(&path, b"x", 0o644).is_err(), "a folder cannot be replaced by a file");
        assert!(path.join("full").is_dir());
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }
}
