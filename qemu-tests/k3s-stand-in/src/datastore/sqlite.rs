//! SQLite, by a data source name as kine hands it to its driver (go-sqlite3, "DSN Examples").

use super::{Added, Failed, Row};
use anyhow::{Context, bail};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS kine (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
        create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
    CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name);
    CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name, id);
    CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id, deleted);
    CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision);
    CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision);";

const COLUMNS: &str = "id, name, created, deleted, create_revision, prev_revision, value, old_value";

/// The table in a file.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Mutex<Connection>>);

impl Sqlite {
    /// Opens the file named by `PATH?OPTIONS` and makes the table.
    ///
    /// # Errors
    /// When an option is not one of the driver's, or the file cannot be opened.
    pub fn open(dsn: &str) -> anyhow::Result<Self> {
        let (path, query) = dsn.split_once('?').unwrap_or((dsn, ""));
        let path = path.strip_prefix("file:").unwrap_or(path);
        let connection = Connection::open(path).with_context(|| path.to_owned())?;
        connection.busy_timeout(Duration::from_secs(5))?;
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, "1"));
            match name {
                "_journal" | "_journal_mode" => pragma(&connection, "journal_mode", value)?,
                "_synchronous" | "_sync" => pragma(&connection, "synchronous", value)?,
                "_foreign_keys" | "_fk" => pragma(&connection, "foreign_keys", value)?,
                "_busy_timeout" | "_timeout" => {
                    connection
                        .busy_timeout(Duration::from_millis(value.parse().context("_busy_timeout")?))?;
                }
                // One connection takes all writes here, so these change nothing.
                "cache" | "mode" | "_txlock" | "_loc" | "_kine_disable_startup_vacuum" => {}
                other => bail!("the data source name has an option `{other}`, which SQLite's driver has not"),
            }
        }
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    async fn with<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let connection = Arc::clone(&self.0);
        let work = move || what(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|error| Failed(format!("sqlite: {error}"))),
            Err(error) => Err(Failed(format!("sqlite: {error}"))),
        }
    }

    pub(super) async fn newest(&self, name: &str) -> Result<Option<Row>, Failed> {
        let name = name.to_owned();
        self.with(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM kine WHERE name = ?1 ORDER BY id DESC LIMIT 1");
            connection.prepare_cached(&sql)?.query_row([name], row).optional()
        })
        .await
    }

    pub(super) async fn range(&self, first: &str, end: &str) -> Result<(i64, Vec<Row>), Failed> {
        let (first, end) = (first.to_owned(), end.to_owned());
        self.with(move |connection| {
            let newest =
                connection.query_row("SELECT COALESCE(MAX(id), 0) FROM kine", [], |row| row.get(0))?;
            let sql = format!(
                "SELECT {COLUMNS} FROM kine WHERE deleted = 0 AND id IN \
                 (SELECT MAX(id) FROM kine WHERE name >= ?1 AND name < ?2 GROUP BY name) ORDER BY name"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([first, end], row)?.collect::<Result<_, _>>()?;
            Ok((newest, rows))
        })
        .await
    }

    pub(super) async fn after(&self, first: &str, end: &str, revision: i64) -> Result<Vec<Row>, Failed> {
        let (first, end) = (first.to_owned(), end.to_owned());
        self.with(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM kine WHERE id > ?1 AND name >= ?2 AND name < ?3 ORDER BY id LIMIT 5000"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_map(params![revision, first, end], row)?.collect()
        })
        .await
    }

    pub(super) async fn add(&self, new: &Row) -> Result<Added, Failed> {
        let new = new.clone();
        self.with(move |connection| {
            let done = connection
                .prepare_cached(
                    "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) \
                     VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)",
                )?
                .insert(params![
                    new.name,
                    new.created,
                    new.deleted,
                    new.create_revision,
                    new.prev_revision,
                    new.value,
                    new.old_value
                ]);
            match done {
                Ok(id) => Ok(Added::Revision(id)),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    Ok(Added::Beaten)
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<(), Failed> {
        self.with(move |connection| {
            connection.execute(
                "DELETE FROM kine WHERE id <= ?1 AND (deleted = 1 OR id NOT IN \
                 (SELECT MAX(id) FROM kine GROUP BY name))",
                [revision],
            )
        })
        .await
        .map(drop)
    }
}

fn pragma(connection: &Connection, name: &str, value: &str) -> anyhow::Result<()> {
    if !value.chars().all(|c| c.is_ascii_alphanumeric()) {
        bail!("`{value}` is no value of {name}");
    }
    connection.pragma_update(None, name, value).with_context(|| format!("{name}={value}"))
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        name: row.get(1)?,
        created: row.get(2)?,
        deleted: row.get(3)?,
        create_revision: row.get(4)?,
        prev_revision: row.get(5)?,
        value: row.get::<_, Option<_>>(6)?.unwrap_or_default(),
        old_value: row.get::<_, Option<_>>(7)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(dsn: &str, what: &str) -> String {
        let Sqlite(connection) = Sqlite::open(dsn).unwrap();
        let connection = connection.lock().unwrap();
        connection
            .pragma_query_value(None, what, |row| row.get::<_, rusqlite::types::Value>(0))
            .map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
    }

    #[test]
    fn the_data_source_name_is_honoured() {
        let dir = tempfile::tempdir().unwrap();
        let dsn = |more: &str| format!("{}?{more}", dir.path().join("db/state.db").display());
        assert!(
            Sqlite::open(&dsn("_synchronous=FULL")).is_err(),
            "kine makes no folder for a file that is named"
        );
        std::fs::create_dir(dir.path().join("db")).unwrap();
        let rendered =
            dsn("_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_synchronous=FULL");
        assert_eq!(asked(&rendered, "synchronous"), "Integer(2)");
        assert_eq!(asked(&rendered, "journal_mode"), "Text(\"wal\")");
        assert_eq!(asked(&dsn("_synchronous=NORMAL"), "synchronous"), "Integer(1)");
        assert!(Sqlite::open(&dsn("_synchronised=FULL")).is_err());
        assert!(Sqlite::open(&dsn("_synchronous=FULL;")).is_err());
    }
}
