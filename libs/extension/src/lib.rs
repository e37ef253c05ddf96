//! The extension that carries k3s: a system extension image (systemd-sysext(8)) with a signed head.
//!
//! An extension file is a tar of `extension.toml`, `extension.sig` and `image.raw`. It is read once,
//! from front to back: nothing of the image is taken before the head is known to be signed, and none of it is used before
//! its digest was compared.
//!
//! ```text
//! Unverified::open ─▶ verify(keys) ─▶ Verified ─ unpack(out) ─▶ Head
//!  head, signatures                     └ copies image.raw, compares size and SHA-256
//! ```
//!
//! - [`Version`] is k3s's, and knows which step from one to another is allowed ([`Version::step_to`]).
//! - [`Head`] says what the image is: root hash, where file system and hash tree lie in it.
//! - [`write`] makes an extension file; the same parts give the same bytes.

mod archive;
mod head;
mod version;

pub use archive::{
    Error, HEAD, IMAGE, SIGNATURES, Unverified, Verified, check_head, parse_signatures, signatures_text,
    write, write_head,
};
pub use head::{Head, HeadError, Span};
pub use version::{Step, Version};
