//! What reaches the machine.

use crate::{
    message::{Message, Policy},
    record::{Record, Refusal},
    view::View,
};
use serde::{Deserialize, Serialize};

/// Names one request to a witness or power device, one message that wants an answer, or one transaction. A late
/// answer must never count for a newer request, and both nodes remember transactions over power cuts. So the shell
/// never supplies a value twice in the life of a pair: a random 64-bit start at each start of the agent, then
/// counted up (docs/protocol.md, "What the shell must guarantee").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// Names one call of a DRBD handler. The peer's promise is bound to it, so it is as unique as a [`RequestId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionId(pub u64);

/// Which handler DRBD runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// `fence-peer`: may this node go on without the other?
    FencePeer,
    /// `local-io-error`: the own disk failed; the kernel tells the peer only after the answer.
    LocalIoError,
}

/// What a witness said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To a read: the record.
    Is(Record),
    /// To a swap: done, durable, this is the record now.
    Won(Record),
    /// To a swap: not done.
    Refused(Refusal),
    /// Nothing in time. The request may still be carried out later.
    Silence,
}

/// What a power device said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    /// Read back: off.
    Off,
    /// Not off, or not known.
    NotOff,
}

/// Timers. Durations are the shell's; the machine never depends on which of two fires first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Timer {
    /// A node without connection that is not active may try for the record. Longer than the handler takes, so that
    /// a cut cable moves nothing that works.
    Claim,
    /// Something failed that is worth trying again (backoff in the shell).
    Retry,
    /// Frozen for the self-fence time.
    SelfFence,
    /// A lone active node rereads its record.
    Reread,
    /// The peer has been gone for the self-fence time: it cannot run any pod now.
    PeerGone,
    /// Time to tell the peer's agent how we are.
    Hello,
}

impl Timer {
    /// Every timer.
    pub const ALL: [Timer; 6] =
        [Timer::Claim, Timer::Retry, Timer::SelfFence, Timer::Reread, Timer::PeerGone, Timer::Hello];
}

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Make the other node active, in order.
    Switchover,
    /// Let this node go down in order.
    Leave,
    /// Make this node active alone. The operator vouches that the other is off and will be wiped.
    Promote,
    /// Change mode or witness of the pair.
    SetPolicy(Policy),
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// DRBD changed.
    Drbd {
        /// Before.
        old: View,
        /// After.
        new: View,
    },
    /// DRBD runs a handler and waits for it.
    Question {
        /// Which call.
        id: QuestionId,
        /// Which handler.
        asked: Asked,
    },
    /// The two data sets have diverged (DRBD's `split-brain` handler).
    SplitBrain,
    /// A witness answered, or did not in time.
    Witness {
        /// To which request.
        request: RequestId,
        /// What.
        answer: Answer,
    },
    /// A power device answered.
    Power {
        /// To which request.
        request: RequestId,
        /// What.
        power: Power,
    },
    /// The peer's agent said something.
    Peer(Message),
    /// A timer fired; it is no longer armed.
    Timer(Timer),
    /// An operator wants something.
    Operator(Command),
    /// The datastore is ready (`true`) or has stopped.
    Service(bool),
    /// This node reaches its clients' network.
    Clients(bool),
}
