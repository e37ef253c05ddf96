//! The disk behind the mounted root, from sysfs. Never by label: a second, identical disk may be attached.

use anyhow::{Context, bail};
use edgepair_layout::Slot;
use std::fs;
use std::path::{Path, PathBuf};

/// A partition of the booted disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name, for example `vda7`.
    pub name: String,
    /// GPT name.
    pub label: String,
    /// First sector, 512-byte units.
    pub start: u64,
    /// Sectors, 512-byte units.
    pub sectors: u64,
}

impl Partition {
    /// Its device node.
    pub fn device(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// The disk that this boot came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootDisk {
    /// Kernel name, for example `vda`.
    pub name: String,
    /// Size, 512-byte units.
    pub sectors: u64,
    /// Slot whose root is mounted.
    pub slot: Option<Slot>,
    /// In the order of their first sectors.
    pub partitions: Vec<Partition>,
}

impl BootDisk {
    /// Its device node.
    pub fn device(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The partition with this GPT name. Two with one name are refused.
    ///
    /// # Errors
    /// When the name stands twice.
    pub fn partition(&self, label: &str) -> anyhow::Result<Option<&Partition>> {
        let mut found = self.partitions.iter().filter(|part| part.label == label);
        let first = found.next();
        if found.next().is_some() {
            bail!("{} has two partitions called {label}", self.name);
        }
        Ok(first)
    }
}

/// Finds the disk of the file system with device number `dev`. `sysfs` is `/sys`.
///
/// # Errors
/// When the device is on no disk or on several.
pub fn find(sysfs: &Path, dev: u64) -> anyhow::Result<BootDisk> {
    let (major, minor) = (nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    let block = fs::canonicalize(sysfs.join(format!("dev/block/{major}:{minor}")))
        .with_context(|| format!("block device {major}:{minor} is not in sysfs; is this a network boot?"))?;
    let mut leaves = Vec::new();
    leaves_of(&block, 0, &mut leaves)?;
    let mut disks: Vec<PathBuf> =
        leaves.iter().filter_map(|leaf| leaf.parent().map(Path::to_owned)).collect();
    disks.sort();
    disks.dedup();
    let [disk] = disks.as_slice() else {
        bail!("the root is on {} disks ({} partitions); exactly one is expected", disks.len(), leaves.len());
    };
    let slot = leaves.iter().filter_map(|leaf| Slot::from_root_label(&label_of(leaf))).next();
    let mut partitions = Vec::new();
    for entry in fs::read_dir(disk)?.flatten() {
        if entry.path().join("partition").exists() {
            partitions.push(Partition {
                name: name_of(&entry.path()),
                label: label_of(&entry.path()),
                start: number(&entry.path().join("start"))?,
                sectors: number(&entry.path().join("size"))?,
            });
        }
    }
    partitions.sort_by_key(|part| part.start);
    Ok(BootDisk { name: name_of(disk), sectors: number(&disk.join("size"))?, slot, partitions })
}

/// Follows `slaves/` down to partitions (device-mapper stacks them).
fn leaves_of(block: &Path, depth: u32, leaves: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut any = false;
    let slaves = if depth < 8 { fs::read_dir(block.join("slaves")).ok() } else { None };
    for entry in slaves.into_iter().flatten().flatten() {
        any = true;
        leaves_of(&fs::canonicalize(entry.path())?, depth + 1, leaves)?;
    }
    if !any {
        if !block.join("partition").exists() {
            bail!("{} is not on a partition", name_of(block));
        }
        leaves.push(block.to_owned());
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The GPT name, as the kernel reports it (`PARTNAME=` in `uevent`).
fn label_of(partition: &Path) -> String {
    let text = fs::read_to_string(partition.join("uevent")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("PARTNAME=")).unwrap_or_default().to_owned()
}

fn number(path: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.trim().parse().with_context(|| format!("{}: `{}` is not a number", path.display(), text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        edgepair_host_io::atomic::write(path, text.as_bytes(), 0o644).unwrap();
    }

    fn partition(sys: &Path, disk: &str, number: u32, label: &str) {
        let dir = sys.join(format!("devices/{disk}/{disk}{number}"));
        put(&dir.join("partition"), &number.to_string());
        put(&dir.join("uevent"), &format!("DEVTYPE=partition\nPARTN={number}\nPARTNAME={label}\n"));
        put(&dir.join("start"), &format!("{}\n", number * 2048));
        put(&dir.join("size"), "2048\n");
        put(&sys.join(format!("devices/{disk}/size")), "999999\n");
    }

    fn machine(root_disk: &str, verity_disk: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let sys = fs::canonicalize(dir.path()).unwrap();
        for disk in ["vda", "vdb"] {
            for (number, label) in [(1, "esp"), (3, "root-a"), (4, "verity-a"), (5, "root-b"), (7, "state")] {
                partition(&sys, disk, number, label);
            }
        }
        let slaves = sys.join("devices/dm-0/slaves");
        fs::create_dir_all(&slaves).unwrap();
        for (disk, number) in [(root_disk, 3), (verity_disk, 4)] {
            symlink(
                sys.join(format!("devices/{disk}/{disk}{number}")),
                slaves.join(format!("{disk}{number}")),
            )
            .unwrap();
        }
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        symlink(sys.join("devices/dm-0"), sys.join("dev/block/254:0")).unwrap();
        dir
    }

    #[test]
    fn of_two_identical_disks_the_mounted_one_is_found() {
        let dir = machine("vdb", "vdb");
        let disk = find(dir.path(), nix::sys::stat::makedev(254, 0)).unwrap();
        assert_eq!(disk.name, "vdb");
        assert_eq!(disk.slot, Some(Slot::A));
        assert_eq!(disk.partition("state").unwrap().unwrap().device(), Path::new("/dev/vdb7"));
        assert_eq!(
            disk.partitions.iter().map(|part| part.label.as_str()).collect::<Vec<_>>()[..2],
            ["esp", "root-a"]
        );
    }

    #[test]
    fn a_root_across_two_disks_is_refused() {
        let dir = machine("vda", "vdb");
        let error = find(dir.path(), nix::sys::stat::makedev(254, 0)).unwrap_err();
        assert!(error.to_string().contains("2 disks"), "{error}");
    }

    #[test]
    fn two_partitions_with_one_name_are_refused() {
        let dir = machine("vda", "vda");
        let sys = fs::canonicalize(dir.path()).unwrap();
        partition(&sys, "vda", 8, "state");
        let disk = find(dir.path(), nix::sys::stat::makedev(254, 0)).unwrap();
        assert!(disk.partition("state").is_err());
    }

    #[test]
    fn a_root_on_no_disk_is_an_error() {
        let dir = machine("vda", "vda");
        assert!(find(dir.path(), nix::sys::stat::makedev(0, 41)).is_err());
    }
}
