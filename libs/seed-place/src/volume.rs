//! Finds the SEED partition: in a GPT by its name or its FAT label, in an MBR by its FAT label, or a file system of
//! that label without a partition table.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::bail;
use edgepair_layout::partition;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;

/// A place for a seed, in bytes from the start of the image or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    pub start: u64,
    pub length: u64,
    /// In words.
    pub what: String,
}

/// The one SEED partition. Refuses when there is none or more than one.
pub(super) fn find(file: &mut File) -> anyhow::Result<Volume> {
    // A device tells its size by its end, not by its metadata.
    let size = file.seek(SeekFrom::End(0))?;
    let mut found: Vec<Volume> = Vec::new();
    let candidates = partitions(file, size);
    let named = |name: &str| name.eq_ignore_ascii_case(partition::SEED);
    for (volume, name) in &candidates {
        if name.as_deref().is_some_and(named) || label(file, volume).as_deref().is_some_and(named) {
            found.push(volume.clone());
        }
    }
    let whole = Volume { start: 0, length: size, what: "the file system".to_owned() };
    if candidates.is_empty() && label(file, &whole).as_deref().is_some_and(named) {
        found.push(whole);
    }
    match found.as_slice() {
        [one] if label(file, one).is_none() => {
            bail!("{} has no FAT file system; build the image anew, or format it: mkfs.fat -n SEED", one.what)
        }
        [one] => Ok(one.clone()),
        [] => bail!(
            "there is no partition named SEED and no FAT file system labelled SEED; for a stick of its own: \
             mkfs.fat -n SEED, mount it, and name the folder"
        ),
        many => bail!(
            "there are {} partitions named SEED ({}); which one the node would read is not certain, so none is written",
            many.len(),
            many.iter().map(|volume| volume.what.as_str()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// All partitions with their GPT names.
fn partitions(file: &File, size: u64) -> Vec<(Volume, Option<String>)> {
    for (block, bytes) in [(LogicalBlockSize::Lb512, 512_u64), (LogicalBlockSize::Lb4096, 4096)] {
        // The backup at the end is missing where a small image was written to a large disk.
        let config = GptConfig::new().writable(false).logical_block_size(block).only_valid_headers(false);
        let Ok(disk) =
            file.try_clone().map_err(|_| ()).and_then(|file| config.open_from_device(file).map_err(|_| ()))
        else {
            continue;
        };
        let inside = |first: u64, last: u64| {
            let start = first.checked_mul(bytes)?;
            let end = last.checked_add(1)?.checked_mul(bytes)?;
            (start < end && end <= size).then_some((start, end - start))
        };
        let list: Vec<(Volume, Option<String>)> = disk
            .partitions()
            .iter()
            .filter_map(|(number, entry)| {
                let (start, length) = inside(entry.first_lba, entry.last_lba)?;
                let what = format!("partition {number}");
                Some((Volume { start, length, what }, Some(entry.name.clone())))
            })
            .collect();
        if !list.is_empty() {
            return list;
        }
    }
    mbr(file, size)
}

/// The four entries of a master boot record, where they look like partitions.
fn mbr(file: &File, size: u64) -> Vec<(Volume, Option<String>)> {
    let mut record = [0_u8; 512];
    if file.read_exact_at(&mut record, 0).is_err() || record[510..] != [0x55, 0xaa] {
        return Vec::new();
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let entries = record[446..510].chunks(16).enumerate();
    entries
        .filter_map(|(index, entry)| {
            let fat = matches!(entry[4], 0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e);
            // A FAT boot sector has the same two bytes at its end and code where the table would be.
            let plain = matches!(entry[0], 0x00 | 0x80);
            let (start, length) = (word(&entry[8..12]) * 512, word(&entry[12..16]) * 512);
            let fits = start > 0 && length > 0 && start + length <= size;
            (fat && plain && fits)
                .then(|| (Volume { start, length, what: format!("partition {}", index + 1) }, None))
        })
        .collect()
}

fn label(file: &File, volume: &Volume) -> Option<String> {
    crate::fat::label(file, volume.start, volume.length)
}

/// Writing below a mounted file system would damage it.
pub(super) fn refuse_mounted(device: &Path) -> anyhow::Result<()> {
    let id = std::fs::metadata(device)?.rdev();
    let mut table = String::new();
    File::open("/proc/self/mountinfo")?.read_to_string(&mut table)?;
    if let Some(folder) = mounted(&table, id, &parts_of(id)) {
        bail!(
            "{} is mounted at {folder}; name that folder instead, or unmount it first (umount {folder})",
            device.display()
        );
    }
    Ok(())
}

/// Numbers of the partitions of a disk, from sysfs.
fn parts_of(id: u64) -> Vec<String> {
    let folder = format!("/sys/dev/block/{}", number(id));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().join("partition").exists())
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok())
        .map(|text| text.trim().to_owned())
        .collect()
}

fn number(id: u64) -> String {
    format!("{}:{}", nix::sys::stat::major(id), nix::sys::stat::minor(id))
}

/// Where the device, or a partition of it, is mounted (proc_pid_mountinfo(5): third field number, fifth folder).
fn mounted(table: &str, id: u64, parts: &[String]) -> Option<String> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let device = fields.nth(2)?;
        let folder = fields.nth(1)?;
        (device == number(id) || parts.iter().any(|part| part == device))
            .then(|| folder.replace("\\040", " "))
    })
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
