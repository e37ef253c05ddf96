//! The witness: one record per pair, which says who may write.
//!
//! ```text
//!             node                              witness box
//!  agent / fence handler                    node-init witness serve
//!    client::Keeper ── TLS 1.3, pinned ──▶ server ─▶ limits ─▶ Request::open ─┬─ read ─▶ store::Table
//!      ├ client::witness                                                      └─ swap ─▶ store::Writer
//!      └ client::etcd ──▶ an etcd cluster       admin socket ─▶ admin ─────────────────▶   │ one thread
//!                                                                            pair_core::decide, SQLite,
//!                                                                            fsync, stamp, then the answer
//! ```
//!
//! The rules of the record are [`pair_core::record::decide`] and nowhere else; the words are those of
//! [`witness_protocol`]. What is here moves bytes and keeps promises about disks.

pub mod admin;
pub mod client;
pub mod failpoint;
pub mod identity;
pub mod limits;
pub mod metrics;
pub mod server;
pub mod store;
