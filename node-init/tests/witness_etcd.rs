//! An etcd cluster as the witness: a real one, from Debian's package `etcd-server`.
//!
//! Without etcd these tests fail, unless `EDGEPAIR_WITHOUT_ETCD` says that they may be skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{LIMIT, Ledger, adopt, changed, current, key, pair, program, swap};
use node_init::witness::client::etcd::{EtcdClient, EtcdConfig, authority};
use node_init::witness::client::http::{Http, Target};
use node_init::witness::client::{AskError, Keeper, pin};
use node_init::witness::identity::Fingerprint;
use pair_core::record::{Claim, Epoch, Holder, Record, Refusal, Side, Swap};
use rustls::ClientConfig;
use serde_json::{Value, json};
use witness_protocol::{PairKey, Seen, Verdict};

struct Etcd {
    child: Child,
    data: PathBuf,
    token: &'static str,
    port: u16,
    tls: Option<(PathBuf, PathBuf)>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// May these tests run? Says so when they do not.
fn wanted() -> bool {
    let there = program(Path::new("etcd")).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        assert!(
            std::env::var_os("EDGEPAIR_WITHOUT_ETCD").is_some(),
            "etcd is needed (apt-get install etcd-server), or EDGEPAIR_WITHOUT_ETCD=1 to skip"
        );
        eprintln!("skipped: no etcd");
    }
    there
}

impl Etcd {
    fn start(data: &Path, token: &'static str, tls: Option<(PathBuf, PathBuf)>) -> Self {
        let port = free_port();
        let mut etcd =
            Self { child: Self::spawn(data, token, port, &tls), data: data.into(), token, port, tls };
        etcd.wait();
        etcd
    }

    fn spawn(data: &Path, token: &str, port: u16, tls: &Option<(PathBuf, PathBuf)>) -> Child {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (client, peer) =
            (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()));
        let mut command = program(Path::new("etcd"));
        command.arg("--data-dir").arg(data).args(["--name", "one", "--initial-cluster-token", token]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        if let Some((certificate, key)) = tls {
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn wait(&mut self) {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("etcd ended: {status}");
            }
            // Up is when it answers, not when it listens: it has to elect itself first.
            let up = if self.tls.is_some() {
                std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            } else {
                run(call(self.port, "/v3/kv/range", json!({ "key": BASE64.encode("x") }))).is_ok()
            };
            if up {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("etcd does not come up");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn again(&mut self) {
        self.child = Self::spawn(&self.data, self.token, self.port, &self.tls);
        self.wait();
    }

    fn config(&self, tls: Option<Arc<ClientConfig>>) -> EtcdConfig {
        let scheme = if tls.is_some() { "https" } else { "http" };
        EtcdConfig {
            endpoints: vec![format!("{scheme}://127.0.0.1:{}", self.port)],
            tls,
            login: None,
            prefix: "/edgepair/test".into(),
        }
    }

    fn keeper(&self, key: &Arc<PairKey>) -> Keeper {
        Keeper::Etcd(EtcdClient::new(self.config(None), Arc::clone(key)).unwrap())
    }

    fn get(&self, key: &PairKey) -> Vec<u8> {
        let reply = run(call(self.port, "/v3/kv/range", json!({ "key": place(key) }))).unwrap();
        BASE64.decode(reply["kvs"][0]["value"].as_str().unwrap()).unwrap()
    }

    fn put(&self, key: &PairKey, value: &[u8]) {
        run(call(self.port, "/v3/kv/put", json!({ "key": place(key), "value": BASE64.encode(value) })))
            .unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn place(key: &PairKey) -> String {
    BASE64.encode(format!("/edgepair/test/{}", hex::encode(key.id().0)))
}

async fn call(port: u16, path: &'static str, body: Value) -> Result<Value, AskError> {
    let target = Target { secure: false, host: "127.0.0.1".into(), port };
    let mut http = Http::open(&target, None).await?;
    let reply = http.post("etcd", path, &[], body.to_string().into_bytes(), 1 << 16).await?;
    Ok(serde_json::from_slice(&reply).unwrap())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn the_same_rules_and_one_winner_per_epoch() {
    if !wanted() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(dir.path(), "first", None);
    let (key, other) = (key(1), key(2));
    run(async {
        let (mut a, mut b) = (etcd.keeper(&key), etcd.keeper(&key));
        let unknown = current(&mut a).await;
        assert_eq!((unknown.epoch, unknown.holder), (Epoch(0), Holder::Unknown));
        assert_eq!(current(&mut b).await, unknown, "made once");
        let refused = a.claim(&swap(&unknown, Side::A, Claim::Solo), LIMIT).await.unwrap();
        assert_eq!(refused, Verdict::Refused(Refusal::HolderUnknown { current: unknown }));
        let mut record = changed(&mut a, &adopt(&unknown, Side::A)).await;
        for _ in 0..30 {
            let (for_a, for_b) = (swap(&record, Side::A, Claim::Solo), swap(&record, Side::B, Claim::Solo));
            let (won_a, won_b) = tokio::join!(a.claim(&for_a, LIMIT), b.claim(&for_b, LIMIT));
            let (won_a, won_b) = (won_a.unwrap(), won_b.unwrap());
            let winners = [won_a, won_b].into_iter().filter(|v| matches!(v, Verdict::Changed(_))).count();
            assert_eq!(winners, 1, "{won_a:?} {won_b:?}");
            assert_eq!(won_a.record(), won_b.record());
            let Holder::Solo { side, .. } = won_a.record().holder else { panic!("{won_a:?}") };
            record = changed(&mut a, &pair(&won_a.record(), side)).await;
        }
        assert_eq!(record.epoch, Epoch(61));
        // Another pair has its own record.
        assert_eq!(current(&mut etcd.keeper(&other)).await.epoch, Epoch(0));
    });
}

#[test]
fn killed_in_the_middle_it_loses_nothing_that_was_answered() {
    if !wanted() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(dir.path(), "first", None);
    let key = key(1);
    let mut ledger = Ledger::default();
    for round in 0..6u64 {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(etcd.child.id()).unwrap());
        // Some time after the first race of the round, however slow this machine is.
        let (raced, first) = std::sync::mpsc::channel();
        let killer = std::thread::spawn(move || {
            let _ = first.recv_timeout(Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(3 + 37 * round));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        run(async {
            let (mut a, mut b) = (etcd.keeper(&key), etcd.keeper(&key));
            loop {
                let read = a.read(None, LIMIT).await;
                ledger.heard(None, &read);
                let Ok(verdict) = read else { return };
                let record = verdict.record();
                let swaps = match record.holder {
                    Holder::Unknown => [adopt(&record, Side::A), adopt(&record, Side::B)],
                    Holder::Paired { .. } => {
                        [swap(&record, Side::A, Claim::Solo), swap(&record, Side::B, Claim::Solo)]
                    }
                    Holder::Solo { side, .. } => [swap(&record, side, Claim::Solo), pair(&record, side)],
                };
                swaps.iter().for_each(|swap| ledger.sent(*swap));
                let (for_a, for_b) = tokio::join!(a.claim(&swaps[0], LIMIT), b.claim(&swaps[1], LIMIT));
                ledger.heard(Some(swaps[0]), &for_a);
                ledger.heard(Some(swaps[1]), &for_b);
                let _ = raced.send(());
                if for_a.is_err() || for_b.is_err() {
                    return;
                }
            }
        });
        killer.join().unwrap();
        etcd.kill();
        etcd.again();
        let record = run(async { current(&mut etcd.keeper(&key)).await });
        ledger.after_crash(record);
    }
    assert!(ledger.answers() > 12, "the races got nowhere: {}", ledger.answers());
}

#[test]
fn what_others_write_there_is_not_believed() {
    if !wanted() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(dir.path(), "first", None);
    let (mine, theirs) = (key(1), key(2));
    let (unknown, paired) = run(async {
        let mut a = etcd.keeper(&mine);
        let unknown = current(&mut a).await;
        changed(&mut etcd.keeper(&theirs), &adopt(&current(&mut etcd.keeper(&theirs)).await, Side::A)).await;
        (unknown, changed(&mut a, &adopt(&unknown, Side::A)).await)
    });
    let untrusted = |etcd: &Etcd| {
        let error = run(async { etcd.keeper(&mine).read(None, LIMIT).await.unwrap_err() });
        assert!(matches!(error, AskError::Untrusted(_)), "{error}");
    };
    let good = etcd.get(&mine);
    for bad in [&b""[..], b"rubbish", &good[..good.len() - 1], &etcd.get(&theirs)] {
        etcd.put(&mine, bad);
        untrusted(&etcd);
    }
    let mut changed_one = good.clone();
    changed_one[30] ^= 1;
    etcd.put(&mine, &changed_one);
    untrusted(&etcd);

    // An old value of this pair has a good signature. A node that remembers more finds it out.
    etcd.put(&mine, &good);
    run(async {
        let mut a = etcd.keeper(&mine);
        changed(&mut a, &swap(&paired, Side::A, Claim::Solo)).await;
    });
    etcd.put(&mine, &good);
    let seen = Seen { lineage: paired.lineage, epoch: Epoch(paired.epoch.0 + 1) };
    run(async {
        let record = etcd.keeper(&mine).read(Some(seen), LIMIT).await.unwrap().record();
        assert_eq!(record.holder, Holder::Unknown);
        assert_ne!(record.lineage, unknown.lineage);
        let behind = Swap { expect: Epoch(99), ..swap(&record, Side::A, Claim::Solo) };
        let verdict = etcd.keeper(&mine).claim(&behind, LIMIT).await.unwrap();
        assert!(matches!(verdict, Verdict::Refused(Refusal::WitnessBehind { .. })), "{verdict:?}");
        assert_ne!(current(&mut etcd.keeper(&mine)).await.lineage, record.lineage);
    });
}

/// The id of a cluster follows from its members and its token; a restored one with a new token has another.
#[test]
fn under_another_cluster_id_the_record_is_unknown() {
    if !wanted() {
        return;
    }
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let etcd = Etcd::start(first.path(), "first", None);
    let key = key(1);
    let paired = run(async {
        let mut a = etcd.keeper(&key);
        let unknown = current(&mut a).await;
        changed(&mut a, &adopt(&unknown, Side::A)).await
    });
    let value = etcd.get(&key);
    drop(etcd);
    let etcd = Etcd::start(second.path(), "second", None);
    etcd.put(&key, &value);
    run(async {
        let mut a = etcd.keeper(&key);
        let verdict = a.claim(&swap(&paired, Side::A, Claim::Solo), LIMIT).await.unwrap();
        assert!(matches!(verdict, Verdict::Refused(Refusal::ForeignLineage { .. })), "{verdict:?}");
        let record = current(&mut a).await;
        assert_eq!((record.holder, record.epoch), (Holder::Unknown, paired.epoch));
        assert_eq!(current(&mut etcd.keeper(&key)).await, record, "decided once");
    });
}

fn write(path: &Path, label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), pem.as_bytes()).unwrap();
    pem
}

#[test]
fn tls_by_authority_by_pin_and_the_next_endpoint() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
    if !wanted() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let leaf_certificate = leaf.signed_by(&leaf_key, &Issuer::new(ca, &ca_key)).unwrap();
    let files = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    write(&files.0, "CERTIFICATE", leaf_certificate.der());
    write(&files.1, "PRIVATE KEY", leaf_key.serialized_der());
    let ca_pem = write(&dir.path().join("ca.pem"), "CERTIFICATE", ca_certificate.der());
    let etcd = Etcd::start(&dir.path().join("data"), "tls", Some(files));

    let fingerprint = Fingerprint::of(&leaf_key.subject_public_key_info());
    let mut wrong = fingerprint;
    wrong.0[0] ^= 1;
    let stranger = KeyPair::generate().unwrap();
    let stranger = CertificateParams::new(vec![]).unwrap().self_signed(&stranger).unwrap();
    let stranger_pem = write(&dir.path().join("other.pem"), "CERTIFICATE", stranger.der());
    let read = |tls: Arc<ClientConfig>, more: Option<String>| -> Result<Record, AskError> {
        let mut config = etcd.config(Some(tls));
        config.endpoints.splice(0..0, more);
        let mut keeper = Keeper::Etcd(EtcdClient::new(config, key(1))?);
        run(async { Ok(keeper.read(None, LIMIT).await?.record()) })
    };
    let by_authority = read(authority(ca_pem.as_bytes()).unwrap(), None).unwrap();
    let dead = format!("https://127.0.0.1:{}", free_port());
    let by_pin = read(pin::config(fingerprint).unwrap(), Some(dead)).unwrap();
    assert_eq!(by_authority, by_pin);
    assert!(matches!(read(pin::config(wrong).unwrap(), None), Err(AskError::Unreachable { .. })));
    let other = authority(stranger_pem.as_bytes()).unwrap();
    assert!(matches!(read(other, None), Err(AskError::Unreachable { .. })));
    assert!(authority(b"").is_err());
    // Plain text only where it was asked for.
    assert!(EtcdClient::new(EtcdConfig { tls: None, ..etcd.config(None) }, key(1)).is_ok());
    let plain = EtcdConfig { tls: Some(pin::config(wrong).unwrap()), ..etcd.config(None) };
    assert!(EtcdClient::new(plain, key(1)).is_err());
}
