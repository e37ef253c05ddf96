//! What the boot loader will choose: looked at, changed, proven.
//!
//! ```text
//!  installed +0 ── arm ──▶ trial +3 ── the loader counts ──▶ +2-1, +1-2 ──▶ exhausted +0-3
//!                             │                                                 ▲
//!                             ├── commit ──▶ kept (no counter) ── roll back ────┤
//!                             └── reject ───────────────────────────────────────┘
//! ```
//!
//! [`BootControl`] is what the rest of the node knows. [`SystemdBoot`] is the one for UEFI, where everything is in file
//! names (systemd's "Automatic Boot Assessment"). [`entry`] reads names, [`loader`] is a model of what systemd-boot makes
//! of them, [`decide`] says what is to be renamed, [`esp`] is the folder itself.

pub mod decide;
pub mod entry;
pub mod esp;
pub mod label;
pub mod loader;
mod systemd;
#[cfg(test)]
pub(crate) mod tests;

pub use decide::{Armed, Refusal};
pub use entry::{Counter, Entry};
pub use systemd::SystemdBoot;

use std::io::Read;

/// Why the boot loader's entries are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Not done, because it could leave this node with nothing to boot, or with something else than was meant.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The boot partition.
    #[error("the boot partition: {what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// What was written is not what was to be written.
    #[error("the kernel image on the boot partition has digest {found} instead of {wanted}")]
    Digest {
        /// SHA-256 of what is there, hexadecimal.
        found: String,
        /// SHA-256 that it should have.
        wanted: String,
    },
    /// Nothing is touched then.
    #[error("the boot partition has {free} bytes free, the kernel image needs {needed}")]
    Room {
        /// Bytes.
        free: u64,
        /// Bytes, with the reserve.
        needed: u64,
    },
}

/// How one version stands with the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Boots for good.
    Kept,
    /// Has attempts left.
    Trial(Counter),
    /// On the boot partition, never armed.
    Installed,
    /// Attempts used up or taken.
    Exhausted,
}

/// The boot loader of this node. All changes are durable when a method returns, and every one can be repeated.
pub trait BootControl {
    /// Versions of this system that the loader knows, best first: the first one is what it would boot now.
    ///
    /// # Errors
    /// When the boot partition cannot be read.
    fn versions(&self) -> Result<Vec<(String, Standing)>, BootError>;

    /// Whether a kernel image of so many bytes has room, after [`BootControl::clear`].
    ///
    /// # Errors
    /// [`BootError::Room`] when it has not.
    fn room(&self, running: &str, bytes: u64) -> Result<(), BootError>;

    /// Takes away every entry of ours but the running version's. The slot that they belong to may be written then.
    ///
    /// # Errors
    /// [`Refusal`] when the running version is not kept: it would be all that is left.
    fn clear(&self, running: &str) -> Result<(), BootError>;

    /// Puts a version's kernel image beside the running one's, without attempts: it does not boot by itself yet.
    /// `digest`: its SHA-256, hexadecimal. An image that is there already and whole is left as it is.
    ///
    /// # Errors
    /// [`BootError`]; the image then has no name that the loader takes.
    fn install(&self, version: &str, digest: &str, image: &mut dyn Read) -> Result<(), BootError>;

    /// Gives an installed version its attempts.
    ///
    /// # Errors
    /// [`Refusal`].
    fn arm_trial(&self, running: &str, version: &str) -> Result<(), BootError>;

    /// Reads back what the loader will read: it tries `version`, and goes back to `running` once the attempts are used up.
    ///
    /// # Errors
    /// [`Refusal`] says what would happen instead.
    fn prove(&self, running: &str, version: &str) -> Result<Armed, BootError>;

    /// Keeps a version.
    ///
    /// # Errors
    /// [`Refusal`].
    fn commit(&self, version: &str) -> Result<(), BootError>;

    /// Takes a version's attempts away.
    ///
    /// # Errors
    /// [`Refusal`] when nothing that is kept would be left.
    fn reject(&self, version: &str) -> Result<(), BootError>;

    /// Makes the other version boot: takes the running one's place from it. Returns which will boot.
    ///
    /// # Errors
    /// [`Refusal`] when there is no other one that is kept.
    fn roll_back(&self, running: &str) -> Result<String, BootError>;
}
