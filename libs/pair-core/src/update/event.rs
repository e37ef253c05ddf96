//! What reaches the update machine, what it wants done, what it remembers.

use super::{Facts, PlanId, UpdateReason, Version};
use serde::{Deserialize, Serialize};

/// What a node remembers about updates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The present or last plan.
    pub facts: Option<Facts>,
    /// This node leads it.
    pub lead: bool,
    /// Trials begun.
    pub trials: u8,
    /// The other node holds the decision too.
    pub both: bool,
    /// Versions refused for good.
    pub refused: Vec<Version>,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpdateEvent {
    /// An operator or a schedule starts an update here.
    Start(PlanId),
    /// The slot was written and read back, or could not be.
    Written(bool),
    /// The boot loader's state was read back: the old version boots when the trial fails.
    Proven(bool),
    /// The health check's verdict; also `false` at the trial's time limit.
    Health(bool),
    /// The pair is connected, current, and reaches its witness; this node is the active one.
    Pair {
        /// Fit for the next step.
        ready: bool,
        /// This node is active.
        active: bool,
    },
    /// The other node's facts.
    Peer(Facts),
    /// Time to tell and to try again.
    Retry,
    /// The plan took too long.
    Limit,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpdateEffect {
    /// Keep this; durable before the next effect.
    Store(Memory),
    /// Write this version to the inactive slot, read it back.
    Write(Version),
    /// Give this version its tries.
    Arm(Version),
    /// Read back what the boot loader will read.
    Prove(Version),
    /// Reboot.
    Reboot,
    /// Check the health of this boot.
    Check,
    /// Keep this version.
    Bless(Version),
    /// Take its tries from this version.
    MarkBad(Version),
    /// Make the other node active.
    Switchover,
    /// Tell the other node.
    Tell(Facts),
    /// A command is not carried out.
    Refuse(UpdateReason),
}
