//! Identity of this node's replica: minted with the DRBD metadata, bound to the hardware that carries it.
//!
//! What is kept is the minted number; the identity itself is computed from it and from the hardware of this boot. So a
//! copy of the disk in another box, or in another disk of this box, has another identity without anybody looking for
//! copies, and the decision core refuses it (docs/adr/0022).

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use edgepair_layout::path;
use pair_core::record::DiskId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{KeptError, Place};

/// What carries a replica, as far as it can be told from another of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The board, for example `uuid 4c4c4544-…` or `serial 100000003d1d1c36`.
    pub board: String,
    /// The disk, for example `serial S4EVNX0N` or `cid 0353445…`.
    pub disk: String,
}

/// The file [`path::DISK_ID`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFile {
    /// Random number of 16 bytes, minted with the metadata; 32 hexadecimal digits.
    pub mint: DiskId,
    /// The file or device that has the metadata, told from another in its place.
    pub target: String,
    /// Name of the pair and fingerprint of its secret: whose data this is.
    pub pair: String,
    /// The hardware it was minted on, for messages.
    pub hardware: Hardware,
}

/// The replica's identity in this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDisk {
    /// Its identity.
    pub id: DiskId,
    /// Set when it was minted on other hardware: this is a copy, or the disk was moved.
    pub moved: Option<String>,
}

impl DiskFile {
    /// Reads it; `None` before the metadata was made.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn load(place: &Place) -> Result<Option<Self>, KeptError> {
        place.read(path::DISK_ID)
    }

    /// Keeps it: durable when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(path::DISK_ID, self)
    }

    /// The identity on this hardware.
    pub fn on(&self, hardware: &Hardware) -> OwnDisk {
        let mut hasher = Sha256::new();
        for part in ["edgepair disk id, version 1", &hardware.board, &hardware.disk] {
            hasher.update(part.as_bytes());
            hasher.update([0]);
        }
        hasher.update(self.mint.0);
        let digest = hasher.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let moved = (self.hardware != *hardware).then(|| {
            let (then, now) = (&self.hardware, hardware);
            format!(
                "made on board {} with disk {}, now on board {} with disk {}",
                then.board, then.disk, now.board, now.disk
            )
        });
        OwnDisk { id: DiskId(id), moved }
    }
}

impl OwnDisk {
    /// This node's replica; `None` before its metadata was made.
    ///
    /// # Errors
    /// When the file is damaged or the hardware cannot be told.
    pub fn load() -> anyhow::Result<Option<Self>> {
        let place = Place::default();
        let Some(file) = DiskFile::load(&place)? else { return Ok(None) };
        let backing =
            super::Own::load()?.and_then(|own| own.seed.storage_device(&own.member).map(PathBuf::from));
        let hardware = Hardware::observe(&place, &backing.unwrap_or_else(|| PathBuf::from(path::STATE_DIR)))?;
        Ok(Some(file.on(&hardware)))
    }
}

impl Hardware {
    /// The hardware below `backing`: a block device, or a file or folder on the disk's file system.
    ///
    /// # Errors
    /// When `backing` is not there.
    pub fn observe(place: &Place, backing: &Path) -> std::io::Result<Self> {
        let sys = place.path("/sys");
        let data = fs::metadata(place.path(&backing.to_string_lossy()))?;
        let number = if data.file_type().is_block_device() { data.rdev() } else { data.dev() };
        Ok(Self { board: board(&sys), disk: disk(&sys, number) })
    }
}

/// A word from sysfs without white space and without NUL, when it says anything.
fn word(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).replace('\0', "");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What board makers leave in firmware when they do not care.
fn says_nothing(text: &str) -> bool {
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let same = |letters: &str| plain.chars().all(|c| letters.contains(c));
    let known = [
        "tobefilledbyoem",
        "defaultstring",
        "notspecified",
        "notsettable",
        "none",
        "systemserialnumber",
        "serialnumber",
        "123456789",
        "0123456789",
        "unknown",
        "03000200040005000006000700080009",
    ];
    plain.len() < 4 || same("0") || same("f") || same("x") || known.contains(&plain.as_str())
}

fn board(sys: &Path) -> String {
    let dmi = sys.join("class/dmi/id");
    let named = [
        ("uuid", dmi.join("product_uuid")),
        ("serial", sys.join("firmware/devicetree/base/serial-number")),
        ("board serial", dmi.join("board_serial")),
        ("serial", dmi.join("product_serial")),
    ];
    let named = named.into_iter().find_map(|(kind, path)| {
        word(&path).filter(|text| !says_nothing(text)).map(|text| format!("{kind} {}", text.to_lowercase()))
    });
    named.or_else(|| lowest_mac(sys)).unwrap_or_else(|| "without a number".to_owned())
}

/// The lowest permanent MAC address of a card that is not on USB.
fn lowest_mac(sys: &Path) -> Option<String> {
    let mut macs: Vec<String> = Vec::new();
    for card in fs::read_dir(sys.join("class/net")).ok()?.flatten() {
        let card = card.path();
        let Ok(device) = fs::canonicalize(card.join("device")) else { continue };
        if device.to_string_lossy().contains("/usb") {
            continue;
        }
        // A card in a bond shows the bond's address.
        let own = word(&card.join("bonding_slave/perm_hwaddr")).or_else(|| word(&card.join("address")));
        macs.extend(own);
    }
    macs.sort();
    macs.first().map(|mac| format!("card {mac}"))
}

/// Serial number of the disk with this device number or with this partition.
fn disk(sys: &Path, number: u64) -> String {
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let Ok(block) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) else {
        return "none".to_owned();
    };
    let disk =
        if block.join("partition").exists() { block.parent().map(Path::to_owned) } else { Some(block) };
    let Some(disk) = disk else { return "none".to_owned() };
    // virtio, NVMe, MMC, SCSI and SATA: each has its own place.
    let named = [
        ("cid", "device/cid"),
        ("wwid", "wwid"),
        ("serial", "serial"),
        ("serial", "device/serial"),
        ("wwid", "device/wwid"),
    ];
    let named = named.into_iter().find_map(|(kind, file)| {
        word(&disk.join(file)).filter(|text| !says_nothing(text)).map(|text| format!("{kind} {text}"))
    });
    named.unwrap_or_else(|| "without a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        edgepair_host_io::atomic::write(path, text.as_bytes(), 0o644).unwrap();
    }

    fn file() -> DiskFile {
        DiskFile {
            mint: DiskId([7; 16]),
            target: "inode 5".into(),
            pair: "site-042".into(),
            hardware: Hardware { board: "uuid 1".into(), disk: "serial 1".into() },
        }
    }

    #[test]
    fn a_copy_on_other_hardware_is_another_disk() {
        let own = file().on(&file().hardware);
        assert_eq!(own.moved, None);
        assert_eq!(file().on(&file().hardware).id, own.id, "the same in every boot");
        for other in [
            Hardware { board: "uuid 2".into(), ..file().hardware },
            Hardware { disk: "serial 2".into(), ..file().hardware },
            Hardware { board: "uuid 1\0serial 1".into(), disk: String::new() },
        ] {
            let copy = file().on(&other);
            assert_ne!(copy.id, own.id);
            assert!(copy.moved.is_some_and(|text| text.contains("uuid 1")));
        }
        assert_ne!(DiskFile { mint: DiskId([8; 16]), ..file() }.on(&file().hardware).id, own.id);
    }

    #[test]
    fn a_board_is_told_by_the_first_number_that_says_anything() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        assert_eq!(board(sys), "without a number");
        put(&sys.join("devices/pci0/card/address"), "52:54:00:00:00:02\n");
        fs::create_dir_all(sys.join("class/net/eth1")).unwrap();
        put(&sys.join("class/net/eth1/address"), "52:54:00:00:00:02\n");
        std::os::unix::fs::symlink(sys.join("devices/pci0/card"), sys.join("class/net/eth1/device")).unwrap();
        put(&sys.join("class/net/bond/address"), "52:54:00:00:00:01\n");
        assert_eq!(board(sys), "card 52:54:00:00:00:02", "a bond is no card");
        put(&sys.join("class/dmi/id/product_serial"), "To be filled by O.E.M.\n");
        put(&sys.join("class/dmi/id/product_uuid"), "00000000-0000-0000-0000-000000000000\n");
        assert_eq!(board(sys), "card 52:54:00:00:00:02", "numbers that say nothing");
        put(&sys.join("firmware/devicetree/base/serial-number"), "100000003d1d1c36\0");
        assert_eq!(board(sys), "serial 100000003d1d1c36");
        put(&sys.join("class/dmi/id/product_uuid"), "4C4C4544-0031-3010-8031-B4C04F4A4E32\n");
        assert_eq!(board(sys), "uuid 4c4c4544-0031-3010-8031-b4c04f4a4e32");
    }

    #[test]
    fn a_disk_is_told_by_its_serial_number_whatever_the_partition() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        put(&sys.join("devices/vda/serial"), "edgepair-disk0");
        put(&sys.join("devices/vda/vda7/partition"), "7");
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        std::os::unix::fs::symlink(sys.join("devices/vda/vda7"), sys.join("dev/block/254:7")).unwrap();
        assert_eq!(disk(sys, nix::sys::stat::makedev(254, 7)), "serial edgepair-disk0");
        assert_eq!(disk(sys, nix::sys::stat::makedev(0, 40)), "none");
    }
}
