//! What a recorded, once valid claim can do when it is said again: nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use pair_core::record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Side, Swap, decide};
use witness_protocol::auth::AuthError;
use witness_protocol::request::Rejected;
use witness_protocol::{Ask, Audience, Channel, PairKey, PairSecret, Request};

const A: DiskId = DiskId([0xa; 16]);
const B: DiskId = DiskId([0xb; 16]);
const HERE: Audience = Audience { witness: [1; 32], channel: [2; 32] };

/// The witness, without its sockets and its disk.
struct Witness {
    record: Record,
    key: PairKey,
}

impl Witness {
    fn new() -> Self {
        let record =
            Record { lineage: Lineage([5; 16]), epoch: Epoch(10), holder: Holder::Paired { a: A, b: B } };
        Self { record, key: key(b"the pair's own secret") }
    }

    fn hear(&mut self, bytes: &[u8], audience: &Audience, channel: &mut Channel) -> Result<bool, Rejected> {
        let opened = Request::open(bytes, audience, |pair| *pair == self.key.id())?;
        channel.accept(opened.request().sequence)?;
        let Ask::Swap(swap) = opened.request().ask else { return Ok(false) };
        Ok(decide(&self.record, &swap).map(|next| self.record = next).is_ok())
    }
}

fn key(secret: &[u8]) -> PairKey {
    PairKey::derive(&PairSecret::new(secret).unwrap()).unwrap()
}

fn claim(key: &PairKey, record: &Record, sequence: u64, audience: &Audience) -> Vec<u8> {
    let swap =
        Swap { lineage: record.lineage, expect: record.epoch, side: Side::A, disk: A, claim: Claim::Solo };
    Request { pair: key.id(), id: [8; 16], sequence, ask: Ask::Swap(swap) }.seal(key, audience)
}

#[test]
fn on_the_same_connection_the_sequence_refuses_it() {
    let mut witness = Witness::new();
    let mut channel = Channel::default();
    let recorded = claim(&witness.key, &witness.record, 1, &HERE);
    assert_eq!(witness.hear(&recorded, &HERE, &mut channel), Ok(true));
    let after = witness.record;
    let old = AuthError::OldSequence { got: 1, last: 1 };
    assert_eq!(witness.hear(&recorded, &HERE, &mut channel), Err(Rejected::Auth(old)));
    assert_eq!(witness.record, after);
}

/// The dangerous one. The witness is restored to a time at which the recorded claim would be valid again:
/// same lineage, same epoch. Compare-and-swap alone would take it; the connection's binding does not.
#[test]
fn after_a_rollback_of_the_witness_it_is_a_bad_signature() {
    let mut witness = Witness::new();
    let before = witness.record;
    let recorded = claim(&witness.key, &witness.record, 1, &HERE);
    assert_eq!(witness.hear(&recorded, &HERE, &mut Channel::default()), Ok(true));

    witness.record = before;
    let other_connection = Audience { channel: [3; 32], ..HERE };
    assert_eq!(
        witness.hear(&recorded, &other_connection, &mut Channel::default()),
        Err(Rejected::Auth(AuthError::BadSignature))
    );
    assert_eq!(witness.record, before);
    // The same words on the old connection would have been taken: it is the binding that refuses them.
    assert_eq!(witness.hear(&recorded, &HERE, &mut Channel::default()), Ok(true));
}

/// A claim that was swallowed by the network, and comes out after the pair has been solo and paired again.
#[test]
fn a_claim_that_never_arrived_is_void_once_the_record_moved() {
    let mut witness = Witness::new();
    let mut channel = Channel::default();
    let late = claim(&witness.key, &witness.record, 1, &HERE);
    let newer = claim(&witness.key, &witness.record, 2, &HERE);
    assert_eq!(witness.hear(&newer, &HERE, &mut channel), Ok(true));
    let after = witness.record;
    // Even where the sequence would let it pass, compare-and-swap does not.
    assert_eq!(witness.hear(&late, &HERE, &mut Channel::default()), Ok(false));
    assert!(witness.hear(&late, &HERE, &mut channel).is_err());
    assert_eq!(witness.record, after);
}

#[test]
fn at_another_witness_it_is_a_bad_signature() {
    let mut witness = Witness::new();
    let recorded = claim(&witness.key, &witness.record, 1, &HERE);
    let other_witness = Audience { witness: [4; 32], ..HERE };
    assert_eq!(
        witness.hear(&recorded, &other_witness, &mut Channel::default()),
        Err(Rejected::Auth(AuthError::BadSignature))
    );
}

#[test]
fn another_pair_cannot_speak_for_this_one() {
    let mut witness = Witness::new();
    let stranger = key(b"some other pair's secret");
    let own = claim(&stranger, &witness.record, 1, &HERE);
    let bad = Err(Rejected::Auth(AuthError::BadSignature));
    assert_eq!(witness.hear(&own, &HERE, &mut Channel::default()), bad);
    // Its signature under this pair's name.
    let mut forged = own;
    forged[4..36].copy_from_slice(&witness.key.id().0);
    assert_eq!(witness.hear(&forged, &HERE, &mut Channel::default()), bad);
}

#[test]
fn sequences_rise_and_begin_above_zero() {
    let mut channel = Channel::default();
    assert!(channel.accept(0).is_err());
    for good in [1, 2, 9, u64::MAX] {
        assert_eq!(channel.accept(good), Ok(()));
    }
    assert!(channel.accept(u64::MAX).is_err());
}

#[test]
fn secrets_are_long_enough_and_stay_hidden() {
    assert_eq!(PairSecret::new(b"  short \n").unwrap_err(), AuthError::SecretTooShort(5));
    let secret = PairSecret::new(b"correct horse battery staple\n").unwrap();
    assert_eq!(format!("{secret:?}"), "PairSecret(…)");
    // The newline of an editor makes no other pair.
    assert_eq!(PairKey::derive(&secret).unwrap().id(), key(b"correct horse battery staple").id());
    let id = key(b"correct horse battery staple").id();
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("ed25519:00".parse::<witness_protocol::PairId>().is_err());
    assert!(format!("{:?}", key(b"correct horse battery staple")).contains("ed25519:"));
}

#[test]
fn a_stored_record_is_bound_to_its_place() {
    let key = key(b"the pair's own secret");
    let signature = key.sign_stored(b"/edgepair/x", b"record");
    assert_eq!(key.id().check_stored(b"/edgepair/x", b"record", &signature), Ok(()));
    assert!(key.id().check_stored(b"/edgepair/y", b"record", &signature).is_err());
    assert!(key.id().check_stored(b"/edgepair/", b"xrecord", &signature).is_err());
    assert!(key.id().check_stored(b"/edgepair/x", b"recore", &signature).is_err());
}
