//! The network side: TLS with optional client certificates, HTTP/1.1, and who may ask.

use super::supervisor::Supervisor;
use crate::api::refusal::Refusal;
use crate::api::{Answer, Api, Query, Request};
use crate::log;
use crate::pki::Pair;
use anyhow::Context;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Longest request, bytes (kube-apiserver's own limit).
const LONGEST: usize = 3 << 20;
/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Stranger,
    Admin,
    Node,
}

impl Caller {
    /// By the group in a certificate that was checked against the authority of clients.
    fn of(certificate: Option<&CertificateDer<'_>>) -> Self {
        let Some(certificate) = certificate else { return Self::Stranger };
        let holds = |group: &[u8]| certificate.windows(group.len()).any(|part| part == group);
        if holds(b"system:masters") {
            Self::Admin
        } else if holds(b"system:nodes") {
            Self::Node
        } else {
            Self::Stranger
        }
    }
}

/// Takes the port.
///
/// # Errors
/// When it is taken.
pub async fn bind(address: Option<&str>, port: u16) -> anyhow::Result<TcpListener> {
    if let Some(address) = address {
        return TcpListener::bind((address, port)).await.with_context(|| format!("{address}:{port}"));
    }
    match TcpListener::bind(("::", port)).await {
        Ok(listener) => Ok(listener),
        // A computer without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("port {port}")),
    }
}

/// The TLS side.
///
/// # Errors
/// When keys and certificates do not fit each other.
pub fn tls(serving: &Pair, clients: &str) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.as_bytes()).context("the authority of clients")?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let (certificates, key) = serving.tls()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes connections for ever.
pub async fn run(
    listener: TcpListener,
    tls: TlsAcceptor,
    api: Api,
    supervisor: Arc<Supervisor>,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, tls.clone(), api.clone(), Arc::clone(&supervisor)));
            }
            Err(error) => {
                log::error(&format!("no connection could be taken: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, api: Api, supervisor: Arc<Supervisor>) {
    // Answers must not wait for the acknowledgement of the one before.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let caller = Caller::of(stream.get_ref().1.peer_certificates().and_then(<[_]>::first));
    let service = service_fn(move |request| {
        let (api, supervisor) = (api.clone(), Arc::clone(&supervisor));
        async move { Ok::<_, Infallible>(handle(request, caller, &api, &supervisor).await) }
    });
    // How it ends is the client's business.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Sent = Response<Either<Full<Bytes>, Lines>>;

async fn handle(
    request: hyper::Request<Incoming>,
    caller: Caller,
    api: &Api,
    supervisor: &Supervisor,
) -> Sent {
    let (head, body) = request.into_parts();
    let header =
        |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let path = head.uri.path();
    if supervisor.serves(path) {
        let named =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let answer = supervisor
            .answer(path, &header(AUTHORIZATION), named("k3s-node-name"), named("k3s-node-password"))
            .await;
        return send(answer);
    }
    if caller == Caller::Stranger {
        return send(Err(Refusal::unauthorized()).into());
    }
    let Ok(body) = Limited::new(body, LONGEST).collect().await else {
        return send(Err(Refusal::bad("the request is too long or was broken off")).into());
    };
    let request = Request {
        method: head.method.as_str().into(),
        path: path.into(),
        query: Query::parse(head.uri.query().unwrap_or_default()),
        content_type: header(CONTENT_TYPE),
        accept: header(ACCEPT),
        body: body.to_bytes().to_vec(),
    };
    send(api.answer(&request).await)
}

fn send(answer: Answer) -> Sent {
    let whole = |code, kind: &str, bytes: Vec<u8>| {
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(bytes))));
        *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Ok(kind) = kind.parse() {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        response
    };
    match answer {
        Answer::Json(code, value) => whole(code, "application/json", value.to_string().into_bytes()),
        Answer::Text(code, text) => whole(code, "text/plain; charset=utf-8", text.into_bytes()),
        Answer::Watch(watch) => {
            let (sender, lines) = channel(64);
            tokio::spawn(watch.run(sender));
            let mut response = Response::new(Either::Right(Lines(lines)));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
            response
        }
    }
}

/// A body that comes line by line.
struct Lines(Receiver<Vec<u8>>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(task).map(|line| line.map(|line| Ok(Frame::data(Bytes::from(line)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_by_their_group() {
        let certificate = |text: &[u8]| CertificateDer::from(text.to_vec());
        assert_eq!(Caller::of(None), Caller::Stranger);
        assert_eq!(Caller::of(Some(&certificate(b"..system:masters.."))), Caller::Admin);
        assert_eq!(Caller::of(Some(&certificate(b"..system:nodes.."))), Caller::Node);
        assert_eq!(Caller::of(Some(&certificate(b"..somebody.."))), Caller::Stranger);
    }
}
