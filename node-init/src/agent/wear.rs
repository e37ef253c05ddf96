//! What this node writes, in bytes a day: flash cards wear out by it, and nobody sees it coming.
//!
//! Everything is counted by the kernel since the boot: the disk by its block layer, DRBD by its own counter, services by
//! their control groups (`io.stat`, Documentation/admin-guide/cgroup-v2.rst).

use crate::facts::{Booted, Facts};
use crate::member::Place;
use edgepair_layout::path::RUN_DIR;
use edgepair_render::names::{K3S_AGENT_UNIT, K3S_SERVER_UNIT};
use edgepair_status::Wear;
use std::fs;

/// Before this many seconds a boot's own writes would count for whole days.
const EARLY: u64 = 600;
const DAY: u64 = 86_400;
/// Unit of the block layer's counters, bytes.
const SECTOR: u64 = 512;

/// Looks; `None` in the first minutes of a boot, and where the kernel does not tell.
#[must_use]
pub fn look(place: &Place) -> Option<Wear> {
    let read = |path: &str| fs::read_to_string(place.path(path)).ok();
    let uptime = seconds(&read("/proc/uptime")?)?;
    if uptime < EARLY {
        return None;
    }
    let booted: Booted = Facts::at(&place.path(RUN_DIR)).get("booted")?;
    let disk = sectors_written(&read(&format!("/sys/block/{}/stat", booted.disk?))?)? * SECTOR;
    let group =
        |name: &str| read(&format!("/sys/fs/cgroup/{name}/io.stat")).map_or(0, |text| bytes_written(&text));
    let service = |unit: &str| group(&format!("system.slice/{unit}"));
    Some(Wear {
        datastore: per_day(read("/proc/drbd").map_or(0, |text| drbd_written(&text)), uptime),
        journal: per_day(service("systemd-journald.service"), uptime),
        kubernetes: per_day(
            service(K3S_SERVER_UNIT) + service(K3S_AGENT_UNIT) + group("kubepods.slice"),
            uptime,
        ),
        disk: per_day(disk, uptime),
    })
}

fn per_day(bytes: u64, seconds: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(DAY) / u128::from(seconds.max(1))).unwrap_or(u64::MAX)
}

/// First number of `/proc/uptime` (proc(5)).
fn seconds(text: &str) -> Option<u64> {
    text.split('.').next()?.trim().parse().ok()
}

/// Seventh number of a block device's `stat` (Documentation/block/stat.rst).
fn sectors_written(text: &str) -> Option<u64> {
    text.split_whitespace().nth(6)?.parse().ok()
}

/// `dw`: KiB written to the own disk, by this node and by the other one.
fn drbd_written(text: &str) -> u64 {
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix("dw:")?.parse::<u64>().ok());
    words.sum::<u64>().saturating_mul(1024)
}

fn bytes_written(text: &str) -> u64 {
    text.split_whitespace().filter_map(|word| word.strip_prefix("wbytes=")?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::atomic;

    #[test]
    fn what_the_kernel_counts_becomes_bytes_a_day() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let put = |path: &str, text: &str| {
            let path = place.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            atomic::write(&path, text.as_bytes(), 0o644).unwrap();
        };
        assert_eq!(look(&place), None);
        put("/proc/uptime", "599.99 1000.00\n");
        put("/run/edgepair/booted.json", r#"{"slot":"A","disk":"vda","state":"disk","first_boot":false}"#);
        put("/sys/block/vda/stat", "  100 0 5000 10 200 0 86400 10 0 20 20 0 0 0 0\n");
        assert_eq!(look(&place), None, "too early");
        put("/proc/uptime", "8640.50 1000.00\n");
        put("/proc/drbd", " 0: cs:Connected\n    ns:5 nr:0 dw:4096 dr:9 al:1\n");
        put(
            "/sys/fs/cgroup/system.slice/systemd-journald.service/io.stat",
            "254:0 rbytes=9 wbytes=1000 rios=1\n",
        );
        put("/sys/fs/cgroup/system.slice/edgepair-k3s-server.service/io.stat", "254:0 rbytes=9 wbytes=70\n");
        put("/sys/fs/cgroup/kubepods.slice/io.stat", "254:0 wbytes=20\n7:0 wbytes=10\n");
        let wear = look(&place).unwrap();
        let want = Wear { datastore: 40 << 20, journal: 10_000, kubernetes: 1000, disk: 86_400 * 512 * 10 };
        assert_eq!(wear, want);
    }
}
