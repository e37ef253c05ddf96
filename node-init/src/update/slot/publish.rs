//! What makes a written slot bootable: identifiers from the root hash, then the kernel image.

use super::place::{self, Place};
use super::write::Verified;
use super::{Image, SlotError, Slots, Source};
use edgepair_host_io::{Invocation, Runner};
use edgepair_layout::uuids_of_root_hash;
use std::path::PathBuf;
use std::sync::Arc;

/// Identifiers of the inactive slot's two partitions: root, hash tree.
pub trait Table {
    /// As they are on the disk, in lower case.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn identifiers(&mut self) -> Result<[String; 2], SlotError>;

    /// Sets them, durably. A cut may leave the first one set and the second one not.
    ///
    /// # Errors
    /// When the table cannot be written.
    fn set_identifiers(&mut self, uuids: &[String; 2]) -> Result<(), SlotError>;
}

impl Slots<'_> {
    /// Only for a slot that was read back. The kernel image's name comes last.
    pub(super) fn publish(
        &mut self,
        verified: &Verified,
        image: &Image,
        source: &mut dyn Source,
    ) -> Result<(), SlotError> {
        let Some((root, tree)) = uuids_of_root_hash(verified.root_hash()) else {
            return Err(SlotError::Image(format!("`{}` is no root hash", verified.root_hash())));
        };
        let wanted = [root, tree];
        if self.table.identifiers()? != wanted {
            self.table.set_identifiers(&wanted)?;
            let found = self.table.identifiers()?;
            if found != wanted {
                return Err(SlotError::Table(format!("{found:?} was read back instead of {wanted:?}")));
            }
        }
        let mut kernel = source.kernel().map_err(SlotError::io("the kernel image of the bundle"))?;
        Ok(self.boot.install(&image.version, &image.kernel_digest, &mut *kernel)?)
    }
}

/// The table of this machine's disk, by sfdisk(8), which writes the backup first and flushes.
pub struct HostTable {
    disk: PathBuf,
    numbers: [u32; 2],
    runner: Arc<dyn Runner + Send + Sync>,
}

impl std::fmt::Debug for HostTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostTable({}, {:?})", self.disk.display(), self.numbers)
    }
}

impl HostTable {
    /// The inactive slot's entries in the table of the booted disk.
    ///
    /// # Errors
    /// When a partition has no number.
    pub fn new(place: &Place, runner: Arc<dyn Runner + Send + Sync>) -> Result<Self, SlotError> {
        let [root, tree] = &place.inactive;
        Ok(Self { disk: place.disk.clone(), numbers: [place::number(root)?, place::number(tree)?], runner })
    }

    fn run(&self, number: u32, uuid: Option<&str>) -> Result<String, SlotError> {
        // The kernel cannot read the table again while a slot is mounted; it need not, nothing looks before the reboot.
        let mut call = Invocation::new("sfdisk");
        if uuid.is_some() {
            call = call.args(["--quiet", "--no-reread", "--no-tell-kernel"]);
        }
        call = call.args(["--part-uuid", &self.disk.to_string_lossy(), &number.to_string()]).args(uuid);
        let output = self.runner.run(&call).map_err(|error| SlotError::Table(error.to_string()))?;
        Ok(output.text().trim().to_lowercase())
    }
}

impl Table for HostTable {
    fn identifiers(&mut self) -> Result<[String; 2], SlotError> {
        Ok([self.run(self.numbers[0], None)?, self.run(self.numbers[1], None)?])
    }

    fn set_identifiers(&mut self, uuids: &[String; 2]) -> Result<(), SlotError> {
        for (number, uuid) in self.numbers.into_iter().zip(uuids) {
            self.run(number, Some(uuid))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::HostRunner;

    /// The real sfdisk on a file, where it is installed.
    #[test]
    fn sfdisk_sets_and_reads_identifiers_of_the_second_slot_only() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk.img");
        std::fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
        let mut script = String::from("label: gpt\n");
        for label in ["esp", "SEED", "root-a", "verity-a", "root-b", "verity-b"] {
            script += &format!("size=2048, name={label}\n");
        }
        let call = Invocation::new("sfdisk").args(["--quiet", &disk.to_string_lossy()]).stdin(script);
        if let Err(error) = HostRunner.run(&call) {
            assert!(error.code().is_none(), "{error}");
            return eprintln!("no sfdisk on this machine: not tested");
        }
        let mut table = HostTable { disk: disk.clone(), numbers: [5, 6], runner: Arc::new(HostRunner) };
        let mut other = HostTable { disk, numbers: [3, 4], runner: Arc::new(HostRunner) };
        let before = other.identifiers().unwrap();
        let uuids = uuids_of_root_hash(&"0123456789abcdef".repeat(4)).unwrap();
        let uuids = [uuids.0, uuids.1];
        assert_ne!(table.identifiers().unwrap(), uuids);
        table.set_identifiers(&uuids).unwrap();
        assert_eq!(table.identifiers().unwrap(), uuids);
        assert_eq!(other.identifiers().unwrap(), before);
    }
}
