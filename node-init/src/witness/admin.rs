//! The operator's door: a Unix socket that only its owner and root can open.
//!
//! `node-init witness status|enrol|forget|restored` say a [`Command`] to the running witness through it. Where
//! none runs, they open the database themselves; its lock keeps the two ways apart.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::sleep;
use witness_protocol::PairId;

use super::identity::{Fingerprint, Identity};
use super::metrics::Metrics;
use super::server::ACCEPT_AGAIN;
use super::store::StoreError;
use super::store::table::Table;
use super::store::writer::{Store, Writer};

/// Ten thousand pairs with long names fit in several times.
const COMMAND_MAX: usize = 16 << 20;
const NAME_MAX: usize = 128;

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Counters, and every pair if wanted.
    Status {
        /// List the pairs with their records.
        pairs: bool,
    },
    /// Add pairs, all or none.
    Enrol {
        /// Name and key of each.
        pairs: Vec<Enrolment>,
    },
    /// Remove a pair.
    Forget {
        /// Its name.
        name: String,
    },
    /// This database may be an old one: make every pair unknown.
    Restored,
}

/// One pair to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// What people call it.
    pub name: String,
    /// Its public key, `ed25519:…`.
    pub key: String,
}

/// What the operator's commands work on.
#[derive(Debug, Clone)]
pub struct Admin {
    writer: Writer,
    table: Table,
    metrics: Arc<Metrics>,
    fingerprint: Fingerprint,
}

impl Admin {
    /// Over an open store.
    #[must_use]
    pub fn new(store: &Store, metrics: Arc<Metrics>, fingerprint: Fingerprint) -> Self {
        Self { writer: store.writer.clone(), table: store.table.clone(), metrics, fingerprint }
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn perform(&self, command: Command) -> anyhow::Result<Value> {
        match command {
            Command::Status { pairs } => self.status(pairs),
            Command::Enrol { pairs } => {
                let wanted = pairs.len();
                let pairs = pairs.into_iter().map(check).collect::<anyhow::Result<Vec<_>>>()?;
                let new = self.writer.enrol(pairs).await?;
                Ok(json!({ "new": new, "already": wanted - new }))
            }
            Command::Forget { name } => {
                self.writer.forget(name.clone()).await?;
                Ok(json!({ "forgotten": name }))
            }
            Command::Restored => {
                self.writer.restored().await?;
                Ok(json!({ "unknown": self.table.holders().unknown }))
            }
        }
    }

    fn status(&self, pairs: bool) -> anyhow::Result<Value> {
        let mut status = json!({
            "fingerprint": self.fingerprint.to_string(),
            "pairs": self.table.holders(),
            "counters": serde_json::to_value(self.metrics.summary())?,
        });
        if pairs {
            let list: Vec<Value> = self
                .table
                .all()
                .into_iter()
                .map(|(id, entry)| json!({ "name": entry.name, "key": id.to_string(), "record": entry.record }))
                .collect();
            status["list"] = list.into();
        }
        Ok(status)
    }

    /// The metrics page.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.metrics.render(self.table.holders())
    }

    /// Serves the socket for ever.
    pub async fn run(self, listener: UnixListener) -> Infallible {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let admin = admin.clone();
                    async move { Ok::<_, Infallible>(admin.handle(request).await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    /// Serves the metrics page, and nothing else, on a TCP port for ever.
    pub async fn run_metrics(self, listener: TcpListener) -> Infallible {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let page = match (request.method(), request.uri().path()) {
                        (&Method::GET, "/metrics") => respond(StatusCode::OK, admin.metrics()),
                        _ => respond(StatusCode::NOT_FOUND, "only GET /metrics is here\n".into()),
                    };
                    async move { Ok::<_, Infallible>(page) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::GET && request.uri().path() == "/metrics" {
            return respond(StatusCode::OK, self.metrics());
        }
        let outcome = async {
            let body = Limited::new(request.into_body(), COMMAND_MAX).collect().await;
            let body = body.map_err(|e| anyhow::anyhow!("the command could not be read: {e}"))?.to_bytes();
            let command = serde_json::from_slice(&body).context("not a command")?;
            self.perform(command).await
        };
        match outcome.await {
            Ok(value) => respond(StatusCode::OK, value.to_string()),
            Err(error) => respond(StatusCode::BAD_REQUEST, format!("{error:#}")),
        }
    }
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

fn check(enrolment: Enrolment) -> anyhow::Result<(String, PairId)> {
    let Enrolment { name, key } = enrolment;
    let sound = !name.is_empty()
        && name.len() <= NAME_MAX
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if !sound {
        bail!("`{}` is no name for a pair: 1 to {NAME_MAX} bytes without blanks", name.escape_debug());
    }
    let pair = key.parse().with_context(|| format!("the key of pair {name}"))?;
    Ok((name, pair))
}

/// Where the socket of the witness on `data_dir` is.
#[must_use]
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// A witness that starts is waited for so many quarters of a second.
const STARTING: u32 = 20;

/// Says a command to the witness that runs on `data_dir`, or carries it out on the database if none runs.
///
/// # Errors
/// In words for the operator.
pub async fn say(data_dir: &Path, stamp_dir: &Path, command: Command) -> anyhow::Result<Value> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let path = socket(data_dir);
    for attempt in 0.. {
        match UnixStream::connect(&path).await {
            Ok(stream) => return say_to(stream, &command).await,
            Err(e) if matches!(e.kind(), NotFound | ConnectionRefused) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{} cannot be opened; are you root?", path.display()));
            }
        }
        let metrics = Arc::new(Metrics::default());
        match Store::open(data_dir, stamp_dir, Arc::clone(&metrics)) {
            Ok(store) => return alone(store, metrics, data_dir, stamp_dir, command).await,
            // A witness that starts has the database before it has its socket.
            Err(StoreError::InUse { .. }) if attempt < STARTING => {
                sleep(std::time::Duration::from_millis(250)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the witness on {} does not answer", data_dir.display())
}

/// Carries a command out on a database whose witness does not run.
async fn alone(
    store: Store,
    metrics: Arc<Metrics>,
    data_dir: &Path,
    stamp_dir: &Path,
    command: Command,
) -> anyhow::Result<Value> {
    // Only with the database's lock: a witness that starts now makes its key under it.
    let identity = Identity::load_or_create(data_dir)?;
    let admin = Admin::new(&store, metrics, identity.fingerprint);
    let result = admin.perform(command).await;
    let Store { writer, thread, .. } = store;
    drop((writer, admin));
    // The thread ends when the last way to it is gone; a panic in it is a failure of the command.
    thread.join().map_err(|_| anyhow::anyhow!("the writer stopped unexpectedly"))??;
    give_to_owner(data_dir)?;
    give_to_owner(stamp_dir)?;
    result
}

/// Files that root made for a witness with a user of its own (`DynamicUser=`) belong to that user, who could not
/// read them otherwise.
///
/// # Errors
/// The kernel's.
pub fn give_to_owner(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    let owner = std::fs::metadata(dir).with_context(|| dir.display().to_string())?;
    if !nix::unistd::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.metadata().is_ok_and(|meta| meta.uid() != owner.uid()) {
            lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))
                .with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

async fn say_to(stream: UnixStream, command: &Command) -> anyhow::Result<Value> {
    let (mut sender, conversation) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(conversation);
    let body = Full::<Bytes>::from(serde_json::to_vec(command)?);
    let request = Request::post("/command").header("host", "witness").body(body)?;
    let response = sender.send_request(request).await.context("the witness did not answer")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), COMMAND_MAX).collect().await;
    let body = body.map_err(|e| anyhow::anyhow!("the answer could not be read: {e}"))?.to_bytes();
    driver.abort();
    if status != StatusCode::OK {
        bail!("{}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).context("the witness answered something else than JSON")
}
