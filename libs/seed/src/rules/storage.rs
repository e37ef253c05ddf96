//! Whether the storage is named, and fits.

use super::Rules;
use crate::scalar::human_size;

/// Room that the system itself takes on a disk: boot and seed partition, two slots of at most 1.5 GiB each,
/// and 1 GiB of the state partition for host keys, updates and swap space of databases.
pub const SYSTEM_RESERVE: u64 = (512 + 64 + 2 * 1536 + 1024) << 20;
/// Smallest storage for PostgreSQL: write-ahead log, system tables and head room.
pub const POSTGRES_MIN: u64 = 1 << 30;
/// Smallest storage at all.
pub const STORAGE_MIN: u64 = 128 << 20;
/// ext4 takes no larger file, and DRBD's memory for the bitmap grows with the size.
pub const LOOP_MAX: u64 = (16 << 40) - (1 << 20);

impl Rules<'_> {
    pub(super) fn storage(&mut self) {
        match self.seed.text("storage.mode") {
            Some("loop") => self.loop_storage(),
            Some("device") => self.device_storage(),
            _ => {}
        }
        self.size_alone();
        self.fits();
        self.ports();
    }

    fn loop_storage(&mut self) {
        let seed = self.seed;
        if !seed.written("storage.size") {
            self.error(
                "missing-key",
                "storage.size",
                "mode \"loop\" makes a file, and nothing says how large",
                "add size = \"8GiB\"",
            );
        }
        for key in ["storage.device", "node.a.storage_device", "node.b.storage_device"] {
            if seed.written(key) {
                self.error(
                    "wrong-mode",
                    key,
                    "a device is named, and mode \"loop\" uses none",
                    "take the device out, or write mode = \"device\"",
                );
            }
        }
        self.warn(
            "one-disk",
            "storage.mode",
            "the replicated file lies on the disk of the system: when that fails or wears out, the whole box does",
            "where a box has a second disk, use mode = \"device\"",
        );
    }

    fn device_storage(&mut self) {
        let seed = self.seed;
        for node in ["node.a", "node.b"] {
            let own = format!("{node}.storage_device");
            if !seed.written("storage.device") && !seed.written(&own) && seed.has_table(node) {
                self.error(
                    "missing-key",
                    "storage.device",
                    format!("mode \"device\" needs a device, and [{node}] has none"),
                    format!("add storage.device for both boxes, or {own}"),
                );
            }
        }
        for key in ["storage.device", "node.a.storage_device", "node.b.storage_device"] {
            let Some(device) = seed.text(key) else { continue };
            if seed.text("install.disk") == Some(device) {
                self.error(
                    "same-disk",
                    key,
                    format!("{device} is also the disk the system is installed to"),
                    "name a partition or another disk",
                );
            }
            if !device.starts_with("/dev/disk/") {
                self.warn(
                    "device-name",
                    key,
                    format!("{device} may be another disk after the next boot"),
                    "use a name under /dev/disk/by-id/ or /dev/disk/by-path/",
                );
            }
        }
    }

    fn size_alone(&mut self) {
        let Some(size) = self.seed.size("storage.size") else { return };
        let postgres = self.seed.text("kubernetes.datastore").is_none_or(|word| word == "postgres");
        let (least, what) =
            if postgres { (POSTGRES_MIN, "PostgreSQL") } else { (STORAGE_MIN, "the datastore") };
        if size < least {
            self.error(
                "too-small",
                "storage.size",
                format!("{} is too small for {what}", human_size(size)),
                format!("give it at least {}", human_size(least)),
            );
        }
        if size % 4096 != 0 {
            self.error(
                "odd-size",
                "storage.size",
                format!("{size} bytes are no multiple of 4096, the block size of the disk"),
                "use a size in MiB or GiB",
            );
        }
        if self.seed.text("storage.mode") == Some("loop") && size > LOOP_MAX {
            self.error(
                "too-large",
                "storage.size",
                format!("{} is more than one file can hold", human_size(size)),
                "use mode = \"device\"",
            );
        }
    }

    /// The parts of the state partition against the disk, where the disk is known.
    fn fits(&mut self) {
        let seed = self.seed;
        let Some(disk) = self.disk.or_else(|| seed.size("storage.disk")) else { return };
        let replicated = match seed.text("storage.mode") {
            Some("loop") => seed.size("storage.size").unwrap_or(0),
            _ => 0,
        };
        let containers = seed.size("storage.containers").unwrap_or(0);
        let journal = seed.size("log.size").unwrap_or(64 << 20);
        let taken =
            [SYSTEM_RESERVE, containers, journal].iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
        if taken.saturating_add(replicated) > disk {
            let room = disk.saturating_sub(taken) >> 20 << 20;
            let key = if replicated > 0 { "storage.size" } else { "storage.containers" };
            self.error(
                "does-not-fit",
                key,
                format!(
                    "a disk of {} has no room for it: the system takes {}, containers {}, the journal {}",
                    human_size(disk),
                    human_size(SYSTEM_RESERVE),
                    human_size(containers),
                    human_size(journal),
                ),
                if replicated > 0 && room > 0 {
                    format!("at most {} are left", human_size(room))
                } else {
                    "take a larger disk, or give containers less".to_owned()
                },
            );
        }
    }

    /// Ports that the seed sets must not be each other's nor those of the system.
    fn ports(&mut self) {
        let fixed =
            [(22, "SSH"), (2379, "etcd"), (2380, "etcd"), (5432, "PostgreSQL"), (5433, "the database proxy")]
                .into_iter()
                .chain([
                    (7790, "the agent"),
                    (7791, "the status page"),
                    (7792, "updates"),
                    (10250, "the kubelet"),
                ]);
        let mut taken: Vec<(i64, String)> = fixed.map(|(port, who)| (port, who.to_owned())).collect();
        for (key, default) in
            [("storage.port", 7788), ("kubernetes.api_port", 6443), ("kubernetes.balancer.port", 7443)]
        {
            let port = self.seed.integer(key).unwrap_or(default);
            if let Some((_, who)) = taken.iter().find(|(other, _)| *other == port) {
                let reason = format!("port {port} is the port of {who}");
                self.error("port-taken", key, reason, "choose another port");
            }
            taken.push((port, key.to_owned()));
        }
    }
}
