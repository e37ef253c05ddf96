//! systemd-boot: everything is in the names of the kernel images.

use super::decide::{self, Armed, Listing, Step};
use super::entry::{self, Entry};
use super::esp::{Esp, Unlocked};
use super::{BootControl, BootError, Standing};
use edgepair_layout::boot::TRIES;
use std::io::{self, Read};

/// Kept free on the boot partition, bytes: a full FAT cannot take a name that is longer.
const RESERVE: u64 = 4 << 20;

/// systemd-boot on a boot partition.
#[derive(Debug)]
pub struct SystemdBoot<E> {
    esp: E,
}

fn doing(what: &str) -> impl FnOnce(io::Error) -> BootError {
    let what = what.to_owned();
    move |source| BootError::Io { what, source }
}

impl<E: Esp> SystemdBoot<E> {
    /// Boot control by the names in a folder.
    pub fn new(esp: E) -> Self {
        Self { esp }
    }

    /// What is there now.
    ///
    /// # Errors
    /// When the boot partition cannot be read.
    pub fn look(&self) -> Result<Listing, BootError> {
        let mut listing = Listing {
            pinned: self.esp.pinned().map_err(doing("read the loader's settings"))?,
            ..Listing::default()
        };
        for file in self.esp.files().map_err(doing("list the kernel images"))? {
            match file.label {
                _ if entry::is_temporary(&file.name) => listing.temporary.push(file.name),
                Some(label) => listing.entries.extend(Entry::parse(&file.name, label)),
                None if entry::is_ours(&file.name) => listing.unusable.push(file.name),
                None => {}
            }
        }
        Ok(listing)
    }

    /// Decides, does, and looks whether nothing is left to do.
    fn change(
        &self,
        decide: impl Fn(&Listing) -> Result<Vec<Step>, decide::Refusal>,
    ) -> Result<(), BootError> {
        // What is refused is refused before the partition is made writable.
        if decide(&self.look()?)?.is_empty() {
            return Ok(());
        }
        let mut unlocked = self.esp.unlock().map_err(doing("make it writable"))?;
        // A check of the file system may have changed what is there.
        for step in decide(&self.look()?)? {
            take(&mut *unlocked, &step)?;
        }
        Ok(())
    }
}

fn take(unlocked: &mut dyn Unlocked, step: &Step) -> Result<(), BootError> {
    match step {
        Step::Rename { from, to } => {
            unlocked.rename(from, to).map_err(doing(&format!("rename {from} to {to}")))
        }
        Step::Remove(file) => unlocked.remove(file).map_err(doing(&format!("remove {file}"))),
    }
}

impl<E: Esp> BootControl for SystemdBoot<E> {
    fn versions(&self) -> Result<Vec<(String, Standing)>, BootError> {
        Ok(self.look()?.versions())
    }

    fn room(&self, running: &str, bytes: u64) -> Result<(), BootError> {
        let files = self.esp.files().map_err(doing("list the kernel images"))?;
        let given_back: u64 = decide::clear(&self.look()?, running)?
            .iter()
            .filter_map(|step| match step {
                Step::Remove(name) => files.iter().find(|file| file.name == *name).map(|file| file.size),
                Step::Rename { .. } => None,
            })
            .sum();
        let free = self.esp.free().map_err(doing("ask for its free space"))?.saturating_add(given_back);
        let needed = bytes.saturating_add(RESERVE);
        if free < needed { Err(BootError::Room { free, needed }) } else { Ok(()) }
    }

    fn clear(&self, running: &str) -> Result<(), BootError> {
        self.change(|listing| decide::clear(listing, running))
    }

    fn install(&self, version: &str, digest: &str, image: &mut dyn Read) -> Result<(), BootError> {
        let name = decide::installed_name(version)?;
        if self.esp.digest(&name).map_err(doing("read it"))?.as_deref() == Some(digest) {
            return Ok(());
        }
        let temporary = entry::temporary_of(version);
        let mut unlocked = self.esp.unlock().map_err(doing("make it writable"))?;
        unlocked.remove(&temporary).map_err(doing("remove an unfinished kernel image"))?;
        unlocked.write(&temporary, image).map_err(doing("write the kernel image"))?;
        let found = self.esp.digest(&temporary).map_err(doing("read the kernel image back"))?;
        if found.as_deref() != Some(digest) {
            // Not what was signed, or not what was written: it gets no name, and no place.
            let _ = unlocked.remove(&temporary);
            let found = found.unwrap_or_else(|| "none".to_owned());
            return Err(BootError::Digest { found, wanted: digest.to_owned() });
        }
        unlocked.remove(&name).map_err(doing("remove a damaged kernel image"))?;
        unlocked.rename(&temporary, &name).map_err(doing("give the kernel image its name"))
    }

    fn arm_trial(&self, running: &str, version: &str) -> Result<(), BootError> {
        self.change(|listing| decide::arm(listing, running, version, TRIES))
    }

    fn prove(&self, running: &str, version: &str) -> Result<Armed, BootError> {
        Ok(decide::prove(&self.look()?, running, version)?)
    }

    fn commit(&self, version: &str) -> Result<(), BootError> {
        self.change(|listing| decide::commit(listing, version))
    }

    fn reject(&self, version: &str) -> Result<(), BootError> {
        self.change(|listing| decide::reject(listing, version))
    }

    fn roll_back(&self, running: &str) -> Result<String, BootError> {
        let (other, _) = decide::roll_back(&self.look()?, running)?;
        self.change(|listing| decide::roll_back(listing, running).map(|(_, steps)| steps))?;
        Ok(other)
    }
}
