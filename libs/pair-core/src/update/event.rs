//! What reaches the update machine, what it wants done, what it remembers.

use super::{Facts, PlanId, UpdateReason, Version, Word};
use serde::{Deserialize, Serialize};

/// What a node remembers about updates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The present or last plan.
    pub facts: Option<Facts>,
    /// This node leads it.
    pub lead: bool,
    /// An operator has said that this node goes on without the other one for as long as that does not answer.
    #[serde(default)]
    pub solo: bool,
    /// Trials begun.
    pub trials: u8,
    /// The other node holds the decision too.
    pub both: bool,
    /// Versions refused for good.
    pub refused: Vec<Version>,
}

/// One event. An answer names the plan that it is about, and counts for no other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpdateEvent {
    /// An operator or a schedule starts an update here.
    Start {
        /// Which.
        plan: PlanId,
        /// Without the other node, for as long as that does not answer.
        solo: bool,
    },
    /// The slot was written and read back, or could not be.
    Written(PlanId, bool),
    /// The boot loader's state was read back: the old version boots when the trial fails.
    Proven(PlanId, bool),
    /// The health check's verdict; also `false` at the trial's time limit.
    Health(PlanId, bool),
    /// The version is kept, or could not be.
    Blessed(PlanId, bool),
    /// The other node was to become active and has not.
    Stayed(PlanId),
    /// How the pair is.
    Pair {
        /// The other node answers.
        peer: bool,
        /// Fit for the next step: connected, current, in reach of the witness; without the other node: current.
        ready: bool,
        /// This node is active.
        active: bool,
    },
    /// What the other node says.
    Peer(Word),
    /// Time to tell and to try again.
    Retry,
    /// The plan took too long.
    Limit,
}

/// One effect. Those that name a plan and are not `Arm` are questions: each is answered once, however late, and before
/// that nothing else is asked that touches a slot or the boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpdateEffect {
    /// Keep this; durable before the next effect.
    Store(Memory),
    /// Write this plan's version to the inactive slot, read it back.
    Write(PlanId),
    /// Give this plan's version its tries. `Prove` follows.
    Arm(PlanId),
    /// Read back what the boot loader will read.
    Prove(PlanId),
    /// Reboot; tried until it happens.
    Reboot,
    /// Check the health of this boot.
    Check(PlanId),
    /// Keep this plan's version.
    Bless(PlanId),
    /// Take its tries from this version.
    MarkBad(Version),
    /// Make the other node active. That it is shows in [`UpdateEvent::Pair`]; only a failure is answered.
    Switchover(PlanId),
    /// Tell the other node.
    Tell(Word),
    /// A command is not carried out.
    Refuse(UpdateReason),
}
