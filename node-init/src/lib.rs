//! `node-init`: what decides on a node.
//!
//! One binary beside systemd, which stays PID 1. The flow is `main` → [`commands`] (one file per subcommand:
//! arguments in, exit code out) → the module that does the work:
//!
//! * [`agent`]: who is active: the shell around the pair's decision core.
//! * [`early`]: before the root is switched to: the booted disk, the state partition, `/etc`.
//! * [`provision`]: what this node is to be, step by step.
//! * [`boot`]: which slot this is, and when it may stay.
//! * [`extension`]: k3s: which versions are here, which one is in use.
//! * [`screen`]: the one screen that a console shows.
//! * [`facts`]: what the stages of one boot tell each other, files under `/run/edgepair`.
//! * [`begun`]: proofs of emptiness, durable before a destructive step begins.
//! * [`member`]: what this box is: seed in force, which box of it, cards, the replica's identity.
//! * [`units`]: systemd over D-Bus.
//! * [`update`]: the other slot: written, tried, kept or given up.
//! * [`witness`]: the small third party that keeps one record per pair, and the client that asks it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

pub mod agent;
pub mod begun;
pub mod boot;
pub mod commands;
pub mod early;
pub mod extension;
pub mod facts;
pub mod member;
pub mod provision;
pub mod screen;
pub mod units;
pub mod update;
pub mod witness;
