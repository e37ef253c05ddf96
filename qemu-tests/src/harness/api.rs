//! Clients of the Kubernetes API at the virtual IP that ask all the time: one asks whether it is ready, one makes numbered
//! objects. Each request is a connection of its own, as a new client's is. What was acknowledged must be there.

use super::Deadline;
use super::kubectl::Kubectl;
use super::site::VIRTUAL_IP;
use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two requests.
const PERIOD: Duration = Duration::from_millis(100);
/// Label of the objects that are made.
const LABEL: &str = "edgepair-lab";
const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";

/// The way to the API.
#[derive(Debug, Clone)]
pub struct Api {
    port: u16,
    tls: Arc<ClientConfig>,
    patience: Duration,
}

impl Api {
    /// Through a port of this computer, with the certificate that kubectl uses.
    ///
    /// # Errors
    /// When the configuration lacks something.
    pub fn new(kubectl: &Kubectl, port: u16, patience: Duration) -> anyhow::Result<Self> {
        let part = |key: &str| -> anyhow::Result<Vec<u8>> {
            let value =
                kubectl.text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'));
            Ok(STANDARD.decode(value.with_context(|| format!("the configuration has no {key}"))?.trim())?)
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&part("certificate-authority-data")?) {
            roots.add(root.context("the cluster's authority")?)?;
        }
        let own: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&part("client-certificate-data")?).collect();
        let key = PrivateKeyDer::from_pem_slice(&part("client-key-data")?).context("the client's key")?;
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(own.context("the client's certificate")?, key)?;
        Ok(Self { port, tls: Arc::new(tls), patience })
    }

    /// Asks once; status and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, String)> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(self.patience))?;
        tcp.set_write_timeout(Some(self.patience))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(VIRTUAL_IP)?;
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name)?, tcp);
        let body = body.map(Value::to_string).unwrap_or_default();
        // 1.0: an answer in one piece, and then the end.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {VIRTUAL_IP}\r\nConnection: close\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        // A server that closes without TLS's own farewell has said everything: the length tells.
        let read = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, rest)) = text.split_once("\r\n\r\n") else {
            read?;
            bail!("the connection was closed without an answer");
        };
        let code =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status in the answer")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        ensure!(length.is_none_or(|length| rest.len() >= length), "the answer was broken off");
        Ok((code, rest.to_owned()))
    }
}

/// A request that was answered, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When it began, since the first one.
    pub begun: Duration,
    /// When it ended.
    pub ended: Duration,
    /// Its number.
    pub number: u64,
    /// Whether the answer was the one that was hoped for.
    pub good: bool,
}

/// A client that asks all the time.
#[derive(Debug)]
pub struct Asker {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Asker {
    /// Asks whether the API is ready.
    #[must_use]
    pub fn ready(api: &Api) -> Self {
        Self::start(api, |api, _| api.ask("GET", "/readyz", None).is_ok_and(|(code, _)| code == 200))
    }

    /// Makes numbered objects. A number is tried once: when its answer is lost nobody knows whether it was stored.
    #[must_use]
    pub fn writer(api: &Api) -> Self {
        Self::start(api, |api, number| {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": format!("lab-{number}"), "labels": { LABEL: "writer" } },
            });
            api.ask("POST", OBJECTS, Some(&object)).is_ok_and(|(code, _)| code == 201)
        })
    }

    fn start(api: &Api, ask: impl Fn(&Api, u64) -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let thread = std::thread::spawn({
            let (api, stop, asked) = (api.clone(), Arc::clone(&stop), Arc::clone(&asked));
            move || {
                let first = now();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let begun = first.elapsed();
                    let good = ask(&api, number);
                    if let Ok(mut asked) = asked.lock() {
                        asked.push(Asked { begun, ended: first.elapsed(), number, good });
                    }
                    number += 1;
                    std::thread::sleep(PERIOD);
                }
            }
        });
        Self { stop, asked, thread: Some(thread) }
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }

    /// Waits for good answers to requests that begin from now on.
    ///
    /// # Errors
    /// When they do not come by the deadline.
    pub fn wait_for(&self, count: usize, deadline: Deadline) -> anyhow::Result<()> {
        let before = self.asked().len();
        loop {
            // The next one has begun already.
            let good = self.asked().iter().skip(before + 1).filter(|asked| asked.good).count();
            if good >= count {
                return Ok(());
            }
            ensure!(!deadline.passed(), "the API answered {good} of {count} requests in time");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it; all its requests.
    #[must_use]
    pub fn stop(mut self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.asked()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Longest time from the end of one good answer to the end of the next.
#[must_use]
pub fn gap(asked: &[Asked]) -> Duration {
    let good: Vec<Duration> = asked.iter().filter(|asked| asked.good).map(|asked| asked.ended).collect();
    good.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
}

/// How many requests had no good answer.
#[must_use]
pub fn lost(asked: &[Asked]) -> usize {
    asked.iter().filter(|asked| !asked.good).count()
}

/// Compares what the writer was told with what is there; returns how many objects were acknowledged.
///
/// # Errors
/// When one of them is not there.
pub fn check(api: &Api, asked: &[Asked]) -> anyhow::Result<usize> {
    let (code, body) = api.ask("GET", &format!("{OBJECTS}?labelSelector={LABEL}%3Dwriter"), None)?;
    ensure!(code == 200, "the objects cannot be listed: {body}");
    let list: Value = serde_json::from_str(&body).context("the list of objects")?;
    let items = list["items"].as_array().into_iter().flatten();
    let there: BTreeSet<&str> = items.filter_map(|item| item["metadata"]["name"].as_str()).collect();
    let acknowledged: Vec<u64> = asked.iter().filter(|asked| asked.good).map(|asked| asked.number).collect();
    let lost: Vec<&u64> =
        acknowledged.iter().filter(|number| !there.contains(&*format!("lab-{number}"))).collect();
    ensure!(lost.is_empty(), "of {} acknowledged objects {lost:?} are lost", acknowledged.len());
    Ok(acknowledged.len())
}

#[expect(clippy::disallowed_methods, reason = "gaps between answers are what is measured")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_losses_are_counted() {
        let asked = |ended, good| Asked {
            begun: Duration::ZERO,
            ended: Duration::from_millis(ended),
            number: 0,
            good,
        };
        let all =
            [asked(100, true), asked(200, true), asked(700, false), asked(900, true), asked(1000, true)];
        assert_eq!(gap(&all), Duration::from_millis(700));
        assert_eq!(lost(&all), 1);
        assert_eq!(gap(&[]), Duration::ZERO);
    }
}
