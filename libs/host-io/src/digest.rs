//! SHA-256 of files and streams, lower-case hexadecimal.

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

#[cfg(test)]
mod tests {
    #[test]
    fn known_answer() {
        // FIPS 180-4, example for "abc".
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::of_bytes("abc"), want);
        assert_eq!(super::of_reader(&b"abc"[..]).expect("reads"), want);
    }
}
