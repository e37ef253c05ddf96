//! What the machine wants done. Effects of one event are carried out in order; one that makes something durable
//! (`Store`) is finished before the next begins.

use crate::{
    event::{QuestionId, RequestId, Timer},
    message::{Message, WitnessId},
    node::Durable,
    reason::Reason,
    record::Swap,
};

/// Exit code of a DRBD handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// `local-io-error`: go on and detach.
    Done,
    /// 1: no answer; the kernel stays frozen.
    Stay,
    /// 4: the peer cannot become active: go on alone.
    PeerOutdated,
    /// 5: never used. It exists so that a test can show why.
    Unreachable,
    /// 6: the peer is the active one.
    PeerActive,
    /// 7: the peer is verified off.
    PeerFenced,
}

impl Code {
    /// The number that the process exits with.
    pub fn number(self) -> u8 {
        match self {
            Code::Done => 0,
            Code::Stay => 1,
            Code::PeerOutdated => 4,
            Code::Unreachable => 5,
            Code::PeerActive => 6,
            Code::PeerFenced => 7,
        }
    }
}

/// What a witness is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Query {
    /// The record. Never a grant.
    Read,
    /// A compare-and-swap.
    Swap(Swap),
}

/// Something an operator must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alarm {
    /// The old value of an event was not what this machine had: one was missed.
    MissedEvent,
    /// Both data sets have writes of their own.
    Diverged,
    /// The own disk failed.
    DiskFailed,
    /// The witness keeps another history than this node remembers.
    ForeignLineage,
    /// The witness is behind what this node remembers.
    WitnessBehind,
    /// Both nodes name one disk.
    SameDisk,
    /// A disk with data that the record does not name wants to connect.
    StrangeDisk,
    /// Frozen for the self-fence time.
    SelfFenced,
    /// Another node is the owner while this one was active.
    Superseded,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Keep this on `state`; durable before the next effect.
    Store(Durable),
    /// Ask a witness; answer or [`crate::event::Answer::Silence`] comes back with this id.
    Ask {
        /// Names the request.
        request: RequestId,
        /// Which witness.
        witness: WitnessId,
        /// What.
        query: Query,
    },
    /// Switch the peer's power off and poll until it reads off.
    PowerOff {
        /// Names the request.
        request: RequestId,
    },
    /// Switch the peer's power on again.
    PowerOn,
    /// Let the handler exit.
    Answer {
        /// Which call.
        id: QuestionId,
        /// With what.
        code: Code,
    },
    /// `drbdadm primary`; `force` only ever by an operator's word.
    Promote {
        /// `--force`.
        force: bool,
    },
    /// `drbdadm secondary`.
    Demote,
    /// `drbdadm connect`.
    Connect,
    /// `drbdadm disconnect`, in order: the kernel outdates this disk.
    Disconnect,
    /// Cut the link of a frozen Primary and connect again, which makes the kernel ask its handler again. To be cut
    /// hard (`drbdsetup disconnect --force`, then `connect`), never in order: if the kernels have met meanwhile, a
    /// Primary's orderly disconnect outdates the peer and goes on without asking anybody (`conn_try_disconnect`,
    /// `SS_PRIMARY_NOP`), while a hard one freezes it again.
    AskAgain,
    /// `drbdadm outdate`; durable.
    Outdate,
    /// Start or stop the datastore and what depends on it.
    Service(bool),
    /// Clear keepalived's FAULT, or write it.
    VirtualIp(bool),
    /// Say this to the peer's agent.
    Tell(Message),
    /// Reset at once (sysrq-b): an orderly reboot hangs on frozen I/O.
    Reset,
    /// This node may be switched off.
    Halt,
    /// Set or remove the peer's out-of-service taint.
    Taint(bool),
    /// Arm a timer.
    Arm(Timer),
    /// Disarm a timer.
    Disarm(Timer),
    /// Tell an operator.
    Alarm(Alarm),
    /// An operator's command is not carried out.
    Refuse(Reason),
}
