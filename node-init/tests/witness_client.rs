//! The client against witnesses that are silent, false, confused or gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{A, LIMIT, key, swap};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use node_init::witness::client::http::{Http, Target};
use node_init::witness::client::witness::WitnessClient;
use node_init::witness::client::{AskError, Keeper, blocking, pin};
use node_init::witness::identity::{Fingerprint, Identity};
use pair_core::record::{Claim, Epoch, Holder, Lineage, Record, Side, Swap};
use witness_protocol::{Answer, Request, Verdict};

const RECORD: Record = Record { lineage: Lineage([1; 16]), epoch: Epoch(3), holder: Holder::Unknown };

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A witness with the right key that answers whatever `answer` makes of a request, and closes the connection
/// after each. Returns its URL and fingerprint, and counts its connections.
async fn false_witness(
    answer: impl Fn(Request) -> Vec<u8> + Clone + Send + 'static,
) -> (String, Fingerprint, Arc<AtomicUsize>) {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(dir.path()).unwrap();
    let fingerprint = identity.fingerprint;
    let tls = node_init::witness::server::tls(identity).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (request, ..) = Request::parse(&body).unwrap();
                    Ok::<_, Infallible>(hyper::Response::new(Full::<Bytes>::from(answer(request))))
                }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (url, fingerprint, connections)
}

fn good(request: Request) -> Vec<u8> {
    Answer { id: request.id, verdict: Verdict::Current(RECORD) }.encode()
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    run(async {
        let (url, fingerprint, connections) = false_witness(good).await;
        let mut client = Keeper::Witness(WitnessClient::new(&url, fingerprint, key(1)).unwrap());
        for _ in 0..3 {
            assert_eq!(client.read(None, LIMIT).await.unwrap().record(), RECORD);
        }
        assert_eq!(connections.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn an_answer_to_another_question_is_none() {
    run(async {
        let other = |request: Request| {
            let mut id = request.id;
            id[0] ^= 1;
            Answer { id, verdict: Verdict::Current(RECORD) }.encode()
        };
        let (url, fingerprint, _) = false_witness(other).await;
        let mut client = Keeper::Witness(WitnessClient::new(&url, fingerprint, key(1)).unwrap());
        assert!(matches!(client.read(None, LIMIT).await, Err(AskError::NotOurs)));

        // A record is no answer to a claim, and a change none to a read.
        let (url, fingerprint, _) = false_witness(good).await;
        let mut client = Keeper::Witness(WitnessClient::new(&url, fingerprint, key(1)).unwrap());
        let claim = swap(&RECORD, Side::A, Claim::Solo);
        assert!(matches!(client.claim(&claim, LIMIT).await, Err(AskError::NotOurs)));
        let grants = |request: Request| Answer { id: request.id, verdict: Verdict::Changed(RECORD) }.encode();
        let (url, fingerprint, _) = false_witness(grants).await;
        let mut client = Keeper::Witness(WitnessClient::new(&url, fingerprint, key(1)).unwrap());
        assert!(matches!(client.read(None, LIMIT).await, Err(AskError::NotOurs)));
        assert!(matches!(client.claim(&claim, LIMIT).await, Ok(Verdict::Changed(_))));
    });
}

#[test]
fn damaged_and_endless_answers_are_errors() {
    run(async {
        let short = |request: Request| good(request)[..20].to_vec();
        let (url, fingerprint, _) = false_witness(short).await;
        let mut client = Keeper::Witness(WitnessClient::new(&url, fingerprint, key(1)).unwrap());
        assert!(matches!(client.read(None, LIMIT).await, Err(AskError::Malformed(_))));
        let (url, fingerprint, _) = false_witness(|_| vec![0; 1 << 20]).await;
        let mut client = Keeper::Witness(WitnessClient::new(&url, fingerprint, key(1)).unwrap());
        assert!(matches!(client.read(None, LIMIT).await, Err(AskError::Refused { .. })));
    });
}

/// Whoever shows the witness's certificate must have its key: the certificate is public.
#[test]
fn the_certificate_without_the_key_is_not_enough() {
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;

    #[derive(Debug)]
    struct Impostor(Arc<CertifiedKey>);
    impl ResolvesServerCert for Impostor {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    let (real, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let real = Identity::load_or_create(real.path()).unwrap();
    let other = Identity::load_or_create(other.path()).unwrap();
    let fingerprint = real.fingerprint;
    // Both alike but for the key that signs; the first shows that the client would take the certificate.
    for (key, taken) in [(real.key.clone_key(), true), (other.key, false)] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = CertifiedKey::new(vec![real.certificate.clone()], key);
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Impostor(Arc::new(shown))));
        run(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let target = Target {
                secure: true,
                host: "127.0.0.1".into(),
                port: listener.local_addr().unwrap().port(),
            };
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.is_ok() };
            let tls = pin::config(fingerprint).unwrap();
            let (_, opened) = tokio::join!(server, Http::open(&target, Some(&tls)));
            assert_eq!(opened.is_ok(), taken);
        });
    }
}

/// The handler has two seconds. Whatever the network does, it gets its answer or its error in time.
#[test]
fn the_time_limit_holds_against_a_silent_witness() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut client = Keeper::Witness(WitnessClient::new(&url, Fingerprint([0; 32]), key(1)).unwrap());
    let watch = node_init::witness::metrics::Stopwatch::start();
    let claim =
        Swap { lineage: Lineage([0; 16]), expect: Epoch(1), side: Side::A, disk: A, claim: Claim::Solo };
    let limit = Duration::from_millis(300);
    let error = blocking(async move { client.claim(&claim, limit).await }).unwrap_err();
    assert!(matches!(error, AskError::TimedOut(_)), "{error}");
    let took = watch.elapsed();
    assert!(took >= limit && took < limit * 4, "{took:?}");
    drop(listener);
    let mut client = Keeper::Witness(WitnessClient::new(&url, Fingerprint([0; 32]), key(1)).unwrap());
    let error = blocking(async move { client.read(None, limit).await }).unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
}
