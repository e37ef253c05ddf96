//! All pairs in memory: for reads, status and metrics.
//!
//! Only the writer changes it, and only after the change is on disk; so whoever reads here never learns of
//! something that a power cut could take back.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use pair_core::record::{Holder, Record};
use witness_protocol::PairId;

use super::Entry;

/// A shared view of all pairs.
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<RwLock<HashMap<PairId, Entry>>>);

/// How many pairs stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Holders {
    /// Nobody may go on alone.
    pub unknown: u64,
    /// Both nodes current.
    pub paired: u64,
    /// One node alone.
    pub solo: u64,
}

impl Table {
    /// A table of these pairs.
    #[must_use]
    pub fn new(entries: HashMap<PairId, Entry>) -> Self {
        Self(Arc::new(RwLock::new(entries)))
    }

    /// Is the pair enrolled?
    #[must_use]
    pub fn knows(&self, pair: &PairId) -> bool {
        self.with(|t| t.contains_key(pair))
    }

    /// The record of a pair.
    #[must_use]
    pub fn record(&self, pair: &PairId) -> Option<Record> {
        self.with(|t| t.get(pair).map(|e| e.record))
    }

    /// All pairs, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<(PairId, Entry)> {
        let mut all: Vec<_> = self.with(|t| t.iter().map(|(id, e)| (*id, e.clone())).collect());
        all.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        all
    }

    /// How many pairs stand how.
    #[must_use]
    pub fn holders(&self) -> Holders {
        self.with(|t| {
            t.values().fold(Holders::default(), |mut sum, entry| {
                match entry.record.holder {
                    Holder::Unknown => sum.unknown += 1,
                    Holder::Paired { .. } => sum.paired += 1,
                    Holder::Solo { .. } => sum.solo += 1,
                }
                sum
            })
        })
    }

    fn with<T>(&self, look: impl FnOnce(&HashMap<PairId, Entry>) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut HashMap<PairId, Entry>)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
