//! What the two agents say to each other, over an authenticated channel that may lose, delay and repeat.

use crate::{
    event::{QuestionId, RequestId},
    record::{DiskId, Record},
    view::Role,
};
use serde::{Deserialize, Serialize};

/// How a pair decides who may go on alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One record at a third party.
    Witness,
    /// Verified power off of the other node.
    Fence,
    /// An active node may go on; nobody is promoted without an operator or the peer.
    Manual,
    /// Whoever is up is active: acknowledged writes can be lost, both can write.
    AvailabilityFirst,
}

/// Which enrolled witness. The shell maps it to an address and a pinned key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WitnessId(pub u32);

/// The agreed way to decide. Both nodes must hold the same one, so it only changes as a transaction of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Counts changes of policy.
    pub revision: u32,
    /// The mode.
    pub mode: Mode,
    /// The witness, where the mode has one.
    pub witness: WitnessId,
}

/// What one agent tells about its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// Its disk.
    pub disk: DiskId,
    /// The newest record it believes.
    pub record: Option<Record>,
    /// Its DRBD role.
    pub role: Role,
    /// It is a frozen Primary, since this question.
    pub frozen: Option<QuestionId>,
    /// Its kernel believes the replication link is up, or it is frozen and has no name for the freeze yet. To a node
    /// whose own link is down either means: ask again.
    pub connected: bool,
    /// It reaches its clients' network.
    pub clients: bool,
    /// The revision of its policy.
    pub revision: u32,
    /// It is prepared for a policy and barred from every claim until it hears how that transaction ended.
    pub prepared: Option<RequestId>,
    /// The wish to leave that it has withdrawn last.
    pub stayed: Option<RequestId>,
    /// Connected, both disks current, as far as its kernel knows.
    pub healthy: bool,
    /// Its disk holds a usable data set.
    pub usable: bool,
    /// Asks for a [`Hello`] in return, under this name.
    pub asks: Option<RequestId>,
    /// Was asked for under this name: everything in it is younger than the question.
    pub answers: Option<RequestId>,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// How I am.
    Hello(Hello),
    /// I gave up my claims and my disk is durably outdated: you may go on, in the freeze that began with this question.
    Outdated {
        /// The freeze that this is good for.
        freeze: QuestionId,
    },
    /// I want to go down in order: may I?
    Leave {
        /// Names this wish.
        id: RequestId,
    },
    /// The record is mine: go.
    MayLeave {
        /// The wish.
        id: RequestId,
    },
    /// I am not active any more, take over.
    YourTurn,
    /// Bar yourself and be ready for this policy.
    Prepare {
        /// Names the transaction.
        id: RequestId,
        /// The new policy.
        policy: Policy,
    },
    /// I am barred.
    Prepared {
        /// The transaction.
        id: RequestId,
    },
    /// The policy holds: take it and lift the bar.
    Commit {
        /// The transaction.
        id: RequestId,
    },
    /// It never will: lift the bar.
    Abort {
        /// The transaction.
        id: RequestId,
    },
}
