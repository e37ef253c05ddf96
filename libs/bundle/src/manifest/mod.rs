//! What a bundle says about itself.
//!
//! A [`Manifest`] alone proves nothing: it may have been read from an unsigned bundle, for showing it. The proof is
//! [`crate::Verified`].

mod parse;
mod table;
mod text;

pub(crate) use parse::{read_version, waves};
pub(crate) use table::{Table, digest, note, number, time};
pub(crate) use text::quoted;

use crate::{Digest, Time, Version};
use std::fmt;

/// The only version of the format that this release reads and writes.
pub const SCHEMA: i64 = 1;
/// Largest manifest that is read, in bytes.
pub const MANIFEST_MAX: u64 = 256 << 10;
/// Size of a block in bytes; only the last one of a payload may be smaller. See `docs/adr/0081`.
pub const BLOCK: usize = 4096;
/// Most blocks in a bundle: 4 GiB, and an index of at most 69 MB.
pub const BLOCKS_MAX: u64 = 1 << 20;

/// Everything that is signed, but for the blocks' digests, which follow from the index's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the image.
    pub name: String,
    /// The version that it installs.
    pub version: Version,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Boards that it is for, at least one.
    pub boards: Vec<String>,
    /// dm-verity root hash of the root file system; the slot's partition UUIDs follow from it.
    pub root_hash: Digest,
    /// Identity of the build, from its `manifest.json`.
    pub build: Option<Digest>,
    /// Once this version is kept, nothing older than this is installed any more. Never above `version`.
    pub floor: Version,
    /// It is not installed after this moment.
    pub expires: Option<Time>,
    /// A trial that is not over after so many seconds has failed.
    pub trial_seconds: u32,
    /// Version of the k3s extension that it was tested with.
    pub extension: Option<String>,
    /// What it gets on with.
    pub compatible: Compatible,
    /// What it makes of that, once it is kept.
    pub leaves: Leaves,
    /// Nothing goes back from it: whoever made it says so, and an operator has to confirm it.
    pub one_way: bool,
    /// Which pairs may take it when; empty: all, at once. Times and percentages rise.
    pub waves: Vec<Wave>,
    /// The block index.
    pub index: Part,
    /// What is in it, in the order of [`PayloadName::ALL`].
    pub payloads: Vec<Payload>,
}

/// What a version gets on with, each a range with both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compatible {
    /// Versions of the protocol between the two agents.
    pub pair_protocol: Span,
    /// Formats of the datastore (major versions of PostgreSQL).
    pub datastore: Span,
    /// Schemas of what node-init keeps on the state partition.
    pub state: Span,
}

/// What a version leaves behind when it is kept: whoever goes back from it has to read this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaves {
    /// Format of the datastore.
    pub datastore: u32,
    /// Schema of what node-init keeps on the state partition.
    pub state: u32,
}

/// A range of whole numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Lowest.
    pub min: u32,
    /// Highest.
    pub max: u32,
}

impl Span {
    /// Whether a number is in it.
    #[must_use]
    pub const fn contains(self, number: u32) -> bool {
        self.min <= number && number <= self.max
    }

    /// Whether some number is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// From a moment on, so many of all pairs may take the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// Of a hundred pairs, those of earlier waves included.
    pub percent: u32,
    /// From when on.
    pub from: Time,
}

/// Size and digest of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PayloadName {
    /// Root file system: goes into the slot's root partition.
    Root,
    /// dm-verity hash tree: goes into the slot's verity partition.
    Verity,
    /// Unified kernel image: goes onto the EFI system partition.
    Uki,
}

impl PayloadName {
    /// All of them, in the order they have in a bundle. Each bundle has all.
    pub const ALL: [Self; 3] = [Self::Root, Self::Verity, Self::Uki];

    /// Its word in the manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Verity => "verity",
            Self::Uki => "uki",
        }
    }

    /// Its name in the tar.
    #[must_use]
    pub const fn entry(self) -> &'static str {
        match self {
            Self::Root => "payload/root",
            Self::Verity => "payload/verity",
            Self::Uki => "payload/uki",
        }
    }
}

impl fmt::Display for PayloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// What it is.
    pub name: PayloadName,
    /// Size and digest as it is written, for reading it back.
    pub part: Part,
    /// Bytes that it takes in the bundle.
    pub stored: u64,
}

impl Payload {
    /// Number of its blocks.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.part.size.div_ceil(BLOCK as u64)
    }

    /// Size of a block in bytes; zero behind the last.
    #[must_use]
    pub fn block_size(&self, number: u32) -> usize {
        let rest = self.part.size.saturating_sub(u64::from(number) * BLOCK as u64);
        usize::try_from(rest).unwrap_or(BLOCK).min(BLOCK)
    }
}
