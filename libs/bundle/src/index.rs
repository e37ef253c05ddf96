//! The block index: for every block of every payload its digest, and how it lies in the bundle.
//!
//! ```text
//! "EDGEPAIR INDEX 1"                                16 bytes
//! for each payload in the manifest's order, for each of its blocks:
//!   stored    2 bytes, little-endian: bytes that it takes in the bundle, 1 to its size
//!   digest   32 bytes: SHA-256 of the block
//!   only when stored is less than its size, that is, when it lies there compressed (one zstd frame, RFC 8878):
//!   digest   32 bytes: SHA-256 of what lies there
//! ```
//!
//! The second digest lets a compressed block be checked before the decompressor sees it.

use crate::manifest::{BLOCK, Manifest, Payload, PayloadName};
use crate::{Digest, Error};
use std::ops::{Range, RangeInclusive};
use thiserror::Error;

/// First bytes of an index: what it is, and the version of its format.
pub const MAGIC: &[u8; 16] = b"EDGEPAIR INDEX 1";

/// Sizes in bytes that an index of so many blocks can have.
pub(crate) const fn sizes(blocks: u64) -> RangeInclusive<u64> {
    let magic = MAGIC.len() as u64;
    magic + 34 * blocks..=magic + 66 * blocks
}

/// One block of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId {
    /// The payload.
    pub payload: PayloadName,
    /// Its number there, from 0.
    pub number: u32,
}

impl BlockId {
    /// Where it belongs in its payload, in bytes.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.number as u64 * BLOCK as u64
    }
}

impl std::fmt::Display for BlockId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "block {} of {}", self.number, self.payload)
    }
}

/// What the index says about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// SHA-256 of the block.
    pub digest: Digest,
    /// Bytes that it takes in the bundle.
    pub stored: u16,
    /// SHA-256 of what lies in the bundle; `None` when that is the block as it is.
    pub packed: Option<Digest>,
    /// Where it lies, counted from the first byte of its payload's entry.
    pub start: u64,
}

/// Why an index is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IndexError {
    /// Other first bytes.
    #[error("it does not begin as an index of this version")]
    Magic,
    /// It ends within a row, or there are bytes behind the last row.
    #[error("it has not the length that its blocks take")]
    Length,
    /// The stored size is zero or larger than the block.
    #[error("{0} is said to take a size that it cannot have")]
    Stored(BlockId),
    /// The sum of stored sizes is not the manifest's.
    #[error("the blocks of {0} do not take the bytes that the manifest says")]
    Sum(PayloadName),
}

/// A checked index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    payloads: Vec<(Payload, Vec<Row>)>,
}

impl Index {
    /// Reads an index that belongs to `manifest`.
    ///
    /// # Errors
    /// When it does not say the same as the manifest.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, IndexError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(IndexError::Magic)?;
        let mut payloads = Vec::new();
        for payload in &manifest.payloads {
            let mut rows = Vec::new();
            let mut start = 0;
            for number in 0..u32::try_from(payload.blocks()).map_err(|_| IndexError::Length)? {
                let stored = u16::from_le_bytes(take(&mut rest)?);
                let digest = Digest(take(&mut rest)?);
                let size = payload.block_size(number);
                let id = BlockId { payload: payload.name, number };
                if stored == 0 || usize::from(stored) > size {
                    return Err(IndexError::Stored(id));
                }
                let packed = if usize::from(stored) < size { Some(Digest(take(&mut rest)?)) } else { None };
                rows.push(Row { digest, stored, packed, start });
                start += u64::from(stored);
            }
            if start != payload.stored {
                return Err(IndexError::Sum(payload.name));
            }
            payloads.push((*payload, rows));
        }
        if rest.is_empty() { Ok(Self { payloads }) } else { Err(IndexError::Length) }
    }

    /// The payloads with their rows.
    pub fn payloads(&self) -> impl Iterator<Item = (&Payload, &[Row])> {
        self.payloads.iter().map(|(payload, rows)| (payload, rows.as_slice()))
    }

    /// Every block with its row, in the order of the bundle.
    pub fn blocks(&self) -> impl Iterator<Item = (BlockId, &Row)> {
        self.payloads().flat_map(|(payload, rows)| {
            let payload = payload.name;
            rows.iter().zip(0..).map(move |(row, number)| (BlockId { payload, number }, row))
        })
    }

    /// A block's size in bytes and its row.
    ///
    /// # Errors
    /// When there is no such block.
    pub fn row(&self, id: BlockId) -> Result<(usize, &Row), Error> {
        self.payloads()
            .find(|(payload, _)| payload.name == id.payload)
            .and_then(|(payload, rows)| Some((payload.block_size(id.number), rows.get(id.number as usize)?)))
            .ok_or(Error::NoSuchBlock(id))
    }
}

impl Row {
    /// Bytes of the bundle that hold the block, when its payload's entry has its content at `entry`.
    #[must_use]
    pub fn range(&self, entry: u64) -> Range<u64> {
        let start = entry + self.start;
        start..start + u64::from(self.stored)
    }

    /// Appends the row as the index has it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.stored.to_le_bytes());
        out.extend(self.digest.0);
        out.extend(self.packed.iter().flat_map(|digest| digest.0));
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], IndexError> {
    let (taken, behind) = rest.split_first_chunk::<N>().ok_or(IndexError::Length)?;
    *rest = behind;
    Ok(*taken)
}
