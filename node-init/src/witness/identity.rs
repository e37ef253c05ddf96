//! The witness's own key, and the fingerprint by which nodes know it.
//!
//! A P-256 key made at the first start. The fingerprint is the SHA-256 of its SubjectPublicKeyInfo, the same
//! value that `curl --pinnedpubkey` takes. The certificate around it is remade at every start and means
//! nothing: no name, no date and no authority in it is looked at, so nothing can expire.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

const KEY_FILE: &str = "tls-key.der";

/// SHA-256 of a public key (SubjectPublicKeyInfo), written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of(spki: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, spki).as_ref());
        Self(out)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a fingerprint is written as sha256: and 64 hexadecimal digits; `node-init witness fingerprint` prints it"
)]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let mut out = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or(BadFingerprint)?;
        hex::decode_to_slice(digits, &mut out).map_err(|_| BadFingerprint)?;
        Ok(Self(out))
    }
}

/// Why the key could not be had.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no key, or a certificate could not be made of it.
    #[error("{path} is not a usable P-256 key in PKCS#8: {source}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
}

/// The key with a certificate around it.
pub struct Identity {
    /// The certificate to show.
    pub certificate: CertificateDer<'static>,
    /// The key to prove it with.
    pub key: PrivateKeyDer<'static>,
    /// What nodes pin.
    pub fingerprint: Fingerprint,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

impl Identity {
    /// Reads the key in `dir`, or makes it.
    ///
    /// # Errors
    /// [`IdentityError`]. A damaged key is never replaced: the nodes would not know the new one.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY_FILE);
        let io = |source| IdentityError::Io { path: path.clone(), source };
        let bad = |source| IdentityError::Key { path: path.clone(), source };
        let pair = match fs::read(&path) {
            Ok(der) => KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).map_err(bad)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(bad)?;
                write_private(dir, KEY_FILE, pair.serialized_der()).map_err(io)?;
                pair
            }
            Err(source) => return Err(io(source)),
        };
        let fingerprint = Fingerprint::of(&pair.subject_public_key_info());
        let certificate = CertificateParams::new(vec!["edgepair-witness".into()])
            .and_then(|params| params.self_signed(&pair))
            .map_err(bad)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        Ok(Self { certificate: certificate.der().clone(), key, fingerprint })
    }
}

/// A whole file or none, readable by its owner only, never over an existing one by accident of a second start.
fn write_private(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path()).unwrap();
        let second = Identity::load_or_create(dir.path()).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shown = first.fingerprint.to_string();
        assert_eq!(shown.parse(), Ok(first.fingerprint));
        assert_eq!(shown.replace("sha256", "sha1").parse::<Fingerprint>(), Err(BadFingerprint));
    }

    #[test]
    fn a_damaged_key_is_reported_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join(KEY_FILE)).unwrap().write_all(b"no key").unwrap();
        assert!(matches!(Identity::load_or_create(dir.path()), Err(IdentityError::Key { .. })));
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), b"no key");
    }
}
