//! What has to be fetched when some blocks are at hand: a pure function of digests.

use crate::Digest;
use crate::index::BlockId;
use crate::manifest::{BLOCK, PayloadName};
use crate::read::Contents;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;

/// Largest request in bytes, so that its answer can be held.
pub const REQUEST_MAX: u64 = 8 << 20;

/// The blocks of a partition or file that is at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    blocks: Vec<Digest>,
    places: BTreeMap<Digest, u64>,
}

impl Inventory {
    /// Of digests, in the order of the blocks.
    #[must_use]
    pub fn new(blocks: Vec<Digest>) -> Self {
        let mut places = BTreeMap::new();
        for (digest, number) in blocks.iter().zip(0_u64..) {
            places.entry(*digest).or_insert(number * BLOCK as u64);
        }
        Self { blocks, places }
    }

    /// Reads everything and takes the digest of each block. Limit the reader to what is in use of a partition.
    ///
    /// # Errors
    /// The reader's.
    pub fn scan(mut reader: impl Read) -> io::Result<Self> {
        let mut blocks = Vec::new();
        let mut block = Vec::with_capacity(BLOCK);
        while reader.by_ref().take(BLOCK as u64).read_to_end(&mut block)? > 0 {
            blocks.push(Digest::of(&block));
            block.clear();
        }
        Ok(Self::new(blocks))
    }
}

/// What is at hand of one payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holdings<'a> {
    /// What the target holds already, for example after a power cut in the middle of writing.
    pub target: Option<&'a Inventory>,
    /// What the running slot has. It must not change while the plan is carried out.
    pub running: Option<&'a Inventory>,
}

/// What is at hand, and how to ask for the rest.
#[derive(Debug, Clone, Default)]
pub struct Have<'a> {
    /// Of each payload.
    pub payloads: BTreeMap<PayloadName, Holdings<'a>>,
    /// Ranges that are no further apart than this are asked for as one, in bytes: what a request costs in time, in terms
    /// of bytes.
    pub gap: u64,
}

/// Where a block comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It is in its place. Reading the slot back proves it.
    InPlace,
    /// The running slot has it, so many bytes from its payload's beginning.
    Running {
        /// Bytes.
        offset: u64,
    },
    /// It has to be fetched: from the bundle by [`Plan::requests`], or from the other node by its digest.
    Fetch,
}

/// A range of the bundle, and what to take out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Bytes of the bundle, at most [`REQUEST_MAX`].
    pub range: Range<u64>,
    /// The wanted blocks in it, each with its bytes counted from the range's beginning.
    pub blocks: Vec<(BlockId, Range<usize>)>,
}

/// Where every block of a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every block once, in the order of the bundle.
    pub sources: Vec<(BlockId, Source)>,
    /// What to ask the bundle's server for: rising, apart from each other.
    pub requests: Vec<Request>,
}

impl Plan {
    pub(crate) fn of(contents: &Contents, have: &Have<'_>) -> Self {
        let mut plan = Self { sources: Vec::new(), requests: Vec::new() };
        for (id, row) in contents.index.blocks() {
            let holdings = have.payloads.get(&id.payload).copied().unwrap_or_default();
            let source = source(id, &row.digest, holdings);
            plan.sources.push((id, source));
            if source == Source::Fetch {
                // A payload without an entry has no blocks.
                let range = row.range(contents.entry(id.payload).unwrap_or(0));
                plan.request(id, range, have.gap);
            }
        }
        plan
    }

    fn request(&mut self, id: BlockId, range: Range<u64>, gap: u64) {
        let near = self.requests.last_mut().filter(|last| {
            range.start - last.range.end <= gap && range.end - last.range.start <= REQUEST_MAX
        });
        if let Some(last) = near {
            last.range.end = range.end;
            let inside = within(&last.range, &range);
            last.blocks.push((id, inside));
        } else {
            let inside = within(&range, &range);
            self.requests.push(Request { range, blocks: vec![(id, inside)] });
        }
    }

    /// Bytes that the requests ask for.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.requests.iter().map(|request| request.range.end - request.range.start).sum()
    }
}

fn source(id: BlockId, digest: &Digest, holdings: Holdings<'_>) -> Source {
    let in_place = |inventory: &Inventory| inventory.blocks.get(id.number as usize) == Some(digest);
    if holdings.target.is_some_and(in_place) {
        return Source::InPlace;
    }
    // Never from elsewhere in the target: it may be overwritten before its turn comes.
    match holdings.running.and_then(|inventory| inventory.places.get(digest)) {
        Some(offset) => Source::Running { offset: *offset },
        None => Source::Fetch,
    }
}

/// `inner` counted from the beginning of `outer`; no request is longer than a `usize`.
fn within(outer: &Range<u64>, inner: &Range<u64>) -> Range<usize> {
    let count = |at: u64| usize::try_from(at - outer.start).unwrap_or(usize::MAX);
    count(inner.start)..count(inner.end)
}
