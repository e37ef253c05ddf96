//! The pair's key and what a signature covers.
//!
//! Both nodes derive one Ed25519 key from the pair secret (HKDF-SHA256, RFC 5869). The witness knows only
//! the public half, so neither its disk nor a backup of it can speak for a pair.

use std::fmt;
use std::str::FromStr;

use ring::hkdf;
use ring::signature::{self, Ed25519KeyPair, KeyPair};
use thiserror::Error;

/// Length of an Ed25519 signature in bytes.
pub const SIGNATURE_LEN: usize = 64;
/// The TLS exporter label of RFC 9266 (`tls-exporter` channel binding).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// A secret shorter than this is refused; it could be guessed offline from the public key.
pub const SECRET_MIN: usize = 16;

const SALT: &[u8] = b"edgepair";
const INFO: &[u8] = b"witness request signing, version 1";
const REQUEST_CONTEXT: &[u8] = b"edgepair witness request, version 1\0";
const STORED_CONTEXT: &[u8] = b"edgepair stored record, version 1\0";

/// Why a key could not be made or a signature not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The pair secret has fewer than [`SECRET_MIN`] bytes.
    #[error("the pair secret has {0} bytes, at least {SECRET_MIN} are needed")]
    SecretTooShort(usize),
    /// Key derivation failed inside the cryptographic library.
    #[error("the pair's key could not be derived")]
    Derivation,
    /// Not the signature of this pair over this message on this connection.
    #[error("the signature does not fit the pair, the witness or this connection")]
    BadSignature,
    /// The sequence number was used already on this connection.
    #[error("sequence number {got} follows {last} on this connection")]
    OldSequence {
        /// The number that came.
        got: u64,
        /// The highest number taken before.
        last: u64,
    },
    /// Not `ed25519:` and 64 hexadecimal digits.
    #[error("a pair's key is written as ed25519: and 64 hexadecimal digits")]
    BadKeyText,
}

/// The pair secret, as the seed gives it. Never printed; not `Clone`, so that it stays where it was read.
pub struct PairSecret(Vec<u8>);

impl PairSecret {
    /// Takes a secret; white space around it (the newline of an editor) does not count.
    ///
    /// # Errors
    /// [`AuthError::SecretTooShort`].
    pub fn new(bytes: &[u8]) -> Result<Self, AuthError> {
        let trimmed = bytes.trim_ascii();
        if trimmed.len() < SECRET_MIN {
            return Err(AuthError::SecretTooShort(trimmed.len()));
        }
        Ok(Self(trimmed.to_vec()))
    }
}

impl fmt::Debug for PairSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairSecret(…)")
    }
}

/// A pair as the witness knows it: its public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub [u8; 32]);

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PairId {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        let digits = text.strip_prefix("ed25519:").ok_or(AuthError::BadKeyText)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| AuthError::BadKeyText)?;
        Ok(Self(bytes))
    }
}

/// The pair's signing key.
pub struct PairKey {
    pair: Ed25519KeyPair,
    id: PairId,
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairKey({})", self.id)
    }
}

impl PairKey {
    /// The key that follows from the pair secret.
    ///
    /// # Errors
    /// [`AuthError::Derivation`], which no input is known to cause.
    pub fn derive(secret: &PairSecret) -> Result<Self, AuthError> {
        let mut seed = [0u8; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
            .extract(&secret.0)
            .expand(&[INFO], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut seed))
            .map_err(|_| AuthError::Derivation)?;
        Self::from_seed(&seed)
    }

    /// The key of an Ed25519 seed (RFC 8032) that was derived elsewhere.
    ///
    /// # Errors
    /// [`AuthError::Derivation`], which no input is known to cause.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, AuthError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| AuthError::Derivation)?;
        let id = PairId(pair.public_key().as_ref().try_into().map_err(|_| AuthError::Derivation)?);
        Ok(Self { pair, id })
    }

    /// The public half: what is enrolled at a witness.
    #[must_use]
    pub fn id(&self) -> PairId {
        self.id
    }

    pub(crate) fn sign_request(&self, audience: &Audience, body: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.sign(&request_text(audience, body))
    }

    /// Signs a record kept where others can write too (an etcd cluster). `place` is the name it is kept
    /// under, so that a signed record of one place is not one of another.
    #[must_use]
    pub fn sign_stored(&self, place: &[u8], record: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.sign(&stored_text(place, record))
    }

    fn sign(&self, text: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut out = [0; SIGNATURE_LEN];
        // Ed25519 signatures have this length; were it ever another, zeros are a signature of nothing.
        let signature = self.pair.sign(text);
        if signature.as_ref().len() == SIGNATURE_LEN {
            out.copy_from_slice(signature.as_ref());
        }
        out
    }
}

impl PairId {
    pub(crate) fn check_request(
        &self,
        audience: &Audience,
        body: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), AuthError> {
        self.check(&request_text(audience, body), signature)
    }

    /// Checks a signature made by [`PairKey::sign_stored`].
    ///
    /// # Errors
    /// [`AuthError::BadSignature`].
    pub fn check_stored(
        &self,
        place: &[u8],
        record: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), AuthError> {
        self.check(&stored_text(place, record), signature)
    }

    fn check(&self, text: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), AuthError> {
        signature::UnparsedPublicKey::new(&signature::ED25519, &self.0)
            .verify(text, signature)
            .map_err(|_| AuthError::BadSignature)
    }
}

fn request_text(audience: &Audience, body: &[u8]) -> Vec<u8> {
    [REQUEST_CONTEXT, &audience.witness, &audience.channel, body].concat()
}

fn stored_text(place: &[u8], record: &[u8]) -> Vec<u8> {
    // The length keeps "a"+"bc" and "ab"+"c" apart.
    [STORED_CONTEXT, &(place.len() as u64).to_be_bytes(), place, record].concat()
}

/// To whom, and on which connection, a request is said. Part of every signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// SHA-256 of the witness's public key (SubjectPublicKeyInfo), as pinned in the seed.
    pub witness: [u8; 32],
    /// 32 bytes exported from the TLS connection under [`EXPORTER_LABEL`], without context.
    pub channel: [u8; 32],
}

/// The witness's end of one connection: takes each sequence number once, in rising order.
#[derive(Debug, Default)]
pub struct Channel {
    last: u64,
}

impl Channel {
    /// Takes `sequence` if it is higher than every one before. The first may be anything but 0.
    ///
    /// # Errors
    /// [`AuthError::OldSequence`].
    pub fn accept(&mut self, sequence: u64) -> Result<(), AuthError> {
        if sequence <= self.last {
            return Err(AuthError::OldSequence { got: sequence, last: self.last });
        }
        self.last = sequence;
        Ok(())
    }
}
