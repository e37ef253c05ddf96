//! The whole table of changes, and each refusal.

use super::*;

const L: Lineage = Lineage([1; 16]);
const DA: DiskId = DiskId([0xa; 16]);
const DB: DiskId = DiskId([0xb; 16]);
const DX: DiskId = DiskId([0xc; 16]);
const PAIRED: Holder = Holder::Paired { a: DA, b: DB };
const SOLO_A: Holder = Holder::Solo { side: Side::A, disk: DA };
const SOLO_B: Holder = Holder::Solo { side: Side::B, disk: DB };

fn at(holder: Holder) -> Record {
    Record { lineage: L, epoch: Epoch(7), holder }
}

fn by(side: Side, claim: Claim) -> Swap {
    let disk = if side == Side::A { DA } else { DB };
    Swap { lineage: L, expect: Epoch(7), side, disk, claim }
}

fn holder(current: Holder, swap: Swap) -> Result<Holder, &'static str> {
    decide(&at(current), &swap)
        .map(|next| {
            assert!(next.epoch > Epoch(7));
            next.holder
        })
        .map_err(|refusal| {
            assert_eq!(refusal.current(), at(current));
            match refusal {
                Refusal::ForeignLineage { .. } => "foreign",
                Refusal::Moved { .. } => "moved",
                Refusal::WitnessBehind { .. } => "behind",
                Refusal::HolderUnknown { .. } => "unknown",
                Refusal::PeerIsSolo { .. } => "peer",
                Refusal::NotMyDisk { .. } => "disk",
                Refusal::SameDisk { .. } => "same",
                Refusal::WrongHolder { .. } => "holder",
                Refusal::EpochsExhausted { .. } => "end",
            }
        })
}

#[test]
fn the_whole_table() {
    let pair = |peer| Claim::Pair { peer };
    let adopt = |peer| Claim::Adopt { peer, floor: Epoch(20) };
    let appoint = Claim::Appoint { floor: Epoch(20) };
    let rows: &[(Holder, Side, Claim, Result<Holder, &str>)] = &[
        (PAIRED, Side::A, Claim::Solo, Ok(SOLO_A)),
        (PAIRED, Side::B, Claim::Solo, Ok(SOLO_B)),
        (SOLO_A, Side::A, Claim::Solo, Ok(SOLO_A)),
        (SOLO_A, Side::B, Claim::Solo, Err("peer")),
        (Holder::Unknown, Side::A, Claim::Solo, Err("unknown")),
        (PAIRED, Side::A, Claim::GiveAway, Ok(SOLO_B)),
        (PAIRED, Side::B, Claim::GiveAway, Ok(SOLO_A)),
        (SOLO_A, Side::A, Claim::GiveAway, Err("holder")),
        (SOLO_A, Side::B, Claim::GiveAway, Err("peer")),
        (Holder::Unknown, Side::B, Claim::GiveAway, Err("unknown")),
        (SOLO_A, Side::A, pair(DB), Ok(PAIRED)),
        (SOLO_B, Side::B, pair(DX), Ok(Holder::Paired { a: DX, b: DB })),
        (SOLO_A, Side::A, pair(DA), Err("same")),
        (SOLO_A, Side::B, pair(DA), Err("peer")),
        (PAIRED, Side::A, pair(DB), Err("holder")),
        (Holder::Unknown, Side::A, pair(DB), Err("unknown")),
        (Holder::Unknown, Side::B, adopt(DA), Ok(PAIRED)),
        (Holder::Unknown, Side::A, adopt(DA), Err("same")),
        (PAIRED, Side::A, adopt(DB), Err("holder")),
        (SOLO_A, Side::A, adopt(DB), Err("holder")),
        (Holder::Unknown, Side::A, appoint, Ok(SOLO_A)),
        (PAIRED, Side::B, appoint, Ok(SOLO_B)),
        (SOLO_A, Side::B, appoint, Ok(SOLO_B)),
    ];
    for (current, side, claim, want) in rows {
        assert_eq!(&holder(*current, by(*side, *claim)), want, "{current} {side} {claim:?}");
    }
}

#[test]
fn a_cloned_or_replaced_disk_is_not_the_node() {
    for (current, claim) in [
        (PAIRED, Claim::Solo),
        (SOLO_A, Claim::Solo),
        (PAIRED, Claim::GiveAway),
        (SOLO_A, Claim::Pair { peer: DB }),
    ] {
        let swap = Swap { disk: DX, ..by(Side::A, claim) };
        assert_eq!(holder(current, swap), Err("disk"));
    }
    // The clone of a's disk in box b is not b either.
    assert_eq!(holder(PAIRED, Swap { disk: DA, ..by(Side::B, Claim::Solo) }), Err("disk"));
}

#[test]
fn only_at_the_expected_epoch_of_the_same_lineage() {
    let claim = by(Side::A, Claim::Solo);
    assert_eq!(holder(PAIRED, Swap { expect: Epoch(6), ..claim }), Err("moved"));
    assert_eq!(holder(PAIRED, Swap { expect: Epoch(8), ..claim }), Err("behind"));
    assert_eq!(holder(PAIRED, Swap { lineage: Lineage([2; 16]), ..claim }), Err("foreign"));
    let end = Record { epoch: Epoch(u64::MAX), ..at(PAIRED) };
    let swap = Swap { expect: Epoch(u64::MAX), ..claim };
    assert_eq!(decide(&end, &swap), Err(Refusal::EpochsExhausted { current: end }));
}

#[test]
fn a_fresh_claim_kills_the_pairing_in_flight() {
    let old = by(Side::A, Claim::Pair { peer: DB });
    let fresh = decide(&at(SOLO_A), &by(Side::A, Claim::Solo)).unwrap();
    assert_eq!(fresh, Record { epoch: Epoch(8), ..at(SOLO_A) });
    assert_eq!(decide(&fresh, &old), Err(Refusal::Moved { current: fresh }));
}

#[test]
fn leaving_unknown_goes_above_every_remembered_epoch() {
    let adopt = by(Side::A, Claim::Adopt { peer: DB, floor: Epoch(20) });
    assert_eq!(decide(&at(Holder::Unknown), &adopt).unwrap().epoch, Epoch(21));
    let low = by(Side::A, Claim::Adopt { peer: DB, floor: Epoch(2) });
    assert_eq!(decide(&at(Holder::Unknown), &low).unwrap().epoch, Epoch(8));
    let appoint = by(Side::B, Claim::Appoint { floor: Epoch(20) });
    assert_eq!(decide(&at(PAIRED), &appoint).unwrap().epoch, Epoch(21));
}

#[test]
fn a_restored_record_believes_nothing_of_the_old_one() {
    let restored = at(SOLO_A).restored(Lineage([9; 16]));
    assert_eq!(restored.holder, Holder::Unknown);
    let swap = by(Side::A, Claim::Solo);
    assert_eq!(decide(&restored, &swap), Err(Refusal::ForeignLineage { current: restored }));
    assert_eq!(Record::new(L), Record { lineage: L, epoch: Epoch(0), holder: Holder::Unknown });
}

#[test]
fn identifiers_are_hexadecimal_text() {
    let text = "000102030405060708090a0b0c0d0eff";
    let id: DiskId = text.parse().unwrap();
    assert_eq!(id.0[15], 0xff);
    assert_eq!(id.0[1], 1);
    assert_eq!(String::from(id), text);
    assert_eq!("000102030405060708090a0b0c0d0ef".parse::<DiskId>(), Err(BadId));
    assert_eq!("g00102030405060708090a0b0c0d0eff".parse::<Lineage>(), Err(BadId));
    assert_eq!(Lineage::try_from(text.to_owned()).unwrap().to_string(), text);
    assert_eq!(!Side::A, Side::B);
    assert_eq!(!Side::B, Side::A);
}
