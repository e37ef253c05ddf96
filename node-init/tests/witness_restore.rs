//! What a restore does: of the database, of the stamp, of both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{LIMIT, Place, adopt, changed, current, key, swap};
use pair_core::record::{Claim, Epoch, Holder, Record, Refusal, Side};
use witness_protocol::{PairKey, Seen, Verdict};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

struct Site {
    place: Place,
    key: Arc<PairKey>,
    backup: tempfile::TempDir,
}

impl Site {
    /// A witness with one pair; a backup of it while the pair was paired; after it, node a went on alone.
    fn with_backup(while_running: bool) -> (Self, Record) {
        let site = Self { place: Place::new(), key: key(1), backup: tempfile::tempdir().unwrap() };
        let (data, stamp) = (site.backup.path().join("data"), site.backup.path().join("stamp"));
        let witness = site.place.serve();
        site.place.enrol(&[Arc::clone(&site.key)]);
        let solo = run(async {
            let mut a = witness.client(&site.key);
            let unknown = current(&mut a).await;
            let paired = changed(&mut a, &adopt(&unknown, Side::A)).await;
            let witness = if while_running {
                copy(&site.place.data(), &data);
                copy(&site.place.stamp(), &stamp);
                witness
            } else {
                witness.stop();
                copy(&site.place.data(), &data);
                copy(&site.place.stamp(), &stamp);
                site.place.serve()
            };
            let mut a = witness.client(&site.key);
            let solo = changed(&mut a, &swap(&paired, Side::A, Claim::Solo)).await;
            witness.kill();
            solo
        });
        (site, solo)
    }

    fn restore_data(&self) {
        copy(&self.backup.path().join("data"), &self.place.data());
    }

    fn restore_stamp(&self) {
        copy(&self.backup.path().join("stamp"), &self.place.stamp());
    }

    /// Starts the witness and lets b claim, which knows only of the pairing.
    fn b_claims(&self, old: &Record) -> (Verdict, Record) {
        let witness = self.place.serve();
        run(async {
            let mut b = witness.client(&self.key);
            let belief = Record { epoch: Epoch(1), ..*old };
            let verdict = b.claim(&swap(&belief, Side::B, Claim::Solo), LIMIT).await.unwrap();
            (verdict, current(&mut b).await)
        })
    }
}

#[test]
fn a_restored_database_grants_nothing() {
    for while_running in [false, true] {
        let (site, solo) = Site::with_backup(while_running);
        site.restore_data();
        let (verdict, record) = site.b_claims(&solo);
        assert!(matches!(verdict, Verdict::Refused(Refusal::ForeignLineage { .. })), "{verdict:?}");
        assert_eq!(record.holder, Holder::Unknown);
        assert_ne!(record.lineage, solo.lineage);
        // Noticed once, not at every start from then on.
        let again = site.b_claims(&solo).1;
        assert_eq!(again, record);
    }
}

#[test]
fn a_database_without_its_stamp_grants_nothing() {
    let (site, solo) = Site::with_backup(false);
    fs::remove_dir_all(site.place.stamp()).unwrap();
    let (verdict, record) = site.b_claims(&solo);
    assert!(matches!(verdict, Verdict::Refused(Refusal::ForeignLineage { .. })), "{verdict:?}");
    assert_eq!(record.holder, Holder::Unknown);
}

#[test]
fn a_stamp_from_another_time_makes_everything_unknown() {
    let (site, solo) = Site::with_backup(false);
    // Several commits later, so that the difference is more than a crash explains.
    let witness = site.place.serve();
    let last = run(async {
        let mut a = witness.client(&site.key);
        let mut record = solo;
        for _ in 0..4 {
            record = changed(&mut a, &swap(&record, Side::A, Claim::Solo)).await;
        }
        record
    });
    witness.stop();
    site.restore_stamp();
    assert_eq!(site.b_claims(&last).1.holder, Holder::Unknown);
}

#[test]
fn without_a_restore_the_record_stands() {
    let (site, solo) = Site::with_backup(false);
    let (verdict, record) = site.b_claims(&solo);
    assert_eq!(verdict, Verdict::Refused(Refusal::Moved { current: solo }));
    assert_eq!(record, solo);
}

/// The stated limit: a machine that goes back in time as a whole, stamp and all, cannot know it. The node
/// that was there afterwards knows it, and shows it with its next request; so does an operator.
#[test]
fn a_snapshot_of_the_whole_machine_is_noticed_by_who_was_there_later() {
    let (site, solo) = Site::with_backup(false);
    site.restore_data();
    site.restore_stamp();
    let witness = site.place.serve();
    run(async {
        let mut a = witness.client(&site.key);
        let seen = Seen { lineage: solo.lineage, epoch: solo.epoch };
        let record = a.read(Some(seen), LIMIT).await.unwrap().record();
        assert_eq!(record.holder, Holder::Unknown);
        assert_ne!(record.lineage, solo.lineage);
    });
    drop(witness);

    site.restore_data();
    site.restore_stamp();
    assert!(site.place.command("restored").arg("--yes").status().unwrap().success());
    let (verdict, record) = site.b_claims(&solo);
    assert!(matches!(verdict, Verdict::Refused(Refusal::ForeignLineage { .. })), "{verdict:?}");
    assert_eq!(record.holder, Holder::Unknown);
}

#[test]
fn an_operator_can_say_it_to_the_running_witness() {
    let place = Place::new();
    let witness = place.serve();
    let key = key(1);
    place.enrol(&[Arc::clone(&key)]);
    run(async {
        let mut a = witness.client(&key);
        let unknown = current(&mut a).await;
        let paired = changed(&mut a, &adopt(&unknown, Side::A)).await;
        assert!(!place.command("restored").status().unwrap().success(), "only with --yes");
        assert_eq!(current(&mut a).await, paired);
        assert!(place.command("restored").arg("--yes").status().unwrap().success());
        let record = current(&mut a).await;
        assert_eq!((record.holder, record.epoch), (Holder::Unknown, paired.epoch));
        assert_ne!(record.lineage, paired.lineage);
        // The connected pair brings it back, above every epoch that was.
        assert_eq!(changed(&mut a, &adopt(&record, Side::A)).await.epoch, Epoch(2));
    });
}
