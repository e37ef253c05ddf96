//! The failover and update state machines of a pair: no I/O, no clock, no randomness, no panics.
//!
//! The shell (the agent of `node-init`) observes, turns what it saw into an [`event::Event`], hands it to
//! [`node::Node::on`] with a fresh request id, and carries out the [`effect::Effect`]s in order. The model in
//! `tests/` drives the very same code against the kernel's rules, a lossy network and crashes.
//!
//! - [`record`]: what the witness keeps, and the compare-and-swap rules that change it.
//! - [`view`]: what DRBD says about itself, in the kernel's words.
//! - [`event`] in, [`effect`] out, [`message`] between the two agents.
//! - [`handler`]: the answer to DRBD's `fence-peer`; also runs alone when the agent is dead.
//! - [`node`]: the failover machine of one node.
//! - [`update`]: the update machine of one node.
//! - [`reason`]: why a node waits or refuses, in words.
//! - [`rules`]: the switches that let a test break one rule at a time.
pub mod effect;
pub mod event;
pub mod handler;
pub mod message;
pub mod node;
pub mod reason;
pub mod record;
pub mod rules;
pub mod update;
pub mod view;
