//! Filling the slot: what is there already stays, what the running slot has is copied, the rest comes from the source.

use super::{BLOCK, BlockId, Digest, Image, Part, Report, SlotError, Slots, Source, Volume, verity};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Blocks that are read or written at a time.
const WINDOW: usize = 256;
/// Between two flushes, blocks: a flush that comes once at the end stops everything else on a slow card for minutes.
const FLUSH_EVERY: usize = 16_384;

/// Proof that a slot holds an image: every block was read back from the medium.
#[derive(Debug)]
pub struct Verified {
    /// Root hash of what is there.
    root_hash: String,
}

impl Verified {
    /// Root hash of what is there, 64 hexadecimal digits.
    pub fn root_hash(&self) -> &str {
        &self.root_hash
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Reads the first `count` blocks in windows.
fn each_window(
    volume: &mut dyn Volume,
    count: usize,
    medium: bool,
    mut look: impl FnMut(&mut dyn Volume, usize, &mut [u8]) -> Result<(), SlotError>,
) -> Result<(), SlotError> {
    let mut window = vec![0; WINDOW * BLOCK];
    for first in (0..count).step_by(WINDOW) {
        let bytes = &mut window[..(count - first).min(WINDOW) * BLOCK];
        let offset = first as u64 * BLOCK as u64;
        let read = if medium { volume.read_medium(offset, bytes) } else { volume.read(offset, bytes) };
        read.map_err(SlotError::io(format!("read blocks from {first} on")))?;
        look(volume, first, bytes)?;
    }
    Ok(())
}

/// Neighbouring blocks, written together.
struct Run<'a> {
    volume: &'a mut dyn Volume,
    first: usize,
    bytes: Vec<u8>,
    since_flush: usize,
}

impl<'a> Run<'a> {
    fn new(volume: &'a mut dyn Volume) -> Self {
        Self { volume, first: 0, bytes: Vec::new(), since_flush: 0 }
    }

    fn put(&mut self, number: usize, block: &[u8]) -> Result<(), SlotError> {
        let next = self.first + self.bytes.len() / BLOCK;
        if number != next || self.bytes.len() >= WINDOW * BLOCK {
            self.write()?;
            self.first = number;
        }
        self.bytes.extend_from_slice(block);
        Ok(())
    }

    fn write(&mut self) -> Result<(), SlotError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let what = format!("write block {}", self.first);
        self.volume.write(self.first as u64 * BLOCK as u64, &self.bytes).map_err(SlotError::io(what))?;
        self.since_flush += self.bytes.len() / BLOCK;
        self.bytes.clear();
        if self.since_flush >= FLUSH_EVERY {
            self.since_flush = 0;
            self.volume.flush().map_err(SlotError::io("flush"))?;
        }
        Ok(())
    }
}

/// Where the running slot has which block.
type Index = HashMap<Digest, u64>;

/// Blocks of the running slot that the image wants. A block that cannot be read there is not used.
fn index(volume: &mut dyn Volume, wanted: &[Digest]) -> Index {
    let wanted: std::collections::HashSet<&Digest> = wanted.iter().collect();
    let count = usize::try_from(volume.bytes() / BLOCK as u64).unwrap_or(0);
    let mut index = Index::new();
    // A failing disk below the running slot is no reason not to update: the blocks come from the source then.
    let _ = each_window(volume, count, false, |_, first, bytes| {
        for (at, block) in bytes.chunks(BLOCK).enumerate() {
            let digest = digest(block);
            if wanted.contains(&digest) {
                index.entry(digest).or_insert((first + at) as u64 * BLOCK as u64);
            }
        }
        Ok(())
    });
    index
}

impl Slots<'_> {
    pub(super) fn write(
        &mut self,
        image: &Image,
        source: &mut dyn Source,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Report, SlotError> {
        let all = image.root.len() + image.verity.len();
        let mut report = Report::default();
        let mut missing = Vec::new();
        let parts = [
            (Part::Root, &mut self.root, &mut self.running_root),
            (Part::Verity, &mut self.verity, &mut self.running_verity),
        ];
        for (part, volume, running) in parts {
            let index = index(&mut **running, image.blocks(part));
            let digests = image.blocks(part);
            each_window(&mut **volume, digests.len(), false, |volume, first, bytes| {
                let mut run = Run::new(volume);
                for (number, there) in (first..).zip(bytes.chunks_mut(BLOCK)) {
                    let wanted = &digests[number];
                    if digest(there) == *wanted {
                        report.kept += 1;
                    } else if copy(&index, &mut **running, wanted, there) {
                        run.put(number, there)?;
                        report.copied += 1;
                    } else {
                        // An image has fewer than 2^32 blocks: that would be 16 TiB.
                        missing.push(BlockId { part, number: u32::try_from(number).unwrap_or(u32::MAX) });
                    }
                }
                run.write()?;
                progress(report.kept + report.copied, all);
                Ok(())
            })?;
        }
        report.fetched = missing.len();
        self.fetch(image, source, &missing, &mut |done| progress(all - missing.len() + done, all))?;
        for (volume, name) in [(&mut self.root, "root"), (&mut self.verity, "hash tree")] {
            volume.flush().map_err(SlotError::io(format!("flush the {name}")))?;
        }
        Ok(report)
    }

    fn fetch(
        &mut self,
        image: &Image,
        source: &mut dyn Source,
        missing: &[BlockId],
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), SlotError> {
        if missing.is_empty() {
            return Ok(());
        }
        let mut wanted = missing.iter().copied();
        let mut left = missing.len();
        let (mut root, mut verity) = (Run::new(&mut *self.root), Run::new(&mut *self.verity));
        source.fetch(missing, &mut |id, bytes| {
            // In order and each once, or what was asked for is not what comes.
            let right = wanted.next() == Some(id) && bytes.len() == BLOCK;
            if !right || image.blocks(id.part).get(id.number as usize) != Some(&digest(bytes)) {
                return Err(SlotError::Block(id));
            }
            left -= 1;
            if left % WINDOW == 0 {
                progress(missing.len() - left);
            }
            match id.part {
                Part::Root => root.put(id.number as usize, bytes),
                Part::Verity => verity.put(id.number as usize, bytes),
            }
        })?;
        if left > 0 {
            return Err(SlotError::Missing(left));
        }
        root.write()?;
        verity.write()
    }

    /// Reads everything back from the medium.
    pub(super) fn read_back(&mut self, image: &Image) -> Result<Verified, SlotError> {
        for (part, volume) in [(Part::Root, &mut self.root), (Part::Verity, &mut self.verity)] {
            let digests = image.blocks(part);
            each_window(&mut **volume, digests.len(), true, |_, first, bytes| {
                for (number, block) in (first..).zip(bytes.chunks(BLOCK)) {
                    if digest(block) != digests[number] {
                        let number = u32::try_from(number).unwrap_or(u32::MAX);
                        return Err(SlotError::ReadBack(BlockId { part, number }));
                    }
                }
                Ok(())
            })?;
        }
        let found = verity::root_hash(&mut *self.verity)?;
        if found != image.root_hash {
            let why = format!("its hash tree has root hash {found}, not {}", image.root_hash);
            return Err(SlotError::Image(why));
        }
        Ok(Verified { root_hash: found })
    }
}

/// Fills `into` with the wanted block from the running slot; `false` when it is not there, or not any more.
fn copy(index: &Index, running: &mut dyn Volume, wanted: &Digest, into: &mut [u8]) -> bool {
    let Some(offset) = index.get(wanted) else { return false };
    running.read(*offset, into).is_ok() && digest(into) == *wanted
}
