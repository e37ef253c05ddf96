//! The harness: [`pair`] is two machines ([`vm`]) from one image, their seed ([`site`]), the switch between them
//! ([`lan`]), this computer's ports on it ([`host_port`]) and a [`witness`]. A machine has a control socket ([`qmp`]),
//! a shell inside ([`guest`]) and a serial line ([`serial`]). A [`stranger`] is a third host that scans them, a
//! [`bmc`] is a management board that switches a machine off and on, a [`database`] is PostgreSQL outside the pair, a [`writer`] numbers rows at the virtual IP,
//! [`kubectl`] and [`api`] ask the Kubernetes API there. [`accel`] finds out whether there is KVM,
//! [`write_log`] makes disks as a power cut may leave them.

pub mod accel;
pub mod api;
pub mod bmc;
pub mod database;
pub mod guest;
pub mod host_port;
pub mod inner;
pub mod kubectl;
pub mod lan;
pub mod pair;
pub mod qmp;
pub mod serial;
pub mod site;
pub mod ssh;
pub mod stranger;
pub mod vm;
pub mod witness;
pub mod write_log;
pub mod writer;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What `edgepair build --json` says about an image: where it is and how QEMU runs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// The compressed disk image.
    pub image: PathBuf,
    /// The block map.
    pub bmap: PathBuf,
    /// The uncompressed disk image, in the build cache.
    pub disk: PathBuf,
    /// The root file system alone.
    pub root: PathBuf,
    /// node-init as it is in the image.
    pub node_init: PathBuf,
    /// The kernel alone, for finding out whether KVM works.
    pub kernel: PathBuf,
    /// Tools tree with QEMU and firmware.
    pub tools: PathBuf,
    /// How QEMU runs it.
    pub qemu: Qemu,
    /// Image version.
    pub version: String,
    /// Board name.
    pub board: String,
}

/// How QEMU runs an architecture; paths are inside the tools tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Qemu {
    /// Program name.
    pub program: String,
    /// `-machine` value.
    pub machine: String,
    /// Firmware code image.
    pub firmware_code: String,
    /// Template of the firmware's variables.
    pub firmware_vars: String,
    /// Terminal that is the first serial port.
    pub serial: String,
}

/// A point in time after which waiting is a failure.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So many seconds from now.
    #[expect(clippy::disallowed_methods, reason = "the harness waits for real machines")]
    pub fn seconds(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }

    /// Whether it has passed.
    #[expect(clippy::disallowed_methods, reason = "the harness waits for real machines")]
    pub fn passed(&self) -> bool {
        Instant::now() >= self.0
    }

    /// Time left, zero when passed.
    #[expect(clippy::disallowed_methods, reason = "the harness waits for real machines")]
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
