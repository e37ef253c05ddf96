//! Whose bundles this node takes: the public keys that its image brought.

use edgepair_signature::{PublicKey, TrustedKeys};
use std::fs;
use std::io;
use std::path::Path;

/// Largest key file that is read, bytes.
const KEY_MAX: u64 = 16 << 10;

/// Reads all `*.pub` of a folder.
///
/// # Errors
/// In words: there is none, or one of them is no key. A key that cannot be read is not passed over: it may be the one
/// that was meant.
pub fn trusted(folder: &Path) -> Result<TrustedKeys, String> {
    let mut keys = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(format!("the trusted keys in {} cannot be read: {error}", folder.display()));
        }
        Ok(entries) => Some(entries),
    };
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "pub") {
            continue;
        }
        let text = read(&path).map_err(|error| format!("the trusted key {}: {error}", path.display()))?;
        let key = PublicKey::parse(&text)
            .map_err(|error| format!("the trusted key {} is none: {error}", path.display()))?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(
            "this image trusts no key, so it takes no update: name the public key in the image's definition (`[update] keys = […]`), build it anew and flash it"
                .to_owned(),
        );
    }
    TrustedKeys::new(keys).map_err(|error| format!("the trusted keys in {}: {error}", folder.display()))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(fs::File::open(path)?, KEY_MAX), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::atomic;
    use edgepair_signature::KeyId;

    #[test]
    fn no_key_and_a_broken_key_are_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        assert!(trusted(&dir.path().join("none")).unwrap_err().contains("trusts no key"));
        atomic::write(&dir.path().join("README"), b"not a key", 0o644).unwrap();
        assert!(trusted(dir.path()).unwrap_err().contains("trusts no key"));
        let key = PublicKey::new(KeyId([1; 8]), [2; 32]);
        atomic::write(&dir.path().join("a.pub"), key.text().as_bytes(), 0o644).unwrap();
        assert_eq!(trusted(dir.path()).unwrap().ids().collect::<Vec<_>>(), [key.id()]);
        atomic::write(&dir.path().join("b.pub"), b"untrusted comment: x\nAAAA\n", 0o644).unwrap();
        assert!(trusted(dir.path()).unwrap_err().contains("b.pub"));
        // Another key under the number of the first.
        let impostor = PublicKey::new(KeyId([1; 8]), [3; 32]);
        atomic::write(&dir.path().join("b.pub"), impostor.text().as_bytes(), 0o644).unwrap();
        assert!(trusted(dir.path()).unwrap_err().contains("two different keys"));
    }
}
