//! Updates on one node: what carries out the decisions of `pair_core::update`.
//!
//! ```text
//!  agent ──▶ driver ──▶ pair_core::update::Updater ──┬── Write ──▶ slot      inactive slot, read back, then named
//!  other node ─┘  └──▶ memory on state               ├── Arm, Prove, Bless, MarkBad ──▶ boot
//!                                                    └── Check ──▶ health    may this version stay?
//! ```
//!
//! - [`boot`]: the boot loader's entries. What is decided about them is pure and holds at a power cut anywhere.
//! - [`slot`]: the other slot.
//! - [`health`]: the verdict on a trial.
//! - [`bundle`]: where a slot's blocks come from, and whether they may.
//! - [`channel`]: updates by themselves: what a web server offers, and when it is taken.
//! - [`driver`]: the pair core's machine with its memory, its hands and the other node.

pub mod boot;
pub mod bundle;
pub mod channel;
pub mod driver;
pub mod health;
pub mod slot;
