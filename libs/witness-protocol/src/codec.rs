//! Records, swaps and refusals in the canonical encoding. The witness stores records in the same form.
//!
//! ```text
//! record   lineage[16] epoch[8] holder
//! holder   0 | 1 a[16] b[16] | 2 side disk[16]                      unknown, paired, solo
//! side     0 | 1                                                    a, b
//! swap     lineage[16] expect[8] side disk[16] claim
//! claim    0 | 1 | 2 peer[16] | 3 peer[16] floor[8] | 4 floor[8]    solo, give away, pair, adopt, appoint
//! refusal  0…8 record
//! ```

use pair_core::record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Refusal, Side, Swap};

use crate::wire::{Malformed, Reader};

/// No record is longer than this (a paired one has this length).
pub const RECORD_MAX: usize = 16 + 8 + 1 + 32;

/// Appends a record.
pub fn put_record(out: &mut Vec<u8>, record: &Record) {
    out.extend_from_slice(&record.lineage.0);
    out.extend_from_slice(&record.epoch.0.to_be_bytes());
    match record.holder {
        Holder::Unknown => out.push(0),
        Holder::Paired { a, b } => {
            out.push(1);
            out.extend_from_slice(&a.0);
            out.extend_from_slice(&b.0);
        }
        Holder::Solo { side, disk } => {
            out.push(2);
            put_side(out, side);
            out.extend_from_slice(&disk.0);
        }
    }
}

/// Takes a record off the reader.
///
/// # Errors
/// [`Malformed`].
pub fn take_record(reader: &mut Reader<'_>) -> Result<Record, Malformed> {
    let lineage = Lineage(reader.array("lineage")?);
    let epoch = Epoch(reader.u64("epoch")?);
    let holder = match reader.byte("holder")? {
        0 => Holder::Unknown,
        1 => Holder::Paired { a: DiskId(reader.array("disk a")?), b: DiskId(reader.array("disk b")?) },
        2 => Holder::Solo { side: take_side(reader)?, disk: DiskId(reader.array("disk")?) },
        _ => return Err(Malformed::Undefined("holder")),
    };
    Ok(Record { lineage, epoch, holder })
}

/// A record as bytes of its own, as the witness stores it.
#[must_use]
pub fn record_bytes(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD_MAX);
    put_record(&mut out, record);
    out
}

/// The inverse of [`record_bytes`].
///
/// # Errors
/// [`Malformed`], also for bytes left over.
pub fn record_from_bytes(bytes: &[u8]) -> Result<Record, Malformed> {
    let mut reader = Reader::new(bytes, RECORD_MAX)?;
    let record = take_record(&mut reader)?;
    reader.end()?;
    Ok(record)
}

/// Appends a swap.
pub fn put_swap(out: &mut Vec<u8>, swap: &Swap) {
    out.extend_from_slice(&swap.lineage.0);
    out.extend_from_slice(&swap.expect.0.to_be_bytes());
    put_side(out, swap.side);
    out.extend_from_slice(&swap.disk.0);
    match swap.claim {
        Claim::Solo => out.push(0),
        Claim::GiveAway => out.push(1),
        Claim::Pair { peer } => {
            out.push(2);
            out.extend_from_slice(&peer.0);
        }
        Claim::Adopt { peer, floor } => {
            out.push(3);
            out.extend_from_slice(&peer.0);
            out.extend_from_slice(&floor.0.to_be_bytes());
        }
        Claim::Appoint { floor } => {
            out.push(4);
            out.extend_from_slice(&floor.0.to_be_bytes());
        }
    }
}

/// Takes a swap off the reader.
///
/// # Errors
/// [`Malformed`].
pub fn take_swap(reader: &mut Reader<'_>) -> Result<Swap, Malformed> {
    let lineage = Lineage(reader.array("lineage")?);
    let expect = Epoch(reader.u64("expected epoch")?);
    let side = take_side(reader)?;
    let disk = DiskId(reader.array("own disk")?);
    let claim = match reader.byte("claim")? {
        0 => Claim::Solo,
        1 => Claim::GiveAway,
        2 => Claim::Pair { peer: DiskId(reader.array("peer's disk")?) },
        3 => Claim::Adopt {
            peer: DiskId(reader.array("peer's disk")?),
            floor: Epoch(reader.u64("epoch floor")?),
        },
        4 => Claim::Appoint { floor: Epoch(reader.u64("epoch floor")?) },
        _ => return Err(Malformed::Undefined("claim")),
    };
    Ok(Swap { lineage, expect, side, disk, claim })
}

/// Appends a refusal.
pub fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    out.push(match refusal {
        Refusal::ForeignLineage { .. } => 0,
        Refusal::Moved { .. } => 1,
        Refusal::WitnessBehind { .. } => 2,
        Refusal::HolderUnknown { .. } => 3,
        Refusal::PeerIsSolo { .. } => 4,
        Refusal::NotMyDisk { .. } => 5,
        Refusal::SameDisk { .. } => 6,
        Refusal::WrongHolder { .. } => 7,
        Refusal::EpochsExhausted { .. } => 8,
    });
    put_record(out, &refusal.current());
}

/// Takes a refusal off the reader.
///
/// # Errors
/// [`Malformed`].
pub fn take_refusal(reader: &mut Reader<'_>) -> Result<Refusal, Malformed> {
    let tag = reader.byte("refusal")?;
    let current = take_record(reader)?;
    Ok(match tag {
        0 => Refusal::ForeignLineage { current },
        1 => Refusal::Moved { current },
        2 => Refusal::WitnessBehind { current },
        3 => Refusal::HolderUnknown { current },
        4 => Refusal::PeerIsSolo { current },
        5 => Refusal::NotMyDisk { current },
        6 => Refusal::SameDisk { current },
        7 => Refusal::WrongHolder { current },
        8 => Refusal::EpochsExhausted { current },
        _ => return Err(Malformed::Undefined("refusal")),
    })
}

fn put_side(out: &mut Vec<u8>, side: Side) {
    out.push(match side {
        Side::A => 0,
        Side::B => 1,
    });
}

fn take_side(reader: &mut Reader<'_>) -> Result<Side, Malformed> {
    match reader.byte("side")? {
        0 => Ok(Side::A),
        1 => Ok(Side::B),
        _ => Err(Malformed::Undefined("side")),
    }
}
