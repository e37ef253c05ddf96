//! Keys and values over the table, each change with the revision it builds upon.

use super::{Added, Datastore, Failed, Row};
use std::sync::Arc;

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
    /// Revision of its last change.
    pub revision: i64,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is after the change, or was before it was taken away.
    pub entry: Entry,
    /// Made by this change.
    pub created: bool,
    /// Taken away by this change.
    pub deleted: bool,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with this revision.
    Done(i64),
    /// The key is not, or no longer, as it was thought to be.
    Changed,
}

impl From<Added> for Outcome {
    fn from(added: Added) -> Self {
        match added {
            Added::Revision(revision) => Self::Done(revision),
            Added::Beaten => Self::Changed,
        }
    }
}

/// Keys and values.
#[derive(Debug, Clone)]
pub struct Kv(Arc<Datastore>);

impl Kv {
    /// Over a table.
    pub fn new(datastore: Datastore) -> Self {
        Self(Arc::new(datastore))
    }

    /// A key's value.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Failed> {
        let row = self.0.newest(key).await?;
        Ok(row.filter(|row| !row.deleted).map(entry))
    }

    /// All keys that begin so, and the newest revision.
    pub async fn list(&self, prefix: &str) -> Result<(i64, Vec<Entry>), Failed> {
        let (revision, rows) = self.0.range(prefix, &end(prefix)).await?;
        Ok((revision, rows.into_iter().map(entry).collect()))
    }

    /// Changes of keys that begin so, after a revision.
    pub async fn changes(&self, prefix: &str, after: i64) -> Result<Vec<Change>, Failed> {
        let rows = self.0.after(prefix, &end(prefix), after).await?;
        Ok(rows
            .into_iter()
            .map(|row| Change { created: row.created, deleted: row.deleted, entry: entry(row) })
            .collect())
    }

    /// Makes a key that is not there.
    pub async fn create(&self, key: &str, value: &[u8]) -> Result<Outcome, Failed> {
        let former = self.0.newest(key).await?;
        let prev_revision = match &former {
            Some(row) if !row.deleted => return Ok(Outcome::Changed),
            Some(row) => row.id,
            None => 0,
        };
        let row =
            Row { name: key.into(), created: true, prev_revision, value: value.into(), ..Row::default() };
        Ok(self.0.add(&row).await?.into())
    }

    /// Changes a key that is still at this revision.
    pub async fn update(&self, key: &str, value: &[u8], revision: i64) -> Result<Outcome, Failed> {
        self.replace(key, revision, Some(value)).await
    }

    /// Takes a key away that is still at this revision.
    pub async fn delete(&self, key: &str, revision: i64) -> Result<Outcome, Failed> {
        self.replace(key, revision, None).await
    }

    async fn replace(&self, key: &str, revision: i64, value: Option<&[u8]>) -> Result<Outcome, Failed> {
        let Some(former) = self.0.newest(key).await?.filter(|row| !row.deleted && row.id == revision) else {
            return Ok(Outcome::Changed);
        };
        let row = Row {
            name: key.into(),
            deleted: value.is_none(),
            create_revision: if former.created { former.id } else { former.create_revision },
            prev_revision: former.id,
            value: value.map_or_else(|| former.value.clone(), <[u8]>::to_vec),
            old_value: former.value,
            ..Row::default()
        };
        Ok(self.0.add(&row).await?.into())
    }

    /// Forgets old changes; watchers have seen the last thousand.
    pub async fn compact(&self) -> Result<(), Failed> {
        let (newest, _) = self.0.range("/none/", "/none0").await?;
        self.0.compact(newest - 1000).await
    }
}

fn entry(row: Row) -> Entry {
    Entry { key: row.name, value: row.value, revision: row.id }
}

/// The first key behind all that begin with this prefix, which ends with a slash.
fn end(prefix: &str) -> String {
    format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix))
}

#[cfg(test)]
pub mod tests {
    use super::super::sqlite::Sqlite;
    use super::*;

    /// A table in a folder of its own.
    pub fn kv(dir: &std::path::Path) -> Kv {
        let dsn = format!("{}?_journal=WAL&_synchronous=FULL", dir.join("state.db").display());
        Kv::new(Datastore::Sqlite(Sqlite::open(&dsn).unwrap()))
    }

    #[tokio::test]
    async fn of_two_writers_one_is_beaten() {
        let dir = tempfile::tempdir().unwrap();
        let kv = kv(dir.path());
        let Outcome::Done(first) = kv.create("/registry/a", b"1").await.unwrap() else { panic!("not made") };
        assert_eq!(kv.create("/registry/a", b"2").await.unwrap(), Outcome::Changed);
        let Outcome::Done(second) = kv.update("/registry/a", b"2", first).await.unwrap() else {
            panic!("not changed")
        };
        assert_eq!(kv.update("/registry/a", b"3", first).await.unwrap(), Outcome::Changed);
        assert_eq!(kv.delete("/registry/a", first).await.unwrap(), Outcome::Changed);
        // What the index itself refuses, without a look before.
        let late = Row { name: "/registry/a".into(), prev_revision: first, ..Row::default() };
        assert_eq!(kv.0.add(&late).await.unwrap(), Added::Beaten);
        assert_eq!(kv.get("/registry/a").await.unwrap().unwrap().revision, second);
    }

    #[tokio::test]
    async fn a_key_that_is_gone_can_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let kv = kv(dir.path());
        let Outcome::Done(made) = kv.create("/registry/a/x", b"1").await.unwrap() else { panic!("not made") };
        kv.create("/registry/ab", b"another").await.unwrap();
        assert!(matches!(kv.delete("/registry/a/x", made).await.unwrap(), Outcome::Done(_)));
        assert_eq!(kv.get("/registry/a/x").await.unwrap(), None);
        assert!(matches!(kv.create("/registry/a/x", b"2").await.unwrap(), Outcome::Done(_)));
        let (_, all) = kv.list("/registry/a/").await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].value, b"2");
        let changes = kv.changes("/registry/a/", 0).await.unwrap();
        let what: Vec<_> = changes.iter().map(|change| (change.created, change.deleted)).collect();
        assert_eq!(what, [(true, false), (false, true), (true, false)]);
    }

    #[tokio::test]
    async fn what_is_current_survives_being_compacted() {
        let dir = tempfile::tempdir().unwrap();
        let kv = kv(dir.path());
        let mut at = 0;
        for number in 0..1100_u32 {
            let value = number.to_string();
            let outcome = if at == 0 {
                kv.create("/registry/a/x", value.as_bytes()).await
            } else {
                kv.update("/registry/a/x", value.as_bytes(), at).await
            };
            let Outcome::Done(revision) = outcome.unwrap() else { panic!("not changed") };
            at = revision;
        }
        kv.compact().await.unwrap();
        let left = kv.changes("/registry/a/", 0).await.unwrap();
        assert!(left.len() < 1100, "{} rows are left", left.len());
        assert_eq!(kv.get("/registry/a/x").await.unwrap().unwrap().value, b"1099");
    }
}
