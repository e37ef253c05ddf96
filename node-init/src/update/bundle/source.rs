//! Bundles as sources of a slot's writer: read from front to back, or block by block. What comes out is a
//! [`Block`] of an admitted bundle, nothing else.

use super::kernels::AtHand;
use crate::update::slot::{self, BLOCK, Image, Part, SlotError, Take};
use edgepair_bundle::manifest::PayloadName;
use edgepair_bundle::{Admitted, Block, BlockId, Blocks, Contents, Error, Rest, Unpacker};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Blocks of the kernel image that are taken at a time.
const KERNEL_BLOCKS: u32 = 256;

/// What a slot's writer has to know of a bundle.
///
/// # Errors
/// When it is no image for a slot.
pub fn image(contents: &Contents) -> Result<Image, SlotError> {
    let manifest = &contents.manifest;
    let mut image = Image {
        version: manifest.version.as_str().to_owned(),
        root_hash: manifest.root_hash.to_string(),
        root: Vec::new(),
        verity: Vec::new(),
        kernel_bytes: 0,
        kernel_digest: String::new(),
    };
    for (payload, rows) in contents.index.payloads() {
        if payload.name != PayloadName::Uki && payload.part.size % BLOCK as u64 != 0 {
            let why = format!("the payload {} is not made of whole blocks", payload.name);
            return Err(SlotError::Image(why));
        }
        let digests = rows.iter().map(|row| row.digest.0).collect();
        match payload.name {
            PayloadName::Root => image.root = digests,
            PayloadName::Verity => image.verity = digests,
            PayloadName::Uki => {
                image.kernel_bytes = payload.part.size;
                image.kernel_digest = payload.part.sha256.to_string();
            }
        }
    }
    Ok(image)
}

fn payload(part: Part) -> PayloadName {
    match part {
        Part::Root => PayloadName::Root,
        Part::Verity => PayloadName::Verity,
    }
}

fn wrong(error: &Error) -> SlotError {
    // A source that ends or breaks off may go on later; one that gives wrong bytes is wrong.
    let again = matches!(error, Error::Read { .. } | Error::Truncated(_));
    SlotError::Source { text: format!("{error}: {}", error.advice()), again }
}

/// A bundle that is read once, from front to back.
#[derive(Debug)]
pub struct Stream<'a, R> {
    blocks: Blocks<'a, R>,
    /// A block that was read too early.
    back: Option<Block>,
}

impl<'a, R: Read> Stream<'a, R> {
    /// The payloads of `admitted`, which `rest` has.
    pub fn new(admitted: &'a Admitted, rest: Rest<R>) -> Self {
        Self { blocks: admitted.stream(rest), back: None }
    }

    fn next(&mut self) -> Result<Option<Block>, SlotError> {
        match self.back.take() {
            Some(block) => Ok(Some(block)),
            None => self.blocks.next_block().map_err(|error| wrong(&error)),
        }
    }

    /// Reads what is left, so that whoever sends it is not cut off. What comes now is not needed.
    pub fn drain(mut self) {
        while let Ok(Some(_)) = self.next() {}
    }
}

impl<R: Read> slot::Source for Stream<'_, R> {
    fn fetch(&mut self, wanted: &[slot::BlockId], take: &mut Take<'_>) -> Result<(), SlotError> {
        for (left, wanted) in (1..=wanted.len()).rev().zip(wanted) {
            let id = BlockId { payload: payload(wanted.part), number: wanted.number };
            loop {
                match self.next()? {
                    Some(block) if block.id() < id => {}
                    Some(block) if block.id() == id => {
                        take(*wanted, block.bytes())?;
                        break;
                    }
                    other => {
                        self.back = other;
                        return Err(SlotError::Missing(left));
                    }
                }
            }
        }
        Ok(())
    }

    fn kernel(&mut self) -> io::Result<Box<dyn Read + '_>> {
        let next = || loop {
            match self.next() {
                Ok(Some(block)) if block.id().payload != PayloadName::Uki => {}
                Ok(block) => return Ok(block.into_iter().collect()),
                Err(error) => return Err(io::Error::other(error)),
            }
        };
        Ok(Box::new(Pieces { next: Box::new(next), blocks: VecDeque::new(), at: 0 }))
    }
}

/// Blocks one behind the other, as one reader.
struct Pieces<'a> {
    /// The next ones; none is the end.
    next: Box<dyn FnMut() -> io::Result<VecDeque<Block>> + 'a>,
    blocks: VecDeque<Block>,
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.blocks.is_empty() {
            self.blocks = (self.next)()?;
        }
        let Some(block) = self.blocks.front() else { return Ok(0) };
        let bytes = &block.bytes()[self.at..];
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.at += count;
        if self.at == block.bytes().len() {
            self.blocks.pop_front();
            self.at = 0;
        }
        Ok(count)
    }
}

/// Takes one checked block.
pub type Give<'a> = dyn FnMut(Block) -> Result<(), SlotError> + 'a;

/// Somebody who can be asked for blocks.
pub trait Fetch {
    /// Hands over the wanted blocks, which come rising, in that order.
    ///
    /// # Errors
    /// The source's, or what `give` said.
    fn fetch(&mut self, wanted: &[BlockId], give: &mut Give<'_>) -> Result<(), SlotError>;
}

/// A source of blocks for a slot.
#[derive(Debug)]
pub struct Picked<'a, F> {
    admitted: &'a Admitted,
    from: F,
    /// Where the node's kernel images lie.
    kernels: PathBuf,
}

impl<'a, F: Fetch> Picked<'a, F> {
    /// Blocks of this bundle come from there; those of its kernel image that are in a file of the folder `kernels` do not.
    pub fn new(admitted: &'a Admitted, from: F, kernels: PathBuf) -> Self {
        Self { admitted, from, kernels }
    }
}

impl<F: Fetch> slot::Source for Picked<'_, F> {
    fn fetch(&mut self, wanted: &[slot::BlockId], take: &mut Take<'_>) -> Result<(), SlotError> {
        let ids: Vec<BlockId> =
            wanted.iter().map(|id| BlockId { payload: payload(id.part), number: id.number }).collect();
        let mut wanted = wanted.iter();
        self.from.fetch(&ids, &mut |block| match wanted.next() {
            Some(id) => take(*id, block.bytes()),
            None => Ok(()),
        })
    }

    fn kernel(&mut self) -> io::Result<Box<dyn Read + '_>> {
        let admitted = self.admitted;
        let mut payloads = admitted.contents().manifest.payloads.iter();
        let uki = payloads.find(|one| one.name == PayloadName::Uki);
        let all = uki.map(|uki| u32::try_from(uki.blocks()).unwrap_or(u32::MAX)).unwrap_or_default();
        let mut at_hand = AtHand::in_folder(admitted, &self.kernels);
        let (mut done, from) = (0, &mut self.from);
        let next = move || {
            let end = all.min(done + KERNEL_BLOCKS);
            let (mut blocks, mut missing) = (Vec::new(), Vec::new());
            for number in done..end {
                let id = BlockId { payload: PayloadName::Uki, number };
                let size = uki.map_or(0, |uki| uki.block_size(number));
                match at_hand.block(id, size) {
                    Some(block) => blocks.push(block),
                    None => missing.push(id),
                }
            }
            done = end;
            if !missing.is_empty() {
                let fetched = from.fetch(&missing, &mut |block| {
                    blocks.push(block);
                    Ok(())
                });
                fetched.map_err(io::Error::other)?;
                blocks.sort_by_key(Block::id);
            }
            Ok(blocks.into())
        };
        Ok(Box::new(Pieces { next: Box::new(next), blocks: VecDeque::new(), at: 0 }))
    }
}

/// Something of which any range of bytes can be read.
pub trait Ranges {
    /// Reads a range.
    ///
    /// # Errors
    /// The source's.
    fn read(&mut self, range: Range<u64>) -> io::Result<Vec<u8>>;

    /// Ranges that are no further apart than so many bytes are asked for as one.
    fn gap(&self) -> u64;

    /// Largest range in bytes.
    fn most(&self) -> u64;
}

impl Ranges for Box<dyn Ranges> {
    fn read(&mut self, range: Range<u64>) -> io::Result<Vec<u8>> {
        (**self).read(range)
    }

    fn gap(&self) -> u64 {
        (**self).gap()
    }

    fn most(&self) -> u64 {
        (**self).most()
    }
}

impl Ranges for File {
    fn read(&mut self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        self.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn gap(&self) -> u64 {
        0
    }

    fn most(&self) -> u64 {
        1 << 20
    }
}

/// Blocks out of ranges of the bundle.
#[derive(Debug)]
pub struct Ranged<'a, R> {
    admitted: &'a Admitted,
    unpacker: Unpacker<'a>,
    from: R,
}

impl<'a, R: Ranges> Ranged<'a, R> {
    /// Blocks of this bundle, which can be read there.
    pub fn new(admitted: &'a Admitted, from: R) -> Self {
        Self { admitted, unpacker: admitted.unpacker(), from }
    }

    fn request(&mut self, ids: &[(BlockId, Range<u64>)], give: &mut Give<'_>) -> Result<(), SlotError> {
        let (Some((_, first)), Some((_, last))) = (ids.first(), ids.last()) else { return Ok(()) };
        let all = first.start..last.end;
        let failed = |error: io::Error| SlotError::Source {
            text: format!("bytes {} to {} of the bundle: {error}", all.start, all.end),
            again: true,
        };
        let bytes = self.from.read(all.clone()).map_err(failed)?;
        for (id, range) in ids {
            let at = |byte: u64| usize::try_from(byte - all.start).unwrap_or(usize::MAX);
            let stored = bytes.get(at(range.start)..at(range.end));
            let stored = stored.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
            give(self.unpacker.stored(*id, stored).map_err(|error| wrong(&error))?)?;
        }
        Ok(())
    }
}

impl<R: Ranges> Fetch for Ranged<'_, R> {
    fn fetch(&mut self, wanted: &[BlockId], give: &mut Give<'_>) -> Result<(), SlotError> {
        let mut open: Vec<(BlockId, Range<u64>)> = Vec::new();
        for id in wanted {
            let range = self.admitted.range(*id).map_err(|error| wrong(&error))?;
            let near = open.first().zip(open.last()).is_some_and(|((_, first), (_, last))| {
                range.start.saturating_sub(last.end) <= self.from.gap()
                    && range.end - first.start <= self.from.most()
            });
            if !near {
                self.request(&open, give)?;
                open.clear();
            }
            open.push((*id, range));
        }
        self.request(&open, give)
    }
}
