//! The SQLite file: one row per pair.
//!
//! Write-ahead log with `synchronous=FULL`: one fdatasync per commit, and the commit is on disk when it
//! returns. `locking_mode=EXCLUSIVE`: a second witness on the same file is refused, and no shared memory
//! is needed. Nothing here is secret: a pair is known by its public key.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use pair_core::record::{Lineage, Record};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, ffi, params};
use witness_protocol::PairId;
use witness_protocol::codec::{record_bytes, record_from_bytes};

use super::stamp::Stamp;
use super::{Entry, StoreError, mint};
use crate::witness::failpoint;

/// The schema this program writes (SQLite's `user_version`).
pub const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE witness (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    database BLOB NOT NULL,      -- names this database to its stamp; 16 random bytes
    generation INTEGER NOT NULL, -- raised by every commit
    restores INTEGER NOT NULL    -- how often everything became unknown
) STRICT;
CREATE TABLE pair (
    id BLOB PRIMARY KEY,         -- Ed25519 public key
    name TEXT NOT NULL UNIQUE,
    record BLOB NOT NULL,        -- canonical encoding
    request BLOB                 -- id of the request that changed it last
) STRICT, WITHOUT ROWID;
";

/// The open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
}

impl Database {
    /// Opens or creates `DIR/witness.db` and takes its lock. Returns whether it is new.
    ///
    /// # Errors
    /// [`StoreError`], above all [`StoreError::InUse`].
    pub fn open(dir: &Path) -> Result<(Self, bool), StoreError> {
        let path = dir.join("witness.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        let mut database = Self { connection };
        let new = database.prepare().map_err(|e| explain(e, &path))?;
        if new {
            let io = |source| StoreError::Io { path: dir.to_owned(), source };
            File::open(dir).and_then(|d| d.sync_all()).map_err(io)?;
        }
        Ok((database, new))
    }

    fn prepare(&mut self) -> Result<bool, StoreError> {
        let c = &mut self.connection;
        c.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        c.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        c.pragma_update(None, "synchronous", "FULL")?;
        let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let schema: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if schema > SCHEMA {
            return Err(StoreError::NewerSchema(schema));
        }
        let new = schema == 0;
        if new {
            transaction.execute_batch(TABLES)?;
            transaction.execute("INSERT INTO witness VALUES (1, ?1, 1, 0)", params![mint()?.0])?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
        }
        transaction.commit()?;
        Ok(new)
    }

    /// What the database says of itself.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn stamp(&self) -> Result<Stamp, StoreError> {
        Ok(self.connection.query_row("SELECT database, generation FROM witness", [], |row| {
            Ok(Stamp { database: Lineage(row.get(0)?), generation: row.get(1)? })
        })?)
    }

    /// How often everything became unknown.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn restores(&self) -> Result<u64, StoreError> {
        Ok(self.connection.query_row("SELECT restores FROM witness", [], |row| row.get(0))?)
    }

    /// All pairs.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], [`StoreError::Damaged`].
    pub fn load(&self) -> Result<HashMap<PairId, Entry>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, name, record FROM pair")?;
        let mut rows = statement.query([])?;
        let mut all = HashMap::new();
        while let Some(row) = rows.next()? {
            let id = PairId(row.get(0)?);
            let name: String = row.get(1)?;
            let record = parse(id, row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
            all.insert(id, Entry { name: name.into(), record });
        }
        Ok(all)
    }

    /// Begins a batch. Dropping it without [`Batch::commit`] takes everything back.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn batch(&mut self) -> Result<Batch<'_>, StoreError> {
        Ok(Batch(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?))
    }
}

/// Changes that become durable together.
#[derive(Debug)]
pub struct Batch<'a>(Transaction<'a>);

impl Batch<'_> {
    /// The record of a pair, with the changes of this batch.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], [`StoreError::Damaged`].
    pub fn entry(&self, pair: PairId) -> Result<Option<Entry>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT name, record FROM pair WHERE id = ?1")?;
        let row = statement
            .query_row([pair.0], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?;
        row.map(|(name, record)| Ok(Entry { name: name.into(), record: parse(pair, &record)? })).transpose()
    }

    /// Puts a new record in place of the old one.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn replace(&self, pair: PairId, record: &Record, request: &[u8; 16]) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE pair SET record = ?2, request = ?3 WHERE id = ?1")?
            .execute(params![pair.0, record_bytes(record), request])?;
        failpoint::pass("row-written");
        Ok(())
    }

    /// Adds a pair whose record is unknown, under a lineage of its own.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if name or key are there already with another partner; [`StoreError::Sqlite`].
    pub fn enrol(&self, name: &str, pair: PairId) -> Result<Option<Entry>, StoreError> {
        let present: Option<([u8; 32], String)> = self
            .0
            .prepare_cached("SELECT id, name FROM pair WHERE id = ?1 OR name = ?2")?
            .query_row(params![pair.0, name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match present {
            Some((id, old)) if id == pair.0 && old == name => Ok(None),
            Some(_) => Err(StoreError::Taken(name.to_owned())),
            None => {
                let record = Record::new(mint()?);
                self.0
                    .prepare_cached("INSERT INTO pair (id, name, record) VALUES (?1, ?2, ?3)")?
                    .execute(params![pair.0, name, record_bytes(&record)])?;
                Ok(Some(Entry { name: name.into(), record }))
            }
        }
    }

    /// Removes a pair; it is a stranger from then on.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPair`], [`StoreError::Sqlite`].
    pub fn forget(&self, name: &str) -> Result<PairId, StoreError> {
        self.0
            .query_row("DELETE FROM pair WHERE name = ?1 RETURNING id", [name], |row| row.get(0))
            .optional()?
            .map(PairId)
            .ok_or_else(|| StoreError::NoSuchPair(name.to_owned()))
    }

    /// Makes every pair unknown, under new lineages, and gives the database a new name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn restored(&self) -> Result<(), StoreError> {
        let mut statement = self.0.prepare("SELECT id, record FROM pair")?;
        let all: Vec<([u8; 32], Vec<u8>)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let mut update = self.0.prepare("UPDATE pair SET record = ?2, request = NULL WHERE id = ?1")?;
        for (id, record) in all {
            let record = parse(PairId(id), &record)?.restored(mint()?);
            update.execute(params![id, record_bytes(&record)])?;
        }
        self.0.execute("UPDATE witness SET database = ?1, restores = restores + 1", params![mint()?.0])?;
        Ok(())
    }

    /// Raises the generation and makes the batch durable.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`]: it is then not known whether the batch is on disk.
    pub fn commit(self) -> Result<(), StoreError> {
        self.0.prepare_cached("UPDATE witness SET generation = generation + 1")?.execute([])?;
        failpoint::pass("before-commit");
        self.0.commit()?;
        failpoint::pass("after-commit");
        Ok(())
    }
}

fn parse(pair: PairId, bytes: &[u8]) -> Result<Record, StoreError> {
    record_from_bytes(bytes).map_err(|source| StoreError::Damaged { pair, source })
}

fn explain(error: StoreError, path: &Path) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    match error {
        StoreError::Sqlite(rusqlite::Error::SqliteFailure(
            ffi::Error { code: DatabaseBusy | DatabaseLocked, .. },
            _,
        )) => StoreError::InUse { path: PathBuf::from(path) },
        other => other,
    }
}
