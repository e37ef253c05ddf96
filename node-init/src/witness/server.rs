//! The witness on the network: TLS 1.3, HTTP/1.1, one path.
//!
//! `POST /v1/record` takes a signed request and gives an answer (both of [`witness_protocol`]). Everything
//! else about a connection is suspicion: a limit before the handshake, a time limit for the handshake,
//! another until the first genuine request, a body of at most [`REQUEST_MAX`] bytes.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use witness_protocol::auth::EXPORTER_LABEL;
use witness_protocol::request::REQUEST_MAX;
use witness_protocol::{Answer, Ask, Audience, Channel, PairId, Request, Verdict};

use super::failpoint;
use super::identity::{Fingerprint, Identity};
use super::limits::{Limiter, Rate, address_key};
use super::metrics::{Metrics, Outcome, Stopwatch};
use super::store::table::Table;
use super::store::writer::Writer;

/// Where requests are posted.
pub const RECORD_PATH: &str = "/v1/record";

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection must carry a genuine request within this time of its handshake.
const PROVE_YOURSELF: Duration = Duration::from_secs(10);
/// A body that takes longer is given up.
const BODY: Duration = Duration::from_secs(5);
/// A connection may be silent for this long; nodes poll every few seconds.
const IDLE: Duration = Duration::from_secs(90);
/// After a failed `accept` (no file descriptors left), so that the loop does not spin.
pub(super) const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Addresses that are remembered for limits.
const ADDRESSES: usize = 65_536;

/// What one stranger, one pair and all together may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Genuine requests of one pair.
    pub pair: Rate,
    /// Connections and refused requests of one address.
    pub address: Rate,
    /// Connections at once.
    pub connections: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pair: Rate { per_second: 10.0, burst: 60.0 },
            address: Rate { per_second: 200.0, burst: 2_000.0 },
            connections: 50_000,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    writer: Writer,
    table: Table,
    metrics: Arc<Metrics>,
    fingerprint: Fingerprint,
    limits: Limits,
    clock: Stopwatch,
    pairs: Mutex<Limiter<PairId>>,
    addresses: Mutex<Limiter<IpAddr>>,
}

/// What one connection knows of itself.
struct Connection {
    server: Arc<Server>,
    address: IpAddr,
    audience: Audience,
    channel: Mutex<Channel>,
    genuine: AtomicBool,
}

/// The TLS side of the server: version 1.3 only, no tickets, no early data (which could be replayed).
///
/// # Errors
/// When the key does not fit the certificate.
pub fn tls(identity: Identity) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], identity.key)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Server {
    /// A server over an open store.
    #[must_use]
    pub fn new(
        writer: Writer,
        table: Table,
        metrics: Arc<Metrics>,
        fingerprint: Fingerprint,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            writer,
            table,
            metrics,
            fingerprint,
            limits,
            clock: Stopwatch::start(),
            // Only enrolled pairs get here: their number bounds the table.
            pairs: Mutex::new(Limiter::new(limits.pair, usize::MAX)),
            addresses: Mutex::new(Limiter::new(limits.address, ADDRESSES)),
        })
    }

    /// Takes connections for ever.
    pub async fn run(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor) -> Infallible {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("witness: no connection could be taken: {error}");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            if self.metrics.connections() >= self.limits.connections || !self.pays(peer.ip()) {
                self.metrics.refused_connection();
                continue;
            }
            tokio::spawn(Arc::clone(&self).connection(stream, peer, tls.clone()));
        }
    }

    fn pays(&self, address: IpAddr) -> bool {
        let now = self.clock.elapsed();
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).take(address_key(address), now)
    }

    fn pair_pays(&self, pair: PairId) -> bool {
        let now = self.clock.elapsed();
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).take(pair, now)
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, tls: TlsAcceptor) {
        let metrics = Arc::clone(&self.metrics);
        let _connected = metrics.connected();
        // Small answers must not wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else { return };
        let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None);
        let Ok(channel) = exported else { return };
        let connection = Arc::new(Connection {
            audience: Audience { witness: self.fingerprint.0, channel },
            server: self,
            address: peer.ip(),
            channel: Mutex::default(),
            genuine: AtomicBool::new(false),
        });
        let watched = Arc::clone(&connection);
        let service = hyper::service::service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.handle(request).await) }
        });
        let conversation = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(8192)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(conversation);
        // How it ends is the node's business: it asks again.
        tokio::select! {
            _ = &mut conversation => return,
            () = sleep(PROVE_YOURSELF) => {}
        }
        if watched.genuine.load(Ordering::Relaxed) {
            let _ = conversation.await;
        }
    }
}

/// A refusal below the level of records.
struct Problem(StatusCode, Outcome, String);

impl Connection {
    async fn handle(&self, request: HttpRequest<Incoming>) -> Response<Full<Bytes>> {
        let metrics = &self.server.metrics;
        match self.answer(request).await {
            Ok(answer) => {
                metrics.request(match answer.verdict {
                    Verdict::Current(_) => Outcome::Read,
                    Verdict::Changed(_) => Outcome::Changed,
                    Verdict::Refused(_) => Outcome::Refused,
                });
                failpoint::pass("before-answer");
                let mut response = Response::new(Full::from(answer.encode()));
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                response
            }
            Err(Problem(status, outcome, why)) => {
                metrics.request(outcome);
                let mut response = Response::new(Full::from(why + "\n"));
                *response.status_mut() = status;
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
                if outcome == Outcome::Limited {
                    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                let stranger = matches!(outcome, Outcome::Malformed | Outcome::Unauthentic);
                if stranger && !self.server.pays(self.address) {
                    headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        }
    }

    async fn answer(&self, request: HttpRequest<Incoming>) -> Result<Answer, Problem> {
        let malformed =
            |why: &dyn ToString| Problem(StatusCode::BAD_REQUEST, Outcome::Malformed, why.to_string());
        if request.uri().path() != RECORD_PATH || request.method() != Method::POST {
            return Err(Problem(
                StatusCode::NOT_FOUND,
                Outcome::Malformed,
                "only POST /v1/record is here".into(),
            ));
        }
        let body = timeout(BODY, Limited::new(request.into_body(), REQUEST_MAX).collect())
            .await
            .map_err(|_| malformed(&"the body took too long"))?
            .map_err(|error| malformed(&error))?
            .to_bytes();
        let opened = Request::open(&body, &self.audience, |pair| self.server.table.knows(pair)).map_err(
            |rejected| match rejected {
                witness_protocol::request::Rejected::Malformed(why) => malformed(&why),
                witness_protocol::request::Rejected::Auth(why) => unauthentic(&why),
            },
        )?;
        let request = opened.request();
        self.channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .accept(request.sequence)
            .map_err(|why| unauthentic(&why))?;
        self.genuine.store(true, Ordering::Relaxed);
        if !self.server.pair_pays(request.pair) {
            let why = "too many requests of this pair".into();
            return Err(Problem(StatusCode::TOO_MANY_REQUESTS, Outcome::Limited, why));
        }
        let verdict = self.server.verdict(request).await?;
        Ok(Answer { id: request.id, verdict })
    }
}

impl Server {
    async fn verdict(&self, request: &Request) -> Result<Verdict, Problem> {
        let gone = || unauthentic(&witness_protocol::auth::AuthError::BadSignature);
        let unavailable = |error: super::store::StoreError| {
            Problem(StatusCode::SERVICE_UNAVAILABLE, Outcome::Unavailable, error.to_string())
        };
        match request.ask {
            Ask::Swap(swap) => {
                let swapped = self.writer.swap(request.pair, request.id, swap).await;
                swapped.map_err(unavailable)?.ok_or_else(gone)
            }
            Ask::Read { seen } => {
                let record = self.table.record(&request.pair).ok_or_else(gone)?;
                let Some(seen) = seen.filter(|seen| seen.is_after(&record)) else {
                    return Ok(Verdict::Current(record));
                };
                let record = self.writer.behind(request.pair, seen).await.map_err(unavailable)?;
                record.map(Verdict::Current).ok_or_else(gone)
            }
        }
    }
}

fn unauthentic(why: &witness_protocol::auth::AuthError) -> Problem {
    Problem(StatusCode::UNAUTHORIZED, Outcome::Unauthentic, why.to_string())
}
