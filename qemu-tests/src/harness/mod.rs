//! The harness: [`vm`] (one machine), [`qmp`] (its control socket), [`guest`] (a shell inside), [`serial`] (what it
//! prints), [`lan`] (the switch between machines), [`accel`] (KVM or not).

pub mod accel;
pub mod guest;
pub mod lan;
pub mod qmp;
pub mod serial;
pub mod vm;

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
