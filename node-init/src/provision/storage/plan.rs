//! Pure: from what was observed, the next step below the replicated storage, or why there is none.

use std::path::PathBuf;

use edgepair_render::plan::{EmptyTarget, Seen as Emptiness, Target};
use edgepair_seed::human_size;
use pair_core::record::DiskId;

use super::superblock::Superblock;
use crate::begun::Begun;
use crate::member::DiskFile;

/// What the storage is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is made of.
    pub backing: Backing,
    /// Name of the pair and fingerprint of its secret.
    pub pair: String,
    /// The hardware watchdog's time once this node may become active, milliseconds; `None` without one.
    pub watchdog_ms: Option<u64>,
}

/// What the storage is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// A file of so many bytes on the state partition.
    File(u64),
    /// A disk or partition.
    Device(PathBuf),
}

/// The backing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// There is none.
    Absent,
    /// A beginning of it, under its temporary name, bytes.
    Part(u64),
    /// It is there under its name.
    Whole {
        /// Length.
        bytes: u64,
        /// All of it has a place on the disk.
        allocated: bool,
    },
    /// Something else has its name.
    Other(String),
}

/// The loop device of the backing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loop {
    /// Not attached.
    None,
    /// Attached once.
    Attached {
        /// Reads and writes go past the page cache.
        direct: bool,
        /// Discards would get through and punch holes.
        discards: bool,
        /// udev has linked it under the name that DRBD is configured with.
        linked: bool,
    },
    /// Attached more than once.
    Several(usize),
}

/// The device below DRBD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It is not there.
    Missing,
    /// It is there.
    Present {
        /// Text that another device in its place would not have.
        identity: String,
        /// DRBD metadata at its end.
        metadata: Option<Superblock>,
        /// Signatures on it; looked for only without metadata.
        signatures: Vec<String>,
        /// Whether first and last MiB are zero; looked for only without metadata.
        ends_are_zero: bool,
    },
}

/// What the kernel's DRBD has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drbd {
    /// No such device.
    None,
    /// A device without a disk.
    Diskless,
    /// A device with its disk.
    Attached,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `/var` is a disk and not memory.
    pub state_is_kept: bool,
    /// Bytes free on the state partition.
    pub free: u64,
    /// The backing file; [`File::Absent`] in device mode.
    pub file: File,
    /// Record of an unfinished backing file.
    pub file_begun: Option<Begun>,
    /// Its loop device; [`Loop::None`] in device mode.
    pub loop_device: Loop,
    /// The device below DRBD.
    pub device: Device,
    /// Record of unfinished metadata.
    pub device_begun: Option<Begun>,
    /// The kept identity of the replica.
    pub disk_id: Option<DiskFile>,
    /// The agent's note about this replica: the forming of the pair was begun, and no more.
    pub only_begun: bool,
    /// DRBD.
    pub drbd: Drbd,
    /// The hardware watchdog's time, milliseconds.
    pub watchdog_ms: u64,
}

/// One thing to do. What destroys holds the proof that there is nothing to destroy.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the backing file out, or go on with it.
    WriteFile(EmptyTarget, u64),
    /// Attach the file.
    AttachLoop,
    /// Make metadata and mint the replica's identity.
    Metadata {
        /// The proof.
        proof: EmptyTarget,
        /// Which device.
        identity: String,
        /// A run that was cut short has begun to write.
        unfinished: bool,
        /// The number that it had minted.
        again: Option<DiskId>,
    },
    /// Nothing was ever stored under this metadata, and the pair has another name or secret now.
    Pair,
    /// A step was finished and its record not yet removed.
    Finish(Target),
    /// Attach the disk to DRBD.
    Attach,
    /// Set the hardware watchdog to so many milliseconds.
    Watchdog(u64),
}

impl Step {
    /// Short stable name, as `edgepair seed show` lists it.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::WriteFile(..) | Self::Finish(Target::BackingFile) => "backing-file",
            Self::AttachLoop => "loop-device",
            Self::Metadata { .. } | Self::Pair | Self::Finish(_) => "metadata",
            Self::Attach => "attach",
            Self::Watchdog(_) => "watchdog",
        }
    }

    /// Whether it is the kernel's memory that it changes and nothing else: such a step belongs to every boot.
    pub const fn is_of_this_boot(&self) -> bool {
        match self {
            Self::AttachLoop | Self::Attach | Self::Watchdog(_) => true,
            Self::WriteFile(..) | Self::Metadata { .. } | Self::Pair | Self::Finish(_) => false,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WriteFile(_, size) => {
                write!(f, "write the backing file out with {} of zeros", human_size(*size))
            }
            Self::AttachLoop => f.write_str("attach the backing file with direct I/O, discards off"),
            Self::Pair => f.write_str("note the pair that this disk is for now"),
            Self::Metadata { unfinished: false, .. } => {
                f.write_str("make DRBD metadata and mint this disk's id")
            }
            Self::Metadata { unfinished: true, .. } => {
                f.write_str("make the DRBD metadata whole that a power cut left unfinished")
            }
            Self::Finish(target) => write!(f, "note that this is finished: {}", target.word()),
            Self::Attach => f.write_str("attach the disk to DRBD, without connecting"),
            Self::Watchdog(millis) => write!(f, "set the hardware watchdog to {millis} ms"),
        }
    }
}

/// Why nothing more is done until a person has done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// What is wrong and why.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Everything is as it should be.
    Done,
    /// This.
    Step(Step),
    /// Nothing.
    Blocked(Blocked),
}

/// Room that is left on the state partition beside the backing file: journal, host keys, updates. Bytes.
pub const RESERVE: u64 = 256 << 20;

const SAFE: &str = "the node stays up without replicated storage, and nothing was written";

fn blocked(what: impl Into<String>, fix: impl Into<String>) -> Next {
    Next::Blocked(Blocked { what: format!("{}; {SAFE}", what.into()), fix: fix.into() })
}

/// The next step.
pub fn next(wanted: &Wanted, seen: &Seen) -> Next {
    if !seen.state_is_kept {
        return blocked(
            "replicated storage needs the state partition, and this boot keeps everything in memory",
            "see what is wrong with the state partition, and start the node again",
        );
    }
    if let Backing::File(size) = wanted.backing {
        if let Some(next) = file(size, seen) {
            return next;
        }
    }
    metadata(wanted, seen).unwrap_or(match (seen.drbd, wanted.watchdog_ms) {
        (Drbd::None | Drbd::Diskless, _) => Next::Step(Step::Attach),
        (Drbd::Attached, Some(millis)) if millis != seen.watchdog_ms => Next::Step(Step::Watchdog(millis)),
        (Drbd::Attached, _) => Next::Done,
    })
}

/// File and loop device; `None` when both are as they should be.
fn file(size: u64, seen: &Seen) -> Option<Next> {
    match &seen.file {
        File::Whole { bytes, allocated: true } if *bytes == size => {
            if seen.file_begun.is_some() {
                return Some(Next::Step(Step::Finish(Target::BackingFile)));
            }
        }
        File::Whole { bytes, allocated } => {
            let why = if *allocated {
                format!("the backing file has {bytes} bytes, and the seed says {size}")
            } else {
                "the backing file has holes: a write to one could fail for want of room after it was promised"
                    .to_owned()
            };
            return Some(blocked(
                why,
                "put the size that the box was made with back into the seed; or, when its data may go, stop the node \
                 and remove /var/lib/edgepair/backing.img",
            ));
        }
        File::Absent | File::Part(_) | File::Other(_) => return Some(write_file(size, seen)),
    }
    match &seen.loop_device {
        Loop::None | Loop::Attached { linked: false, .. } | Loop::Attached { discards: true, .. } => {
            Some(Next::Step(Step::AttachLoop))
        }
        Loop::Attached { direct: false, .. } => Some(blocked(
            "the backing file is attached without direct I/O: a flush would not reach the disk",
            "`losetup --detach` that device; the state partition must be ext4 on a disk with sectors of at most 4096 bytes",
        )),
        Loop::Several(count) => Some(blocked(
            format!("the backing file is attached {count} times; two writers would destroy it"),
            "`losetup --list` shows them; `losetup --detach` all, then `node-init provision`",
        )),
        Loop::Attached { .. } => None,
    }
}

fn write_file(size: u64, seen: &Seen) -> Next {
    let here = match &seen.file {
        File::Part(bytes) => *bytes,
        _ => 0,
    };
    let needed = size.saturating_add(RESERVE);
    if seen.free.saturating_add(here) < needed {
        return blocked(
            format!(
                "the state partition is too small: storage.size is {}, with {} for everything else that makes {}, and {} is free",
                human_size(size),
                human_size(RESERVE),
                needed,
                seen.free
            ),
            "use a larger disk, or a smaller storage.size in the seed (`node-init provision --apply FILE`)",
        );
    }
    let emptiness = match (&seen.file, &seen.file_begun) {
        (File::Other(what), _) => Emptiness::Something { what: what.clone() },
        // The record names the temporary file, and only provisioning gives a file that name.
        (_, Some(begun)) => begun.seen(edgepair_render::names::BACKING_PART),
        (File::Part(_), None) => Emptiness::Something {
            what: format!("{}, which provisioning did not begin,", edgepair_render::names::BACKING_PART),
        },
        _ => Emptiness::Nothing,
    };
    match EmptyTarget::prove(Target::BackingFile, &emptiness) {
        Ok(proof) => Next::Step(Step::WriteFile(proof, size)),
        Err(error) => {
            blocked(error.reason, "remove or rename it by hand if it may go, then `node-init provision`")
        }
    }
}

/// A power cut while the first synchronisation was skipped leaves a disk with a data generation and nothing on it, or
/// both disks so. DRBD neither makes such a disk current nor has a peer without generation follow it
/// (drbd_receiver.c, `drbd_sync_handshake`: "I shall become SyncSource, but I am inconsistent"). Its metadata is made anew,
/// with the same number, and forming goes on. Where the peer has got further, this disk is synchronised in full.
fn half_made(identity: &str, found: Superblock, disk: &DiskFile, seen: &Seen) -> Option<Next> {
    if found.just_created || seen.drbd != Drbd::None {
        return None;
    }
    let seen = Emptiness::Forming { only_begun: seen.only_begun, consistent: found.consistent };
    let proof = EmptyTarget::prove(Target::BackingDevice, &seen).ok()?;
    let (identity, again) = (identity.to_owned(), Some(disk.mint));
    Some(Next::Step(Step::Metadata { proof, identity, unfinished: true, again }))
}

/// Metadata and identity; `None` when both are as they should be.
fn metadata(wanted: &Wanted, seen: &Seen) -> Option<Next> {
    let Device::Present { identity, metadata, signatures, ends_are_zero } = &seen.device else {
        let name = match &wanted.backing {
            Backing::File(_) => "the loop device".to_owned(),
            Backing::Device(path) => path.display().to_string(),
        };
        return Some(blocked(
            format!("{name} for the replicated storage is not there"),
            "plug the disk in, or correct storage.device in the seed; then `node-init provision`",
        ));
    };
    // A record of a disk that is not here stays until that one is back.
    let begun = seen.device_begun.as_ref().filter(|begun| begun.identity == *identity);
    let again = begun.and_then(|begun| begun.chosen.as_deref()?.parse().ok());
    let make = |emptiness: Emptiness| match EmptyTarget::prove(Target::BackingDevice, &emptiness) {
        Ok(proof) => Next::Step(Step::Metadata {
            proof,
            identity: identity.clone(),
            unfinished: begun.is_some(),
            again,
        }),
        Err(error) => blocked(
            error.reason,
            "if what is on it may go, empty it by hand (wipefs --all, then zeros over its first and last MiB), then \
             `node-init provision`",
        ),
    };
    match (metadata, &seen.disk_id, begun) {
        (Some(found), Some(disk), begun) if disk.target == *identity => match begun {
            Some(_) if again == Some(disk.mint) => Some(Next::Step(Step::Finish(Target::BackingDevice))),
            Some(begun) => Some(make(begun.seen(identity))),
            None if disk.pair == wanted.pair => half_made(identity, *found, disk, seen),
            None if found.just_created => Some(Next::Step(Step::Pair)),
            None => Some(blocked(
                format!(
                    "the storage of this box holds data of the pair {}, and the seed is of {}",
                    disk.pair, wanted.pair
                ),
                "apply the seed of that pair (`node-init provision --apply FILE`), or install this box anew",
            )),
        },
        (_, _, Some(begun)) => Some(make(begun.seen(identity))),
        (None, _, None) => {
            Some(make(Emptiness::Device { signatures: signatures.clone(), ends_are_zero: *ends_are_zero }))
        }
        (Some(_), Some(_), None) => Some(blocked(
            "the device below the storage has DRBD metadata, and it is not the disk that this box's id was made for: it was \
             exchanged or restored from a copy",
            "put the right disk back; or, when what is on this one may go, empty it by hand: it then joins and is \
             synchronised in full",
        )),
        (Some(_), None, None) => Some(blocked(
            "the device below the storage has DRBD metadata that this box did not make",
            "if it belongs to another pair, put it back there; when what is on it may go, empty it by hand: it then \
             joins and is synchronised in full",
        )),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
