//! `node-init`: what decides on a node.
//!
//! One binary beside systemd, which stays PID 1. The flow is `main` → [`commands`] (one file per subcommand:
//! arguments in, exit code out) → the module that does the work:
//!
//! * [`witness`]: the small third party that keeps one record per pair, and the client that asks it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

pub mod commands;
pub mod witness;
