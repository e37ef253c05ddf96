//! The failover and update state machines of a pair: no I/O, no clock, no randomness, no panics.
//!
//! - [`record`]: what the witness keeps, and the compare-and-swap rules that change it.
pub mod record;
