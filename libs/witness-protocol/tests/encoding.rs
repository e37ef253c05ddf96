//! The encoding is canonical and bounded, and the parsers take any bytes without panicking.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use pair_core::record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Refusal, Side, Swap};
use proptest::prelude::*;
use witness_protocol::answer::ANSWER_MAX;
use witness_protocol::codec::{RECORD_MAX, record_bytes, record_from_bytes};
use witness_protocol::request::REQUEST_MAX;
use witness_protocol::wire::Malformed;
use witness_protocol::{Answer, Ask, Audience, PairKey, PairSecret, Request, Seen, Verdict};

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::A), Just(Side::B)]
}

fn disk() -> impl Strategy<Value = DiskId> {
    any::<[u8; 16]>().prop_map(DiskId)
}

fn record() -> impl Strategy<Value = Record> {
    let holder = prop_oneof![
        Just(Holder::Unknown),
        (disk(), disk()).prop_map(|(a, b)| Holder::Paired { a, b }),
        (side(), disk()).prop_map(|(side, disk)| Holder::Solo { side, disk }),
    ];
    (any::<[u8; 16]>(), any::<u64>(), holder).prop_map(|(lineage, epoch, holder)| Record {
        lineage: Lineage(lineage),
        epoch: Epoch(epoch),
        holder,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let claim = prop_oneof![
        Just(Claim::Solo),
        Just(Claim::GiveAway),
        disk().prop_map(|peer| Claim::Pair { peer }),
        (disk(), any::<u64>()).prop_map(|(peer, floor)| Claim::Adopt { peer, floor: Epoch(floor) }),
        any::<u64>().prop_map(|floor| Claim::Appoint { floor: Epoch(floor) }),
    ];
    let swap = (any::<[u8; 16]>(), any::<u64>(), side(), disk(), claim).prop_map(
        |(lineage, expect, side, disk, claim)| {
            Ask::Swap(Swap { lineage: Lineage(lineage), expect: Epoch(expect), side, disk, claim })
        },
    );
    let seen =
        (any::<[u8; 16]>(), any::<u64>()).prop_map(|(l, e)| Seen { lineage: Lineage(l), epoch: Epoch(e) });
    prop_oneof![proptest::option::of(seen).prop_map(|seen| Ask::Read { seen }), swap]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let refusal = (record(), 0..9u8).prop_map(|(current, tag)| match tag {
        0 => Refusal::ForeignLineage { current },
        1 => Refusal::Moved { current },
        2 => Refusal::WitnessBehind { current },
        3 => Refusal::HolderUnknown { current },
        4 => Refusal::PeerIsSolo { current },
        5 => Refusal::NotMyDisk { current },
        6 => Refusal::SameDisk { current },
        7 => Refusal::WrongHolder { current },
        _ => Refusal::EpochsExhausted { current },
    });
    prop_oneof![
        record().prop_map(Verdict::Current),
        record().prop_map(Verdict::Changed),
        refusal.prop_map(Verdict::Refused),
    ]
}

fn key() -> PairKey {
    PairKey::derive(&PairSecret::new(b"a secret of sixteen bytes or more").unwrap()).unwrap()
}

fn audience() -> Audience {
    Audience { witness: [7; 32], channel: [9; 32] }
}

/// Whatever the parsers take, they write back byte for byte; this is what "canonical" means.
fn takes_only_canonical(bytes: &[u8]) {
    if let Ok((request, body, signature)) = Request::parse(bytes) {
        assert_eq!([body, &signature].concat(), bytes);
        let sealed = request.seal(&key(), &audience());
        assert_eq!(&sealed[..body.len()], body);
    }
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
    if let Ok(record) = record_from_bytes(bytes) {
        assert_eq!(record_bytes(&record), bytes);
    }
}

proptest! {
    #[test]
    fn requests_round_trip(id: [u8; 16], sequence: u64, ask in ask()) {
        let key = key();
        let request = Request { pair: key.id(), id, sequence, ask };
        let bytes = request.seal(&key, &audience());
        prop_assert!(bytes.len() <= REQUEST_MAX);
        let opened = Request::open(&bytes, &audience(), |pair| *pair == key.id()).unwrap();
        prop_assert_eq!(opened.request(), &request);
    }

    #[test]
    fn answers_round_trip(id: [u8; 16], verdict in verdict()) {
        let answer = Answer { id, verdict };
        let bytes = answer.encode();
        prop_assert!(bytes.len() <= ANSWER_MAX);
        prop_assert_eq!(Answer::decode(&bytes), Ok(answer));
    }

    #[test]
    fn records_round_trip(record in record()) {
        let bytes = record_bytes(&record);
        prop_assert!(bytes.len() <= RECORD_MAX);
        prop_assert_eq!(record_from_bytes(&bytes), Ok(record));
    }

    #[test]
    fn every_cut_is_refused(id: [u8; 16], ask in ask(), verdict in verdict()) {
        let request = Request { pair: key().id(), id, sequence: 1, ask }.seal(&key(), &audience());
        for length in 0..request.len() {
            prop_assert!(Request::open(&request[..length], &audience(), |_| true).is_err());
        }
        let answer = Answer { id, verdict }.encode();
        for length in 0..answer.len() {
            prop_assert!(Answer::decode(&answer[..length]).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_breaks_the_signature(id: [u8; 16], ask in ask(), at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = Request { pair: key().id(), id, sequence: 1, ask }.seal(&key(), &audience());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Request::open(&bytes, &audience(), |_| true).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        takes_only_canonical(&bytes);
    }

    /// Random bytes seldom get past the magic: so begin with a good message and spoil it.
    #[test]
    fn spoilt_messages_are_survived(
        ask in ask(),
        verdict in verdict(),
        spoil in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        tail in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let request = Request { pair: key().id(), id: [3; 16], sequence: 1, ask }.seal(&key(), &audience());
        let answer = Answer { id: [3; 16], verdict }.encode();
        for mut bytes in [request, answer] {
            bytes.extend_from_slice(&tail);
            for (at, value) in &spoil {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            takes_only_canonical(&bytes);
        }
    }
}

#[test]
fn sizes_versions_and_left_over_bytes() {
    let record = Record { lineage: Lineage([1; 16]), epoch: Epoch(2), holder: Holder::Unknown };
    let good = Answer { id: [0; 16], verdict: Verdict::Current(record) }.encode();
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Answer::decode(&bytes)
    };
    assert!(Answer::decode(&good).is_ok());
    assert_eq!(change(0, b'X'), Err(Malformed::Magic));
    assert_eq!(change(3, 2), Err(Malformed::Version(2)));
    assert_eq!(change(20, 9), Err(Malformed::Undefined("verdict")));
    assert_eq!(Answer::decode(&[good.as_slice(), &[0]].concat()), Err(Malformed::TrailingBytes(1)));
    assert_eq!(Answer::decode(&[0; ANSWER_MAX + 1]), Err(Malformed::TooLong(ANSWER_MAX + 1)));
    assert_eq!(Request::parse(&[0; REQUEST_MAX + 1]), Err(Malformed::TooLong(REQUEST_MAX + 1)));
    assert_eq!(Request::parse(&[]), Err(Malformed::Short("signature")));
}

/// The wire form of version 1, byte for byte: a change here needs a new version number.
#[test]
fn version_one_stays_as_it_is() {
    let swap = Swap {
        lineage: Lineage([0x11; 16]),
        expect: Epoch(7),
        side: Side::B,
        disk: DiskId([0x22; 16]),
        claim: Claim::Adopt { peer: DiskId([0x33; 16]), floor: Epoch(9) },
    };
    let key = key();
    let sealed =
        Request { pair: key.id(), id: [0x44; 16], sequence: 5, ask: Ask::Swap(swap) }.seal(&key, &audience());
    let want = [
        "45505701".to_owned(),
        hex::encode(key.id().0),
        "44".repeat(16),
        "0000000000000005".to_owned(),
        "02".to_owned(),
        "11".repeat(16),
        "0000000000000007".to_owned(),
        "01".to_owned(),
        "22".repeat(16),
        "03".to_owned(),
        "33".repeat(16),
        "0000000000000009".to_owned(),
    ]
    .concat();
    assert_eq!(hex::encode(&sealed[..sealed.len() - 64]), want);
    // Ed25519 is deterministic and HKDF too: a change of derivation would lock every enrolled pair out.
    assert_eq!(
        key.id().to_string(),
        "ed25519:55fb8035178f20662d33d1eda20e6d257f3d532664eb140f08dd97d9a09ffb1d"
    );
}
