//! The steps of a build, one file each, in order:
//!
//! [`tools`] → [`packages`] → [`root`] + [`node_init`] → [`overlay`] + [`downloads`] + [`extension`] → [`erofs`] + [`initrd`] → [`uki`] → [`boot_files`] → [`disk`] →
//! [`output`]; [`sbom`] beside them.
//!
//! Each `step` function is pure: from a definition it makes a [`crate::engine::step::Step`], which is data that
//! `--dry-run` prints and the engine runs.

pub mod boot_files;
pub mod disk;
pub mod downloads;
pub mod erofs;
pub mod extension;
pub mod initrd;
pub mod node_init;
pub mod output;
pub mod overlay;
pub mod packages;
pub mod root;
pub mod sbom;
pub mod tools;
pub mod uki;
