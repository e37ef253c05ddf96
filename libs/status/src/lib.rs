//! What a node says about itself: the answer of `node-init status --json`, and the table for people made of it. Pure.
//!
//! - [`Status`] is one node's answer. A reader of another version finds fields that it knows: none is ever renamed,
//!   a word it does not know is read as the enum's `Unknown`.
//! - [`table::render`] draws one or several nodes side by side.
//! - [`Status::formed`] says whether this node is half of a pair that works.
pub mod table;

use serde::{Deserialize, Serialize};

/// What this node does in the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Holds storage, datastore and virtual IP.
    Active,
    /// Holds a current copy and may take over.
    Standby,
    /// Receives what it lacks.
    Synchronising,
    /// The pair is being made for the first time.
    Forming,
    /// Was active, lost the other node and may not go on alone yet: all writes wait.
    Frozen,
    /// Hands over to the other node.
    HandingOver,
    /// Waits, and [`Status::why`] says for what.
    Waiting,
    /// Resets itself.
    Resetting,
    /// A word of a newer version.
    #[serde(other)]
    Unknown,
}

impl Role {
    /// The word in the JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Synchronising => "synchronising",
            Self::Forming => "forming",
            Self::Frozen => "frozen",
            Self::HandingOver => "handing-over",
            Self::Waiting => "waiting",
            Self::Resetting => "resetting",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// The other node, as this one knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its host name in the seed.
    pub name: String,
    /// Its agent answered lately.
    pub reachable: bool,
    /// Its role, while it is reachable or connected.
    pub role: Option<Role>,
}

/// How far a resynchronisation is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// Done, in percent of what had to be sent.
    pub percent: f64,
    /// Seconds left at the present speed; absent while it is not known.
    pub seconds_left: Option<u64>,
}

/// The replicated storage, in DRBD's words (`drbdsetup(8)`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drbd {
    /// `Primary` or `Secondary`.
    pub role: String,
    /// State of the connection, with the replication state where there is one: `StandAlone`, `Connecting`,
    /// `Established`, `SyncSource`, `SyncTarget`, …
    pub connection: String,
    /// Own disk: `UpToDate`, `Consistent`, `Outdated`, `Inconsistent`, `Diskless`.
    pub disk: String,
    /// The other node's disk, in the same words, or `DUnknown`.
    pub peer_disk: String,
    /// All writes wait for the answer of the fence handler.
    pub suspended: bool,
    /// A resynchronisation under way.
    pub sync: Option<Sync>,
}

/// The datastore on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datastore {
    /// `postgres`, `sqlite` or `external`.
    pub kind: String,
    /// `stopped`, `starting`, `ready`, `stopping`, `failed`; `not here` for an external one.
    pub state: String,
}

/// k3s on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// Version in use; absent when there is none.
    pub version: Option<String>,
    /// Version that the pair has chosen; absent before it has.
    pub chosen: Option<String>,
    /// `server` or `agent`.
    pub role: String,
    /// It answers.
    pub ready: bool,
    /// Why it does not, or what is not as it should be though it does.
    pub why: Option<String>,
}

/// What a node writes, in bytes a day at the pace since its boot. Flash cards wear out by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wear {
    /// On the replicated storage: the datastore, and volumes that follow the active node.
    pub datastore: u64,
    /// By the journal.
    pub journal: u64,
    /// By k3s itself: container images, logs, its own state.
    pub kubernetes: u64,
    /// On the whole disk that was booted from, everything included.
    pub disk: u64,
}

/// One address that follows the active node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualIp {
    /// As in the seed, without the prefix length.
    pub address: String,
    /// It is on an interface of this node now.
    pub held: bool,
}

/// The power switch of the other node, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Program and address.
    pub device: String,
    /// What it said last: `on`, `off`, or why it does not answer; `not asked yet` before.
    pub answer: String,
    /// Whether that was an answer.
    pub answers: bool,
    /// Seconds since then; absent before it was asked.
    pub seconds_ago: Option<u64>,
}

/// One node's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Host name.
    pub node: String,
    /// `a` or `b`: which node of the seed.
    pub side: String,
    /// Name of the pair.
    pub pair: String,
    /// Version of the image that booted.
    pub version: String,
    /// Slot that booted; absent when the root is on no disk.
    pub slot: Option<String>,
    /// SHA-256 of the seed in force, in hexadecimal.
    pub seed: String,
    /// Failover mode in the seed's word.
    pub mode: String,
    /// Role.
    pub role: Role,
    /// What it is doing, or why it is not active, in words.
    pub why: String,
    /// The newest record it believes: `paired`, `solo(a)`, `solo(b)`, `unknown`; absent before there was one, and in
    /// modes without a witness.
    pub record: Option<String>,
    /// The epoch of that record.
    pub epoch: Option<u64>,
    /// The other node.
    pub peer: Peer,
    /// The replicated storage; absent until DRBD knows the resource.
    pub drbd: Option<Drbd>,
    /// The datastore.
    pub datastore: Datastore,
    /// k3s; absent without Kubernetes, and from versions that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// What it writes; absent in the first minutes of a boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wear: Option<Wear>,
    /// The addresses that follow the active node.
    pub virtual_ip: Vec<VirtualIp>,
    /// The power switch of the other node; absent where the seed names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// What is wrong, one sentence each; empty when nothing is.
    pub problems: Vec<String>,
}

impl Status {
    /// Half of a pair that works: connected, both disks current, and where it is active the datastore is ready and
    /// the virtual IP here; where it is standby, not.
    #[must_use]
    pub fn formed(&self) -> bool {
        let current = self.drbd.as_ref().is_some_and(|drbd| {
            drbd.disk == "UpToDate" && drbd.peer_disk == "UpToDate" && !drbd.suspended && drbd.sync.is_none()
        });
        let held = self.virtual_ip.iter().filter(|address| address.held).count();
        let serves = match self.role {
            Role::Active => {
                matches!(self.datastore.state.as_str(), "ready" | "not here") && held == self.virtual_ip.len()
            }
            Role::Standby => held == 0,
            _ => false,
        };
        current && serves && self.peer.reachable
    }
}
