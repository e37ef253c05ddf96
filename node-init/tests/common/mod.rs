//! A real witness process, clients of it, and a memory of everything it ever said.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by several test programs; a test that cannot go on should stop"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use node_init::witness::client::witness::WitnessClient;
use node_init::witness::client::{AskError, Keeper};
use node_init::witness::identity::Fingerprint;
use pair_core::record::{Claim, DiskId, Epoch, Lineage, Record, Side, Swap, decide};
use witness_protocol::{PairKey, PairSecret, Verdict};

pub const LIMIT: Duration = Duration::from_secs(5);
pub const A: DiskId = DiskId([0xa; 16]);
pub const B: DiskId = DiskId([0xb; 16]);

/// Two directories that outlive the processes on them.
pub struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub fn stamp(&self) -> PathBuf {
        self.root.path().join("data-stamp")
    }

    /// A program with `node-init witness` and its directories.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = program(Path::new(env!("CARGO_BIN_EXE_node-init")));
        command.args(["witness", subcommand, "--data-dir"]).arg(self.data());
        command
    }

    pub fn serve(&self) -> Witness {
        Witness::start(self.serve_command()).expect("the witness starts")
    }

    pub fn serve_command(&self) -> Command {
        let mut command = self.command("serve");
        command.args(["--listen", "127.0.0.1:0", "--address-rate", "100000", "--pair-rate", "100000"]);
        command
    }

    pub fn enrol(&self, keys: &[Arc<PairKey>]) {
        let list = self.root.path().join("pairs");
        let text: String =
            keys.iter().enumerate().map(|(n, key)| format!("pair-{n} {}\n", key.id())).collect();
        std::io::Write::write_all(&mut std::fs::File::create(&list).unwrap(), text.as_bytes()).unwrap();
        let output = self.command("enrol").arg("--from").arg(&list).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests start the program under test itself")]
pub fn program(path: &Path) -> Command {
    Command::new(path)
}

/// A running process; killed when dropped.
pub struct Witness {
    child: Child,
    pub url: String,
    pub fingerprint: Fingerprint,
}

impl Witness {
    /// Starts it and waits until it listens. `None`: it ended before that.
    pub fn start(mut command: Command) -> Option<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        for line in output.lines() {
            let line = line.unwrap();
            if let Some((address, fingerprint)) =
                line.strip_prefix("witness on ").and_then(|rest| rest.split_once(", fingerprint "))
            {
                let url = format!("https://{address}");
                return Some(Self { child, url, fingerprint: fingerprint.parse().unwrap() });
            }
        }
        child.wait().unwrap();
        None
    }

    pub fn client(&self, key: &Arc<PairKey>) -> Keeper {
        Keeper::Witness(WitnessClient::new(&self.url, self.fingerprint, Arc::clone(key)).unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Signal 9, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// An orderly end; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn key(n: usize) -> Arc<PairKey> {
    let secret = PairSecret::new(format!("the secret of pair number {n}").as_bytes()).unwrap();
    Arc::new(PairKey::derive(&secret).unwrap())
}

pub fn swap(record: &Record, side: Side, claim: Claim) -> Swap {
    let disk = if side == Side::A { A } else { B };
    Swap { lineage: record.lineage, expect: record.epoch, side, disk, claim }
}

pub fn adopt(record: &Record, side: Side) -> Swap {
    let peer = if side == Side::A { B } else { A };
    swap(record, side, Claim::Adopt { peer, floor: Epoch(0) })
}

pub fn pair(record: &Record, side: Side) -> Swap {
    let peer = if side == Side::A { B } else { A };
    swap(record, side, Claim::Pair { peer })
}

pub async fn changed(keeper: &mut Keeper, swap: &Swap) -> Record {
    match keeper.claim(swap, LIMIT).await.unwrap() {
        Verdict::Changed(record) => record,
        other => panic!("{other:?}"),
    }
}

pub async fn current(keeper: &mut Keeper) -> Record {
    keeper.read(None, LIMIT).await.unwrap().record()
}

/// Everything a witness ever said to one pair, and what must follow from it.
#[derive(Default)]
pub struct Ledger {
    said: HashMap<(Lineage, Epoch), Record>,
    winners: HashMap<(Lineage, Epoch), Swap>,
    last: Option<Record>,
    flying: Vec<Swap>,
}

impl Ledger {
    /// A swap leaves the node. Until its answer comes it may or may not happen.
    pub fn sent(&mut self, swap: Swap) {
        self.flying.push(swap);
    }

    pub fn last(&self) -> Option<Record> {
        self.last
    }

    /// An answer arrived.
    pub fn heard(&mut self, swap: Option<Swap>, answer: &Result<Verdict, AskError>) {
        let Ok(verdict) = answer else { return };
        let record = verdict.record();
        if let (Some(swap), Verdict::Changed(_)) = (swap, verdict) {
            let before = self.winners.insert((record.lineage, record.epoch), swap);
            assert_eq!(before, None, "two winners for one epoch: {record}");
        }
        let known = *self.said.entry((record.lineage, record.epoch)).or_insert(record);
        assert_eq!(known, record, "two answers for one epoch");
        if let Some(swap) = swap {
            self.flying.retain(|f| *f != swap);
        }
        if self.last.is_none_or(|last| last.epoch < record.epoch) {
            self.last = Some(record);
        }
    }

    /// The witness died and is back, and says `record`. Nothing acknowledged may be lost, and nothing may
    /// have happened that nobody asked for.
    pub fn after_crash(&mut self, record: Record) {
        if let Some(last) = self.last {
            let possible = self.flying.iter().filter_map(|swap| decide(&last, swap).ok());
            assert!(
                record == last || possible.into_iter().any(|next| next == record),
                "the last answer was {last:?}; after the crash it is {record:?}; in flight {:?}",
                self.flying
            );
        }
        self.flying.clear();
        self.heard(None, &Ok(Verdict::Current(record)));
    }

    pub fn answers(&self) -> usize {
        self.said.len()
    }
}
