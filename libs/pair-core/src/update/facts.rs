//! What the two nodes know about one update. Facts only ever become true, so that a message that was lost,
//! repeated or late does no harm: it says again what is known, or something that is still true.

use crate::record::Side;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A version of the system. Which text stands for it is the shell's business; a higher one boots first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which update: the same version may be tried again after a plan was given up without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlanId {
    /// Counts the plans of this pair; a higher one is newer.
    pub serial: u32,
    /// The node on which it was started. Of two that were started at once one is newer, on both nodes the same.
    pub leader: Side,
    /// What to update to.
    pub version: Version,
}

/// How a plan ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Open.
    Open,
    /// Both go back; no verdict on the version.
    Abandoned,
    /// Both go back; the version is refused for good.
    Refused,
    /// Both go forward.
    Decided,
}

/// What one node knows about its own part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// Which update.
    pub plan: PlanId,
    /// The inactive slot holds it, read back.
    pub written: bool,
    /// Its trial passed: this node cannot refuse any more, only the leader can.
    pub passed: bool,
    /// How it ended, as far as this node knows. Durable before it is told.
    pub outcome: Outcome,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Word {
    /// What the speaker knows about its own part.
    pub facts: Facts,
    /// What it has heard of the listener last.
    pub heard: Option<Facts>,
    /// And which version it has heard that the listener keeps.
    pub heard_kept: Option<Version>,
    /// It does not know that this was heard, and asks for a word.
    pub answer: bool,
    /// The version that it runs, when that is kept.
    pub kept: Option<Version>,
}

/// Why this node booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Power came back, or somebody rebooted it.
    Power,
    /// The kernel panicked or a watchdog fired.
    Crash,
}

/// Why an update waits or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpdateReason {
    /// No update.
    Idle,
    /// Writes the inactive slot.
    Writing,
    /// The other node is not as far.
    WaitsForPeer,
    /// The pair is not connected with two current disks and a reachable witness.
    WaitsForPair,
    /// The other node must become active first.
    WaitsForSwitchover,
    /// Rebooting into the new version.
    Arming,
    /// Health is being checked.
    OnTrial,
    /// Decided; the other node does not hold that yet.
    WaitsToBless,
    /// On the new version for good.
    Done,
    /// Going back, or gone back: no verdict.
    Abandoned,
    /// Going back, or gone back: refused for good.
    Refused,
    /// The two nodes keep different versions, and no plan that is open mends it.
    Mixed,
    /// Not possible: this version was refused.
    KnownBad,
    /// Not possible: an update is under way.
    Busy,
}

impl fmt::Display for UpdateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UpdateReason::Idle => "no update",
            UpdateReason::Writing => "writing the inactive slot",
            UpdateReason::WaitsForPeer => "waits for the other node's part",
            UpdateReason::WaitsForPair => {
                "waits until both nodes are connected, current and reach the witness"
            }
            UpdateReason::WaitsForSwitchover => "waits until the other node is active",
            UpdateReason::Arming => "proves that the rollback is armed, then reboots",
            UpdateReason::OnTrial => "on trial: its health is being checked",
            UpdateReason::WaitsToBless => "decided; kept as soon as the other node holds the decision too",
            UpdateReason::Done => "updated",
            UpdateReason::Abandoned => "given up without a verdict; both nodes go back",
            UpdateReason::Refused => "the version failed; both nodes go back and it is never tried again",
            UpdateReason::Mixed => "the two nodes run different versions; update both or roll one back",
            UpdateReason::KnownBad => "this version failed here before and is refused",
            UpdateReason::Busy => "another update is under way",
        })
    }
}
