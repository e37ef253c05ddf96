//! What a pair and its witness say to each other.
//!
//! The witness keeps one [`Record`](pair_core::record::Record) per pair. This crate has the words of the
//! conversation and nothing else: no socket, no clock, no database, and none of the *rules* of the record,
//! which live in `pair-core`. The witness (`node-init witness serve`) and the nodes' client are thin
//! shells around it.
//!
//! ```text
//! node                                         witness
//!  PairKey::derive(secret)                      PairId (public key) was enrolled
//!  Request { pair, id, sequence, seen, ask }
//!    .seal(key, Audience)   ── bytes ──▶        Request::open(bytes, Audience) → Opened
//!                                               Channel::accept(sequence): strictly rising
//!  Answer::decode(bytes)    ◀── bytes ──        Answer { id, verdict }.encode()
//! ```
//!
//! * [`wire`]: the canonical encoding: one byte string per value, nothing optional, sizes bounded.
//! * [`codec`]: records and claims in that encoding (also what the witness stores).
//! * [`auth`]: the pair's key and what a signature covers.
//! * [`request`], [`answer`]: the two messages.
//!
//! ## Why an old request cannot be replayed
//!
//! A signature covers the [`Audience`](auth::Audience): the fingerprint of the witness's key and the TLS exporter value
//! (RFC 9266) of the very connection, to which both ends contributed fresh randomness. On any other
//! connection, before or after a restart, and at any other witness the same bytes are a bad signature.
//! Within the connection the sequence must rise. TLS 1.3 gives order, so a recorded claim has no place
//! where it would be taken again.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

pub mod answer;
pub mod auth;
pub mod codec;
pub mod request;
pub mod wire;

pub use answer::{Answer, Verdict};
pub use auth::{Audience, Channel, PairId, PairKey, PairSecret};
pub use request::{Ask, Opened, Request, Seen};
