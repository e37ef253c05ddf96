//! Every key the pair needs, derived from the one secret in the seed.
//!
//! HKDF with SHA-256 (RFC 5869). Salt and labels are fixed for ever: another label is another key, so a label
//! is never changed, only added. The pair's name goes into the derivation, so that two pairs whose author copied
//! the secret file do not trust each other.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::Secret;

const SALT: &[u8] = b"edgepair pair secret, version 1";

/// What a derived key is for. The label is part of the derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// DRBD's `shared-secret`: 32 characters (the kernel takes at most 63).
    DrbdSharedSecret,
    /// VRRP password: 8 characters, all that VRRP version 2 can carry. Not rendered for version 3.
    VrrpAuth,
    /// Key of the channel between the two agents: 32 bytes.
    PeerChannel,
    /// Password of the datastore's user: 32 characters.
    DatabasePassword,
    /// Token with which k3s nodes join: 32 characters.
    K3sToken,
    /// Ed25519 seed that signs requests to the witness: 32 bytes.
    WitnessRequest,
    /// Ed25519 seed of the database server's certificate: 32 bytes.
    DatabaseCertificate,
    /// Password with which a k3s node claims its name: 32 characters.
    K3sNodePassword,
}

impl Purpose {
    /// All purposes, for tests and documentation.
    pub const ALL: [Self; 8] = [
        Self::DrbdSharedSecret,
        Self::VrrpAuth,
        Self::PeerChannel,
        Self::DatabasePassword,
        Self::K3sToken,
        Self::WitnessRequest,
        Self::DatabaseCertificate,
        Self::K3sNodePassword,
    ];

    /// The fixed label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DrbdSharedSecret => "drbd-shared-secret",
            Self::VrrpAuth => "vrrp-auth",
            Self::PeerChannel => "peer-channel",
            Self::DatabasePassword => "database-password",
            Self::K3sToken => "k3s-token",
            Self::WitnessRequest => "witness-request",
            Self::DatabaseCertificate => "database-certificate",
            Self::K3sNodePassword => "k3s-node-password",
        }
    }
}

/// The secret of a pair together with its name: the root of all keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairSecret {
    secret: Secret,
    pair: String,
}

/// A 32-byte key that does not print itself and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The bytes. The name is long so that every place that takes them out can be found.
    #[must_use]
    pub const fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PairSecret {
    /// The secret `secret` of the pair `pair`.
    #[must_use]
    pub fn new(secret: Secret, pair: &str) -> Self {
        Self { secret, pair: pair.to_owned() }
    }

    /// The 32-byte key for a purpose that takes bytes: the peer channel and the witness.
    #[must_use]
    pub fn key(&self, purpose: Purpose) -> Key {
        self.derive(purpose.label())
    }

    /// The key for a purpose that takes text, in letters, digits, `-` and `_`.
    #[must_use]
    pub fn text(&self, purpose: Purpose) -> Secret {
        let length = if purpose == Purpose::VrrpAuth { 8 } else { 32 };
        let key = self.derive(purpose.label());
        let mut text = base64url(key.expose_secret());
        text.truncate(length);
        Secret::new(text)
    }

    /// VRRP router id, 1 to 255, for a pair whose seed gives none.
    #[must_use]
    pub fn vrrp_id(&self) -> u8 {
        let key = self.derive("vrrp-id");
        let number = u32::from_be_bytes([key.0[0], key.0[1], key.0[2], key.0[3]]);
        u8::try_from(number % 255 + 1).unwrap_or(1)
    }

    /// Eight hexadecimal digits that tell one secret from another without giving it away.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let key = self.derive("fingerprint");
        key.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 5869 with `info = label 0x00 pair name`; 32 bytes, one block of SHA-256.
    fn derive(&self, label: &str) -> Key {
        let extract = Hkdf::<Sha256>::new(Some(SALT), self.secret.expose_secret().as_bytes());
        let mut out = Zeroizing::new([0_u8; 32]);
        extract
            .expand_multi_info(&[label.as_bytes(), b"\0", self.pair.as_bytes()], out.as_mut())
            .expect("32 bytes are one block, and HKDF gives 255");
        Key(*out)
    }
}

/// Base64 with the URL alphabet and without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..=chunk.len() {
            let index = word >> (18 - 6 * position) & 63;
            out.push(char::from(ALPHABET[index as usize]));
        }
    }
    out
}

/// Makes the text of a new pair secret from 32 random bytes of the caller.
#[must_use]
pub fn secret_from_random(random: &[u8; 32]) -> Secret {
    Secret::new(base64url(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> PairSecret {
        PairSecret::new(Secret::new("qJ4v9TzXn2Lr8sWc5Yb1Kd7H".to_owned()), "site-042")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed with another implementation (HMAC of a standard library), so that a change of salt, label or
    /// order is seen: it would cut every existing pair off from itself.
    #[test]
    fn known_answers() {
        let expected = [
            ("drbd-shared-secret", "c26cba29cfdcf058455aa202366a7689bee192ff106d8d7ea95d65bb48039783"),
            ("vrrp-auth", "b87ec3cf257abb489603043801e41901caa35f7cab4bae48e7d7cf39ee179831"),
            ("peer-channel", "91ca1d0413746101f9d81bac406b56a04e97be393724bc23182ca6c9323bdf04"),
            ("database-password", "6cb7c6797104adea50d099f33ab9a55d1fa161eabac65f4ba270aac4b4adca6e"),
            ("k3s-token", "3e6c0414e6998283e11025237dd280b6bf9178f129ea3c55d5fcdffd8c14bfb0"),
            ("witness-request", "e8536691e2065e7a0879732044027a2977881c44067aafdfbec3541f2902ece1"),
            ("database-certificate", "8dcae2fc048ca4cabe374aba014e512eeedd897dfcf9ee46c60f9195320dfd19"),
        ];
        for (purpose, (label, bytes)) in Purpose::ALL.into_iter().zip(expected) {
            assert_eq!(
                (purpose.label(), hex(secret().key(purpose).expose_secret()).as_str()),
                (label, bytes)
            );
        }
        assert_eq!(
            secret().text(Purpose::DrbdSharedSecret).expose_secret(),
            "wmy6Kc_c8FhFWqICNmp2ib7hkv8QbY1-"
        );
        assert_eq!(secret().text(Purpose::VrrpAuth).expose_secret(), "uH7DzyV6");
        assert_eq!(secret().vrrp_id(), 243);
        assert_eq!(secret().fingerprint(), "c22e2e93");
    }

    #[test]
    fn name_and_secret_both_matter() {
        let other_name = PairSecret::new(Secret::new("qJ4v9TzXn2Lr8sWc5Yb1Kd7H".to_owned()), "site-043");
        let other_secret = PairSecret::new(Secret::new("qJ4v9TzXn2Lr8sWc5Yb1Kd7I".to_owned()), "site-042");
        for purpose in Purpose::ALL {
            assert_ne!(secret().text(purpose), other_name.text(purpose));
            assert_ne!(secret().text(purpose), other_secret.text(purpose));
        }
    }

    #[test]
    fn keys_do_not_print_themselves() {
        let printed = format!("{:?} {:?}", secret(), secret().key(Purpose::PeerChannel));
        assert!(!printed.contains("qJ4v9") && printed.contains("[redacted]"), "{printed}");
    }

    #[test]
    fn base64url_matches_rfc_4648() {
        let vectors = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in vectors {
            assert_eq!(base64url(plain.as_bytes()), coded);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
