//! The two text formats of minisign: a public key (two lines) and a signature (four lines).

use crate::{KeyId, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
/// Largest comment that is read, in bytes (minisign's own limit for a trusted comment).
const COMMENT_MAX: usize = 8192;

/// A signature, with the comment that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub(crate) id: KeyId,
    pub(crate) seal: [u8; 64],
    pub(crate) comment: String,
    pub(crate) comment_seal: [u8; 64],
}

/// Why a text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// It has another number of lines, or the first is no comment.
    #[error("a public key is a line that begins with \"untrusted comment: \" and a line of base64")]
    Lines,
    /// The second line.
    #[error("its second line is not the base64 of an ed25519 public key in minisign's format")]
    Key,
}

/// Why a text is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureTextError {
    /// It has another number of lines, or they begin otherwise.
    #[error("a signature has four lines: untrusted comment, base64, trusted comment, base64")]
    Lines,
    /// The second or the fourth line.
    #[error("its {0} line is not the base64 of a part of an ed25519 signature in minisign's format")]
    Base64(&'static str),
    /// The form that was made before 2021, without a hash first.
    #[error(
        "it is of minisign's older form, which signs without hashing first; sign again with a current minisign"
    )]
    Legacy,
    /// Longer than minisign makes them, or with control characters.
    #[error("its comment is too long or has control characters")]
    Comment,
}

impl PublicKey {
    /// Reads a public key file's text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let mut lines = text.lines();
        let (Some(comment), Some(code)) = (lines.next(), lines.next()) else {
            return Err(KeyTextError::Lines);
        };
        if !comment.starts_with(UNTRUSTED) || lines.any(|line| !line.is_empty()) {
            return Err(KeyTextError::Lines);
        }
        let bytes: [u8; 42] = decode(code).ok_or(KeyTextError::Key)?;
        let (id, key) = bytes.strip_prefix(b"Ed").and_then(split_id).ok_or(KeyTextError::Key)?;
        Ok(Self { id, key: key.try_into().map_err(|_| KeyTextError::Key)? })
    }

    /// The text of the key's file.
    #[must_use]
    pub fn text(&self) -> String {
        let code = STANDARD.encode([b"Ed".as_slice(), &self.id.0, &self.key].concat());
        format!("{UNTRUSTED}minisign public key {}\n{code}\n", self.id)
    }
}

impl Signature {
    /// Reads a signature file's text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, SignatureTextError> {
        let lines: Vec<&str> = text.lines().take(5).collect();
        let [first, code, comment, comment_code] = lines.as_slice() else {
            return Err(SignatureTextError::Lines);
        };
        let (true, Some(comment)) = (first.starts_with(UNTRUSTED), comment.strip_prefix(TRUSTED)) else {
            return Err(SignatureTextError::Lines);
        };
        if comment.len() > COMMENT_MAX || comment.chars().any(char::is_control) {
            return Err(SignatureTextError::Comment);
        }
        let second = SignatureTextError::Base64("second");
        let bytes: [u8; 74] = decode(code).ok_or(second)?;
        if bytes.starts_with(b"Ed") {
            return Err(SignatureTextError::Legacy);
        }
        let (id, seal) = bytes.strip_prefix(b"ED").and_then(split_id).ok_or(second)?;
        Ok(Self {
            id,
            seal: seal.try_into().map_err(|_| second)?,
            comment: (*comment).to_owned(),
            comment_seal: decode(comment_code).ok_or(SignatureTextError::Base64("fourth"))?,
        })
    }

    /// The one text that this signature is written as.
    #[must_use]
    pub fn text(&self) -> String {
        let line = [b"ED".as_slice(), &self.id.0, &self.seal].concat();
        format!(
            "{UNTRUSTED}signature by edgepair, minisign format\n{}\n{TRUSTED}{}\n{}\n",
            STANDARD.encode(line),
            self.comment,
            STANDARD.encode(self.comment_seal)
        )
    }

    /// Number of the key that it claims to be by.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.id
    }

    /// The comment. It is covered by the signature, so it means something only after a check.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

fn decode<const N: usize>(code: &str) -> Option<[u8; N]> {
    // Longer than any code of these sizes: not worth decoding.
    (code.len() <= 128).then(|| STANDARD.decode(code).ok()).flatten()?.try_into().ok()
}

fn split_id(bytes: &[u8]) -> Option<(KeyId, &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<8>()?;
    Some((KeyId(*id), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signature() -> Signature {
        crate::sign(&[7; 32], KeyId(*b"12345678"), &crate::Prehash::of_bytes(b"x"), "file:x").expect("signs")
    }

    #[test]
    fn texts_are_read_back() {
        assert_eq!(Signature::parse(&signature().text()), Ok(signature()));
        let key = PublicKey::new(KeyId([9; 8]), [3; 32]);
        assert_eq!(PublicKey::parse(&key.text()), Ok(key.clone()));
        // A key file that went through an editor of another system.
        assert_eq!(PublicKey::parse(&key.text().replace('\n', "\r\n")), Ok(key));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = signature().text();
        let first = text.lines().nth(1).expect("line").to_owned();
        for (other, error) in [
            (text.replace("untrusted", "unfrusted"), SignatureTextError::Lines),
            (format!("{text}more\n"), SignatureTextError::Lines),
            (text.replace(&first, "AAAA"), SignatureTextError::Base64("second")),
            (text.replace(&first, &first.replacen("RUQ", "RWQ", 1)), SignatureTextError::Legacy),
            (text.replace("file:x", &"x".repeat(8193)), SignatureTextError::Comment),
            (text.replace("file:x", "a\u{7}b"), SignatureTextError::Comment),
        ] {
            assert_eq!(Signature::parse(&other), Err(error), "{other}");
        }
        assert_eq!(PublicKey::parse("nothing"), Err(KeyTextError::Lines));
        assert_eq!(PublicKey::parse("untrusted comment: x\nAAAA\n"), Err(KeyTextError::Key));
    }

    proptest! {
        /// No text stops the parsers, and whatever is read has one written form that is read the same.
        #[test]
        fn never_panics(text in "\\PC{0,300}", lines in prop::collection::vec("[ -~]{0,120}", 0..6)) {
            for text in [text, lines.join("\n")] {
                if let Ok(signature) = Signature::parse(&text) {
                    prop_assert_eq!(Signature::parse(&signature.text()), Ok(signature));
                }
                let _ = PublicKey::parse(&text);
            }
        }
    }
}
