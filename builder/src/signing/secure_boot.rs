//! Keys that firmware checks: a platform key, a key exchange key and a key for the signature database `db`, each an RSA
//! key of 2048 bits with a certificate of its own (UEFI specification 2.10, section 32; every firmware knows RSA-2048).

use super::{check_private, create};
use anyhow::Context;
use edgepair_host_io::digest;
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner};
use std::fs;
use std::path::{Path, PathBuf};

/// The three keys' file stems and what each certificate says it is.
const KEYS: [(&str, &str); 3] =
    [("PK", "platform key"), ("KEK", "key exchange key"), ("db", "signature database key")];

/// What signs loader and kernel image.
#[derive(Debug, Clone)]
pub enum SecureBoot {
    /// The key is here.
    Keys {
        /// Certificate, PEM.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
        /// SHA-256 of the certificate file.
        digest: String,
    },
    /// The two files were signed elsewhere and come back.
    Given {
        /// The signed boot loader.
        loader: PathBuf,
        /// The signed kernel image.
        uki: PathBuf,
    },
}

impl SecureBoot {
    /// A folder that [`new_keys`] made.
    ///
    /// # Errors
    /// When a file is missing, or others can read the private key.
    pub fn from_keys(dir: &Path) -> anyhow::Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| {
            format!(
                "no Secure Boot keys in {}: `edgepair key new DIR --secure-boot` makes them",
                dir.display()
            )
        })?;
        let (certificate, key) = (dir.join("db.crt"), dir.join("db.key"));
        check_private(&key)?;
        let digest = digest::of_file(&certificate)
            .with_context(|| format!("cannot read {}", certificate.display()))?;
        Ok(Self::Keys { certificate, key, digest })
    }

    /// A folder with `loader.efi` and `uki.efi`, signed elsewhere.
    ///
    /// # Errors
    /// When one is missing.
    pub fn from_signed(dir: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| {
            fs::canonicalize(dir.join(name)).with_context(|| {
                format!(
                    "no {name} in {}: put the signed .loader.efi and .uki.efi there as loader.efi and uki.efi",
                    dir.display()
                )
            })
        };
        Ok(Self::Given { loader: file("loader.efi")?, uki: file("uki.efi")? })
    }
}

/// Makes the three keys in a new folder: `PK`, `KEK`, `db`, each as `.key` (owner only), `.crt` (PEM) and `.cer` (DER, the
/// form that firmware menus read). Runs openssl of the tools tree.
///
/// # Errors
/// When the folder exists, or openssl fails.
pub fn new_keys(dir: &Path, owner: &str, sandbox: &Sandbox) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}: keys are never overwritten", dir.display()))?;
    let staged = tempfile::tempdir()?;
    let mounts = [Mount { source: staged.path().to_owned(), target: "/build".into(), writable: true }];
    for (stem, what) in KEYS {
        // Firmware does not look at the dates; programs that show them shall not call the certificate invalid.
        let script = format!(
            "umask 077 && openssl req -x509 -newkey rsa:2048 -noenc -sha256 -days 7300 -subj \"/CN=$1 {what}/\" \
             -keyout {stem}.key -out {stem}.crt 2>/dev/null && openssl x509 -in {stem}.crt -outform DER -out {stem}.cer"
        );
        let argv = ["sh", "-c", &format!("cd /build && {script}"), "keys", owner].map(str::to_owned);
        HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false)).context("openssl")?;
        for (suffix, mode) in [("key", 0o600), ("crt", 0o644), ("cer", 0o644)] {
            let name = format!("{stem}.{suffix}");
            create(&dir.join(&name), &fs::read(staged.path().join(&name))?, mode)?;
        }
    }
    Ok(())
}

/// Signs one EFI program with the database key; the time in the signature is `epoch`, so that it is the same twice.
///
/// # Errors
/// sbsign's.
pub fn sign_file(
    keys: &SecureBoot,
    file: &Path,
    target: &Path,
    epoch: i64,
    sandbox: &Sandbox,
) -> anyhow::Result<()> {
    let SecureBoot::Keys { certificate, key, .. } = keys else {
        anyhow::bail!("signing needs the private key");
    };
    let staged = tempfile::tempdir()?;
    fs::copy(file, staged.path().join("file.unsigned"))
        .with_context(|| format!("cannot read {}", file.display()))?;
    let mounts = [
        Mount { source: staged.path().to_owned(), target: "/build".into(), writable: true },
        Mount { source: certificate.clone(), target: "/in/db.crt".into(), writable: false },
        Mount { source: key.clone(), target: "/in/db.key".into(), writable: false },
    ];
    let argv = ["sh", "-c", &format!("cd /build && {}", script(&["file"], epoch))].map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false)).context("sbsign")?;
    edgepair_host_io::atomic::write(target, &fs::read(staged.path().join("file.efi"))?, 0o644)?;
    Ok(())
}

/// The shell script that signs `STEM.unsigned` to `STEM.efi` with `/in/db.key`, for a build step and for [`sign_file`].
pub fn script(stems: &[&str], epoch: i64) -> String {
    // sbsign writes the time of day into the signature; libfaketime stops the clock for it.
    let one = |stem: &&str| {
        format!(
            "LD_PRELOAD=$clock sbsign --key /in/db.key --cert /in/db.crt --output {stem}.efi {stem}.unsigned && \
             sbverify --cert /in/db.crt {stem}.efi"
        )
    };
    format!(
        "clock=$(echo /usr/lib/*/faketime/libfaketime.so.1) && test -f \"$clock\" && \
         export FAKETIME=\"$(date -u -d @{epoch} '+%F %T')\" && {}",
        stems.iter().map(one).collect::<Vec<_>>().join(" && ")
    )
}
