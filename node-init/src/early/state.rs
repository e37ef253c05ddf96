//! The state partition: made once in free space, checked and mounted at every boot.
//!
//! systemd-repart writes the file system before it writes the partition table, so a power cut in between leaves no
//! partition rather than an empty one. Nothing that exists is ever formatted here.

use super::disk::{BootDisk, Partition};
use anyhow::{Context, bail};
use edgepair_host_io::{HostRunner, Invocation, Runner};
use edgepair_layout::{partition, path};
use nix::mount::{MsFlags, mount};
use std::path::Path;

/// An ext4 superblock: offset 1024, magic 0xEF53 at 56 (kernel, fs/ext4/ext4.h).
const EXT4_MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xef]);

/// Room at the end of the disk that is worth growing into, sectors.
const GROW_FROM: u64 = (64 << 20) / 512;

/// Makes the partition if there is none, grows it if the disk has grown, checks and mounts it. Says whether it was
/// made now.
///
/// # Errors
/// Why there is no state partition in this boot.
pub fn prepare(disk: &BootDisk, root: &Path) -> anyhow::Result<bool> {
    let sysfs = Path::new("/sys");
    let dev = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(root)?);
    let made = disk.partition(partition::STATE)?.is_none();
    let end = disk.partitions.iter().map(|part| part.start + part.sectors).max().unwrap_or(0);
    let grow = !made && disk.sectors.saturating_sub(end) > GROW_FROM;
    if made {
        // First boot: until now every disk with this image had the same identifiers.
        randomise_identifiers(disk)?;
    }
    if made || grow {
        repart(disk, root)?;
    }
    let Some(state) = after_change(sysfs, dev, disk)? else {
        bail!("there is no room for it on {}", disk.name);
    };
    let device = state.device();
    if !holds_ext4(&device)? {
        bail!("{} has no ext4 file system; it is left as it is", device.display());
    }
    check(&device)?;
    if grow {
        HostRunner
            .run(&Invocation::new("resize2fs").arg(device.to_string_lossy()))
            .context("the file system did not grow with its partition")?;
    }
    // noatime: reading must not wear a flash card out.
    mount(
        Some(&device),
        &root.join("var"),
        Some("ext4"),
        MsFlags::MS_NOATIME | MsFlags::MS_NOSUID,
        Some("errors=remount-ro"),
    )
    .with_context(|| format!("mount {}", device.display()))?;
    Ok(made)
}

/// The state partition, once the kernel has taken in what was just written: udev may read the table again, and the
/// new partition can be a moment late. The kernel learns a partition's name only when it reads the table itself, not
/// from whoever adds one (BLKPG, linux/blkpg.h), so the new one has none until the next boot: it is known by being
/// the only one that was not there before.
fn after_change(sysfs: &Path, dev: u64, before: &BootDisk) -> anyhow::Result<Option<Partition>> {
    let mut tries = 40;
    loop {
        let now = super::disk::find(sysfs, dev)?;
        if let Some(state) = added(before, &now)?.filter(|state| state.device().exists()) {
            return Ok(Some(state));
        }
        if tries == 0 {
            return Ok(None);
        }
        tries -= 1;
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
}

/// Pure: which partition is the state partition, given the disk before and after.
fn added(before: &BootDisk, now: &BootDisk) -> anyhow::Result<Option<Partition>> {
    if let Some(state) = now.partition(partition::STATE)? {
        return Ok(Some(state.clone()));
    }
    let known = |part: &Partition| before.partitions.iter().any(|old| old.name == part.name);
    let new: Vec<&Partition> =
        now.partitions.iter().filter(|part| !known(part) && part.label.is_empty()).collect();
    match new.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        more => bail!("{} new partitions appeared at once", more.len()),
    }
}

fn repart(disk: &BootDisk, root: &Path) -> anyhow::Result<()> {
    let definitions = root.join(path::REPART_DIR.trim_start_matches('/'));
    // The file system is made through a loop device. Without one, repart would make it in memory and copy it, and a
    // large disk would not fit: hence no offline mode.
    HostRunner.run(&Invocation::new("modprobe").arg("loop")).context("loop devices")?;
    let call = Invocation::new("systemd-repart")
        .args(["--offline=no"])
        .args(["--dry-run=no", "--empty=refuse", "--no-pager", "--no-legend", "--seed=random"])
        .arg(format!("--definitions={}", definitions.display()))
        .arg(disk.device().to_string_lossy())
        .env(
            "SYSTEMD_REPART_MKFS_OPTIONS_EXT4",
            "-E nodiscard,lazy_itable_init=1,lazy_journal_init=1 -m 1 -q",
        );
    HostRunner.run(&call).context("systemd-repart")?;
    Ok(())
}

/// New identifiers for the disk and for the partitions that are not found by their content's digest.
fn randomise_identifiers(disk: &BootDisk) -> anyhow::Result<()> {
    let device = disk.device().to_string_lossy().into_owned();
    let sfdisk = |args: &[&str]| {
        let quiet = ["--quiet", "--no-reread", "--no-tell-kernel"];
        HostRunner.run(&Invocation::new("sfdisk").args(quiet).args(args.iter().copied())).context("sfdisk")
    };
    sfdisk(&["--disk-id", &device, &random_uuid()?])?;
    for part in &disk.partitions {
        let number = part.name.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        if [partition::ESP, partition::SEED].contains(&part.label.as_str()) {
            sfdisk(&["--part-uuid", &device, number, &random_uuid()?])?;
        }
    }
    Ok(())
}

/// A random UUID from the kernel (random(4)).
pub fn random_uuid() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("the kernel's random UUID")?;
    Ok(text.trim().to_owned())
}

fn holds_ext4(device: &Path) -> anyhow::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(device).with_context(|| device.display().to_string())?;
    file.seek(SeekFrom::Start(EXT4_MAGIC.0))?;
    let mut magic = [0_u8; 2];
    file.read_exact(&mut magic)?;
    Ok(magic == EXT4_MAGIC.1)
}

/// e2fsck(8): 0 clean, 1 corrected; more means that a person must look.
fn check(device: &Path) -> anyhow::Result<()> {
    match HostRunner.run(&Invocation::new("e2fsck").args(["-p", &device.to_string_lossy()])) {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(1) => Ok(()),
        Err(error) => Err(error).context("the file system needs repair by hand (e2fsck)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(parts: &[(&str, &str)]) -> BootDisk {
        let partitions = parts
            .iter()
            .map(|(name, label)| Partition {
                name: (*name).into(),
                label: (*label).into(),
                start: 0,
                sectors: 1,
            })
            .collect();
        BootDisk { name: "vda".into(), sectors: 100, slot: None, partitions }
    }

    #[test]
    fn the_new_partition_is_the_nameless_one_that_was_not_there() {
        let before = disk(&[("vda1", "esp"), ("vda2", "")]);
        let name = |now: &BootDisk| added(&before, now).map(|part| part.map(|part| part.name));
        assert_eq!(name(&before).unwrap(), None, "one without a name that was there before is somebody's");
        assert_eq!(name(&disk(&[("vda1", "esp"), ("vda2", ""), ("vda3", "")])).unwrap(), Some("vda3".into()));
        assert_eq!(name(&disk(&[("vda1", "esp"), ("vda3", "state")])).unwrap(), Some("vda3".into()));
        assert!(name(&disk(&[("vda1", "esp"), ("vda3", ""), ("vda4", "")])).is_err());
    }
}
