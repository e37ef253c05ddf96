//! A folder: all files are written under temporary names and made durable, then renamed, the seed last.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use edgepair_host_io::atomic;

use crate::Payload;

pub(super) fn put(folder: &Path, payload: &Payload) -> anyhow::Result<()> {
    let mut ready: Vec<(PathBuf, PathBuf)> = Vec::new();
    let result = stage(folder, payload, &mut ready);
    if result.is_err() {
        // Whatever was renamed is not there any more; the rest is ours.
        for (temporary, _) in &ready {
            let _ = fs::remove_file(temporary);
        }
    }
    result
}

fn stage(folder: &Path, payload: &Payload, ready: &mut Vec<(PathBuf, PathBuf)>) -> anyhow::Result<()> {
    for item in &payload.items {
        let Some(content) = &item.content else { continue };
        let path = folder.join(&item.name);
        let temporary = atomic::temporary_name(&path);
        let failed = || format!("cannot write {}", path.display());
        // No chmod afterwards: FAT refuses it, and the mode only ever gets narrower by the umask.
        let mode = if item.secret { 0o600 } else { 0o644 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .with_context(failed)?;
        ready.push((temporary, path.clone()));
        file.write_all(content).with_context(failed)?;
        file.sync_all().with_context(failed)?;
    }
    for (temporary, path) in ready.iter() {
        atomic::publish(temporary, path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for item in payload.items.iter().filter(|item| item.content.is_none()) {
        match fs::remove_file(folder.join(&item.name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove {}", folder.join(&item.name).display()));
            }
            _ => {}
        }
    }
    File::open(folder)?.sync_all().with_context(|| format!("cannot make {} durable", folder.display()))
}
