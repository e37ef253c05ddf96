//! How much of a new image a node has to fetch when it has the old one, for several ways of cutting it into blocks.
//!
//! `cargo run --release -p edgepair-bundle --example reuse OLD NEW` (two files, for example two `root.erofs`).

use edgepair_bundle::Digest;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};

/// Unit in which erofs and dm-verity place their data, in bytes.
const PAGE: usize = 4096;
/// Ranges this near to each other are fetched as one, in bytes.
const GAP: usize = 32 << 10;

/// Size, stored size and digest of each block.
type Blocks = Vec<(usize, usize, Digest)>;

/// Where an image is cut.
#[derive(Clone, Copy)]
enum Rule {
    /// Every so many bytes.
    Fixed(usize),
    /// At a page whose mark has so many zero bits on top, after so many pages at least and at most.
    Content { min: usize, max: usize, bits: u32 },
}

impl Rule {
    /// Reads the next block; empty at the end.
    fn next(self, file: &mut impl Read) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut block = Vec::new();
        match self {
            Self::Fixed(size) => {
                file.take(size as u64).read_to_end(&mut block)?;
            }
            Self::Content { min, max, bits } => loop {
                let start = block.len();
                let read = file.by_ref().take(PAGE as u64).read_to_end(&mut block)?;
                let pages = block.len() / PAGE;
                if read < PAGE || pages == max || (pages >= min && mark(&block[start..]) >> (64 - bits) == 0)
                {
                    break;
                }
            },
        }
        Ok(block)
    }
}

/// A number that follows from a page, well spread.
fn mark(page: &[u8]) -> u64 {
    page.iter().fold(1, |mark: u64, byte| {
        (mark ^ u64::from(*byte)).wrapping_mul(6_364_136_223_846_793_005).rotate_left(23)
    })
}

fn blocks(path: &str, rule: Rule) -> Result<Blocks, Box<dyn Error>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut compressor = zstd::bulk::Compressor::new(3)?;
    let mut all = Vec::new();
    loop {
        let block = rule.next(&mut file)?;
        if block.is_empty() {
            return Ok(all);
        }
        // As in a bundle: compressed only where that pays for the second digest.
        let stored = (compressor.compress(&block)?.len() + 32).min(block.len());
        all.push((block.len(), stored, Digest::of(&block)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [old, new] = arguments.as_slice() else { return Err("use: reuse OLD NEW".into()) };
    let content = |min, max, bits| Rule::Content { min, max, bits };
    println!(
        "{:<26} {:>7} {:>9} {:>10} {:>10} {:>7} {:>8}",
        "cut", "blocks", "index", "stored", "fetched", "of all", "requests"
    );
    for (name, rule) in [
        ("fixed 4 KiB", Rule::Fixed(PAGE)),
        ("fixed 16 KiB", Rule::Fixed(4 * PAGE)),
        ("fixed 64 KiB", Rule::Fixed(16 * PAGE)),
        ("fixed 256 KiB", Rule::Fixed(64 * PAGE)),
        ("content 4..32 KiB, +8", content(1, 8, 1)),
        ("content 4..64 KiB, +16", content(1, 16, 2)),
        ("content 16..256 KiB, +64", content(4, 64, 4)),
    ] {
        let have: BTreeSet<Digest> = blocks(old, rule)?.into_iter().map(|block| block.2).collect();
        let wanted = blocks(new, rule)?;
        let (mut all, mut stored, mut fetched, mut requests, mut gap) = (0, 0, 0, 0, usize::MAX);
        for (size, kept, digest) in &wanted {
            all += size;
            stored += kept;
            if have.contains(digest) {
                gap = gap.saturating_add(*kept);
                continue;
            }
            requests += usize::from(gap > GAP);
            fetched += kept + if gap > GAP { 0 } else { gap };
            gap = 0;
        }
        let index = wanted.len() * 34;
        #[expect(clippy::cast_precision_loss, reason = "a percentage for reading")]
        let share = 100.0 * (fetched + index) as f64 / all as f64;
        println!(
            "{name:<26} {:>7} {index:>9} {stored:>10} {:>10} {share:>6.1}% {requests:>8}",
            wanted.len(),
            fetched + index
        );
    }
    Ok(())
}
