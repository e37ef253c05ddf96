//! Why a bundle is refused.

use crate::index::{BlockId, IndexError};
use crate::manifest::PayloadName;
use edgepair_findings::Report;
use edgepair_signature::{SignatureTextError, Untrusted};
use std::io;
use thiserror::Error;

/// What failed and why; [`Error::advice`] says what to do.
#[derive(Debug, Error)]
pub enum Error {
    /// The reader failed.
    #[error("{part} cannot be read: {source}")]
    Read {
        /// Which part was being read.
        part: &'static str,
        /// The reader's error.
        source: io::Error,
    },
    /// The first bytes are of something else.
    #[error("this is no update bundle: it does not begin with the tar entry manifest.toml")]
    NotABundle,
    /// It ends too early.
    #[error("the bundle is cut off: it ends within {0}")]
    Truncated(&'static str),
    /// Another entry stands where this one belongs: too many, twice, in another order.
    #[error("the tar entry {expected} belongs here, and there is {found}")]
    Order {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// An entry that is no plain file.
    #[error("the tar entry {expected} is {kind}, and a bundle has plain files only")]
    Kind {
        /// Its name.
        expected: &'static str,
        /// What it is.
        kind: &'static str,
    },
    /// The header has other bytes than a bundle's: owner, time, mode, prefix, check sum.
    #[error(
        "the tar header of {0} is not the one that a bundle has: it was damaged, or packed again by another program"
    )]
    Header(&'static str),
    /// A part that has no check of its own yet is too large to be read.
    #[error("{part} has {size} bytes, and at most {limit} are read")]
    TooLarge {
        /// Which one.
        part: &'static str,
        /// Its size.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The tar and the manifest say different sizes.
    #[error("{part} has {found} bytes in the tar, and {signed} in the manifest")]
    Size {
        /// Which part.
        part: &'static str,
        /// The manifest's.
        signed: u64,
        /// The tar's.
        found: u64,
    },
    /// Bytes between the entries that should be zero.
    #[error("the bytes behind {0} up to the next entry are not zero")]
    Padding(&'static str),
    /// Something follows.
    #[error("there are bytes behind the end of the bundle")]
    Trailing,
    /// The signatures do not hold.
    #[error("the manifest is not to be trusted: {0}")]
    Untrusted(Untrusted),
    /// They cannot be read.
    #[error("manifest.sig cannot be read: {0}")]
    SignatureText(SignatureTextError),
    /// They are written otherwise than a bundle's, are too many, or two are by one key.
    #[error(
        "manifest.sig is not in the one form that a bundle has: at most four signatures, each by another key"
    )]
    SignatureForm,
    /// The manifest is not text.
    #[error("manifest.toml is not UTF-8")]
    Utf8,
    /// The manifest is wrong.
    #[error("manifest.toml is wrong:\n{}", .0.render_short().trim_end())]
    Manifest(Box<Report>),
    /// The index is not the signed one.
    #[error("the block index is not the one that the manifest was signed for: it was damaged or changed")]
    IndexDigest,
    /// The index is signed, and wrong.
    #[error("the block index is wrong: {0}")]
    Index(IndexError),
    /// The index has no such block.
    #[error("there is no {0}")]
    NoSuchBlock(BlockId),
    /// A block is not the signed one.
    #[error("{0} is not what was signed: it was damaged or changed")]
    Block(BlockId),
    /// What was signed cannot be decompressed to what was signed: the bundle was made wrongly.
    #[error("{0} is as it was signed, and does not decompress to the block that was signed")]
    Decompress(BlockId),
    /// The blocks are right and their sum is not.
    #[error("the blocks of {0} are right one by one, and the whole is not what the manifest says")]
    Payload(PayloadName),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Read { .. } => "try again; if it stays so, get the bundle from another place",
            Self::NotABundle => "name the .bundle file that `edgepair bundle create` wrote",
            Self::Untrusted(Untrusted::Unsigned) => {
                "sign it with `edgepair bundle sign`, or get the bundle that was signed"
            }
            Self::Untrusted(Untrusted::UnknownKey { .. }) => {
                "check where it comes from; a new key must first come with a release that is signed with an old one"
            }
            Self::SignatureForm | Self::SignatureText(_) => {
                "attach signatures with `edgepair bundle sign --attach`, which writes them in this form"
            }
            Self::Manifest(_) | Self::Index(_) | Self::Decompress(_) | Self::Payload(_) | Self::Utf8 => {
                "make the bundle again with `edgepair bundle create` of this release, and sign that"
            }
            Self::NoSuchBlock(_) => "this is a fault of edgepair; please report it",
            _ => "do not use it; get it again from where it was made",
        }
    }
}
