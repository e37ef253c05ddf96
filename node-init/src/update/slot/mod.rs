//! The inactive slot: written, read back, and only then given what makes it bootable.
//!
//! ```text
//! place::find ─▶ Place ─┐                      nothing is written before everything that can be asked was asked
//! bundle ─────▶ Image ─┴─▶ Writer::check ─▶ clear its boot entry ─▶ write ─▶ flush ─▶ read back ─▶ Verified
//!                                                                                                     │
//!                            kernel image: temporary name, read back, final name ◀── identifiers ◀────┘
//! ```
//!
//! A power cut anywhere leaves the running slot as it was and the other one without a boot entry. Running it again finishes:
//! blocks that are there already are not written again.
//!
//! [`place`] says which partitions, [`volume`] is a partition, [`write`] fills it, [`verity`] looks at the hash tree,
//! [`publish`] sets identifiers and installs the kernel image.

pub mod place;
pub mod publish;
#[cfg(test)]
pub(crate) mod tests;
pub mod verity;
pub mod volume;
pub mod write;

pub use place::Place;
pub use publish::Table;
pub use volume::{HostVolume, Volume};

use super::boot::{BootControl, BootError};
use crate::early::disk::Partition;
use edgepair_host_io::Runner;
use std::io;
use std::sync::Arc;

/// Bytes of a block: the page of erofs and of dm-verity.
pub const BLOCK: usize = 4096;

/// SHA-256.
pub type Digest = [u8; 32];

/// Which partition of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// erofs.
    Root,
    /// Hash tree of dm-verity.
    Verity,
}

/// One block of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockId {
    /// Where it goes.
    pub part: Part,
    /// Its number there, from 0; it lies at so many times [`BLOCK`] bytes.
    pub number: u32,
}

/// What a verified bundle says about a system. Whoever makes one has checked the signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its version.
    pub version: String,
    /// Root hash of dm-verity, 64 hexadecimal digits in lower case.
    pub root_hash: String,
    /// Digests of the blocks of the root file system, in order. The last block is as long as the others.
    pub root: Vec<Digest>,
    /// The same of the hash tree.
    pub verity: Vec<Digest>,
    /// Bytes of the kernel image.
    pub kernel_bytes: u64,
    /// SHA-256 of the kernel image, hexadecimal, lower case.
    pub kernel_digest: String,
}

impl Image {
    /// Digests of one partition.
    pub fn blocks(&self, part: Part) -> &[Digest] {
        match part {
            Part::Root => &self.root,
            Part::Verity => &self.verity,
        }
    }
}

/// Takes one block.
pub type Take<'a> = dyn FnMut(BlockId, &[u8]) -> Result<(), SlotError> + 'a;

/// Where blocks come from that are not at hand: a bundle in a file, on a server, at the other node.
pub trait Source {
    /// Hands over the wanted blocks, which come rising and each once, in that order. What is handed over is checked by
    /// whoever takes it.
    ///
    /// # Errors
    /// The source's, or what `take` said.
    fn fetch(&mut self, wanted: &[BlockId], take: &mut Take<'_>) -> Result<(), SlotError>;

    /// The kernel image.
    ///
    /// # Errors
    /// The source's.
    fn kernel(&mut self) -> io::Result<Box<dyn io::Read + '_>>;
}

/// Why a slot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Which partitions to write cannot be told.
    #[error("the slot to write is not known: {0}")]
    Place(String),
    /// The image does not belong into this slot. Nothing was written.
    #[error("the image cannot go into this slot: {0}")]
    Image(String),
    /// A device.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The source gave something else than the signed block.
    #[error("the source's block {} of {:?} is not the signed one", .0.number, .0.part)]
    Block(BlockId),
    /// The source did not give everything.
    #[error("the source ended: {0} blocks are missing")]
    Missing(usize),
    /// The source cannot be read, or is wrong.
    #[error("{text}")]
    Source {
        /// In words.
        text: String,
        /// It may go well later.
        again: bool,
    },
    /// The disk does not hold what was written.
    #[error("block {} of {:?} was written and reads back as something else: this disk is failing", .0.number, .0.part)]
    ReadBack(BlockId),
    /// Boot partition.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// sfdisk.
    #[error("the partition table: {0}")]
    Table(String),
}

impl SlotError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Blocks that were there already.
    pub kept: usize,
    /// Blocks copied from the running slot.
    pub copied: usize,
    /// Blocks that the source gave.
    pub fetched: usize,
}

/// The four partitions of a node and what else one update touches.
pub struct Slots<'a> {
    /// Inactive slot's root.
    pub root: Box<dyn Volume + 'a>,
    /// Inactive slot's hash tree.
    pub verity: Box<dyn Volume + 'a>,
    /// Running slot's root, for its blocks.
    pub running_root: Box<dyn Volume + 'a>,
    /// Running slot's hash tree.
    pub running_verity: Box<dyn Volume + 'a>,
    /// Identifiers of the inactive slot's partitions.
    pub table: Box<dyn Table + 'a>,
    /// The boot loader.
    pub boot: &'a dyn BootControl,
    /// Version that is running.
    pub running: String,
    /// Root hash that is running.
    pub running_hash: String,
}

impl<'a> Slots<'a> {
    /// The slots of this machine, `running` from the one that is booted. The inactive partitions are opened exclusively.
    ///
    /// # Errors
    /// When a device cannot be opened: `EBUSY` for one that is in use.
    pub fn of_host(
        place: &Place,
        runner: &Arc<dyn Runner + Send + Sync>,
        boot: &'a dyn BootControl,
        running: &str,
    ) -> Result<Self, SlotError> {
        let line = std::fs::read_to_string("/proc/cmdline").map_err(SlotError::io("/proc/cmdline"))?;
        let running_hash = line.split_whitespace().find_map(|word| word.strip_prefix("roothash="));
        let Some(running_hash) = running_hash else {
            return Err(SlotError::Place("the kernel was started without a root hash".to_owned()));
        };
        let open = |partition: &Partition, write: bool| {
            let device = partition.device();
            let volume = if write { HostVolume::exclusive(&device) } else { HostVolume::reader(&device) };
            volume.map(Box::new).map_err(SlotError::io(device.display().to_string()))
        };
        Ok(Self {
            root: open(&place.inactive[0], true)?,
            verity: open(&place.inactive[1], true)?,
            running_root: open(&place.booted[0], false)?,
            running_verity: open(&place.booted[1], false)?,
            table: Box::new(publish::HostTable::new(place, Arc::clone(runner))?),
            boot,
            running: running.to_owned(),
            running_hash: running_hash.to_owned(),
        })
    }

    /// Writes a version into the inactive slot and installs its kernel image, which does not boot by itself yet.
    /// `progress` is told blocks that are done, and all.
    ///
    /// # Errors
    /// [`SlotError`]. The running slot and its boot entry are as they were.
    pub fn install(
        &mut self,
        image: &Image,
        source: &mut dyn Source,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Report, SlotError> {
        self.check(image)?;
        // From here on nothing boots the inactive slot.
        self.boot.clear(&self.running)?;
        let report = self.write(image, source, progress)?;
        let verified = self.read_back(image)?;
        self.publish(&verified, image, source)?;
        Ok(report)
    }

    fn check(&self, image: &Image) -> Result<(), SlotError> {
        let no = |why: String| Err(SlotError::Image(why));
        if image.version == self.running {
            return no(format!("version {} is the one that is running", image.version));
        }
        if image.root_hash.eq_ignore_ascii_case(&self.running_hash) {
            // Two slots with the same identifiers, and nobody could say which one booted.
            return no("it is the same root file system as the running one".to_owned());
        }
        if edgepair_layout::uuids_of_root_hash(&image.root_hash).is_none() {
            return no(format!("`{}` is no root hash", image.root_hash));
        }
        for (part, volume) in [(Part::Root, &self.root), (Part::Verity, &self.verity)] {
            let needed = image.blocks(part).len() as u64 * BLOCK as u64;
            if needed == 0 || needed > volume.bytes() {
                return no(format!("{part:?} has {needed} bytes, its partition {}", volume.bytes()));
            }
        }
        Ok(self.boot.room(&self.running, image.kernel_bytes)?)
    }
}
