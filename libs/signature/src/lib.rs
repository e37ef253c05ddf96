//! ed25519 signatures in the format of minisign(1), prehashed, so that its own program makes and checks them too.
//!
//! The one implementation of the project: the builder signs and checks manifests with it, a node checks bundles. Private
//! key *files* are the builder's business; here a private key is its 32 bytes.
//!
//! - [`PublicKey`] and [`Signature`] are the two text formats; [`sign`] and [`PublicKey::verify`] the two operations.
//! - [`TrustedKeys`] is the set that a file may be signed with: several, so that a key can be followed by another.
//!
//! Source: minisign's documentation, "Signature format" and "Public key format"; RFC 8032 for ed25519, RFC 7693 for
//! BLAKE2b.

mod key;
mod text;
mod trust;

pub use key::{KeyId, PublicKey, SignError, sign};
pub use text::{KeyTextError, Signature, SignatureTextError};
pub use trust::{TrustError, TrustedKeys, Untrusted};

use blake2::{Blake2b512, Digest};
use std::io::{self, Read};

/// BLAKE2b-512 of what is signed: only prehashed signatures are made and accepted, so that a large file is read once
/// and never held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prehash([u8; 64]);

impl Prehash {
    /// Of a byte string.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Blake2b512::digest(bytes).into())
    }

    /// Of everything a reader gives.
    ///
    /// # Errors
    /// The reader's.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Blake2b512::new();
        let mut chunk = vec![0_u8; 1 << 16];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(read) => hasher.update(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
