//! Keys and certificates: two authorities that all servers of a cluster share through the datastore, and what each server
//! and node has of them. Names of files are k3s's (`server/tls`), and so are the lifetimes (k3s documentation, "k3s
//! certificate").

use crate::clock;
use crate::datastore::kv::{Kv, Outcome};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepair_host_io::atomic;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, pbkdf2};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

/// Days that an authority is good for.
const AUTHORITY_DAYS: u64 = 3650;
/// Days that another certificate is good for.
const DAYS: u64 = 365;
/// k3s makes a certificate anew when it starts with fewer days left than this.
const RENEW_DAYS: u64 = 120;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// Certificate.
    pub certificate: String,
    /// Key, PKCS #8.
    pub key: String,
}

impl Pair {
    /// For TLS.
    pub fn tls(&self) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificates =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("a key of our own")?;
        Ok((certificates.context("a certificate of our own")?, key))
    }

    fn write(&self, dir: &Path, name: &str) -> anyhow::Result<()> {
        atomic::write(&dir.join(format!("{name}.crt")), self.certificate.as_bytes(), 0o644)?;
        atomic::write(&dir.join(format!("{name}.key")), self.key.as_bytes(), 0o600)?;
        Ok(())
    }

    fn read(dir: &Path, name: &str) -> Option<Self> {
        let certificate = std::fs::read_to_string(dir.join(format!("{name}.crt"))).ok()?;
        let key = std::fs::read_to_string(dir.join(format!("{name}.key"))).ok()?;
        Some(Self { certificate, key })
    }
}

/// Who a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Use<'a> {
    /// The API server under these names.
    Serving(&'a [String]),
    /// A client of this name and group.
    Client(&'a str, &'a str),
}

/// An authority.
#[derive(Clone)]
pub struct Authority {
    name: String,
    own: Pair,
}

impl Authority {
    fn new(what: &str) -> anyhow::Result<Self> {
        let name = format!("k3s-{what}-ca@{}", clock::unix());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = authority(&name)?.self_signed(&key)?;
        let own = Pair {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", key.serialized_der()),
        };
        Ok(Self { name, own })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.own.certificate
    }

    /// Signs a new key.
    pub fn sign(&self, whom: Use<'_>) -> anyhow::Result<Pair> {
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(self.own.key.as_bytes()).context("the authority's key")?;
        let issuer = Issuer::new(authority(&self.name)?, KeyPair::try_from(&key)?);
        let names = if let Use::Serving(names) = whom { names.to_vec() } else { Vec::new() };
        let mut params = CertificateParams::new(names)?;
        dates(&mut params, DAYS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let (name, usage) = match whom {
            Use::Serving(_) => ("kube-apiserver", ExtendedKeyUsagePurpose::ServerAuth),
            Use::Client(name, group) => {
                params.distinguished_name.push(DnType::OrganizationName, group);
                (name, ExtendedKeyUsagePurpose::ClientAuth)
            }
        };
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", key.serialized_der()),
        })
    }

    /// The pair in this folder, when it is still good for long enough, else a new one.
    pub fn kept(&self, dir: &Path, name: &str, whom: Use<'_>) -> anyhow::Result<Pair> {
        if let Some(pair) = Pair::read(dir, name).filter(|pair| self.still_good(pair, whom)) {
            return Ok(pair);
        }
        let pair = self.sign(whom)?;
        pair.write(dir, name)?;
        Ok(pair)
    }

    fn still_good(&self, pair: &Pair, whom: Use<'_>) -> bool {
        let check = || -> anyhow::Result<bool> {
            let own = CertificateDer::from_pem_slice(pair.certificate.as_bytes())?;
            let root = CertificateDer::from_pem_slice(self.own.certificate.as_bytes())?;
            let anchor = webpki::anchor_from_trusted_cert(&root)?;
            let own = webpki::EndEntityCert::try_from(&own)?;
            let later = Duration::from_secs(clock::unix() + RENEW_DAYS * 86_400);
            let usage = match whom {
                Use::Serving(_) => webpki::KeyUsage::server_auth(),
                Use::Client(..) => webpki::KeyUsage::client_auth(),
            };
            let algorithms = [webpki::ring::ECDSA_P256_SHA256];
            own.verify_for_usage(
                &algorithms,
                &[anchor],
                &[],
                UnixTime::since_unix_epoch(later),
                usage,
                None,
                None,
            )?;
            if let Use::Serving(names) = whom {
                for name in names {
                    own.verify_is_valid_for_subject_name(&ServerName::try_from(name.clone())?)?;
                }
            }
            Ok(true)
        };
        check().unwrap_or(false)
    }
}

fn authority(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    dates(&mut params, AUTHORITY_DAYS);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    Ok(params)
}

fn dates(params: &mut CertificateParams, days: u64) {
    let date = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
    params.not_before = date(clock::date_in(0));
    params.not_after = date(clock::date_in(days));
    params.distinguished_name = rcgen::DistinguishedName::new();
}

/// PEM (RFC 7468).
pub fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {what}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {what}-----\n")
}

/// What the servers of a cluster share.
#[derive(Clone)]
pub struct Shared {
    /// Signs serving certificates.
    pub server: Authority,
    /// Signs clients.
    pub client: Authority,
}

impl Shared {
    /// Takes them from the datastore, or puts new ones there.
    ///
    /// # Errors
    /// When the datastore holds those of another token, or does not answer.
    pub async fn of(kv: &Kv, token: &str) -> anyhow::Result<Self> {
        let key =
            format!("/bootstrap/{}", &hex::encode(digest::digest(&digest::SHA256, token.as_bytes()))[..12]);
        // A second round when another server was first.
        for _ in 0..3 {
            if let Some(entry) = kv.get(&key).await? {
                return Self::open(&entry.value, token);
            }
            let (_, others) = kv.list("/bootstrap/").await?;
            if !others.is_empty() {
                bail!("bootstrap data already found and encrypted with different token");
            }
            let new = Self { server: Authority::new("server")?, client: Authority::new("client")? };
            if let Outcome::Done(_) = kv.create(&key, &new.seal(token)?).await? {
                return Ok(new);
            }
        }
        bail!("the authorities in the datastore change all the time")
    }

    fn seal(&self, token: &str) -> anyhow::Result<Vec<u8>> {
        let one = |authority: &Authority| json!({ "name": authority.name, "certificate": authority.own.certificate, "key": authority.own.key });
        let mut text =
            json!({ "server": one(&self.server), "client": one(&self.client) }).to_string().into_bytes();
        let mut salt = [0; 12];
        getrandom::fill(&mut salt).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        cipher(token, &salt)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(salt), Aad::empty(), &mut text)
            .map_err(|_| anyhow::anyhow!("the authorities cannot be encrypted"))?;
        Ok([&salt[..], &text].concat())
    }

    fn open(bytes: &[u8], token: &str) -> anyhow::Result<Self> {
        let (salt, rest) = bytes.split_first_chunk::<12>().context("the bootstrap row is too short")?;
        let mut rest = rest.to_vec();
        let text = cipher(token, salt)?
            .open_in_place(Nonce::assume_unique_for_key(*salt), Aad::empty(), &mut rest)
            .map_err(|_| {
                anyhow::anyhow!("bootstrap data already found and encrypted with different token")
            })?;
        let value: Value = serde_json::from_slice(text).context("the bootstrap row")?;
        let one = |what: &str| -> anyhow::Result<Authority> {
            let text = |key: &str| value[what][key].as_str().map(str::to_owned).context("the bootstrap row");
            Ok(Authority {
                name: text("name")?,
                own: Pair { certificate: text("certificate")?, key: text("key")? },
            })
        };
        Ok(Self { server: one("server")?, client: one("client")? })
    }

    /// Writes the authorities where k3s has them.
    pub fn write(&self, tls: &Path) -> anyhow::Result<()> {
        self.server.own.write(tls, "server-ca")?;
        self.client.own.write(tls, "client-ca")
    }
}

fn cipher(token: &str, salt: &[u8; 12]) -> anyhow::Result<LessSafeKey> {
    let mut key = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        NonZeroU32::MIN.saturating_add(4095),
        salt,
        token.as_bytes(),
        &mut key,
    );
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow::anyhow!("the token makes no key"))?;
    Ok(LessSafeKey::new(key))
}

/// SHA-256 of the authority's certificate, as it is part of a whole token.
pub fn hash(certificate: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, certificate.as_bytes()))
}

/// A configuration for `kubectl`.
pub fn kubeconfig(server: &str, authority: &str, admin: &Pair) -> String {
    let [authority, certificate, key] =
        [authority, &admin.certificate, &admin.key].map(|text| STANDARD.encode(text));
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {authority}\n    server: {server}\n  \
         name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\n\
         current-context: default\nkind: Config\nusers:\n- name: default\n  user:\n    \
         client-certificate-data: {certificate}\n    client-key-data: {key}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datastore::kv::tests::kv;

    #[tokio::test]
    async fn both_servers_share_the_authorities_and_a_wrong_token_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        let kv = kv(dir.path());
        let first = Shared::of(&kv, "token").await.unwrap();
        let second = Shared::of(&kv, "token").await.unwrap();
        assert_eq!(first.server.certificate(), second.server.certificate());
        let wrong = Shared::of(&kv, "another").await.err().unwrap().to_string();
        assert!(wrong.contains("different token"), "{wrong}");
        assert!(Shared::open(&first.seal("token").unwrap(), "another").is_err());
        // What is in the datastore shows no key.
        let (_, rows) = kv.list("/bootstrap/").await.unwrap();
        assert!(!String::from_utf8_lossy(&rows[0].value).contains("PRIVATE KEY"));
    }

    #[test]
    fn a_certificate_is_kept_until_its_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("server").unwrap();
        let names = ["192.0.2.50".to_owned(), "site".to_owned(), "2001:db8::1".to_owned()];
        let whom = Use::Serving(&names);
        let first = authority.kept(dir.path(), "serving", whom).unwrap();
        assert_eq!(authority.kept(dir.path(), "serving", whom).unwrap().certificate, first.certificate);
        let more = [&names[..], &["192.0.2.51".to_owned()]].concat();
        assert_ne!(
            authority.kept(dir.path(), "serving", Use::Serving(&more)).unwrap().certificate,
            first.certificate
        );
        let other = Authority::new("server").unwrap();
        assert!(!other.still_good(&first, whom));
        assert!(!authority.still_good(&first, Use::Client("a", "b")));
    }
}
