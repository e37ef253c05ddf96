//! Why a node waits or refuses, in words that `status` shows.

use core::fmt;

/// What a node is doing, or why it is not doing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Active, the peer is current.
    ActivePaired,
    /// Active alone by right.
    ActiveAlone,
    /// Standby, current.
    StandbyPaired,
    /// Receiving what it lacks.
    Synchronising,
    /// The resource is not attached.
    DiskMissing,
    /// Half synchronised data.
    DiskInconsistent,
    /// Old data, durably known.
    DiskOutdated,
    /// Frozen, waiting for the handler or its next attempt.
    Frozen,
    /// The other node owns the record.
    PeerIsSolo,
    /// The record names another disk.
    NotMyDisk,
    /// The witness does not know who is current.
    WitnessUnknown,
    /// The witness keeps another history.
    ForeignLineage,
    /// Waits for an answer of the witness.
    WaitsForWitness,
    /// Waits for the other node's agent.
    WaitsForPeer,
    /// This mode promotes nobody without a connected pair or an operator.
    NeedsPeerOrOperator,
    /// Barred until a change of policy ends.
    Barred,
    /// Data sets have diverged.
    Diverged,
    /// Both nodes name one disk.
    SameDisk,
    /// Handing over to the other node.
    HandingOver,
    /// Waits for the permission to leave.
    Leaving,
    /// Not possible: this node is not the active one.
    NotActive,
    /// Not possible: this node is active; switch over first.
    IsActive,
    /// Not possible: the pair is not connected with two current disks.
    NotPaired,
    /// Not possible: another operation is under way.
    Busy,
    /// Gave up: the other node did not answer.
    PeerSilent,
    /// Not possible: the policy's revision is not newer.
    OldPolicy,
    /// Reset is under way.
    Resetting,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::ActivePaired => "active; the other node is current",
            Reason::ActiveAlone => "active alone: the other node has no current copy",
            Reason::StandbyPaired => "standby; current",
            Reason::Synchronising => "receiving the blocks that changed while it was away",
            Reason::DiskMissing => "the storage is not attached: its disk failed or is not set up yet",
            Reason::DiskInconsistent => "the copy is half synchronised; it needs the other node",
            Reason::DiskOutdated => "the copy is known to be old; it needs the other node",
            Reason::Frozen => "lost the other node and may not go on alone yet: all writes wait",
            Reason::PeerIsSolo => "the other node went on alone; this copy may be old and waits for it",
            Reason::NotMyDisk => {
                "the record names another disk for this node: cloned, moved or replaced; the active node must enrol it"
            }
            Reason::WitnessUnknown => {
                "the witness is new or restored and does not know who is current: connect both nodes or let an operator decide"
            }
            Reason::ForeignLineage => "the witness keeps another history of this pair: it is not believed",
            Reason::WaitsForWitness => "waits for the witness",
            Reason::WaitsForPeer => "waits for the other node's agent before the storage connects",
            Reason::NeedsPeerOrOperator => {
                "this mode promotes nobody by itself: connect both nodes or let an operator decide"
            }
            Reason::Barred => "a change of mode or witness is not finished; it ends when the other node answers",
            Reason::Diverged => "both copies have writes of their own: an operator must choose one",
            Reason::SameDisk => "both nodes name the same disk: one is a clone of the other",
            Reason::HandingOver => "handing over to the other node",
            Reason::Leaving => "waits until the other node has recorded that it stays alone",
            Reason::NotActive => "this node is not the active one",
            Reason::IsActive => "this node is active: switch over first",
            Reason::NotPaired => "the nodes are not connected with two current copies",
            Reason::Busy => "another operation is under way",
            Reason::PeerSilent => "the other node did not answer in time",
            Reason::OldPolicy => "the new policy must have a higher revision than the present one",
            Reason::Resetting => "resetting",
        })
    }
}
