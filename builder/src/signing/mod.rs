//! Keys and signatures: [`minisign`] for files that `edgepair` and a node check, [`secure_boot`] for what firmware checks.

pub mod minisign;
pub mod secure_boot;

use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a file that did not exist, with exactly these permission bits from its first moment on.
///
/// # Errors
/// When it exists already, or cannot be written.
fn create(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot make {}: a key is never overwritten", path.display()))?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// Refuses a secret that other users of this machine can read.
///
/// # Errors
/// When they can, with what to do.
fn check_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)
        .with_context(|| format!("cannot read the key {}", path.display()))?
        .permissions()
        .mode();
    anyhow::ensure!(
        mode & 0o077 == 0,
        "other users can read the private key {} (mode {:o})\n  to do: `chmod 600 {}`; if it has been so for long, make a new key",
        path.display(),
        mode & 0o777,
        path.display()
    );
    Ok(())
}
