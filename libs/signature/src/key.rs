//! Keys, signing and checking.

use crate::{Prehash, Signature};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use std::fmt;
use thiserror::Error;

/// Number of a key: eight random bytes that tell which key a signature is by. Not a proof of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

/// As minisign prints it: hexadecimal, last byte first.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub(crate) id: KeyId,
    pub(crate) key: [u8; 32],
}

impl PublicKey {
    /// A key from its parts.
    #[must_use]
    pub const fn new(id: KeyId, key: [u8; 32]) -> Self {
        Self { id, key }
    }

    /// The key's number.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the signature is by this key, over these bytes and over its own comment.
    #[must_use]
    pub fn verify(&self, hash: &Prehash, signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        let covered = [signature.seal.as_slice(), signature.comment.as_bytes()].concat();
        signature.id == self.id
            && key.verify(&hash.0, &signature.seal).is_ok()
            && key.verify(&covered, &signature.comment_seal).is_ok()
    }
}

/// Why something was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignError {
    /// It would be read as more lines of the signature.
    #[error("a signed comment has one line, without control characters, and this one has not")]
    Comment,
    /// The private key's bytes.
    #[error("the private key cannot be used")]
    Key,
}

/// Signs. `comment` is covered by the signature; it must not hold the time of signing, or two builds differ.
///
/// The signature is RFC 8032's, without the random part that minisign's own library adds: the same key and the same
/// bytes give the same file.
///
/// # Errors
/// When the comment has more than one line, or the seed makes no key.
pub fn sign(seed: &[u8; 32], id: KeyId, hash: &Prehash, comment: &str) -> Result<Signature, SignError> {
    if comment.chars().any(char::is_control) {
        return Err(SignError::Comment);
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignError::Key)?;
    let seal: [u8; 64] = pair.sign(&hash.0).as_ref().try_into().map_err(|_| SignError::Key)?;
    let covered = [seal.as_slice(), comment.as_bytes()].concat();
    let comment_seal = pair.sign(&covered).as_ref().try_into().map_err(|_| SignError::Key)?;
    Ok(Signature { id, seal, comment: comment.to_owned(), comment_seal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use minisign::{KeyPair, PublicKey as Theirs, SignatureBox};
    use std::io::Cursor;

    /// Keys, signatures and verdicts are the minisign library's, in both directions.
    #[test]
    fn agrees_with_the_minisign_library() {
        let pair = KeyPair::generate_unencrypted_keypair().expect("key");
        let text = pair.pk.to_box().expect("box").into_string();
        let ours = PublicKey::parse(&text).expect("parses");
        assert_eq!(ours.id.0, pair.pk.keynum());
        let theirs = minisign::sign(Some(&pair.pk), &pair.sk, Cursor::new(b"content"), Some("file:x"), None)
            .expect("signs");
        let parsed = Signature::parse(&theirs.into_string()).expect("parses");
        assert_eq!(parsed.comment(), "file:x");
        assert!(ours.verify(&Prehash::of_bytes(b"content"), &parsed));
        assert!(!ours.verify(&Prehash::of_bytes(b"contenu"), &parsed));

        let secret = pair.sk.to_bytes();
        let seed: [u8; 32] = secret[62..94].try_into().expect("seed");
        let made = sign(&seed, ours.id, &Prehash::of_bytes(b"content"), "file:y").expect("signs");
        let boxed = SignatureBox::from_string(&made.text()).expect("their parser");
        let key = Theirs::from_base64(text.lines().nth(1).expect("line")).expect("their key");
        minisign::verify(&key, &boxed, Cursor::new(b"content"), true, false, false).expect("holds");
    }

    #[test]
    fn key_bytes_and_comment_all_matter() {
        let (seed, id) = ([7_u8; 32], KeyId([1, 2, 3, 4, 5, 6, 7, 8]));
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("pair");
        let key = PublicKey::new(
            id,
            ring::signature::KeyPair::public_key(&pair).as_ref().try_into().expect("32 bytes"),
        );
        let hash = Prehash::of_bytes(b"content");
        let good = sign(&seed, id, &hash, "file:x").expect("signs");
        assert_eq!(good, sign(&seed, id, &hash, "file:x").expect("signs"), "the same twice");
        assert!(key.verify(&hash, &good));
        assert!(!key.verify(&Prehash::of_bytes(b"Content"), &good));
        assert!(!key.verify(&hash, &Signature { comment: "file:y".into(), ..good }));
        assert!(!key.verify(&hash, &Signature { id: KeyId([0; 8]), ..good.clone() }));
        let other = sign(&[8; 32], id, &hash, "file:x").expect("signs");
        assert!(!key.verify(&hash, &other));
        // A comment's seal from another signature of the same key.
        let later = sign(&seed, id, &Prehash::of_bytes(b"more"), "file:x").expect("signs");
        assert!(!key.verify(&hash, &Signature { comment_seal: later.comment_seal, ..good }));
        assert_eq!(sign(&seed, id, &hash, "two\nlines").expect_err("refused"), SignError::Comment);
        assert_eq!(id.to_string(), "0807060504030201");
    }
}
