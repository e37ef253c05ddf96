//! k3s on a node: which versions are there, which one is in use, and how the pair gets from one to another.
//!
//! ```text
//!  image's root ─┐                                      ┌─▶ dm-verity ─▶ mount ─▶ /run/edgepair/extension ◀─ /usr/bin/k3s
//!                ├─▶ shelf (what may be used) ─▶ mount ─┤
//!  state ────────┘        ▲                             └─▶ links to archives of container images
//!   ▲ install: signed     │
//!                    plan (of the pair) ◀─ decide ◀─ both nodes
//! ```
//!
//! - [`shelf`]: what is there and may be used: from the image, which the root's hash tree covers, or signed on state.
//! - [`install`]: takes an extension file; [`mount`]: puts one in use.
//! - [`plan`]: the pair's version, kept on both nodes. [`decide`]: pure: whose turn it is to change.
//! - [`images`]: archives of container images that lie beside the seed.
//!
//! Why it is mounted beside `/usr` and not merged over it: docs/adr/0100.

pub mod decide;
pub mod images;
pub mod install;
pub mod mount;
pub mod plan;
pub mod shelf;

/// Debian's name of this machine's architecture.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
