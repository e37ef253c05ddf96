//! Reading a bundle, in steps that each need the one before:
//!
//! ```text
//! Unverified ── signature, manifest, index ──▶ Verified ── fits this node ──▶ Admitted + Rest ──▶ Block, Block, …
//! ```
//!
//! A [`crate::Block`] can be had in no other way, so whoever writes blocks writes signed ones of an admitted version.

use crate::admit::{Node, Refused};
use crate::archive::{Archive, END, UNIT, padding};
use crate::blocks::{Admitted, Blocks, Rest};
use crate::digest::Hasher;
use crate::manifest::{MANIFEST_MAX, Manifest, PayloadName};
use crate::{Digest, Error, Index};
use edgepair_findings::Report;
use edgepair_signature::{KeyId, Prehash, Signature, TrustedKeys};
use std::io::Read;

/// Name of the manifest in the tar.
pub const MANIFEST: &str = "manifest.toml";
/// Name of its signatures.
pub const SIGNATURES: &str = "manifest.sig";
/// Name of the block index.
pub const INDEX: &str = "index";
/// Most signatures of a bundle.
pub const SIGNATURES_MAX: usize = 4;
/// Largest `manifest.sig` that is read, in bytes.
const SIGNATURES_SIZE: u64 = 16 << 10;

/// The beginning of a bundle, of which nothing has been checked.
#[derive(Debug)]
pub struct Unverified<R> {
    archive: Archive<R>,
    text: String,
    signatures: Vec<Signature>,
}

/// What is signed in a bundle, but for the blocks themselves. The signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The manifest.
    pub manifest: Manifest,
    /// The block index.
    pub index: Index,
    /// Number of the key.
    pub signed_by: KeyId,
    /// The comment that the signature covers.
    pub comment: String,
    /// Where each payload's content begins in the bundle, in bytes, in the manifest's order.
    entries: Vec<u64>,
    /// Bytes of the whole bundle.
    size: u64,
}

/// A bundle whose manifest and index are signed with a trusted key. Its blocks have not been read.
#[derive(Debug)]
pub struct Verified<R> {
    contents: Contents,
    archive: Archive<R>,
}

impl<R: Read> Unverified<R> {
    /// Reads manifest and signatures: at most some hundred kilobytes, whatever the bundle says.
    ///
    /// # Errors
    /// When it does not begin as a bundle, or cannot be read.
    pub fn open(reader: R) -> Result<Self, Error> {
        let mut archive = Archive::new(reader);
        let manifest = archive.part(MANIFEST, MANIFEST_MAX)?;
        let text = String::from_utf8(manifest).map_err(|_| Error::Utf8)?;
        let signatures = signatures(&archive.part(SIGNATURES, SIGNATURES_SIZE)?)?;
        Ok(Self { archive, text, signatures })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, unchecked.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The manifest, for showing it only.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn manifest(&self) -> Result<Manifest, Box<Report>> {
        Manifest::parse(MANIFEST, &self.text)
    }

    /// Checks the signature, then reads the manifest and the index that it names.
    ///
    /// # Errors
    /// Whatever does not hold. The manifest is not even parsed when it is not signed.
    pub fn verify(self, keys: &TrustedKeys) -> Result<Verified<R>, Error> {
        let Self { mut archive, text, signatures } = self;
        let signature =
            keys.verify(&Prehash::of_bytes(text.as_bytes()), &signatures).map_err(Error::Untrusted)?;
        let (signed_by, comment) = (signature.key_id(), signature.comment().to_owned());
        let manifest = Manifest::parse(MANIFEST, &text).map_err(Error::Manifest)?;
        archive.entry_of(INDEX, manifest.index.size)?;
        let bytes = archive.content(INDEX, manifest.index.size, manifest.index.size)?;
        if Digest::of(&bytes) != manifest.index.sha256 {
            return Err(Error::IndexDigest);
        }
        let index = Index::parse(&bytes, &manifest).map_err(Error::Index)?;
        let mut entries = Vec::new();
        let mut next = archive.position();
        for payload in &manifest.payloads {
            next += UNIT as u64;
            entries.push(next);
            next += payload.stored + padding(payload.stored) as u64;
        }
        let size = next + END.len() as u64;
        Ok(Verified { contents: Contents { manifest, index, signed_by, comment, entries, size }, archive })
    }

    /// Takes the parts out, to write them with other signatures.
    pub(crate) fn into_parts(self) -> (Archive<R>, String) {
        (self.archive, self.text)
    }
}

impl Contents {
    /// Where a payload's content begins in the bundle, in bytes.
    #[must_use]
    pub fn entry(&self, name: PayloadName) -> Option<u64> {
        let at = self.manifest.payloads.iter().position(|payload| payload.name == name)?;
        self.entries.get(at).copied()
    }

    /// Bytes of its head: everything before the first payload's entry.
    #[must_use]
    pub fn head_size(&self) -> u64 {
        self.entries.first().map_or(0, |content| content - UNIT as u64)
    }

    /// Bytes of the whole bundle.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl<R: Read> Verified<R> {
    /// What is signed.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Asks whether this node may install it.
    ///
    /// # Errors
    /// All reasons why not.
    pub fn admit(self, node: &Node<'_>) -> Result<(Admitted, Rest<R>), Refused> {
        node.refusals(&self.contents.manifest)?;
        Ok((Admitted::new(self.contents), Rest(self.archive)))
    }

    /// Reads everything to the last byte and checks it, without handing any of it out. `progress` is told how many bytes
    /// of payloads have been checked.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check_rest(self, mut progress: impl FnMut(u64)) -> Result<Contents, Error> {
        let contents = self.contents;
        let mut blocks = Blocks::new(&contents, self.archive);
        let mut sums: Vec<(PayloadName, Hasher)> =
            PayloadName::ALL.map(|name| (name, Hasher::default())).into();
        let mut done = 0;
        while let Some(block) = blocks.next_block()? {
            if let Some((_, sum)) = sums.iter_mut().find(|(name, _)| *name == block.id().payload) {
                sum.update(block.bytes());
            }
            done += block.bytes().len() as u64;
            progress(done);
        }
        for (name, sum) in sums {
            let sum = sum.finish();
            if contents
                .manifest
                .payloads
                .iter()
                .any(|payload| payload.name == name && payload.part.sha256 != sum)
            {
                return Err(Error::Payload(name));
            }
        }
        Ok(contents)
    }
}

/// The text of `manifest.sig`.
#[must_use]
pub fn signatures_text(signatures: &[Signature]) -> String {
    signatures.iter().map(Signature::text).collect()
}

/// Reads `manifest.sig`: no signature, or some, in the one form they are written in, so that no byte of a bundle can be
/// changed without being noticed.
pub(crate) fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::SignatureForm)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let signatures = lines
        .chunks(4)
        .map(|lines| Signature::parse(&lines.concat()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::SignatureText)?;
    check_set(&signatures)?;
    if signatures_text(&signatures) == text { Ok(signatures) } else { Err(Error::SignatureForm) }
}

/// Not too many, none twice.
pub(crate) fn check_set(signatures: &[Signature]) -> Result<(), Error> {
    let twice = signatures
        .iter()
        .enumerate()
        .any(|(at, one)| signatures[..at].iter().any(|other| other.key_id() == one.key_id()));
    if twice || signatures.len() > SIGNATURES_MAX { Err(Error::SignatureForm) } else { Ok(()) }
}
