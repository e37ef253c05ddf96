//! The datastore: one table in which every change is a row, as kine lays it out (kine, `docs/flow.md`). A row's id is the
//! revision; two writers of one key meet at the unique index over key and former revision.
//!
//! [`postgres`] and [`sqlite`] hold the table, [`kv`] keys and values over it.

pub mod kv;
pub mod postgres;
mod postgres_tls;
pub mod sqlite;

use std::fmt;

/// A change of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Revision.
    pub id: i64,
    /// Key.
    pub name: String,
    /// Whether it made the key.
    pub created: bool,
    /// Whether it took the key away.
    pub deleted: bool,
    /// Revision that made the key; 0 in the row that did.
    pub create_revision: i64,
    /// Revision before this one.
    pub prev_revision: i64,
    /// What it is now, or was when it was taken away.
    pub value: Vec<u8>,
    /// What it was before.
    pub old_value: Vec<u8>,
}

/// What came of an attempt to add a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is there, with this revision.
    Revision(i64),
    /// Somebody else changed the key first.
    Beaten,
}

/// The datastore does not do what it is asked.
#[derive(Debug)]
pub struct Failed(pub String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// A table, wherever it is.
#[derive(Debug)]
pub enum Datastore {
    /// PostgreSQL.
    Postgres(Box<postgres::Postgres>),
    /// SQLite.
    Sqlite(sqlite::Sqlite),
}

impl Datastore {
    /// The newest row of a key, also when it is gone.
    pub async fn newest(&self, name: &str) -> Result<Option<Row>, Failed> {
        match self {
            Self::Postgres(it) => it.newest(name).await,
            Self::Sqlite(it) => it.newest(name).await,
        }
    }

    /// The newest revision of all, and of each key from `first` to before `end` that is not gone its newest row.
    pub async fn range(&self, first: &str, end: &str) -> Result<(i64, Vec<Row>), Failed> {
        match self {
            Self::Postgres(it) => it.range(first, end).await,
            Self::Sqlite(it) => it.range(first, end).await,
        }
    }

    /// Changes of those keys after a revision, in order.
    pub async fn after(&self, first: &str, end: &str, revision: i64) -> Result<Vec<Row>, Failed> {
        match self {
            Self::Postgres(it) => it.after(first, end, revision).await,
            Self::Sqlite(it) => it.after(first, end, revision).await,
        }
    }

    /// Adds a row, durably.
    pub async fn add(&self, row: &Row) -> Result<Added, Failed> {
        match self {
            Self::Postgres(it) => it.add(row).await,
            Self::Sqlite(it) => it.add(row).await,
        }
    }

    /// Forgets what was replaced or taken away up to a revision.
    pub async fn compact(&self, revision: i64) -> Result<(), Failed> {
        match self {
            Self::Postgres(it) => it.compact(revision).await,
            Self::Sqlite(it) => it.compact(revision).await,
        }
    }
}
