//! The records on disk.
//!
//! * [`database`]: SQLite; one transaction per batch, durable when it returns.
//! * [`stamp`]: a counter outside the database, by which a restored database is recognised.
//! * [`writer`]: the one thread that owns both and answers after both are on disk.
//! * [`table`]: a copy in memory, never ahead of the disk, for reads and status.

pub mod database;
pub mod stamp;
pub mod table;
pub mod writer;

use std::path::PathBuf;

use pair_core::record::{Lineage, Record};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use witness_protocol::PairId;
use witness_protocol::wire::Malformed;

/// What can go wrong with the disk.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the database refused: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The database is held by another process.
    #[error("{path} is in use by another process; is `node-init witness serve` running on it?")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A stored record is not one.
    #[error("the record of pair {pair} is damaged: {source}")]
    Damaged {
        /// Whose.
        pair: PairId,
        /// How.
        source: Malformed,
    },
    /// Made by a newer program.
    #[error("the database has schema {0}, this program knows {known}", known = database::SCHEMA)]
    NewerSchema(i64),
    /// The name or the key is enrolled already.
    #[error(
        "{0} is enrolled already with another name or key; `witness forget` removes it, and with it what the witness knows"
    )]
    Taken(String),
    /// No pair of that name.
    #[error("no pair `{0}` is enrolled; `witness status` lists them")]
    NoSuchPair(String),
    /// The system gave no random bytes.
    #[error("no random numbers from the system")]
    NoRandomness,
    /// The writer is gone: the disk failed, or the witness is stopping.
    #[error("the witness cannot write at the moment")]
    Stopped,
}

/// One enrolled pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What people call it; unique.
    pub name: Box<str>,
    /// Its record.
    pub record: Record,
}

/// A lineage that nobody has seen before.
///
/// # Errors
/// [`StoreError::NoRandomness`].
pub fn mint() -> Result<Lineage, StoreError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
    Ok(Lineage(bytes))
}
