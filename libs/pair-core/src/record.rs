//! The witness record and the only ways in which it changes.
//!
//! One record per pair answers one question: who may acknowledge a write without the other. It changes only by
//! compare-and-swap: a [`Swap`] names the lineage and the epoch that its sender believes, [`decide`] either
//! returns the record that replaces the old one (epoch larger by at least one) or a [`Refusal`] in words. A
//! witness stores the result durably *before* it answers, and does nothing else.
//!
//! ```text
//!                    Claim(x)                         Claim(x): fresh, kills older swaps in flight
//!   paired(a,b) ───────────────▶ solo(x) ◀─────────┐
//!      ▲   │       GiveAway(by the peer of x)      │
//!      │   └───────────────────────▶ solo(x) ──────┘
//!      │ Pair(x connected, both UpToDate; enrols the peer's disk id)
//!      └────────────────────────── solo(x)
//!   unknown ── Adopt(connected, both UpToDate) ──▶ paired(a,b)
//!   anything ── Appoint(x: an operator's word) ──▶ solo(x)
//! ```

mod id;

pub use id::{BadId, DiskId, Epoch, Lineage, Side};

use core::fmt;
use serde::{Deserialize, Serialize};

/// Who may acknowledge writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Holder {
    /// Nobody knows: a new or restored database. Nobody may go on alone.
    Unknown,
    /// Nobody alone; both disks hold every acknowledged write.
    Paired {
        /// Disk of `[node.a]`.
        a: DiskId,
        /// Disk of `[node.b]`.
        b: DiskId,
    },
    /// One node alone; the other disk may be stale.
    Solo {
        /// Which node.
        side: Side,
        /// Its disk: another disk in the same box is not meant.
        disk: DiskId,
    },
}

impl Holder {
    /// The disk id that this record knows for `side`.
    pub fn disk_of(&self, side: Side) -> Option<DiskId> {
        match *self {
            Holder::Unknown => None,
            Holder::Paired { a, b } => Some(match side {
                Side::A => a,
                Side::B => b,
            }),
            Holder::Solo { side: owner, disk } => (owner == side).then_some(disk),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Unknown => f.write_str("unknown"),
            Holder::Paired { .. } => f.write_str("paired"),
            Holder::Solo { side, .. } => write!(f, "solo({side})"),
        }
    }
}

/// What the witness keeps for one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The history this epoch belongs to.
    pub lineage: Lineage,
    /// Number of the last change.
    pub epoch: Epoch,
    /// Who may acknowledge writes.
    pub holder: Holder,
}

impl Record {
    /// The record of a pair that a witness sees for the first time.
    pub fn new(lineage: Lineage) -> Record {
        Record { lineage, epoch: Epoch(0), holder: Holder::Unknown }
    }

    /// What a record becomes when its database was restored or may have gone back in time. The new lineage makes
    /// every swap in flight foreign, and nothing that the old database said is believed.
    #[must_use]
    pub fn restored(&self, lineage: Lineage) -> Record {
        Record { lineage, epoch: self.epoch, holder: Holder::Unknown }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.holder, self.epoch)
    }
}

/// One compare-and-swap request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// The lineage that the sender believes.
    pub lineage: Lineage,
    /// The epoch that the sender believes; the swap happens at exactly this one.
    pub expect: Epoch,
    /// The sender's side.
    pub side: Side,
    /// The sender's own disk.
    pub disk: DiskId,
    /// What the sender wants.
    pub claim: Claim,
}

/// What a swap asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Claim {
    /// `paired → solo(me)`, or `solo(me) → solo(me)`: the only grant to go on alone. The second form is no waste:
    /// it makes every older swap of either node fail, above all an own [`Claim::Pair`] still on its way.
    Solo,
    /// `paired → solo(peer)`: by a node that will not write again until it has synchronised.
    GiveAway,
    /// `solo(me) → paired`: sent only while connected with both disks UpToDate. Enrols `peer`, which may be a
    /// replaced box's new disk.
    Pair {
        /// The peer's disk, as its agent reports it over the authenticated channel.
        peer: DiskId,
    },
    /// `unknown → paired`: sent only while connected with both disks UpToDate.
    Adopt {
        /// The peer's disk.
        peer: DiskId,
        /// The highest epoch that either node remembers; the new epoch is above it.
        floor: Epoch,
    },
    /// `anything → solo(me)`: by an operator, with the other node proven or sworn to be off and to be wiped.
    Appoint {
        /// The highest epoch that this node remembers; the new epoch is above it.
        floor: Epoch,
    },
}

/// Why a swap did not happen. `current` is the record as it stands, so that a sender need not read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// The sender speaks of another history than this witness.
    ForeignLineage {
        /// The record as it stands.
        current: Record,
    },
    /// The record has moved on since the sender looked.
    Moved {
        /// The record as it stands.
        current: Record,
    },
    /// The sender remembers a later epoch than this witness: the witness has lost history.
    WitnessBehind {
        /// The record as it stands.
        current: Record,
    },
    /// The witness does not know who is current.
    HolderUnknown {
        /// The record as it stands.
        current: Record,
    },
    /// The other node is solo: this one may be stale.
    PeerIsSolo {
        /// The record as it stands.
        current: Record,
    },
    /// The record knows another disk for this side: a cloned, moved or replaced one is asking.
    NotMyDisk {
        /// The record as it stands.
        current: Record,
    },
    /// Both sides name the same disk id.
    SameDisk {
        /// The record as it stands.
        current: Record,
    },
    /// This change starts from another holder than the current one.
    WrongHolder {
        /// The record as it stands.
        current: Record,
    },
    /// The epoch cannot grow any more.
    EpochsExhausted {
        /// The record as it stands.
        current: Record,
    },
}

impl Refusal {
    /// The record that made the witness refuse.
    pub fn current(&self) -> Record {
        match *self {
            Refusal::ForeignLineage { current }
            | Refusal::Moved { current }
            | Refusal::WitnessBehind { current }
            | Refusal::HolderUnknown { current }
            | Refusal::PeerIsSolo { current }
            | Refusal::NotMyDisk { current }
            | Refusal::SameDisk { current }
            | Refusal::WrongHolder { current }
            | Refusal::EpochsExhausted { current } => current,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::ForeignLineage { current } => write!(
                f,
                "the witness keeps another history of this pair (lineage {}): it is new, restored or not ours",
                current.lineage
            ),
            Refusal::Moved { current } => {
                write!(f, "the record changed in the meantime, it is {current} now: ask again")
            }
            Refusal::WitnessBehind { current } => {
                write!(f, "the witness is at epoch {}, behind what this node remembers", current.epoch)
            }
            Refusal::HolderUnknown { .. } => f.write_str(
                "the witness does not know who is current: connect both nodes, or let an operator decide",
            ),
            Refusal::PeerIsSolo { current } => {
                write!(f, "the other node went on alone ({current}): this disk may be stale")
            }
            Refusal::NotMyDisk { .. } => f.write_str(
                "the record knows another disk for this node: this one is cloned, moved or replaced and must be enrolled by the active node",
            ),
            Refusal::SameDisk { .. } => {
                f.write_str("both nodes name the same disk: one is a clone of the other")
            }
            Refusal::WrongHolder { current } => {
                write!(f, "this change is not possible while the record is {current}")
            }
            Refusal::EpochsExhausted { .. } => f.write_str("the epoch cannot grow any more"),
        }
    }
}

impl core::error::Error for Refusal {}

/// Decides one swap: the record that replaces `current`, or why there is none.
///
/// The caller makes the result durable before it answers. A refused swap changes nothing.
///
/// # Errors
/// Every [`Refusal`]; each carries `current`.
pub fn decide(current: &Record, swap: &Swap) -> Result<Record, Refusal> {
    let current = *current;
    if swap.lineage != current.lineage {
        return Err(Refusal::ForeignLineage { current });
    }
    if swap.expect < current.epoch {
        return Err(Refusal::Moved { current });
    }
    if swap.expect > current.epoch {
        return Err(Refusal::WitnessBehind { current });
    }
    let me = Holder::Solo { side: swap.side, disk: swap.disk };
    let (holder, floor) = match swap.claim {
        Claim::Solo => (known_me(&current, swap).map(|()| me)?, current.epoch),
        Claim::GiveAway => {
            known_me(&current, swap)?;
            match (current.holder, current.holder.disk_of(!swap.side)) {
                (Holder::Paired { .. }, Some(disk)) => {
                    (Holder::Solo { side: !swap.side, disk }, current.epoch)
                }
                // A solo node's peer may be stale: it cannot be made the owner by a wish.
                _ => return Err(Refusal::WrongHolder { current }),
            }
        }
        Claim::Pair { peer } => {
            known_me(&current, swap)?;
            match current.holder {
                Holder::Solo { .. } => (both(&current, swap, peer)?, current.epoch),
                Holder::Paired { .. } | Holder::Unknown => return Err(Refusal::WrongHolder { current }),
            }
        }
        Claim::Adopt { peer, floor } => match current.holder {
            Holder::Unknown => (both(&current, swap, peer)?, floor),
            Holder::Paired { .. } | Holder::Solo { .. } => return Err(Refusal::WrongHolder { current }),
        },
        Claim::Appoint { floor } => (me, floor),
    };
    let epoch = current.epoch.max(floor).next().ok_or(Refusal::EpochsExhausted { current })?;
    Ok(Record { lineage: current.lineage, epoch, holder })
}

/// Is the sender's disk the one that the record knows for its side?
fn known_me(current: &Record, swap: &Swap) -> Result<(), Refusal> {
    match current.holder {
        Holder::Unknown => Err(Refusal::HolderUnknown { current: *current }),
        Holder::Solo { side, .. } if side != swap.side => Err(Refusal::PeerIsSolo { current: *current }),
        Holder::Paired { .. } | Holder::Solo { .. } => {
            if current.holder.disk_of(swap.side) == Some(swap.disk) {
                Ok(())
            } else {
                Err(Refusal::NotMyDisk { current: *current })
            }
        }
    }
}

/// The paired holder of the sender and `peer`.
fn both(current: &Record, swap: &Swap, peer: DiskId) -> Result<Holder, Refusal> {
    if peer == swap.disk {
        return Err(Refusal::SameDisk { current: *current });
    }
    Ok(match swap.side {
        Side::A => Holder::Paired { a: swap.disk, b: peer },
        Side::B => Holder::Paired { a: peer, b: swap.disk },
    })
}

#[cfg(test)]
mod tests;
