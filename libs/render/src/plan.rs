//! What provisioning does on an empty box, as data, and the proof that a destructive step needs.
//!
//! Each step says when it is done: running it twice changes nothing, and after a power cut the next run goes on at
//! the first step that is not done. A step that destroys takes an [`EmptyTarget`], and the only way to get one is
//! [`EmptyTarget::prove`] on an observation that found nothing there, or only what the same step had begun before a
//! power cut. For the latter the proof of the first run is recorded durably before its first write.

use edgepair_seed::{Datastore, FailoverMode, StorageMode, human_size};

use crate::context::Context;
use crate::names::{
    BACKING_FILE, DATA, DRBD_DEVICE, DRBD_RESOURCE, FAULT_FILE, KINE, POSTGRES_DATA, SSH_HOST_KEY,
};
use crate::storage::backing_device;
use crate::{Rendered, Start};

/// On which boxes a step happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// On this box.
    Here,
    /// On this box, once the other node is connected.
    Together,
    /// Only on the node that forms the pair: `a`, once both are new and connected. The other one watches.
    FormingNode,
}

/// What a destructive step writes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The preallocated file of mode `loop`.
    BackingFile,
    /// The device below DRBD.
    BackingDevice,
    /// Both nodes' DRBD metadata: that there is data on neither.
    BothNodesData,
    /// The replicated device.
    ReplicatedDevice,
    /// The folder of the database cluster.
    DatabaseFolder,
}

impl Target {
    /// In words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BackingFile => "no backing file",
            Self::BackingDevice => "a device without signature, metadata and data",
            Self::BothNodesData => "metadata of both nodes that was never used",
            Self::ReplicatedDevice => "a replicated device without signature and data",
            Self::DatabaseFolder => "no folder of the database",
        }
    }
}

/// What was seen at a target, read from it in this very run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is nothing of that name.
    Nothing,
    /// A file or folder is there.
    Something {
        /// What, in words.
        what: String,
    },
    /// A block device.
    Device {
        /// Names of all signatures found on it: partition tables, file systems, RAID, DRBD metadata.
        signatures: Vec<String>,
        /// Whether first and last MiB are all zero.
        ends_are_zero: bool,
    },
    /// This very step was begun here by an earlier run, which had proven the target empty and recorded that durably
    /// before its first write; then the power went.
    Unfinished {
        /// Whether what is there now is the same file, device or folder that the record names.
        same_target: bool,
    },
    /// A disk whose first data generation was being made when the power went.
    Forming {
        /// Whether this node's durable note about this disk says that the forming of the pair was begun, and no more:
        /// nothing was written to the replicated device yet.
        only_begun: bool,
        /// Whether DRBD's metadata says that the disk holds one state of the data.
        consistent: bool,
    },
    /// DRBD's view of both nodes.
    Disks {
        /// Whether both disks are `Inconsistent` with metadata made just now (no data generation yet).
        both_just_created: bool,
        /// Whether the nodes are connected.
        connected: bool,
    },
}

/// Proof that there is nothing at a target that could be lost. Cannot be made by hand, copied or kept: a step takes it
/// by value.
#[derive(Debug, PartialEq, Eq)]
pub struct EmptyTarget {
    target: Target,
}

/// Why something is not empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{reason}; nothing is written. If what is there may go, remove it by hand and start provisioning again"
)]
pub struct NotEmpty {
    /// What was found.
    pub reason: String,
}

impl EmptyTarget {
    /// Turns an observation into the proof.
    ///
    /// # Errors
    /// When anything at all was found, and when what was seen is not about this kind of target.
    pub fn prove(target: Target, seen: &Seen) -> Result<Self, NotEmpty> {
        let refuse = |reason: String| Err(NotEmpty { reason });
        match (target, seen) {
            (Target::BackingFile | Target::DatabaseFolder, Seen::Nothing) => Ok(Self { target }),
            (
                Target::BackingDevice | Target::ReplicatedDevice,
                Seen::Device { signatures, ends_are_zero },
            ) => {
                if !signatures.is_empty() {
                    return refuse(format!("the device has {} on it", signatures.join(", ")));
                }
                if !ends_are_zero {
                    return refuse("the device has data of an unknown kind on it".to_owned());
                }
                Ok(Self { target })
            }
            (Target::BothNodesData, Seen::Unfinished { .. }) => {
                refuse("both disks have to be looked at anew".to_owned())
            }
            (_, Seen::Unfinished { same_target: true }) => Ok(Self { target }),
            (_, Seen::Unfinished { same_target: false }) => {
                refuse("a step was cut short on another target than this one".to_owned())
            }
            (Target::BackingDevice, Seen::Forming { only_begun: true, consistent: false }) => {
                Ok(Self { target })
            }
            (Target::BackingDevice, Seen::Forming { .. }) => {
                refuse("the disk may hold a copy of the pair's data".to_owned())
            }
            (Target::BothNodesData, Seen::Disks { both_just_created, connected }) => {
                if !connected {
                    return refuse("the other node is not connected, so its disk is not known".to_owned());
                }
                if !both_just_created {
                    return refuse("at least one of the two disks has been in use".to_owned());
                }
                Ok(Self { target })
            }
            (_, Seen::Something { what }) => refuse(format!("{what} is there already")),
            (_, Seen::Nothing) => refuse("the device is not there".to_owned()),
            (_, Seen::Device { .. } | Seen::Disks { .. } | Seen::Forming { .. }) => {
                refuse("what was seen is something else".to_owned())
            }
        }
    }

    /// What it is the proof for.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.target
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Short stable name.
    pub id: &'static str,
    /// What it does.
    pub what: String,
    /// When it is done and will not be done again.
    pub done_when: String,
    /// What must have been found empty before it may run.
    pub needs_empty: Option<Target>,
    /// On which boxes.
    pub place: Where,
}

fn step(id: &'static str, what: impl Into<String>, done_when: impl Into<String>) -> Step {
    Step { id, what: what.into(), done_when: done_when.into(), needs_empty: None, place: Where::Here }
}

impl Step {
    const fn on_empty(mut self, target: Target) -> Self {
        self.needs_empty = Some(target);
        self
    }

    const fn at(mut self, place: Where) -> Self {
        self.place = place;
        self
    }
}

/// All steps on an empty box, in order.
#[must_use]
pub fn steps(context: &Context<'_>, rendered: &Rendered) -> Vec<Step> {
    let mut list = vec![
        step("seed", "keep the checked seed on the state partition", "the kept seed has the same hash"),
        step("host-key", format!("make the SSH host key {SSH_HOST_KEY}"), "the key is there and not empty"),
    ];
    let boot = rendered.units.iter().filter(|unit| unit.start == Start::Boot);
    let boot: Vec<&str> = boot.map(|unit| unit.name.as_str()).collect();
    list.extend([
        step(
            "files",
            format!("write {} files, each under a temporary name and then renamed", rendered.files.len()),
            "every file has the rendered content, mode and owner",
        ),
        step("reload", "reload systemd once", "systemd has loaded the units as they lie on disk"),
        step("units", format!("start {}", boot.join(", ")), "all of them are active, masked ones are masked"),
    ]);
    if context.node().is_some() {
        list.extend(storage_steps(context));
        list.extend(pair_steps(context));
    }
    list
}

/// What this box does alone: a disk with metadata, attached and not connected.
fn storage_steps(context: &Context<'_>) -> Vec<Step> {
    let mut list = Vec::new();
    if let StorageMode::Loop { size } = context.seed.storage.mode {
        list.extend([
            step(
                "backing-file",
                format!(
                    "write {BACKING_FILE} out with {} of zeros, under a temporary name",
                    human_size(size)
                ),
                format!("the file is there under its name with exactly {size} bytes, all of them allocated"),
            )
            .on_empty(Target::BackingFile),
            step(
                "loop-device",
                "attach the file with direct I/O, discards off",
                "a loop device of this file is attached and says dio=1",
            ),
        ]);
    }
    let device = backing_device(context);
    list.extend([
        step(
            "metadata",
            format!("drbdadm create-md {DRBD_RESOURCE} on {device}, and mint this disk's id"),
            "the device has DRBD metadata, and the disk's id is kept",
        )
        .on_empty(Target::BackingDevice),
        step(
            "attach",
            format!("drbdadm attach {DRBD_RESOURCE}, without connecting"),
            "the disk is attached; the agent connects when the other node's agent has answered",
        ),
    ]);
    if context.seed.watchdog.enabled {
        let timeout = context.seed.watchdog.timeout_ms;
        list.push(step(
            "watchdog",
            format!("set the hardware watchdog to {timeout} ms: from now on this node may become active"),
            "systemd says so",
        ));
    }
    list
}

fn pair_steps(context: &Context<'_>) -> Vec<Step> {
    let seed = context.seed;
    let mut list = vec![
        step(
            "peer",
            "wait until the other node is connected, and say so on the console meanwhile; when it holds data already, \
             this box becomes its standby, and the steps below are not taken",
            "DRBD is connected to a peer that knows the secret",
        )
        .at(Where::Together),
        step(
            "skip-sync",
            "both disks are new and equal: drbdadm new-current-uuid --clear-bitmap",
            "both disks are UpToDate",
        )
        .on_empty(Target::BothNodesData)
        .at(Where::FormingNode),
    ];
    if let FailoverMode::Witness(_) = seed.failover.mode {
        list.push(
            step(
                "enrol",
                "enrol the pair and both disk ids at the witness",
                "the witness' record says paired, with both ids",
            )
            .at(Where::FormingNode),
        );
    }
    list.extend([
        step("primary", format!("drbdadm primary {DRBD_RESOURCE}"), "this node is Primary")
            .at(Where::FormingNode),
        step(
            "file-system",
            format!("mkfs.ext4 on {DRBD_DEVICE} without discards, tables written out"),
            "the device has an ext4 file system of this pair",
        )
        .on_empty(Target::ReplicatedDevice)
        .at(Where::FormingNode),
        step("mount", format!("mount {DRBD_DEVICE} at {DATA}"), "it is mounted").at(Where::FormingNode),
    ]);
    match seed.datastore() {
        Datastore::Postgres => list.extend([
            step(
                "cluster",
                format!(
                    "initdb with data checksums and locale C beside {POSTGRES_DATA}, then rename it there"
                ),
                "the folder is there under its name",
            )
            .on_empty(Target::DatabaseFolder)
            .at(Where::FormingNode),
            step(
                "database",
                format!("start PostgreSQL; make role and database {KINE}, set the derived password"),
                "the role can log in with the derived password",
            )
            .at(Where::FormingNode),
        ]),
        Datastore::Sqlite => list.push(
            step("server-folder", format!("make {DATA}/k3s-server"), "the folder is there")
                .at(Where::FormingNode),
        ),
        Datastore::External(_) => {}
    }
    list.push(
        step(
            "virtual-ip",
            format!("write 0 into {FAULT_FILE}: keepalived takes the virtual IP"),
            "the virtual IP is on this node, and the datastore answers there",
        )
        .at(Where::FormingNode),
    );
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_DEVICE: Seen = Seen::Device { signatures: Vec::new(), ends_are_zero: true };

    #[test]
    fn only_emptiness_is_proven() {
        let proven = |target, seen: &Seen| EmptyTarget::prove(target, seen).is_ok();
        assert!(proven(Target::BackingFile, &Seen::Nothing));
        assert!(proven(Target::DatabaseFolder, &Seen::Nothing));
        assert!(proven(Target::BackingDevice, &EMPTY_DEVICE));
        assert!(proven(Target::ReplicatedDevice, &EMPTY_DEVICE));
        assert!(proven(Target::BothNodesData, &Seen::Disks { both_just_created: true, connected: true }));
        assert!(proven(Target::BackingDevice, &Seen::Unfinished { same_target: true }));
        assert!(proven(Target::BackingDevice, &Seen::Forming { only_begun: true, consistent: false }));
        assert!(!proven(Target::ReplicatedDevice, &Seen::Forming { only_begun: true, consistent: false }));
    }

    #[test]
    fn everything_else_is_refused() {
        let all = [
            Target::BackingFile,
            Target::BackingDevice,
            Target::BothNodesData,
            Target::ReplicatedDevice,
            Target::DatabaseFolder,
        ];
        let full = [
            Seen::Something { what: "a file".to_owned() },
            Seen::Device { signatures: vec!["ext4".to_owned()], ends_are_zero: true },
            Seen::Device { signatures: Vec::new(), ends_are_zero: false },
            Seen::Unfinished { same_target: false },
            Seen::Disks { both_just_created: true, connected: false },
            Seen::Disks { both_just_created: false, connected: true },
            Seen::Forming { only_begun: false, consistent: false },
            Seen::Forming { only_begun: true, consistent: true },
        ];
        for target in all {
            for seen in &full {
                assert!(EmptyTarget::prove(target, seen).is_err(), "{target:?} {seen:?}");
            }
        }
        assert!(
            EmptyTarget::prove(Target::BackingDevice, &Seen::Nothing).is_err(),
            "a missing disk is not an empty one"
        );
        assert!(EmptyTarget::prove(Target::BackingFile, &EMPTY_DEVICE).is_err());
        assert!(EmptyTarget::prove(Target::BothNodesData, &EMPTY_DEVICE).is_err());
    }

    #[test]
    fn a_refusal_names_what_was_found() {
        let seen = Seen::Device { signatures: vec!["crypto_LUKS".to_owned()], ends_are_zero: true };
        let error = EmptyTarget::prove(Target::BackingDevice, &seen).map_err(|error| error.to_string());
        assert!(matches!(error, Err(text) if text.contains("crypto_LUKS")));
    }
}
