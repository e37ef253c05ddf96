//! SHA-256 of files and streams, lower-case hexadecimal.

use crate::sparse;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Digest of a byte string.
pub fn of_bytes(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes.as_ref()))
}

/// Digest of everything a reader gives.
///
/// # Errors
/// The reader's.
pub fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0_u8; 1 << 20];
    loop {
        let read = reader.read(&mut chunk)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&chunk[..read]);
    }
}

/// Digest of a file's content.
///
/// # Errors
/// The kernel's, when the file cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    of_reader(File::open(path)?)
}

/// Before a digest that [`of_content`] makes.
const CONTENT: &str = "nonzero:";

/// Bytes looked at together by [`of_content`].
const BLOCK: usize = 4096;

/// Digest of a file's length and of its blocks that are not all zero, each with its place: as telling as the file's
/// SHA-256, and no work for the empty part of a disk image. Where the file system has holes makes no difference.
///
/// # Errors
/// The kernel's, when the file cannot be read.
pub fn of_content(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = sparse::Reader::new(file)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0_u8; 256 * BLOCK];
    loop {
        let mut at = reader.skip_hole(BLOCK as u64)?;
        let read = fill(&mut reader, &mut chunk)?;
        if read == 0 {
            break;
        }
        for block in chunk[..read].chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                hasher.update(at.to_le_bytes());
                hasher.update(block);
            }
            at += block.len() as u64;
        }
    }
    hasher.update(length.to_le_bytes());
    Ok(format!("{CONTENT}{}", hex::encode(hasher.finalize())))
}

/// Whether a file has this digest, [`of_content`]'s or plain SHA-256; else the digest that it has.
///
/// # Errors
/// The kernel's, when the file cannot be read.
pub fn check_file(path: &Path, want: &str) -> io::Result<Result<(), String>> {
    let have = if want.starts_with(CONTENT) { of_content(path)? } else { of_file(path)? };
    Ok(if have == want { Ok(()) } else { Err(have) })
}

/// Reads until the buffer is full or the file ends, so that blocks are whole.
fn fill(file: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};
    use std::path::Path;

    /// A file of `length` bytes with these bytes at these places, zeros written out or left as holes.
    fn file(path: &Path, length: u64, holes: bool, content: &[(u64, &[u8])]) -> String {
        let mut file = File::create(path).expect("creates");
        if holes {
            file.set_len(length).expect("grows");
        } else {
            file.write_all(&vec![0; usize::try_from(length).expect("small")]).expect("writes");
        }
        for (at, bytes) in content {
            file.seek(SeekFrom::Start(*at)).expect("seeks");
            file.write_all(bytes).expect("writes");
        }
        drop(file);
        super::of_content(path).expect("reads")
    }

    #[test]
    fn content_and_its_place_count_and_holes_do_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        let base: &[(u64, &[u8])] = &[(5_000_000, b"one"), (9_999_990, b"two")];
        let want = file(&path, 10_000_000, true, base);
        assert_eq!(file(&path, 10_000_000, false, base), want, "zeros are zeros");
        assert_eq!(super::check_file(&path, &want).expect("reads"), Ok(()));
        let plain = super::of_file(&path).expect("reads");
        assert_eq!(super::check_file(&path, &plain).expect("reads"), Ok(()));
        assert_ne!(file(&path, 10_000_001, true, base), want);
        let others: [&[(u64, &[u8])]; 4] = [
            &[(5_000_000, b"one"), (9_999_991, b"two")],
            &[(5_000_000 + 4096, b"one"), (9_999_990, b"two")],
            &[(5_000_000, b"onf"), (9_999_990, b"two")],
            &[(5_000_000, b"one")],
        ];
        for content in others {
            assert_ne!(file(&path, 10_000_000, true, content), want, "{content:?}");
            assert!(super::check_file(&path, &want).expect("reads").is_err());
        }
        assert_ne!(file(&path, 0, true, &[]), file(&path, 1, true, &[]));
    }

    #[test]
    fn known_answer() {
        // FIPS 180-4, example for "abc".
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::of_bytes("abc"), want);
        assert_eq!(super::of_reader(&b"abc"[..]).expect("reads"), want);
    }
}
