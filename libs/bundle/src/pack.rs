//! Making a bundle, and giving one other signatures.

use crate::archive::{self, END, padding};
use crate::digest::Hasher;
use crate::index::{MAGIC, Row};
use crate::manifest::{BLOCK, Manifest, Part, Payload, PayloadName};
use crate::read::{INDEX, MANIFEST, SIGNATURES, Unverified, check_set, signatures_text};
use crate::{Digest, Error};
use edgepair_findings::Report;
use edgepair_signature::Signature;
use std::io::{self, Read, Seek, Write};
use thiserror::Error;
use zstd::bulk::Compressor;

/// zstd level. Most of an image is compressed already; what is not gains next to nothing from a higher one.
const LEVEL: i32 = 9;
/// Bytes of the index that a compressed block takes more than one that is stored as it is.
const SECOND_DIGEST: usize = 32;

/// Why a bundle was not made.
#[derive(Debug, Error)]
pub enum PackError {
    /// A payload cannot be read.
    #[error("the payload {0} cannot be read: {1}")]
    Payload(PayloadName, io::Error),
    /// It has no bytes.
    #[error("the payload {0} is empty")]
    Empty(PayloadName),
    /// Another payload comes first.
    #[error("the payload {0} is not the one that comes next")]
    Order(PayloadName),
    /// The spool or the bundle cannot be written.
    #[error("the bundle cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The manifest would not be accepted.
    #[error("the manifest would be wrong:\n{}", .0.render_short().trim_end())]
    Manifest(Box<Report>),
    /// The signatures would not be accepted.
    #[error("{0}")]
    Signatures(Error),
}

/// Makes a bundle. The same payloads and the same manifest give the same bytes, with the same version of zstd.
///
/// Manifest and index stand before the payloads and follow from them, so blocks wait in the spool (a temporary file).
pub struct Packer<S> {
    spool: S,
    compressor: Compressor<'static>,
    payloads: Vec<Payload>,
    index: Vec<u8>,
}

impl<S> std::fmt::Debug for Packer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packer of {} payloads", self.payloads.len())
    }
}

impl<S: Read + Write + Seek> Packer<S> {
    /// With an empty spool.
    ///
    /// # Errors
    /// When there is no memory for the compressor.
    pub fn new(spool: S) -> io::Result<Self> {
        let (compressor, index) = (Compressor::new(LEVEL)?, MAGIC.to_vec());
        Ok(Self { spool, compressor, payloads: Vec::new(), index })
    }

    /// Takes the next payload, in the order of [`PayloadName::ALL`].
    ///
    /// # Errors
    /// When it cannot be read, is empty, or is not the next one.
    pub fn add(&mut self, name: PayloadName, mut reader: impl Read) -> Result<(), PackError> {
        if PayloadName::ALL.get(self.payloads.len()) != Some(&name) {
            return Err(PackError::Order(name));
        }
        let (mut whole, mut size, mut start) = (Hasher::default(), 0_u64, 0_u64);
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            block.clear();
            let read = reader.by_ref().take(BLOCK as u64).read_to_end(&mut block);
            if read.map_err(|error| PackError::Payload(name, error))? == 0 {
                break;
            }
            whole.update(&block);
            size += block.len() as u64;
            let compressed = self.compressor.compress(&block)?;
            let smaller = compressed.len() + SECOND_DIGEST < block.len();
            let stored = if smaller { &compressed } else { &block };
            let row = Row {
                digest: Digest::of(&block),
                stored: u16::try_from(stored.len()).map_err(io::Error::other)?,
                packed: smaller.then(|| Digest::of(stored)),
                start,
            };
            self.spool.write_all(stored)?;
            row.write(&mut self.index);
            start += u64::from(row.stored);
        }
        if size == 0 {
            return Err(PackError::Empty(name));
        }
        self.payloads.push(Payload { name, part: Part { size, sha256: whole.finish() }, stored: start });
        Ok(())
    }

    /// Writes the bundle. Index and payloads of `manifest` are filled in; `sign` gets the bytes that are signed.
    ///
    /// # Errors
    /// When the manifest would be refused by a reader, `sign` fails, or the bundle cannot be written.
    pub fn finish<E: From<PackError>>(
        mut self,
        mut manifest: Manifest,
        sign: impl FnOnce(&str) -> Result<Vec<Signature>, E>,
        mut out: impl Write,
    ) -> Result<Manifest, E> {
        manifest.index = Part { size: self.index.len() as u64, sha256: Digest::of(&self.index) };
        manifest.payloads = self.payloads;
        let text = manifest.text();
        // What cannot be read back must not be signed.
        let read = Manifest::parse(MANIFEST, &text).map_err(PackError::Manifest)?;
        let signatures = sign(&text)?;
        let mut write = || -> Result<(), PackError> {
            head(&text, &signatures, &mut out)?;
            entry(INDEX, &self.index, &mut out)?;
            self.spool.rewind()?;
            for payload in &read.payloads {
                out.write_all(&archive::header(payload.name.entry(), payload.stored)?)?;
                let copied = io::copy(&mut Read::take(&mut self.spool, payload.stored), &mut out)?;
                if copied != payload.stored {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                out.write_all(&END[..padding(payload.stored)])?;
            }
            out.write_all(&END)?;
            Ok(out.flush()?)
        };
        write()?;
        Ok(read)
    }
}

impl<R: Read> Unverified<R> {
    /// Writes the bundle with other signatures. Nothing is checked: whoever signs decides what to sign.
    ///
    /// # Errors
    /// When there are too many signatures, or two by one key, or something cannot be read or written.
    pub fn resign(self, signatures: &[Signature], mut out: impl Write) -> Result<(), PackError> {
        let (archive, text) = self.into_parts();
        head(&text, signatures, &mut out)?;
        io::copy(&mut archive.into_reader(), &mut out)?;
        Ok(out.flush()?)
    }
}

fn head(text: &str, signatures: &[Signature], out: &mut impl Write) -> Result<(), PackError> {
    check_set(signatures).map_err(PackError::Signatures)?;
    entry(MANIFEST, text.as_bytes(), out)?;
    Ok(entry(SIGNATURES, signatures_text(signatures).as_bytes(), out)?)
}

fn entry(name: &str, content: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(&archive::header(name, content.len() as u64)?)?;
    out.write_all(content)?;
    out.write_all(&END[..padding(content.len() as u64)])
}
