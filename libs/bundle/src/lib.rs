//! Update bundles: one file that takes a node from one version to another.
//!
//! A bundle is a tar of `manifest.toml`, `manifest.sig`, `index` and the payloads in blocks (`docs/bundle.md`). It is read
//! once, from front to back, in little memory, from any reader; or block by block from a source of ranges.
//!
//! ```text
//! Unverified::open ─▶ verify(keys) ─▶ Verified ─┬▶ admit(node) ─▶ Admitted ─┬▶ stream(rest) ─▶ Block, Block, …
//!  manifest, signatures   index, digests        │                          ├▶ plan(have) ─▶ what to fetch
//!                                               └▶ check_rest              └▶ unpacker() ─▶ Block from elsewhere
//! ```
//!
//! - [`Block`] is proof: signed, of a version that this node may install, digest checked. A slot's writer takes nothing else.
//! - [`Manifest`] is what a bundle says of itself; [`Node`] what a node compares it with.
//! - [`Plan`] tells which blocks are at hand, and which ranges of the bundle hold the others.
//! - [`Packer`] makes bundles.
//! - [`channel`] is the file by which pairs update by themselves: which bundle, when.

mod admit;
mod archive;
mod blocks;
pub mod channel;
mod digest;
mod error;
pub mod index;
pub mod manifest;
mod pack;
mod plan;
mod read;
mod time;
mod version;

pub use admit::{Node, Reads, Refusal, Refused, place};
pub use blocks::{Admitted, Block, Blocks, Rest, Unpacker};
pub use digest::Digest;
pub use error::Error;
pub use index::{BlockId, Index, IndexError};
pub use manifest::Manifest;
pub use pack::{PackError, Packer};
pub use plan::{Have, Holdings, Inventory, Plan, REQUEST_MAX, Request, Source};
pub use read::{Contents, INDEX, MANIFEST, SIGNATURES, SIGNATURES_MAX, Unverified, Verified};
pub use time::Time;
pub use version::Version;
