//! The power of the other box: Debian's fence agents (fence-agents, "FenceAgentAPI"), run to switch it off, to read back
//! that it is off, and to switch it on again.
//!
//! ```text
//!  seed ─▶ Device ─▶ call: action and options on standard input ─▶ program ─▶ exit code and text ─▶ Said
//!                              off: status ─▶ off ─▶ status, status, … until it reads off, or the time is over
//! ```
//!
//! - [`device`]: what a program is asked and what its answer means. Pure.
//! - [`switch`]: off and on, each within a time; a program that is late is killed with all it started.
//! - [`note`]: a box that this node has switched off is switched on again, also by the next boot of this node.
//!
//! What an answer is good for is not decided here: the pair core's handler in mode `fence`, the agent's engine beside a
//! witness. Nothing of a secret is in an argument, a message or an error.

pub mod device;
pub mod note;
pub mod switch;

#[cfg(test)]
mod tests;

pub use device::{Device, Said};
