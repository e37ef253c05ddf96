//! The one place of the project that runs external programs and puts files under their final names.
//!
//! * [`command`]: argv as data ([`Invocation`]), a [`Runner`] that executes it on this host, and errors that carry
//!   the argv and the end of what the program said.
//! * [`atomic`]: files and folders appear under a final name whole, or not at all.
//! * [`digest`]: SHA-256 of files and streams.
//! * [`sandbox`]: a tools tree that programs are run in.
//! * [`scripted`]: a runner for tests that answers from a list.

pub mod atomic;
pub mod command;
pub mod digest;
pub mod sandbox;
pub mod scripted;
pub mod sparse;

pub use command::{CommandError, HostRunner, Invocation, Output, Runner};
