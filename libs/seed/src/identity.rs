//! Which box of the seed this box is.

use crate::model::{Member, NodeId, Seed};
use crate::scalar::Mac;

/// What a box knows about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoxFacts {
    /// `edgepair.node=` of the kernel command line.
    pub kernel_argument: Option<String>,
    /// Content of the file `node` beside the seed, or the answer of `flash --node`.
    pub node_file: Option<String>,
    /// MAC addresses of all its cards.
    pub macs: Vec<Mac>,
    /// Serial number from firmware or device tree.
    pub serial: Option<String>,
}

/// How a box was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// Kernel command line.
    KernelArgument,
    /// File `node` beside the seed.
    NodeFile,
    /// MAC address.
    Mac,
    /// Serial number.
    Serial,
}

/// Why a box does not know what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityError {
    /// Nothing fits.
    Unknown {
        /// What was looked at.
        facts: String,
    },
    /// Two signs point to two boxes.
    Conflict {
        /// What it was told, and by what.
        told: Member,
        /// What its hardware says.
        hardware: Member,
    },
    /// It was told a name that the seed does not have.
    NoSuchMember {
        /// The name.
        name: String,
    },
}

impl std::fmt::Display for IdentityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { facts } => write!(
                f,
                "this box is not in the seed: it has {facts}; add its MAC address or serial number to the seed, or \
                 put a file `node` with `a` or `b` beside it"
            ),
            Self::Conflict { told, hardware } => write!(
                f,
                "this box was told to be {told}, and its hardware is {hardware}'s: the card or stick is probably in \
                 the wrong box; swap them, or correct the MAC addresses in the seed"
            ),
            Self::NoSuchMember { name } => write!(
                f,
                "this box was told to be \"{name}\", and the seed has no such box; write `a`, `b` or the name of a \
                 worker into the file `node` or the kernel argument edgepair.node"
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Finds this box in the seed.
///
/// The kernel argument goes before the `node` file, both before MAC and serial. Hardware of *another* box of the
/// seed is a conflict, because two boxes that both take themselves for `a` would be worse than one that waits.
///
/// # Errors
/// When nothing fits, when signs contradict each other, when a name is unknown.
pub fn identify(seed: &Seed, facts: &BoxFacts) -> Result<(Member, FoundBy), IdentityError> {
    let hardware = by_hardware(seed, facts)?;
    let told = [(&facts.kernel_argument, FoundBy::KernelArgument), (&facts.node_file, FoundBy::NodeFile)]
        .into_iter()
        .find_map(|(text, by)| Some((text.as_deref()?, by)));
    match (told, hardware) {
        (Some((name, by)), hardware) => {
            let unknown = || IdentityError::NoSuchMember { name: name.trim().chars().take(64).collect() };
            let member = Member::parse(name).ok_or_else(unknown)?;
            if let Member::Worker(worker) = &member {
                if !seed.workers.contains_key(worker) {
                    return Err(unknown());
                }
            }
            match hardware {
                Some((other, _)) if other != member => {
                    Err(IdentityError::Conflict { told: member, hardware: other })
                }
                _ => Ok((member, by)),
            }
        }
        (None, Some(found)) => Ok(found),
        (None, None) => {
            let macs: Vec<String> = facts.macs.iter().map(ToString::to_string).collect();
            let serial = facts.serial.as_deref().unwrap_or("none");
            Err(IdentityError::Unknown { facts: format!("MAC {} and serial {serial}", macs.join(", ")) })
        }
    }
}

fn by_hardware(seed: &Seed, facts: &BoxFacts) -> Result<Option<(Member, FoundBy)>, IdentityError> {
    let nodes = [NodeId::A, NodeId::B].into_iter().map(|id| {
        let node = seed.node(id);
        let macs: Vec<Mac> = node.macs.iter().copied().chain(node.replication_mac).collect();
        (Member::Node(id), macs, node.serial.as_deref())
    });
    let workers = seed
        .workers
        .iter()
        .map(|(name, worker)| (Member::Worker(name.clone()), worker.macs.clone(), worker.serial.as_deref()));
    let mut found: Option<(Member, FoundBy)> = None;
    for (member, macs, serial) in nodes.chain(workers) {
        let by_mac = macs.iter().any(|mac| facts.macs.contains(mac)).then_some(FoundBy::Mac);
        let by_serial = || (serial.is_some() && serial == facts.serial.as_deref()).then_some(FoundBy::Serial);
        if let Some(by) = by_mac.or_else(by_serial) {
            if let Some((first, _)) = found {
                return Err(IdentityError::Conflict { told: first, hardware: member });
            }
            found = Some((member, by));
        }
    }
    Ok(found)
}
