//! A client of the API: over TLS, or inside the server itself.

use crate::api::{Answer, Api, Query, Request};
use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, RwLock};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest answer, bytes.
const LONGEST: usize = 16 << 20;

/// How a client shows who it is.
#[derive(Clone)]
pub enum Who {
    /// Not at all.
    Nobody,
    /// By a word and the cluster's token.
    Token(String, String),
    /// By a certificate and its key, PEM.
    Certificate(String, String),
}

/// A client.
#[derive(Clone)]
pub enum Client {
    /// Inside the server.
    Inside(Api),
    /// Over the network.
    Network(Arc<Network>),
}

/// Connections to servers, one at a time.
pub struct Network {
    servers: RwLock<Vec<String>>,
    /// Which of them is asked.
    at: AtomicUsize,
    who: Who,
    tls: TlsConnector,
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// An answer from the network.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub code: u16,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON, or the refusal as an error.
    pub fn json(self) -> anyhow::Result<Value> {
        let value: Option<Value> = serde_json::from_slice(&self.body).ok();
        if (200..300).contains(&self.code) {
            return value.context("the answer is no JSON");
        }
        let message = value.as_ref().and_then(|value| value["message"].as_str()).map(str::to_owned);
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(&self.body).trim().to_owned());
        let reason = value.as_ref().and_then(|value| value["reason"].as_str()).unwrap_or_default().to_owned();
        Err(anyhow!(Refused { code: self.code, reason, message }))
    }
}

/// The server refused.
#[derive(Debug)]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// In one word.
    pub reason: String,
    /// In its own words.
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Error from server ({}): {}", self.reason, self.message)
    }
}

impl std::error::Error for Refused {}

/// The HTTP status with which a request was refused, when it was.
pub fn code(error: &anyhow::Error) -> Option<u16> {
    error.downcast_ref::<Refused>().map(|refused| refused.code)
}

impl Network {
    /// A client of this server (`host:port`). Without an authority the server is not checked.
    ///
    /// # Errors
    /// When a certificate is none.
    pub fn new(server: &str, authority: Option<&str>, who: Who) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match authority {
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(certificate.context("the cluster's authority")?)?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(algorithms))),
        };
        let tls = match &who {
            Who::Certificate(certificate, key) => {
                let certificates =
                    CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("the client's key")?;
                builder.with_client_auth_cert(certificates.context("the client's certificate")?, key)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self {
            servers: RwLock::new(vec![server.to_owned()]),
            at: AtomicUsize::new(0),
            who,
            tls: TlsConnector::from(Arc::new(tls)),
            open: Mutex::new(None),
        })
    }

    /// Further servers, asked in turn when one does not answer.
    pub async fn also(&self, more: Vec<String>) {
        let mut servers = self.servers.write().await;
        let first = servers.first().cloned();
        let mut all: Vec<String> = first.into_iter().collect();
        all.extend(more.into_iter().filter(|server| !all.contains(server)).collect::<Vec<_>>());
        *servers = all;
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let servers = self.servers.read().await;
        let server = servers[self.at.load(Ordering::Relaxed) % servers.len()].clone();
        drop(servers);
        let host = server.rsplit_once(':').map_or(&*server, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let made = async {
            let stream = TcpStream::connect(&*server).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(host)?;
            let stream = self.tls.connect(name, stream).await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            // How it ends is seen by the next request.
            tokio::spawn(async move { drop(connection.await) });
            anyhow::Ok(sender)
        };
        match timeout(CONNECT, made).await {
            Ok(made) => made.with_context(|| server.clone()),
            Err(_) => bail!("{server}: no connection in time"),
        }
    }

    /// Asks, and gives the answer whatever it is.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Reply> {
        let answer = self.once(method, path, content_type, body, headers).await;
        if answer.is_err() {
            // The next question goes to the next server.
            self.at.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn once(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Reply> {
        let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, "kubernetes");
        if let Who::Token(name, token) = &self.who {
            request = request
                .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{name}:{token}"))));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let mut open = self.open.lock().await;
        let mut kept = open.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let code = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes().to_vec();
            anyhow::Ok(Reply { code, body })
        };
        let reply = timeout(ANSWER, exchange).await.context("no answer in time")??;
        *open = Some(sender);
        Ok(reply)
    }
}

impl Client {
    /// Asks for JSON.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let bytes = body.map(|body| body.to_string().into_bytes());
        match self {
            Self::Network(network) => network.ask(method, path, content_type, bytes, &[]).await?.json(),
            Self::Inside(api) => {
                let (path, query) = path.split_once('?').unwrap_or((path, ""));
                let request = Request {
                    method: method.into(),
                    path: path.into(),
                    query: Query::parse(query),
                    content_type: content_type.into(),
                    accept: String::new(),
                    body: bytes.unwrap_or_default(),
                };
                let (code, body) = match api.answer(&request).await {
                    Answer::Json(code, value) => (code, value.to_string().into_bytes()),
                    Answer::Text(code, text) => (code, text.into_bytes()),
                    Answer::Watch(_) => bail!("a watch is not asked for inside"),
                };
                Reply { code, body }.json()
            }
        }
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json("GET", path, "", None).await
    }

    /// Makes.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json("POST", path, "application/json", Some(body)).await
    }

    /// Changes fields.
    pub async fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Value> {
        self.json("PATCH", path, "application/merge-patch+json", Some(patch)).await
    }

    /// Replaces.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.json("PUT", path, "application/json", Some(body)).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str, options: &Value) -> anyhow::Result<Value> {
        self.json("DELETE", path, "application/json", Some(options)).await
    }
}

/// Takes any server: to fetch the authority that the token then vouches for, as k3s does.
#[derive(Debug)]
struct Unchecked(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
