//! What a step does, as a sequence of small acts. Each act is one thing that a power cut can come before, into or
//! after; the sequence says what is durable before what. The acts are behind [`Disk`], so that tests can cut anywhere.

use edgepair_render::plan::{EmptyTarget, Target};
use pair_core::record::DiskId;

use super::plan::{Seen, Step, Wanted};
use crate::begun::Begun;
use crate::member::{DiskFile, Hardware};

/// The acts.
pub trait Disk {
    /// Looks at everything.
    ///
    /// # Errors
    /// When something cannot be looked at. Then no step is taken.
    fn observe(&mut self, wanted: &Wanted) -> anyhow::Result<Seen>;
    /// Records a proof durably.
    ///
    /// # Errors
    /// The kernel's, as for all acts below.
    fn record(&mut self, proof: &EmptyTarget, begun: &Begun) -> anyhow::Result<()>;
    /// Removes the record of a finished step.
    fn finish(&mut self, target: Target) -> anyhow::Result<()>;
    /// Writes zeros into the temporary file until it has so many bytes, and makes them durable.
    fn write_part(&mut self, size: u64) -> anyhow::Result<()>;
    /// Gives the temporary file its name.
    fn publish_part(&mut self) -> anyhow::Result<()>;
    /// Attaches the file with direct I/O and without discards.
    fn attach_loop(&mut self) -> anyhow::Result<()>;
    /// A new random number.
    fn mint(&mut self) -> anyhow::Result<DiskId>;
    /// The hardware below the storage.
    fn hardware(&mut self, wanted: &Wanted) -> anyhow::Result<Hardware>;
    /// Writes zeros over the last MiB of the device, where a cut run may have left half a superblock.
    fn wipe_end(&mut self, wanted: &Wanted) -> anyhow::Result<()>;
    /// `drbdadm create-md`, durable.
    fn create_metadata(&mut self, wanted: &Wanted) -> anyhow::Result<()>;
    /// Keeps the identity durably.
    fn keep_id(&mut self, file: &DiskFile) -> anyhow::Result<()>;
    /// Attaches the disk to DRBD.
    fn attach(&mut self) -> anyhow::Result<()>;
    /// Sets the hardware watchdog's time.
    fn set_watchdog(&mut self, millis: u64) -> anyhow::Result<()>;
}

/// Takes a step; the proof in it is used up.
///
/// # Errors
/// Why an act failed. Running again goes on from there.
pub fn apply(disk: &mut dyn Disk, wanted: &Wanted, seen: &Seen, step: Step) -> anyhow::Result<()> {
    match step {
        Step::WriteFile(proof, size) => {
            if seen.file_begun.is_none() {
                let begun = Begun { identity: edgepair_render::names::BACKING_PART.to_owned(), chosen: None };
                disk.record(&proof, &begun)?;
            }
            disk.write_part(size)?;
            disk.publish_part()?;
            disk.finish(Target::BackingFile)
        }
        Step::AttachLoop => disk.attach_loop(),
        Step::Metadata { proof, identity, unfinished, again } => {
            let mint = match again {
                Some(mint) => mint,
                None => disk.mint()?,
            };
            let hardware = disk.hardware(wanted)?;
            let recorded = seen.device_begun.as_ref().is_some_and(|begun| begun.identity == identity);
            if again.is_none() || !recorded {
                disk.record(&proof, &Begun { identity: identity.clone(), chosen: Some(mint.to_string()) })?;
            }
            if unfinished {
                disk.wipe_end(wanted)?;
            }
            disk.create_metadata(wanted)?;
            disk.keep_id(&DiskFile { mint, target: identity, pair: wanted.pair.clone(), hardware })?;
            disk.finish(Target::BackingDevice)
        }
        Step::Pair => match &seen.disk_id {
            Some(file) => disk.keep_id(&DiskFile { pair: wanted.pair.clone(), ..file.clone() }),
            None => Ok(()),
        },
        Step::Finish(target) => disk.finish(target),
        Step::Attach => disk.attach(),
        Step::Watchdog(millis) => disk.set_watchdog(millis),
    }
}
