//! Blocks: the only form in which a bundle's payloads come out, each checked before it does.

use crate::archive::Archive;
use crate::index::BlockId;
use crate::manifest::{BLOCK, Payload};
use crate::plan::{Have, Plan};
use crate::read::Contents;
use crate::{Digest, Error};
use std::fmt;
use std::io::Read;
use std::ops::Range;
use zstd::bulk::Decompressor;

/// A block whose digest is the one in a signed index. Nothing but this library makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    id: BlockId,
    bytes: Vec<u8>,
}

impl Block {
    /// Which one it is; [`BlockId::offset`] is where it belongs.
    #[must_use]
    pub const fn id(&self) -> BlockId {
        self.id
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A version that this node may install: what is needed to get blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted(Contents);

/// The payloads of a bundle that is being read from its beginning to its end.
#[derive(Debug)]
pub struct Rest<R>(pub(crate) Archive<R>);

impl Admitted {
    pub(crate) const fn new(contents: Contents) -> Self {
        Self(contents)
    }

    /// What is signed.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.0
    }

    /// All blocks in their order, for a bundle that is read from its beginning to its end (file, pipe).
    pub fn stream<R: Read>(&self, rest: Rest<R>) -> Blocks<'_, R> {
        Blocks::new(&self.0, rest.0)
    }

    /// What has to be fetched when some blocks are at hand. See [`Plan`].
    #[must_use]
    pub fn plan(&self, have: &Have<'_>) -> Plan {
        Plan::of(&self.0, have)
    }

    /// Bytes of the bundle that hold a block, for a source that is asked for ranges.
    ///
    /// # Errors
    /// When there is no such block.
    pub fn range(&self, id: BlockId) -> Result<Range<u64>, Error> {
        let (_, row) = self.0.index.row(id)?;
        let entry = self.0.entry(id.payload).ok_or(Error::NoSuchBlock(id))?;
        Ok(row.range(entry))
    }

    /// Checks blocks that come from elsewhere: ranges of the bundle, the running slot, the other node.
    #[must_use]
    pub fn unpacker(&self) -> Unpacker<'_> {
        Unpacker { contents: &self.0, decompressor: None }
    }
}

/// Makes [`Block`]s of bytes that turn out to be what was signed.
pub struct Unpacker<'a> {
    contents: &'a Contents,
    /// Made for the first compressed block.
    decompressor: Option<Decompressor<'static>>,
}

impl fmt::Debug for Unpacker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker<'_> {
    /// A block as it lies in the bundle. The decompressor sees only what was signed.
    ///
    /// # Errors
    /// When it is not what was signed.
    pub fn stored(&mut self, id: BlockId, stored: &[u8]) -> Result<Block, Error> {
        let (size, row) = self.contents.index.row(id)?;
        let Some(packed) = row.packed else { return self.plain(id, stored) };
        if stored.len() != usize::from(row.stored) || Digest::of(stored) != packed {
            return Err(Error::Block(id));
        }
        let (digest, mut bytes) = (row.digest, vec![0; size]);
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(|_| Error::Decompress(id))?),
        };
        match decompressor.decompress_to_buffer(stored, &mut bytes[..]) {
            Ok(length) if length == size && Digest::of(&bytes) == digest => Ok(Block { id, bytes }),
            _ => Err(Error::Decompress(id)),
        }
    }

    /// A block as it is on a disk: from the running slot, or from the other node's.
    ///
    /// # Errors
    /// When it is not what was signed.
    pub fn plain(&self, id: BlockId, bytes: &[u8]) -> Result<Block, Error> {
        let (size, row) = self.contents.index.row(id)?;
        if bytes.len() == size && Digest::of(bytes) == row.digest {
            Ok(Block { id, bytes: bytes.to_vec() })
        } else {
            Err(Error::Block(id))
        }
    }
}

/// The blocks of a bundle, one after the other. Holds one block.
#[derive(Debug)]
pub struct Blocks<'a, R> {
    unpacker: Unpacker<'a>,
    archive: Archive<R>,
    payloads: std::slice::Iter<'a, Payload>,
    /// The payload that is being read, and the number of its next block.
    open: Option<(&'a Payload, u32)>,
    ended: bool,
}

impl<'a, R: Read> Blocks<'a, R> {
    pub(crate) fn new(contents: &'a Contents, archive: Archive<R>) -> Self {
        Self {
            unpacker: Unpacker { contents, decompressor: None },
            archive,
            payloads: contents.manifest.payloads.iter(),
            open: None,
            ended: false,
        }
    }

    /// The next block. `None` means that the bundle was read to its last byte and all of it was right; until then the
    /// slot must not be used.
    ///
    /// # Errors
    /// When the bundle is not what was signed, ends early, or cannot be read.
    pub fn next_block(&mut self) -> Result<Option<Block>, Error> {
        loop {
            if let Some((payload, number)) = self.open {
                if u64::from(number) < payload.blocks() {
                    self.open = Some((payload, number + 1));
                    let id = BlockId { payload: payload.name, number };
                    let mut stored = [0; BLOCK];
                    let (_, row) = self.unpacker.contents.index.row(id)?;
                    let stored = &mut stored[..usize::from(row.stored).min(BLOCK)];
                    self.archive.fill(stored, payload.name.entry())?;
                    return self.unpacker.stored(id, stored).map(Some);
                }
                self.archive.pad(payload.name.entry(), payload.stored)?;
                self.open = None;
            } else if let Some(payload) = self.payloads.next() {
                self.archive.entry_of(payload.name.entry(), payload.stored)?;
                self.open = Some((payload, 0));
            } else {
                if !self.ended {
                    self.archive.end()?;
                    self.ended = true;
                }
                return Ok(None);
            }
        }
    }
}
