//! What is measured: a process on one core, and clients of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use node_init::witness::client::etcd::{EtcdClient, EtcdConfig};
use node_init::witness::client::witness::WitnessClient;
use node_init::witness::client::{Keeper, pin};
use node_init::witness::identity::Fingerprint;
use rustls::ClientConfig;
use witness_protocol::{PairKey, PairSecret};

pub struct Subject {
    child: Child,
    kind: Kind,
    /// Resident memory before any pair was there, and with all pairs enrolled, in KiB.
    pub empty_kib: u64,
    pub enrolled_kib: u64,
    _dir: tempfile::TempDir,
}

enum Kind {
    Witness { port: u16, fingerprint: Fingerprint, tls: Arc<ClientConfig> },
    Etcd { url: String },
}

pub fn key(n: usize) -> Arc<PairKey> {
    let secret = PairSecret::new(format!("the secret of pair number {n}").as_bytes()).unwrap();
    Arc::new(PairKey::derive(&secret).unwrap())
}

fn on_one_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

impl Subject {
    pub fn witness(node_init: &Path, pairs: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut child = on_one_core(node_init)
            .args([
                "witness",
                "serve",
                "--listen",
                "0.0.0.0:0",
                "--address-rate",
                "1000000",
                "--pair-rate",
                "1000000",
                "--data-dir",
            ])
            .arg(&data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset and node-init are there");
        let (port, fingerprint) = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .find_map(|line| {
                let (address, fingerprint) =
                    line.strip_prefix("witness on ")?.split_once(", fingerprint ")?;
                Some((address.rsplit(':').next()?.parse().unwrap(), fingerprint.parse().unwrap()))
            })
            .expect("the witness starts");
        let empty_kib = resident(child.id());
        let list = dir.path().join("pairs");
        let mut file = std::fs::File::create(&list).unwrap();
        for n in 0..pairs {
            writeln!(file, "pair-{n} {}", key(n).id()).unwrap();
        }
        let mut enrol = Command::new(node_init);
        enrol.args(["witness", "enrol", "--from"]).arg(&list).arg("--data-dir").arg(&data);
        assert!(enrol.stdout(Stdio::null()).status().unwrap().success());
        let enrolled_kib = resident(child.id());
        let tls = pin::config(fingerprint).unwrap();
        Self { child, kind: Kind::Witness { port, fingerprint, tls }, empty_kib, enrolled_kib, _dir: dir }
    }

    pub fn etcd() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (url, peer) = (format!("http://127.0.0.1:{}", free()), format!("http://127.0.0.1:{}", free()));
        let etcd: PathBuf = "etcd".into();
        if Command::new(&etcd).arg("--version").stdout(Stdio::null()).status().is_err() {
            return None;
        }
        let child = on_one_core(&etcd)
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It elects itself within a second or two.
        std::thread::sleep(Duration::from_secs(4));
        let empty_kib = resident(child.id());
        Some(Self { child, kind: Kind::Etcd { url }, empty_kib, enrolled_kib: empty_kib, _dir: dir })
    }

    pub fn keeper(&self, n: usize, key: Arc<PairKey>) -> Keeper {
        match &self.kind {
            Kind::Witness { port, fingerprint, tls } => {
                // Several addresses, because one has no more than about 28,000 ports to connect from.
                let url = format!("https://127.0.0.{}:{port}", 1 + n % 8);
                let client = WitnessClient::with_tls(&url, *fingerprint, key, Arc::clone(tls));
                Keeper::Witness(client.unwrap())
            }
            Kind::Etcd { url } => {
                let config = EtcdConfig {
                    endpoints: vec![url.clone()],
                    tls: None,
                    login: None,
                    prefix: "/edgepair/bench".into(),
                };
                Keeper::Etcd(EtcdClient::new(config, key).unwrap())
            }
        }
    }

    pub fn resident_kib(&self) -> u64 {
        resident(self.child.id())
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in parentheses may hold blanks; what follows it does not (proc(5): fields 14 and 15).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
