//! Puts files where a node looks for its seed. What is there is either the old seed or the new one, also after a power
//! cut in between; and nothing but a place named SEED is ever written to.
//!
//! - [`folder`]: a mounted card or stick;
//! - [`volume`]: finds the SEED partition of an image or device;
//! - [`fat`]: changes a FAT file system in an order that survives a cut.

mod fat;
mod folder;
mod volume;

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, bail};

/// The files to put, in this order.
#[derive(Default)]
pub struct Payload {
    items: Vec<Item>,
}

struct Item {
    name: String,
    /// `None`: the file has to go.
    content: Option<Vec<u8>>,
    secret: bool,
}

impl Payload {
    /// A file that anybody may read.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.items.push(Item { name: name.to_owned(), content: Some(content.to_vec()), secret: false });
    }

    /// A file that only its owner may read, where the file system knows owners.
    pub fn secret(&mut self, name: &str, content: &[u8]) {
        self.items.push(Item { name: name.to_owned(), content: Some(content.to_vec()), secret: true });
    }

    /// A file that has to go.
    pub fn remove(&mut self, name: &str) {
        self.items.push(Item { name: name.to_owned(), content: None, secret: false });
    }

    /// Names of the files that are put.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter(|item| item.content.is_some()).map(|item| item.name.as_str())
    }
}

/// Puts the files, and says where in words.
///
/// # Errors
/// When there is no place named SEED, when it is in use, when writing fails.
pub fn put(target: &Path, payload: &Payload) -> anyhow::Result<String> {
    let kind = std::fs::metadata(target)
        .with_context(|| format!("cannot find {}; name a folder, an image or a device", target.display()))?
        .file_type();
    if kind.is_dir() {
        folder::put(target, payload)?;
        return Ok(format!("the folder {}", target.display()));
    }
    if !kind.is_file() && !kind.is_block_device() {
        bail!("{} is neither a folder, an image nor a device", target.display());
    }
    if target
        .extension()
        .is_some_and(|extension| extension == "zst" || extension == "gz" || extension == "xz")
    {
        bail!(
            "{} is compressed, and a seed cannot be put into it; unpack it first (zstd -d {0}), or flash it with its \
             seed: edgepair flash {0} DEVICE --seed FILE",
            target.display()
        );
    }
    if kind.is_block_device() {
        volume::refuse_mounted(target)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(target)
        .with_context(|| format!("cannot write to {}; a device needs root", target.display()))?;
    let volume =
        volume::find(&mut file).with_context(|| format!("no seed was written to {}", target.display()))?;
    fat::put(&file, volume.start, volume.length, payload)
        .with_context(|| format!("writing to {} of {}", volume.what, target.display()))?;
    Ok(format!("{} of {}", volume.what, target.display()))
}
