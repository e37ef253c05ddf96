//! The file around head, signatures and image: a tar of three plain files in a fixed order.

use crate::{Head, HeadError};
use edgepair_signature::{Prehash, Signature, SignatureTextError, TrustedKeys, Untrusted};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use tar::{EntryType, Header};
use thiserror::Error;

/// Name of the head, in the file and in a folder where an extension is unpacked.
pub const HEAD: &str = "extension.toml";
/// Name of the signatures: four lines each, one after the other.
pub const SIGNATURES: &str = "extension.sig";
/// Name of the image.
pub const IMAGE: &str = "image.raw";

/// Largest head and largest file of signatures, bytes.
const SMALL: u64 = 64 << 10;
/// Lines of one signature.
const LINES: usize = 4;

/// Why an extension is refused.
#[derive(Debug, Error)]
pub enum Error {
    /// The reader or the writer failed.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// It is another kind of file, or was packed by another program.
    #[error(
        "this is no extension: its part {expected} is missing or is not the plain file that belongs there"
    )]
    Order {
        /// What belongs there.
        expected: &'static str,
    },
    /// A small part is large.
    #[error("{0} is larger than any")]
    TooLarge(&'static str),
    /// It ends too early, or has other bytes than it says.
    #[error(
        "image.raw has {found} bytes, and its head says {signed}: it was cut off or put together wrongly"
    )]
    Size {
        /// The head's.
        signed: u64,
        /// The tar's.
        found: u64,
    },
    /// The head is wrong.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The head is not text.
    #[error("extension.toml is not UTF-8")]
    Utf8,
    /// A signature cannot be read.
    #[error("extension.sig cannot be read: {0}")]
    SignatureText(#[from] SignatureTextError),
    /// The signatures do not hold.
    #[error("the extension is not to be trusted: {0}")]
    Untrusted(#[from] Untrusted),
    /// The image is not the signed one.
    #[error("image.raw is not what was signed: it was damaged or changed")]
    Image,
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Io(..) => "try again; if it stays so, get the extension from another place",
            Self::Order { .. } => "name the .extension file that `edgepair extension build` wrote",
            Self::Untrusted(Untrusted::Unsigned) => "make it with `edgepair extension build --sign KEY`",
            Self::Untrusted(Untrusted::UnknownKey { .. }) => {
                "sign it with a key that the image was built with ([update] keys in its definition)"
            }
            _ => "do not use it; get it again from where it was made",
        }
    }
}

/// The text of several signatures.
#[must_use]
pub fn signatures_text(signatures: &[Signature]) -> String {
    signatures.iter().map(Signature::text).collect()
}

/// Reads several signatures.
///
/// # Errors
/// When one of them is none.
pub fn parse_signatures(text: &str) -> Result<Vec<Signature>, SignatureTextError> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(LINES).map(|four| Signature::parse(&(four.join("\n") + "\n"))).collect()
}

/// Writes an extension. The same parts give the same bytes.
///
/// # Errors
/// The writer's, or the image's.
pub fn write(head: &Head, signatures: &[Signature], image: impl Read, mut out: impl Write) -> io::Result<()> {
    write_head(head, signatures, &mut out)?;
    let copied = io::copy(&mut image.take(head.size), &mut out)?;
    if copied != head.size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    out.write_all(&END[..zeros(head.size)])?;
    out.write_all(&END)?;
    out.flush()
}

/// Writes everything before the image. The image itself follows, then zeros up to a whole block and two blocks of them.
///
/// # Errors
/// The writer's, or a head that no reader would take.
pub fn write_head(head: &Head, signatures: &[Signature], out: &mut impl Write) -> io::Result<()> {
    head.check().map_err(io::Error::other)?;
    for (name, text) in [(HEAD, head.text()), (SIGNATURES, signatures_text(signatures))] {
        out.write_all(header(name, text.len() as u64)?.as_bytes())?;
        out.write_all(text.as_bytes())?;
        out.write_all(&END[..zeros(text.len() as u64)])?;
    }
    out.write_all(header(IMAGE, head.size)?.as_bytes())
}

/// What a tar ends with (POSIX pax: two blocks of 512 zeros).
const END: [u8; 1024] = [0; 1024];

/// Zeros behind a part of this size.
const fn zeros(size: u64) -> usize {
    let over = (size % 512) as usize;
    (512 - over) % 512
}

fn header(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

/// Reads the next part's header and content size, which must be a plain file of this name.
fn entry(reader: &mut impl Read, expected: &'static str) -> Result<u64, Error> {
    let mut bytes = [0; 512];
    reader.read_exact(&mut bytes).map_err(|_| Error::Order { expected })?;
    let size = Header::from_byte_slice(&bytes).entry_size().unwrap_or(0);
    // One header stands for a name and a size: links, long names, sparse files all differ somewhere.
    let good = header(expected, size).is_ok_and(|good| *good.as_bytes() == bytes);
    if good { Ok(size) } else { Err(Error::Order { expected }) }
}

/// Reads the zeros behind a part.
fn padding(reader: &mut impl Read, size: u64, part: &'static str) -> Result<(), Error> {
    let mut rest = Vec::new();
    let length = zeros(size) as u64;
    reader.take(length).read_to_end(&mut rest).map_err(|error| Error::Io(part, error))?;
    let whole = rest.len() as u64 == length && rest.iter().all(|byte| *byte == 0);
    if whole { Ok(()) } else { Err(Error::Order { expected: part }) }
}

fn small(reader: &mut impl Read, part: &'static str) -> Result<String, Error> {
    let size = entry(reader, part)?;
    if size > SMALL {
        return Err(Error::TooLarge(part));
    }
    let mut text = Vec::new();
    reader.take(size).read_to_end(&mut text).map_err(|error| Error::Io(part, error))?;
    if text.len() as u64 != size {
        return Err(Error::Order { expected: part });
    }
    padding(reader, size, part)?;
    String::from_utf8(text).map_err(|_| Error::Utf8)
}

/// An extension of which the head has been read, and nothing believed.
#[derive(Debug)]
pub struct Unverified<R> {
    text: String,
    head: Head,
    signatures: Vec<Signature>,
    reader: R,
}

impl<R: Read> Unverified<R> {
    /// Reads head and signatures.
    ///
    /// # Errors
    /// When it is no extension, or they are wrong.
    pub fn open(mut reader: R) -> Result<Self, Error> {
        let text = small(&mut reader, HEAD)?;
        let head = Head::parse(&text)?;
        let signatures = parse_signatures(&small(&mut reader, SIGNATURES)?)?;
        Ok(Self { text, head, signatures, reader })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Its signatures.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Goes on only with a signature of a trusted key.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub fn verify(self, keys: &TrustedKeys) -> Result<Verified<R>, Error> {
        keys.verify(&Prehash::of_bytes(self.text.as_bytes()), &self.signatures)?;
        Ok(Verified { head: self.head, signatures: self.signatures, reader: self.reader })
    }

    /// Goes on without looking at signatures: for whoever builds from what they made themselves.
    #[must_use]
    pub fn trust(self) -> Verified<R> {
        Verified { head: self.head, signatures: self.signatures, reader: self.reader }
    }
}

/// An extension whose head is trusted.
#[derive(Debug)]
pub struct Verified<R> {
    head: Head,
    signatures: Vec<Signature>,
    reader: R,
}

impl<R: Read> Verified<R> {
    /// What it is.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Its signatures' text, to be kept beside the head.
    #[must_use]
    pub fn signatures_text(&self) -> String {
        signatures_text(&self.signatures)
    }

    /// Copies the image. What was written is only to be used when this succeeds.
    ///
    /// # Errors
    /// When it cannot be copied, or is not the signed one.
    pub fn unpack(mut self, mut out: impl Write) -> Result<Head, Error> {
        let signed = self.head.size;
        let found = entry(&mut self.reader, IMAGE)?;
        if found != signed {
            return Err(Error::Size { signed, found });
        }
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; 1 << 16];
        let mut left = signed;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let read = match self.reader.read(&mut chunk[..want]) {
                Ok(0) => return Err(Error::Size { signed, found: signed - left }),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Io("the extension cannot be read", error)),
            };
            hasher.update(&chunk[..read]);
            out.write_all(&chunk[..read]).map_err(|error| Error::Io("the image cannot be written", error))?;
            left -= read as u64;
        }
        out.flush().map_err(|error| Error::Io("the image cannot be written", error))?;
        let sum: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if sum == self.head.sha256 { Ok(self.head) } else { Err(Error::Image) }
    }
}

/// The head of an extension that lies unpacked in a folder, checked against its signatures.
///
/// # Errors
/// As [`Unverified::verify`].
pub fn check_head(text: &str, signatures: &str, keys: &TrustedKeys) -> Result<Head, Error> {
    let head = Head::parse(text)?;
    keys.verify(&Prehash::of_bytes(text.as_bytes()), &parse_signatures(signatures)?)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::head;
    use edgepair_signature::{KeyId, PublicKey};
    use proptest::prelude::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn keys(number: u8) -> TrustedKeys {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("pair");
        let key = pair.public_key().as_ref().try_into().expect("32 bytes");
        TrustedKeys::new([PublicKey::new(KeyId([number; 8]), key)]).expect("a set")
    }

    fn seal(number: u8, text: &str) -> Signature {
        let hash = Prehash::of_bytes(text.as_bytes());
        edgepair_signature::sign(&[number; 32], KeyId([number; 8]), &hash, "c").expect("signs")
    }

    fn made(signed_by: &[u8]) -> (Head, Vec<u8>) {
        let image: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
        let sum = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
        let head = Head { sha256: sum, ..head() };
        let seals: Vec<Signature> = signed_by.iter().map(|number| seal(*number, &head.text())).collect();
        let mut file = Vec::new();
        write(&head, &seals, image.as_slice(), &mut file).expect("writes");
        (head, file)
    }

    fn read(file: &[u8], keys: &TrustedKeys) -> Result<(Head, Vec<u8>), Error> {
        let mut image = Vec::new();
        let head = Unverified::open(file)?.verify(keys)?.unpack(&mut image)?;
        Ok((head, image))
    }

    #[test]
    fn what_was_signed_comes_out() {
        let (head, file) = made(&[1, 2]);
        assert_eq!(made(&[1, 2]).1, file, "the same twice");
        for key in [1, 2] {
            let (found, image) = read(&file, &keys(key)).expect("reads");
            assert_eq!((found, image.len() as u64), (head.clone(), head.size));
        }
        let text = signatures_text(&[seal(1, &head.text())]);
        assert_eq!(check_head(&head.text(), &text, &keys(1)).expect("holds"), head);
    }

    #[test]
    fn nothing_of_an_untrusted_image_is_read() {
        let (_, unsigned) = made(&[]);
        assert!(matches!(read(&unsigned, &keys(1)), Err(Error::Untrusted(Untrusted::Unsigned))));
        let (_, file) = made(&[2]);
        assert!(matches!(read(&file, &keys(1)), Err(Error::Untrusted(Untrusted::UnknownKey { .. }))));
        let changed = String::from_utf8_lossy(&file[..2048]).replace("k3s1", "k3s2");
        let changed = [changed.as_bytes(), &file[2048..]].concat();
        let said = read(&changed, &keys(2)).expect_err("another head");
        assert!(matches!(said, Error::Untrusted(Untrusted::Broken(_))), "{said}");
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_found(at in 0..(1_usize << 20) + 2560, bit in 0..8_u8) {
            let (head, mut file) = made(&[1]);
            let at = at.min(file.len() - 1);
            file[at] ^= 1 << bit;
            // Behind the image are only the zeros of the tar's end.
            let end = file.len() - 1024;
            match read(&file, &keys(1)) {
                Err(_) => {}
                Ok((found, image)) => {
                    let sum: String = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
                    prop_assert!(at >= end || found == head && sum == head.sha256, "byte {at}");
                }
            }
        }

        #[test]
        fn a_cut_file_is_refused(at in 0..(1_usize << 20)) {
            let (_, file) = made(&[1]);
            prop_assert!(read(&file[..at], &keys(1)).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Unverified::open(bytes.as_slice());
            let _ = parse_signatures(&String::from_utf8_lossy(&bytes));
        }
    }
}
