//! Which partitions are written: the other slot on the disk behind the mounted root.
//!
//! Never by name or identifier: a second, bit-identical disk may be attached, and until the first boot of an image all its
//! disks have the same identifiers.

use super::SlotError;
use crate::early::disk::{BootDisk, Partition};
use edgepair_layout::Slot;
use std::path::{Path, PathBuf};

/// The disk and its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Device of the whole disk.
    pub disk: PathBuf,
    /// Slot that is booted.
    pub running: Slot,
    /// Root and hash tree of the running slot.
    pub booted: [Partition; 2],
    /// Root and hash tree of the other one.
    pub inactive: [Partition; 2],
}

impl Place {
    /// Finds it for the mounted root.
    ///
    /// # Errors
    /// When the root is not on one slot of one disk.
    pub fn find() -> Result<Self, SlotError> {
        let dev = std::fs::metadata("/")
            .map(|root| std::os::unix::fs::MetadataExt::dev(&root))
            .map_err(SlotError::io("the root"))?;
        let disk = crate::early::disk::find(Path::new("/sys"), dev)
            .map_err(|error| SlotError::Place(format!("{error:#}")))?;
        Self::of(&disk)
    }

    /// The same for a disk that was found.
    ///
    /// # Errors
    /// When a partition is missing, stands twice, or both slots are one.
    pub fn of(disk: &BootDisk) -> Result<Self, SlotError> {
        let no = |why: String| SlotError::Place(why);
        let running = disk.slot.ok_or_else(|| no(format!("the root is on no slot of {}", disk.name)))?;
        let part = |label: &str| {
            let found = disk.partition(label).map_err(|error| no(format!("{error:#}")))?;
            found.cloned().ok_or_else(|| no(format!("{} has no partition {label}", disk.name)))
        };
        let pair = |slot: Slot| Ok::<_, SlotError>([part(slot.root_label())?, part(slot.verity_label())?]);
        let (booted, inactive) = (pair(running)?, pair(!running)?);
        for (mine, other) in booted.iter().flat_map(|mine| inactive.iter().map(move |other| (mine, other))) {
            let apart = mine.start + mine.sectors <= other.start || other.start + other.sectors <= mine.start;
            if mine.name == other.name || !apart {
                return Err(no(format!("{} and {} are not apart", mine.name, other.name)));
            }
        }
        Ok(Self { disk: disk.device(), running, booted, inactive })
    }
}

/// Number of a partition in its table, from its kernel name (`vda5`, `nvme0n1p5`, `mmcblk0p5`).
///
/// # Errors
/// When the name does not end in a number.
pub fn number(partition: &Partition) -> Result<u32, SlotError> {
    let name = &partition.name;
    let digits = name.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().map_err(|_| SlotError::Place(format!("{name} is not a partition's name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(slot: Option<Slot>, labels: &[&str]) -> BootDisk {
        let partitions = labels.iter().zip(1_u64..).map(|(label, number)| Partition {
            name: format!("nvme0n1p{number}"),
            label: (*label).to_owned(),
            start: number * 2048,
            sectors: 2048,
        });
        BootDisk { name: "nvme0n1".into(), sectors: 1 << 20, slot, partitions: partitions.collect() }
    }

    const WHOLE: [&str; 6] = ["esp", "SEED", "root-a", "verity-a", "root-b", "verity-b"];

    #[test]
    fn the_other_slot_is_written() {
        for (slot, wanted) in [(Slot::A, ["nvme0n1p5", "nvme0n1p6"]), (Slot::B, ["nvme0n1p3", "nvme0n1p4"])] {
            let place = Place::of(&disk(Some(slot), &WHOLE)).unwrap();
            assert_eq!(place.inactive.each_ref().map(|part| part.name.as_str()), wanted);
            assert_eq!(place.disk, Path::new("/dev/nvme0n1"));
            assert_eq!(number(&place.inactive[0]).unwrap(), if slot == Slot::A { 5 } else { 3 });
        }
    }

    #[test]
    fn what_is_not_clear_is_not_written() {
        let refused = |disk: BootDisk| Place::of(&disk).unwrap_err().to_string();
        assert!(refused(disk(None, &WHOLE)).contains("no slot"), "network boot");
        assert!(refused(disk(Some(Slot::A), &WHOLE[..5])).contains("no partition verity-b"));
        let twice = ["root-a", "verity-a", "root-b", "verity-b", "root-b"];
        assert!(refused(disk(Some(Slot::A), &twice)).contains("two partitions"));
        let mut overlapping = disk(Some(Slot::A), &WHOLE);
        overlapping.partitions[4].start -= 1;
        assert!(refused(overlapping).contains("not apart"));
    }
}
