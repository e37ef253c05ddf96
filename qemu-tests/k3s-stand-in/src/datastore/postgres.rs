//! PostgreSQL, by a URL as kine takes it.

use super::postgres_tls::{self, Mode, Tls};
use super::{Added, Failed, Row};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS kine (
        id BIGSERIAL PRIMARY KEY, name text COLLATE \"C\", created INTEGER, deleted INTEGER,
        create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value bytea, old_value bytea);
    CREATE INDEX IF NOT EXISTS kine_name_index ON kine (name);
    CREATE INDEX IF NOT EXISTS kine_name_id_index ON kine (name, id);
    CREATE INDEX IF NOT EXISTS kine_id_deleted_index ON kine (id, deleted);
    CREATE INDEX IF NOT EXISTS kine_prev_revision_index ON kine (prev_revision);
    CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision);";

const COLUMNS: &str = "id, name, created, deleted, create_revision, prev_revision, value, old_value";

/// How long an answer may take. The API server gives its requests to the datastore up as well.
const PATIENCE: Duration = Duration::from_secs(10);

/// The table on a server.
pub struct Postgres {
    config: Config,
    tls: Option<Tls>,
    client: Mutex<Option<Arc<Client>>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration has a password in it.
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

/// Files that the command line names for the datastore's TLS.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Authority of the server.
    pub authority: Option<PathBuf>,
    /// Own certificate and key.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl Postgres {
    /// Reads the URL; nothing is asked yet.
    ///
    /// # Errors
    /// When it is not one, or names a file that cannot be read.
    pub fn new(url: &str, files: &Files) -> anyhow::Result<Self> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut config: Config = base.parse().ok().context("this is no URL of a PostgreSQL database")?;
        if config.get_dbname().is_none() {
            config.dbname("kubernetes");
        }
        config.connect_timeout(Duration::from_secs(5)).application_name("k3s-stand-in");
        let mut files = files.clone();
        let (mut mode, mut certificate, mut key) = (None, None, None);
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "sslmode" => mode = Some(Mode::parse(value)?),
                "sslrootcert" => files.authority = Some(value.into()),
                "sslcert" => certificate = Some(PathBuf::from(value)),
                "sslkey" => key = Some(PathBuf::from(value)),
                "connect_timeout" => {
                    config.connect_timeout(Duration::from_secs(value.parse().context("connect_timeout")?));
                }
                "application_name" => {
                    config.application_name(value);
                }
                other => bail!("the datastore's URL has an option `{other}`, which is not known here"),
            }
        }
        if let (Some(certificate), Some(key)) = (certificate, key) {
            files.own = Some((certificate, key));
        }
        let named = files.authority.is_some() || files.own.is_some();
        let mode = mode.unwrap_or(if named { Mode::VerifyFull } else { Mode::Prefer });
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        let authority = files.authority.as_deref();
        let own = files.own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let tls = match mode {
            Mode::Disable => None,
            mode => Some(postgres_tls::connector(mode, authority, own)?),
        };
        Ok(Self { config, tls, client: Mutex::new(None) })
    }

    /// Makes the table.
    pub async fn prepare(&self) -> Result<(), Failed> {
        let client = self.client().await?;
        let sql = format!("SELECT pg_advisory_lock(1);{SCHEMA}SELECT pg_advisory_unlock(1);");
        self.answered(timeout(PATIENCE, client.batch_execute(&sql)).await).await
    }

    async fn client(&self) -> Result<Arc<Client>, Failed> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let connect = async {
            match &self.tls {
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    // Its error is the client's as well, who says it.
                    tokio::spawn(async move { drop(connection.await) });
                    Ok(client)
                }
                Some(tls) => {
                    let (client, connection) = self.config.connect(tls.clone()).await?;
                    tokio::spawn(async move { drop(connection.await) });
                    Ok(client)
                }
            }
        };
        match timeout(PATIENCE, connect).await {
            Ok(Ok(client)) => Ok(Arc::clone(slot.insert(Arc::new(client)))),
            Ok(Err::<_, tokio_postgres::Error>(error)) => Err(Failed(said(&error))),
            Err(_) => Err(Failed("no connection to PostgreSQL in time".into())),
        }
    }

    /// A connection that gave no answer, or was cut, is not used again.
    async fn answered<T>(
        &self,
        answer: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failed> {
        let failed = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => said(&error),
            Err(_) => "no answer from PostgreSQL in time".into(),
        };
        *self.client.lock().await = None;
        Err(Failed(failed))
    }

    async fn query(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Failed> {
        let client = self.client().await?;
        self.answered(timeout(PATIENCE, client.query(sql, values)).await).await
    }

    pub(super) async fn newest(&self, name: &str) -> Result<Option<Row>, Failed> {
        let sql = format!("SELECT {COLUMNS} FROM kine WHERE name = $1 ORDER BY id DESC LIMIT 1");
        Ok(self.query(&sql, &[&name]).await?.iter().map(row).next())
    }

    pub(super) async fn range(&self, first: &str, end: &str) -> Result<(i64, Vec<Row>), Failed> {
        // In one statement, so that the revision is that of the rows.
        let sql = format!(
            "SELECT newest, {COLUMNS} FROM (SELECT COALESCE(MAX(id), 0) AS newest FROM kine) AS n LEFT JOIN \
             (SELECT DISTINCT ON (name) {COLUMNS} FROM kine WHERE name >= $1 AND name < $2 ORDER BY name, id DESC) AS k \
             ON k.deleted = 0 ORDER BY name"
        );
        let rows = self.query(&sql, &[&first, &end]).await?;
        let newest = rows.first().map_or(0, |row| row.get(0));
        let there = rows.iter().filter(|row| row.get::<_, Option<i64>>(1).is_some());
        Ok((newest, there.map(|row| columns(row, 1)).collect()))
    }

    pub(super) async fn after(&self, first: &str, end: &str, revision: i64) -> Result<Vec<Row>, Failed> {
        let sql = format!(
            "SELECT {COLUMNS} FROM kine WHERE id > $1 AND name >= $2 AND name < $3 ORDER BY id LIMIT 5000"
        );
        Ok(self.query(&sql, &[&revision, &first, &end]).await?.iter().map(row).collect())
    }

    pub(super) async fn add(&self, new: &Row) -> Result<Added, Failed> {
        // One at a time, so that revisions become visible in their order and no watcher misses one.
        let sql = "WITH turn AS (SELECT pg_advisory_xact_lock(2)) \
                   INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) \
                   SELECT $1::text, $2::int, $3::int, $4::bigint, $5::bigint, 0, $6::bytea, $7::bytea FROM turn RETURNING id";
        let (created, deleted) = (i32::from(new.created), i32::from(new.deleted));
        let values: [&(dyn ToSql + Sync); 7] = [
            &new.name,
            &created,
            &deleted,
            &new.create_revision,
            &new.prev_revision,
            &new.value,
            &new.old_value,
        ];
        let client = self.client().await?;
        let answer = timeout(PATIENCE, client.query_one(sql, &values)).await;
        if let Ok(Err(error)) = &answer
            && error.code() == Some(&SqlState::UNIQUE_VIOLATION)
        {
            return Ok(Added::Beaten);
        }
        Ok(Added::Revision(self.answered(answer).await?.get(0)))
    }

    pub(super) async fn compact(&self, revision: i64) -> Result<(), Failed> {
        let sql = "DELETE FROM kine AS old WHERE id <= $1 AND (deleted = 1 OR EXISTS \
                   (SELECT 1 FROM kine AS new WHERE new.name = old.name AND new.id > old.id))";
        self.query(sql, &[&revision]).await.map(drop)
    }
}

/// The error with what lies below it: the server's own words.
fn said(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn row(row: &tokio_postgres::Row) -> Row {
    columns(row, 0)
}

fn columns(row: &tokio_postgres::Row, first: usize) -> Row {
    Row {
        id: row.get(first),
        name: row.get(first + 1),
        created: row.get::<_, i32>(first + 2) != 0,
        deleted: row.get::<_, i32>(first + 3) != 0,
        create_revision: row.get::<_, Option<i64>>(first + 4).unwrap_or_default(),
        prev_revision: row.get::<_, Option<i64>>(first + 5).unwrap_or_default(),
        value: row.get::<_, Option<Vec<u8>>>(first + 6).unwrap_or_default(),
        old_value: row.get::<_, Option<Vec<u8>>>(first + 7).unwrap_or_default(),
    }
}

/// Reads PEM.
pub fn pem(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(url: &str) -> anyhow::Result<Postgres> {
        Postgres::new(url, &Files::default())
    }

    #[test]
    fn the_url_is_read_as_k3s_reads_it() {
        let plain = new("postgres://kine:word@127.0.0.1:6432/kine?sslmode=disable").unwrap();
        assert_eq!(plain.config.get_dbname(), Some("kine"));
        assert!(plain.tls.is_none());
        let other = new("postgres://kine:word@127.0.0.1:6432").unwrap();
        assert_eq!(other.config.get_dbname(), Some("kubernetes"));
        assert_eq!(other.config.get_ssl_mode(), SslMode::Prefer);
        let strict = new("postgres://kine:word@127.0.0.1:6432/kine?sslmode=require").unwrap();
        assert_eq!(strict.config.get_ssl_mode(), SslMode::Require);
        assert!(strict.tls.is_some());
        for bad in [
            "postgres://k@h/d?sslmode=perhaps",
            "postgres://k@h/d?colour=red",
            "postgres://k@h/d?sslmode=verify-full&sslrootcert=/none",
        ] {
            assert!(new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let shown = format!("{:?}", new("postgres://kine:word@127.0.0.1/kine").unwrap());
        assert!(!shown.contains("word"), "{shown}");
    }
}
