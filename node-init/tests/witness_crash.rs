//! The witness is killed with signal 9 at every write, at every named place and at random instants, in the
//! middle of two nodes racing for several pairs. After each start: nothing acknowledged is lost, no epoch
//! has two answers, and the crash is not mistaken for a restore.
//!
//! The kills at system calls need `strace`; it is in Debian. Without it the test fails, unless
//! `EDGEPAIR_WITHOUT_STRACE` says that it may be skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Ledger, Place, Witness, adopt, key, pair, swap};
use node_init::witness::client::AskError;
use pair_core::record::{Claim, Holder, Record, Side};
use ring::rand::{SecureRandom, SystemRandom};
use witness_protocol::{PairKey, Verdict};

const PAIRS: usize = 3;
const LIMIT: Duration = Duration::from_secs(10);

/// One pair's two nodes, and what they were told.
struct Site {
    key: Arc<PairKey>,
    ledger: Ledger,
}

struct World {
    place: Place,
    sites: Vec<Site>,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let sites: Vec<Site> = (0..PAIRS).map(|n| Site { key: key(n), ledger: Ledger::default() }).collect();
        place.enrol(&sites.iter().map(|s| Arc::clone(&s.key)).collect::<Vec<_>>());
        Self { place, sites }
    }

    /// All sites race until the witness is gone or the rounds are over. `true`: it is gone.
    fn race(&mut self, witness: &Witness, rounds: usize) -> bool {
        run(async {
            let all = self.sites.iter_mut().map(|site| site.race(witness, rounds));
            let mut gone = false;
            for one in join_all(all).await {
                gone |= one;
            }
            gone
        })
    }

    /// Starts the witness undisturbed and compares what it says with everything it ever said.
    fn check(&mut self) {
        let witness = self.place.serve();
        run(async {
            for site in &mut self.sites {
                let verdict = witness.client(&site.key).read(None, LIMIT).await.unwrap();
                let (record, last) = (verdict.record(), site.ledger.last());
                site.ledger.after_crash(record);
                assert!(last.is_none_or(|last| last.lineage == record.lineage), "taken for a restore");
            }
        });
        assert_eq!(witness.stop(), Some(0));
    }

    fn answers(&self) -> usize {
        self.sites.iter().map(|site| site.ledger.answers()).sum()
    }
}

impl Site {
    async fn race(&mut self, witness: &Witness, rounds: usize) -> bool {
        let (mut a, mut b) = (witness.client(&self.key), witness.client(&self.key));
        let mut reader = witness.client(&self.key);
        for _ in 0..rounds {
            let read = a.read(None, LIMIT).await;
            self.ledger.heard(None, &read);
            let Some(record) = alive(read) else { return true };
            let swaps = match record.holder {
                Holder::Unknown => [adopt(&record, Side::A), adopt(&record, Side::B)],
                Holder::Paired { .. } => {
                    [swap(&record, Side::A, Claim::Solo), swap(&record, Side::B, Claim::Solo)]
                }
                Holder::Solo { side, .. } => [swap(&record, side, Claim::Solo), pair(&record, side)],
            };
            swaps.iter().for_each(|swap| self.ledger.sent(*swap));
            // Somebody reads all the while: what a read shows must be on disk as well.
            let watch = async {
                let mut seen = Vec::new();
                for _ in 0..8 {
                    seen.push(reader.read(None, LIMIT).await);
                }
                seen
            };
            let (for_a, for_b, seen) =
                tokio::join!(a.claim(&swaps[0], LIMIT), b.claim(&swaps[1], LIMIT), watch);
            for read in &seen {
                self.ledger.heard(None, read);
            }
            self.ledger.heard(Some(swaps[0]), &for_a);
            self.ledger.heard(Some(swaps[1]), &for_b);
            if alive(for_a).is_none() || alive(for_b).is_none() {
                return true;
            }
        }
        false
    }
}

/// The record, or `None` where the witness is gone. A witness that hangs is a failure of its own.
fn alive(result: Result<Verdict, AskError>) -> Option<Record> {
    match result {
        Ok(verdict) => Some(verdict.record()),
        Err(AskError::TimedOut(limit)) => panic!("no answer and no end within {limit:?}"),
        Err(_) => None,
    }
}

async fn join_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        for (one, done) in &mut waiting {
            if done.is_none() {
                if let std::task::Poll::Ready(value) = one.as_mut().poll(context) {
                    *done = Some(value);
                }
            }
        }
        if waiting.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Under strace, `program args` dies at its `n`-th call of `syscall`, before the call is made.
fn killed_at(inner: &Command, syscall: &str, n: usize) -> Command {
    let mut command = common::program(Path::new("strace"));
    // -D: the tracer is the grandchild, so that what we start, kill and wait for is the witness itself.
    command.args(["-D", "-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={syscall}"), "-e"]);
    command.arg(format!("inject={syscall}:signal=SIGKILL:when={n}"));
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

fn has_strace() -> bool {
    let there = common::program(Path::new("strace"))
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        assert!(
            std::env::var_os("EDGEPAIR_WITHOUT_STRACE").is_some(),
            "strace is needed (apt-get install strace), or EDGEPAIR_WITHOUT_STRACE=1 to skip"
        );
        eprintln!("skipped: no strace");
    }
    there
}

/// The calls by which SQLite and the stamp change a disk.
const WRITES: [&str; 4] = ["pwrite64", "fdatasync", "fsync", "ftruncate"];

#[test]
fn killed_at_every_write_while_running() {
    if !has_strace() {
        return;
    }
    let mut kills = 0;
    for syscall in WRITES {
        let mut world = World::new();
        for n in 1.. {
            let command = killed_at(&world.place.serve_command(), syscall, n);
            let gone = match Witness::start(command) {
                None => true,
                Some(witness) => world.race(&witness, 4),
            };
            kills += usize::from(gone);
            world.check();
            if !gone {
                break;
            }
            assert!(n < 500, "it never gets through");
        }
        assert!(world.answers() > PAIRS);
    }
    eprintln!("{kills} kills at {WRITES:?}");
    assert!(kills >= 20, "only {kills} kills");
}

/// The first start makes the database, the key and the stamp; the next makes everything unknown. Killed at any
/// write of either, the next start must do it whole.
#[test]
fn killed_at_every_write_of_the_first_start_and_of_a_restore() {
    if !has_strace() {
        return;
    }
    let mut kills = 0;
    for syscall in ["pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "openat"] {
        for n in 1.. {
            let place = Place::new();
            let died = Witness::start(killed_at(&place.serve_command(), syscall, n)).is_none();
            drop(place.serve());
            place.enrol(&[key(0)]);
            let lineage = |witness: &Witness| {
                run(async { witness.client(&key(0)).read(None, LIMIT).await.unwrap().record() }).lineage
            };
            let before = lineage(&place.serve());
            std::fs::remove_dir_all(place.stamp()).unwrap();
            drop(Witness::start(killed_at(&place.serve_command(), syscall, n)));
            let witness = place.serve();
            let after = lineage(&witness);
            assert_ne!(before, after, "{syscall} {n}: the restore was forgotten by the kill");
            witness.kill();
            assert_eq!(lineage(&place.serve()), after, "{syscall} {n}: noticed again without a reason");
            kills += usize::from(died);
            if !died {
                break;
            }
            assert!(n < 500, "it never gets through");
        }
    }
    eprintln!("{kills} kills at first starts");
    assert!(kills >= 20, "only {kills} kills");
}

#[cfg(feature = "failpoints")]
#[test]
fn killed_at_every_named_place() {
    let mut kills = 0;
    for name in [
        "row-written",
        "before-commit",
        "after-commit",
        "stamp-written",
        "stamp-synced",
        "before-answer",
        "answered",
    ] {
        let mut world = World::new();
        for n in 1..=12 {
            let mut command = world.place.serve_command();
            command.env("EDGEPAIR_FAILPOINT", format!("{name}:{n}"));
            let gone = match Witness::start(command) {
                None => true,
                Some(witness) => world.race(&witness, 8),
            };
            assert!(gone, "{name}:{n} was never passed");
            kills += 1;
            world.check();
        }
    }
    eprintln!("{kills} kills at named places");
}

/// `EDGEPAIR_CRASH_ROUNDS` makes it longer.
#[test]
fn killed_at_random_instants() {
    let rounds = std::env::var("EDGEPAIR_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let random = SystemRandom::new();
    let mut world = World::new();
    // A machine that is busy with something else gets nowhere before the kill: then it comes later.
    let mut scale = 1;
    for round in 0..rounds {
        let witness = world.place.serve();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(witness.pid()).unwrap());
        let mut number = [0; 2];
        random.fill(&mut number).unwrap();
        let after = Duration::from_micros(u64::from(u16::from_be_bytes(number)) * scale);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(after);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        assert!(world.race(&witness, usize::MAX));
        killer.join().unwrap();
        drop(witness);
        world.check();
        if world.answers() <= round {
            scale = (scale * 2).min(64);
        }
    }
    let answers = world.answers();
    eprintln!("{rounds} kills, {answers} different records were answered");
    assert!(answers > rounds, "the races got nowhere");
}

/// strace hands on how its child died; otherwise the tests above would count ends that are none.
#[test]
fn a_kill_under_strace_is_a_kill() {
    if !has_strace() {
        return;
    }
    let place = Place::new();
    let status = killed_at(&place.serve_command(), "fdatasync", 1).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(9));
}
