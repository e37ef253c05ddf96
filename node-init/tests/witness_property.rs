//! Whatever two nodes send, in whatever order, late, twice, across restarts and restores of the witness: one
//! epoch never has two winners, and nobody goes on alone beside somebody who already does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use node_init::witness::metrics::Metrics;
use node_init::witness::store::writer::Store;
use pair_core::record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Side, Swap};
use proptest::prelude::*;
use witness_protocol::{PairId, Verdict};

const PAIR: PairId = PairId([1; 32]);

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The node learns the record.
    Read(Side),
    /// The node asks for something by what it last learned; the request arrives now.
    Claim(Side, Wish),
    /// The same, but the request stays in the network.
    Late(Side, Wish),
    /// A request in the network arrives, and stays there to arrive once more.
    Arrive(prop::sample::Index),
    /// Both nodes ask at once: one batch.
    Race(Wish, Wish),
    /// The witness is started anew.
    Restart,
    /// The database is copied away.
    Backup,
    /// The copy is put back, without the stamp.
    Restore,
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Solo,
    GiveAway,
    Pair,
    Adopt,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = prop_oneof![Just(Side::A), Just(Side::B)];
    let wish = prop_oneof![4 => Just(Wish::Solo), 1 => Just(Wish::GiveAway), 3 => Just(Wish::Pair), 2 => Just(Wish::Adopt)];
    let step = prop_oneof![
        6 => side.clone().prop_map(Step::Read),
        8 => (side.clone(), wish.clone()).prop_map(|(s, w)| Step::Claim(s, w)),
        3 => (side, wish.clone()).prop_map(|(s, w)| Step::Late(s, w)),
        3 => any::<prop::sample::Index>().prop_map(Step::Arrive),
        4 => (wish.clone(), wish).prop_map(|(a, b)| Step::Race(a, b)),
        1 => Just(Step::Restart),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..60)
}

fn disk(side: Side) -> DiskId {
    DiskId([if side == Side::A { 0xa } else { 0xb }; 16])
}

fn wish(belief: &Record, side: Side, wish: Wish) -> Swap {
    let peer = disk(!side);
    let claim = match wish {
        Wish::Solo => Claim::Solo,
        Wish::GiveAway => Claim::GiveAway,
        Wish::Pair => Claim::Pair { peer },
        Wish::Adopt => Claim::Adopt { peer, floor: belief.epoch },
    };
    Swap { lineage: belief.lineage, expect: belief.epoch, side, disk: disk(side), claim }
}

/// The witness with its disk, and what it has said.
struct World {
    root: tempfile::TempDir,
    store: Option<Store>,
    winners: HashMap<(Lineage, Epoch), Swap>,
    last: Record,
    beliefs: [Record; 2],
    network: Vec<Swap>,
    changes: usize,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["data", "stamp"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        let nothing = Record::new(Lineage([0; 16]));
        let mut world = Self {
            root,
            store: None,
            winners: HashMap::new(),
            last: nothing,
            beliefs: [nothing; 2],
            network: Vec::new(),
            changes: 0,
        };
        world.open();
        let store = world.store.as_ref().unwrap();
        run(store.writer.enrol(vec![("pair".into(), PAIR)])).unwrap();
        world.last = world.record();
        world.beliefs = [world.last; 2];
        world
    }

    fn open(&mut self) {
        let (data, stamp) = (self.root.path().join("data"), self.root.path().join("stamp"));
        self.store = Some(Store::open(&data, &stamp, Arc::new(Metrics::default())).unwrap());
    }

    fn close(&mut self) {
        let Store { writer, thread, .. } = self.store.take().unwrap();
        drop(writer);
        thread.join().unwrap().unwrap();
    }

    fn record(&self) -> Record {
        self.store.as_ref().unwrap().table.record(&PAIR).unwrap()
    }

    fn belief(&mut self, side: Side) -> &mut Record {
        &mut self.beliefs[usize::from(side == Side::B)]
    }

    /// The answers to swaps that arrived in one batch; their order is the witness's own.
    fn answered(&mut self, answers: &[(Swap, Verdict)]) {
        let mut changes: Vec<_> = answers
            .iter()
            .filter_map(|(swap, verdict)| match verdict {
                Verdict::Changed(record) => Some((*swap, *record)),
                Verdict::Current(_) | Verdict::Refused(_) => None,
            })
            .collect();
        changes.sort_by_key(|(_, record)| record.epoch);
        for (swap, record) in changes {
            let before = self.winners.insert((swap.lineage, swap.expect), swap);
            assert_eq!(before, None, "two winners at epoch {}", swap.expect);
            assert_eq!(swap.expect, self.last.epoch, "won at an epoch that was not the current one");
            assert_eq!(record.lineage, self.last.lineage, "only a restore changes the lineage");
            assert!(record.epoch > self.last.epoch, "epochs rise");
            if let Holder::Solo { side, .. } = self.last.holder {
                assert_eq!(swap.side, side, "{side} is alone, and {} changed the record", swap.side);
            }
            if self.last.holder == Holder::Unknown {
                assert!(matches!(swap.claim, Claim::Adopt { .. }), "unknown was left by {:?}", swap.claim);
            }
            self.last = record;
            self.changes += 1;
        }
        for (swap, verdict) in answers {
            *self.belief(swap.side) = verdict.record();
        }
        assert_eq!(self.record(), self.last, "what is read is what was answered last");
    }

    fn arrive(&mut self, swaps: &[Swap]) {
        let writer = self.store.as_ref().unwrap().writer.clone();
        let verdicts: Vec<(Swap, Verdict)> = run(async {
            let all: Vec<_> = swaps
                .iter()
                .map(|swap| {
                    let (writer, swap) = (writer.clone(), *swap);
                    tokio::spawn(async move { (swap, writer.swap(PAIR, [0; 16], swap).await) })
                })
                .collect();
            let mut done = Vec::new();
            for one in all {
                let (swap, verdict) = one.await.unwrap();
                done.push((swap, verdict.unwrap().unwrap()));
            }
            done
        });
        self.answered(&verdicts);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Read(side) => *self.belief(side) = self.record(),
            Step::Claim(side, w) => {
                let swap = wish(self.belief(side), side, w);
                self.arrive(&[swap]);
            }
            Step::Late(side, w) => {
                let swap = wish(self.belief(side), side, w);
                self.network.push(swap);
            }
            Step::Arrive(which) => {
                if !self.network.is_empty() {
                    let swap = *which.get(&self.network);
                    self.arrive(&[swap]);
                }
            }
            Step::Race(a, b) => {
                let swaps = [wish(self.belief(Side::A), Side::A, a), wish(self.belief(Side::B), Side::B, b)];
                self.arrive(&swaps);
            }
            Step::Restart => {
                self.close();
                self.open();
                assert_eq!(self.record(), self.last, "a restart changes nothing");
            }
            Step::Backup => {
                self.close();
                copy(&self.root.path().join("data"), &self.root.path().join("backup"));
                self.open();
            }
            Step::Restore => self.restore(),
        }
    }

    fn restore(&mut self) {
        let backup = self.root.path().join("backup");
        if !backup.exists() {
            return;
        }
        self.close();
        copy(&backup, &self.root.path().join("data"));
        self.open();
        let record = self.record();
        if record.lineage == self.last.lineage {
            assert_eq!(record, self.last, "an older database was believed");
        } else {
            assert_eq!(record.holder, Holder::Unknown);
            self.last = record;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn one_epoch_has_one_winner(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.close();
    }
}

/// The schedules above would prove nothing if nothing ever happened in them.
#[test]
fn the_schedules_do_something() {
    let mut world = World::new();
    for step in [
        Step::Claim(Side::A, Wish::Adopt),
        Step::Read(Side::B),
        Step::Late(Side::B, Wish::Solo),
        Step::Backup,
        Step::Race(Wish::Solo, Wish::Solo),
        Step::Arrive(first()),
        Step::Restart,
    ] {
        world.step(step);
    }
    assert_eq!(world.changes, 2);
    let before = world.last.lineage;
    world.step(Step::Restore);
    assert_ne!(world.last.lineage, before);
    world.close();
}

fn first() -> prop::sample::Index {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    any::<prop::sample::Index>().new_tree(&mut runner).unwrap().current()
}
