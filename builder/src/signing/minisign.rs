//! ed25519 signatures in the format of minisign(1), so that its own program checks them too:
//! `minisign -V -p NAME.pub -m manifest.json`. Here are the files: private keys, passphrases, where a signature goes;
//! signing and checking themselves are `edgepair-signature`'s.

use super::{check_private, create};
use ::minisign::{KeyPair, SecretKey, SecretKeyBox};
use anyhow::{Context, bail};
use edgepair_host_io::atomic;
use edgepair_signature::{KeyId, Prehash, PublicKey, Signature, TrustedKeys, Untrusted};
use std::fs::{self, File};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where a private key's passphrase comes from.
#[derive(Debug, Clone, Copy)]
pub enum Passphrase<'a> {
    /// There is none.
    None,
    /// The first line of this file.
    File(&'a Path),
    /// Asked for on the terminal.
    Ask,
}

impl Passphrase<'_> {
    /// The words themselves; nothing when there are none and nobody can be asked.
    fn read(self) -> anyhow::Result<Option<String>> {
        match self {
            Self::None => Ok(None),
            Self::Ask if !std::io::stdin().is_terminal() => Ok(None),
            Self::Ask => Ok(Some(rpassword::prompt_password("Passphrase of the key: ")?)),
            Self::File(path) => {
                check_private(path)?;
                let text = fs::read_to_string(path)?;
                let line = text.lines().next().unwrap_or_default();
                anyhow::ensure!(!line.is_empty(), "{} has no passphrase in its first line", path.display());
                Ok(Some(line.to_owned()))
            }
        }
    }
}

/// `NAME` → `NAME.key` and `NAME.pub`.
pub fn paths(name: &Path) -> (PathBuf, PathBuf) {
    let with = |suffix: &str| {
        let mut text = name.as_os_str().to_owned();
        text.push(suffix);
        PathBuf::from(text)
    };
    (with(".key"), with(".pub"))
}

/// Makes a key pair: the private half readable by its owner only. Returns the public key's text.
///
/// # Errors
/// When one of the files exists, or cannot be written.
pub fn new_key(name: &Path, passphrase: Passphrase<'_>) -> anyhow::Result<String> {
    let (private, public) = paths(name);
    for path in [&private, &public] {
        anyhow::ensure!(
            !path.exists(),
            "{} exists: a key is never overwritten\n  to do: choose another name, or move the old key away",
            path.display()
        );
    }
    let pair = match passphrase {
        Passphrase::None => KeyPair::generate_unencrypted_keypair(),
        Passphrase::Ask if !std::io::stdin().is_terminal() => {
            bail!(
                "there is no terminal to ask for a passphrase on: use --passphrase-file, or --no-passphrase"
            )
        }
        Passphrase::Ask => {
            let words = passphrase.read()?;
            let again = rpassword::prompt_password("Once more: ")?;
            anyhow::ensure!(words.as_deref() == Some(&again), "the two passphrases differ: nothing was made");
            KeyPair::generate_encrypted_keypair(words)
        }
        Passphrase::File(_) => KeyPair::generate_encrypted_keypair(passphrase.read()?),
    };
    let pair = pair.context("the key cannot be made")?;
    let public_text = pair.pk.to_box()?.into_string();
    let comment = "edgepair private key: keep it off the machines that only build";
    create(&private, pair.sk.to_box(Some(comment))?.into_string().as_bytes(), 0o600)?;
    create(&public, public_text.as_bytes(), 0o644)?;
    Ok(public_text)
}

/// A private key, ready to sign.
pub struct Signer {
    secret: SecretKey,
    id: KeyId,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer {}", self.id())
    }
}

impl Signer {
    /// Reads a private key.
    ///
    /// # Errors
    /// When it cannot be read, others can read it, or the passphrase is wrong.
    pub fn open(path: &Path, passphrase: Passphrase<'_>) -> anyhow::Result<Self> {
        check_private(path)?;
        let text = fs::read_to_string(path)?;
        let not_a_key = || {
            format!(
                "{} is not a private key of minisign's format: `edgepair key new NAME` makes one",
                path.display()
            )
        };
        let parse = || SecretKeyBox::from_string(&text).with_context(not_a_key);
        let secret = match parse()?.into_unencrypted_secret_key() {
            Ok(secret) => secret,
            Err(_) => {
                let words = passphrase.read()?;
                anyhow::ensure!(
                    words.is_some(),
                    "{} has a passphrase (or is damaged), and there is no terminal to ask on: use --passphrase-file",
                    path.display()
                );
                parse()?
                    .into_secret_key(words)
                    .with_context(|| format!("{}: wrong passphrase, or a damaged key", path.display()))?
            }
        };
        let public = ::minisign::PublicKey::from_secret_key(&secret)?;
        let id = KeyId(public.keynum().try_into().context("the key's number has not eight bytes")?);
        Ok(Self { secret, id })
    }

    /// The key's number, as minisign prints it.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Signs bytes. `comment` is covered by the signature; it must not hold the time of signing, or two builds differ.
    ///
    /// # Errors
    /// When the comment has more than one line.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> anyhow::Result<Signature> {
        // minisign's layout of a private key: three algorithm names, salt, two limits (54 bytes), key number (8), seed
        // and public key (32 each), check sum (32).
        let secret = Zeroizing::new(self.secret.to_bytes());
        let seed = secret
            .get(62..94)
            .and_then(|seed| seed.try_into().ok())
            .context("the private key is too short")?;
        Ok(edgepair_signature::sign(seed, self.id, &Prehash::of_bytes(bytes), comment)?)
    }
}

/// `FILE` → `FILE.minisig`.
pub fn signature_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// Signs a file; the signature is written beside it.
///
/// # Errors
/// When something cannot be read or written.
pub fn sign_file(signer: &Signer, file: &Path) -> anyhow::Result<PathBuf> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = signature_path(file);
    atomic::write(&path, signer.sign(&bytes, &format!("file:{name}"))?.text().as_bytes(), 0o644)?;
    Ok(path)
}

/// Reads a public key.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn public_key(path: &Path) -> anyhow::Result<PublicKey> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::parse(&text)
        .with_context(|| format!("{} is not a public key of minisign's format", path.display()))
}

/// Reads a signature.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn signature(path: &Path) -> anyhow::Result<Signature> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Signature::parse(&text)
        .with_context(|| format!("{} is not a signature of minisign's format", path.display()))
}

/// Checks a file against its signature and a public key; returns the signed comment.
///
/// # Errors
/// When the signature is not by that key over that file, and which of the three is to blame as far as it can be told.
pub fn verify_file(public: &Path, file: &Path, seal: &Path) -> anyhow::Result<String> {
    let keys = TrustedKeys::new([public_key(public)?])?;
    let seal = signature(seal)?;
    let data = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let hash = Prehash::of_reader(data).with_context(|| format!("cannot read {}", file.display()))?;
    match keys.verify(&hash, std::slice::from_ref(&seal)) {
        Ok(_) => Ok(seal.comment().to_owned()),
        Err(Untrusted::UnknownKey { .. }) => {
            bail!("{} is signed, but with another key than {}", file.display(), public.display())
        }
        Err(_) => bail!(
            "{} is not what was signed\n  to do: do not use it; get it again from where it was built",
            file.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_signature_holds_for_its_file_and_key_only() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| dir.path().join(name);
        new_key(&path("one"), Passphrase::None).expect("key");
        new_key(&path("two"), Passphrase::None).expect("key");
        assert!(
            new_key(&path("one"), Passphrase::None)
                .expect_err("exists")
                .to_string()
                .contains("never overwritten")
        );
        let mode = fs::metadata(path("one.key")).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        atomic::write(&path("file"), b"content", 0o644).expect("write");
        let signer = Signer::open(&path("one.key"), Passphrase::None).expect("opens");
        let seal = sign_file(&signer, &path("file")).expect("signs");
        assert_eq!(verify_file(&path("one.pub"), &path("file"), &seal).expect("holds"), "file:file");
        // The same twice, or a signed build would not be.
        let again = signer.sign(b"content", "file:file").expect("signs");
        assert_eq!(again.text(), fs::read_to_string(&seal).expect("reads"));
        let said = verify_file(&path("two.pub"), &path("file"), &seal).expect_err("another key").to_string();
        assert!(said.contains("another key"), "{said}");
        atomic::write(&path("file"), b"contenu", 0o644).expect("write");
        let said = verify_file(&path("one.pub"), &path("file"), &seal).expect_err("tampered").to_string();
        assert!(said.contains("not what was signed"), "{said}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        new_key(&dir.path().join("k"), Passphrase::None).expect("key");
        let key = dir.path().join("k.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("chmod");
        let said = Signer::open(&key, Passphrase::None).expect_err("readable").to_string();
        assert!(said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn a_passphrase_protects_the_key() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (words, wrong) = (dir.path().join("words"), dir.path().join("wrong"));
        atomic::write(&words, b"open sesame\n", 0o600).expect("write");
        atomic::write(&wrong, b"open barley\n", 0o600).expect("write");
        new_key(&dir.path().join("k"), Passphrase::File(&words)).expect("key");
        let key = dir.path().join("k.key");
        let said = Signer::open(&key, Passphrase::File(&wrong)).expect_err("wrong").to_string();
        assert!(said.contains("wrong passphrase"), "{said}");
        let signer = Signer::open(&key, Passphrase::File(&words)).expect("right");
        assert_eq!(signer.id().len(), 16);
    }
}
