//! What is wrong or unwise in a file: every finding with its place, the reason and what to do, all of them at once.
//!
//! Used by the parsers of the seed and of a bundle's manifest. Pure: text and byte ranges in, text or JSON out.
//!
//! - [`Finding`] is one thing to know, [`Report`] all of a file, for people, for logs and for scripts.
//! - [`closest`] is the "did you mean" of an unknown word.

mod finding;
mod similar;

pub use finding::{Finding, Position, Report, Severity};
pub use similar::closest;
