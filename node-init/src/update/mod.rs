//! Updates on one node: what carries out the decisions of `pair_core::update`.
//!
//! ```text
//!  pair_core::update::Updater ── Write ──▶ slot    inactive slot, block by block, read back, identifiers, kernel image
//!                             ── Arm, Prove, Bless, MarkBad ──▶ boot    what the boot loader will choose
//! ```
//!
//! - [`boot`]: the boot loader's entries. What is decided about them is pure and holds at a power cut anywhere.

pub mod boot;
pub mod health;
pub mod slot;
