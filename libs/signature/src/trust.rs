//! A set of trusted keys, and files with one or more signatures.

use crate::{KeyId, Prehash, PublicKey, Signature};
use std::fmt;
use thiserror::Error;

/// The keys that a file may be signed with. Never empty.
///
/// How a key is followed by another: a release that is signed with the old key brings both; the next is signed with the
/// new one, or with both while old nodes are about; a later one leaves the old key out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

/// Why there is no set of trusted keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// There must be one.
    #[error("there is no trusted key, so nothing can be accepted")]
    None,
    /// Two keys have one number, so it would not be clear which one is meant.
    #[error("two different keys have the number {0}: give one of them up and make a new one")]
    SameId(KeyId),
}

/// Why a file's signatures do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untrusted {
    /// There is no signature.
    Unsigned,
    /// None of them is by a trusted key.
    UnknownKey {
        /// Keys of the signatures.
        signed_by: Vec<KeyId>,
        /// Keys that would do.
        trusted: Vec<KeyId>,
    },
    /// A signature says it is by a trusted key, and is not over these bytes.
    Broken(KeyId),
}

impl TrustedKeys {
    /// A set of keys; the same one twice is no harm.
    ///
    /// # Errors
    /// When there is none, or two differ and have one number.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, TrustError> {
        let mut all: Vec<PublicKey> = Vec::new();
        for key in keys {
            match all.iter().find(|known| known.id == key.id) {
                Some(known) if *known == key => {}
                Some(_) => return Err(TrustError::SameId(key.id)),
                None => all.push(key),
            }
        }
        if all.is_empty() { Err(TrustError::None) } else { Ok(Self(all)) }
    }

    /// The numbers of the keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(PublicKey::id)
    }

    /// Checks bytes against their signatures and returns the first that is by a trusted key. All that claim to be by a
    /// trusted key must hold; those by other keys say nothing.
    ///
    /// # Errors
    /// When there is none that is trusted, or one that is broken.
    pub fn verify<'a>(
        &self,
        hash: &Prehash,
        signatures: &'a [Signature],
    ) -> Result<&'a Signature, Untrusted> {
        if signatures.is_empty() {
            return Err(Untrusted::Unsigned);
        }
        let mut good = None;
        for signature in signatures {
            if let Some(key) = self.0.iter().find(|key| key.id == signature.id) {
                if !key.verify(hash, signature) {
                    return Err(Untrusted::Broken(key.id));
                }
                good = good.or(Some(signature));
            }
        }
        good.ok_or_else(|| Untrusted::UnknownKey {
            signed_by: signatures.iter().map(Signature::key_id).collect(),
            trusted: self.ids().collect(),
        })
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &[KeyId]| ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Unsigned => f.write_str("it is not signed"),
            Self::UnknownKey { signed_by, trusted } => {
                write!(f, "it is signed with another key ({}) than {}", list(signed_by), list(trusted))
            }
            Self::Broken(id) => {
                write!(f, "it is not what was signed with key {id}: it was damaged or changed after signing")
            }
        }
    }
}

impl std::error::Error for Untrusted {}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn key(number: u8) -> PublicKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("pair");
        PublicKey::new(KeyId([number; 8]), pair.public_key().as_ref().try_into().expect("32 bytes"))
    }

    fn seal(number: u8, bytes: &[u8]) -> Signature {
        crate::sign(&[number; 32], KeyId([number; 8]), &Prehash::of_bytes(bytes), "c").expect("signs")
    }

    #[test]
    fn a_key_is_followed_by_another() {
        let hash = Prehash::of_bytes(b"x");
        let (old, both, new) = (
            TrustedKeys::new([key(1)]).expect("set"),
            TrustedKeys::new([key(1), key(2)]).expect("set"),
            TrustedKeys::new([key(2)]).expect("set"),
        );
        let (by_old, by_new) = ([seal(1, b"x")], [seal(2, b"x")]);
        assert!(old.verify(&hash, &by_old).is_ok() && both.verify(&hash, &by_old).is_ok());
        assert!(both.verify(&hash, &by_new).is_ok() && new.verify(&hash, &by_new).is_ok());
        let refused = new.verify(&hash, &by_old).expect_err("given up");
        assert_eq!(
            refused,
            Untrusted::UnknownKey { signed_by: vec![KeyId([1; 8])], trusted: vec![KeyId([2; 8])] }
        );
        // Signed with both, for nodes before and after.
        let twice = [seal(1, b"x"), seal(2, b"x")];
        assert!([&old, &both, &new].iter().all(|set| set.verify(&hash, &twice).is_ok()));
        assert_eq!(new.verify(&hash, &[]), Err(Untrusted::Unsigned));
    }

    #[test]
    fn one_broken_signature_of_a_trusted_key_is_enough() {
        let both = TrustedKeys::new([key(1), key(2)]).expect("set");
        let hash = Prehash::of_bytes(b"x");
        let mixed = [seal(1, b"x"), seal(2, b"y")];
        assert_eq!(both.verify(&hash, &mixed), Err(Untrusted::Broken(KeyId([2; 8]))));
        // Another's key under a trusted number.
        let forged = crate::sign(&[9; 32], KeyId([1; 8]), &hash, "c").expect("signs");
        assert_eq!(both.verify(&hash, &[forged]), Err(Untrusted::Broken(KeyId([1; 8]))));
    }

    #[test]
    fn a_set_has_at_least_one_key_and_no_two_of_one_number() {
        assert_eq!(TrustedKeys::new([]), Err(TrustError::None));
        assert!(TrustedKeys::new([key(1), key(1)]).is_ok());
        let impostor = PublicKey::new(KeyId([1; 8]), key(2).key);
        assert_eq!(TrustedKeys::new([key(1), impostor]), Err(TrustError::SameId(KeyId([1; 8]))));
    }
}
