//! What this machine itself lacks: room on its disks, storage that is fast enough.
//!
//! Each is told before it is a fault of something else: a k3s whose image store is full, or whose datastore waits for a worn
//! out card, says many things and rarely the cause.

use super::Agent;
use edgepair_layout::path::STATE;
use edgepair_render::names::DATA;

/// Share of a file system above which its filling is told, in percent.
const NEARLY: u64 = 90;
/// Share of a minute that programs waited for storage, in percent: told above the one, until it is below the other.
const SLOW: f32 = 70.0;
const QUICK: f32 = 40.0;
/// The kernel's own account ("pressure stall information", Documentation/accounting/psi.rst).
const PRESSURE: &str = "/proc/pressure/io";

/// Share of the last minute in which some program waited for storage, in percent.
fn waited(text: &str) -> Option<f32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("avg60="))?.parse().ok()
}

/// Room that is left, in MiB, when it is told.
fn scarce(space: Option<(u64, u64)>) -> Option<u64> {
    let (free, size) = space?;
    (free < size / 100 * (100 - NEARLY)).then_some(free >> 20)
}

impl Agent {
    /// Looks at room and speed of this machine's storage.
    pub(super) fn look_at_host(&mut self) {
        let space = |path: &str| self.ports.kernel.space(&self.ports.place.path(path));
        let data = if self.datastore == "ready" { scarce(space(DATA)) } else { None };
        let state = scarce(space(STATE));
        match data {
            Some(free) => self.problem(
                "space",
                &format!("the datastore's file system is nearly full: {free} MiB are left"),
            ),
            None => self.clear("space"),
        }
        match state {
            Some(free) => self.problem(
                "space-of-node",
                &format!(
                    "this node's own disk is nearly full: {free} MiB are left for container images, logs and extensions; \
                     `k3s crictl rmi --prune`, `node-init extension list` and `du -xh -d2 /var` help"
                ),
            ),
            None => self.clear("space-of-node"),
        }
        let pressure = std::fs::read_to_string(self.ports.place.path(PRESSURE)).ok();
        let Some(waited) = pressure.as_deref().and_then(waited) else { return };
        if waited >= SLOW {
            self.problem(
                "slow-storage",
                &format!(
                    "storage is slow: for {waited:.0} % of the last minute programs waited for it; what stores here \
                     (database, Kubernetes) answers late, and a card that does this for hours may be worn out"
                ),
            );
        } else if waited < QUICK {
            self.clear("slow-storage");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_is_read() {
        let text = "some avg10=1.00 avg60=71.25 avg300=0.24 total=462\nfull avg10=0.00 avg60=9.00 avg300=0.07 total=1\n";
        assert_eq!(waited(text), Some(71.25));
        assert_eq!(waited("full avg60=9.00\n"), None);
        assert_eq!(waited("some avg60=x\n"), None);
        assert_eq!(waited(""), None);
    }

    #[test]
    fn little_room_is_told_and_no_file_system_is_not() {
        assert_eq!(scarce(Some((99 << 20, 1000 << 20))), Some(99));
        assert_eq!(scarce(Some((101 << 20, 1000 << 20))), None);
        assert_eq!(scarce(None), None);
    }
}
