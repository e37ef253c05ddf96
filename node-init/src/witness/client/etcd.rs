//! An etcd cluster in place of a witness.
//!
//! etcd stores and compares; the rules are decided here, with the same [`decide`], and take effect by a
//! transaction that holds only if the key was not touched in between (`mod_revision`). etcd answers a
//! transaction when a majority has it on disk. Spoken through etcd's JSON gateway, which every etcd since 3.4
//! has at `/v3`: no code generator, no second HTTP stack.
//!
//! Others may be allowed to write to that cluster, so a record is signed with the pair's key and bound to its
//! key name and to the cluster's id. A cluster restored from a snapshot has another id: the record is then
//! unknown, under a new lineage. What this cannot see: see `docs/witness.md`.
//!
//! ```text
//! PREFIX/<pair key in hex>  =  1  cluster[8]  record  signature[64]
//! ```

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pair_core::record::{Record, Refusal, Swap, decide};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use witness_protocol::auth::SIGNATURE_LEN;
use witness_protocol::codec::{record_bytes, record_from_bytes};
use witness_protocol::{PairKey, Seen, Verdict};

use super::AskError;
use super::http::{Http, Target};
use crate::witness::store::mint;

const FORMAT: u8 = 1;
const BODY_MAX: usize = 64 << 10;
const WHO: &str = "etcd";

/// How the cluster is reached.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// `https://host:2379`, asked in this order; `http` only where [`EtcdConfig::tls`] is `None`.
    pub endpoints: Vec<String>,
    /// TLS: a pinned key ([`super::pin::config`]) or an authority ([`authority`]). `None`: plain, for tests and
    /// clusters behind a local proxy.
    pub tls: Option<Arc<ClientConfig>>,
    /// User and password, where the cluster wants them.
    pub login: Option<Login>,
    /// Where the records are: `/edgepair/witness` unless the cluster's owner wants otherwise.
    pub prefix: String,
}

/// A user of the cluster.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, …)", self.user)
    }
}

/// TLS that trusts the authorities in a PEM text, for clusters with their own certificates.
///
/// # Errors
/// [`AskError::Untrusted`] where the text holds none.
pub fn authority(pem: &[u8]) -> Result<Arc<ClientConfig>, AskError> {
    Ok(Arc::new(trusting(pem)?.with_no_client_auth()))
}

/// The same for clusters that want a certificate of their clients (PEM texts).
///
/// # Errors
/// [`AskError::Untrusted`] where a text holds none of its kind.
pub fn mutual(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Arc<ClientConfig>, AskError> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| AskError::Untrusted("the client's certificate is no PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| AskError::Untrusted("the key of the client's certificate is no PEM"))?;
    Ok(Arc::new(trusting(ca)?.with_client_auth_cert(chain, key)?))
}

fn trusting(
    pem: &[u8],
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, AskError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| AskError::Untrusted("the authority is no PEM"))?;
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        return Err(AskError::Untrusted("the file holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots))
}

/// A client of one cluster for one pair.
#[derive(Debug)]
pub struct EtcdClient {
    config: EtcdConfig,
    targets: Vec<Target>,
    pair: Arc<PairKey>,
    key: String,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    http: Http,
    token: Option<String>,
}

/// A record with the place in etcd's history where it was found; revision 0: there is none yet.
#[derive(Debug, Clone, Copy)]
struct Found {
    record: Option<Record>,
    revision: u64,
    cluster: u64,
    /// Signed under the cluster id that answers.
    at_home: bool,
}

#[derive(Deserialize)]
struct Reply {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
    #[serde(default)]
    succeeded: bool,
}

#[derive(Deserialize)]
struct Header {
    cluster_id: String,
}

#[derive(Deserialize)]
struct KeyValue {
    mod_revision: String,
    value: String,
}

impl EtcdClient {
    /// For one pair in one cluster. Connects when it is first asked.
    ///
    /// # Errors
    /// [`AskError::BadUrl`].
    pub fn new(config: EtcdConfig, pair: Arc<PairKey>) -> Result<Self, AskError> {
        let plain = config.tls.is_none();
        let targets =
            config.endpoints.iter().map(|url| Target::parse(url, plain)).collect::<Result<Vec<_>, _>>()?;
        if targets.is_empty() {
            return Err(AskError::BadUrl { url: String::new(), why: "no endpoint is given" });
        }
        let key = format!("{}/{}", config.prefix.trim_end_matches('/'), hex::encode(pair.id().0));
        Ok(Self { config, targets, pair, key, session: None })
    }

    /// See [`Keeper::read`](super::Keeper::read); without a time limit.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn read(&mut self, seen: Option<Seen>) -> Result<Verdict, AskError> {
        let (record, revision, cluster) = self.settled().await?;
        if seen.is_some_and(|seen| seen.is_after(&record)) {
            return Ok(Verdict::Current(self.distrust(record, revision, cluster).await?));
        }
        Ok(Verdict::Current(record))
    }

    /// See [`Keeper::claim`](super::Keeper::claim); without a time limit.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn claim(&mut self, swap: &Swap) -> Result<Verdict, AskError> {
        let (record, revision, cluster) = self.settled().await?;
        let next = match decide(&record, swap) {
            Ok(next) => next,
            Err(refusal) => {
                if let Refusal::WitnessBehind { .. } = refusal {
                    self.distrust(record, revision, cluster).await?;
                }
                return Ok(Verdict::Refused(refusal));
            }
        };
        if self.put(&next, revision, cluster).await? {
            return Ok(Verdict::Changed(next));
        }
        // Somebody was faster. What is there now has a higher epoch, so the rules refuse the swap, and say why.
        let (current, ..) = self.settled().await?;
        match decide(&current, swap) {
            Err(refusal) => Ok(Verdict::Refused(refusal)),
            Ok(_) => Err(AskError::Untrusted("it changed without a new epoch")),
        }
    }

    /// The record as it stands, made if there is none, and made unknown if it comes from another cluster.
    async fn settled(&mut self) -> Result<(Record, u64, u64), AskError> {
        // Each round but the last lost a race against the other node's round: two are enough.
        for _ in 0..3 {
            let found = self.find().await?;
            match found.record {
                Some(record) if found.at_home => return Ok((record, found.revision, found.cluster)),
                Some(record) => {
                    let unknown = record.restored(mint().map_err(|_| AskError::NoRandomness)?);
                    self.put(&unknown, found.revision, found.cluster).await?;
                }
                None => {
                    let new = Record::new(mint().map_err(|_| AskError::NoRandomness)?);
                    self.put(&new, 0, found.cluster).await?;
                }
            }
        }
        Err(AskError::Untrusted("it keeps changing under another cluster's id"))
    }

    /// A node has seen a later record than the cluster holds: the cluster lost history.
    async fn distrust(&mut self, record: Record, revision: u64, cluster: u64) -> Result<Record, AskError> {
        let unknown = record.restored(mint().map_err(|_| AskError::NoRandomness)?);
        if self.put(&unknown, revision, cluster).await? {
            return Ok(unknown);
        }
        Ok(self.settled().await?.0)
    }

    async fn find(&mut self) -> Result<Found, AskError> {
        // Linearizable, which is etcd's default for a range.
        let reply = self.call("/v3/kv/range", json!({ "key": BASE64.encode(&self.key) })).await?;
        let cluster = number(&reply.header.cluster_id)?;
        let Some(stored) = reply.kvs.first() else {
            return Ok(Found { record: None, revision: 0, cluster, at_home: true });
        };
        let value =
            BASE64.decode(&stored.value).map_err(|_| AskError::Untrusted("the value is not base64"))?;
        let (signed, signature) =
            value.split_last_chunk::<SIGNATURE_LEN>().ok_or(AskError::Untrusted("the value is too short"))?;
        self.pair
            .id()
            .check_stored(self.key.as_bytes(), signed, signature)
            .map_err(|_| AskError::Untrusted("it is not signed by this pair for this place"))?;
        let (&[format], rest) =
            signed.split_first_chunk::<1>().ok_or(AskError::Untrusted("the value is empty"))?;
        if format != FORMAT {
            return Err(AskError::Untrusted("it has a format that is not known here"));
        }
        let (home, bytes) =
            rest.split_first_chunk::<8>().ok_or(AskError::Untrusted("the value is too short"))?;
        Ok(Found {
            record: Some(record_from_bytes(bytes)?),
            revision: number(&stored.mod_revision)?,
            cluster,
            at_home: u64::from_be_bytes(*home) == cluster,
        })
    }

    /// Writes the record if the key still has this revision (0: does not exist). `false`: it has not.
    async fn put(&mut self, record: &Record, revision: u64, cluster: u64) -> Result<bool, AskError> {
        let mut value = vec![FORMAT];
        value.extend_from_slice(&cluster.to_be_bytes());
        value.extend_from_slice(&record_bytes(record));
        let signature = self.pair.sign_stored(self.key.as_bytes(), &value);
        value.extend_from_slice(&signature);
        let key = BASE64.encode(&self.key);
        let transaction = json!({
            "compare": [{
                "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string(),
            }],
            "success": [{ "request_put": { "key": key, "value": BASE64.encode(&value) } }],
        });
        let reply = self.call("/v3/kv/txn", transaction).await?;
        // A transaction that a different cluster took would carry the wrong cluster in its signature; it is
        // seen at the next read. It is no grant.
        if number(&reply.header.cluster_id)? != cluster {
            return Err(AskError::Untrusted("the cluster changed in the middle"));
        }
        Ok(reply.succeeded)
    }

    /// One call on a kept connection, or on a new one to the first endpoint that answers. A call that broke
    /// off on a kept connection is said again; a transaction that had happened then fails its comparison.
    async fn call(&mut self, path: &'static str, body: Value) -> Result<Reply, AskError> {
        if let Some(mut session) = self.session.take() {
            if session.http.is_open() {
                match session.say(path, &body).await {
                    Err(AskError::Http(_) | AskError::Refused { status: 401 | 503, .. }) => {}
                    result => return self.keep(session, result),
                }
            }
        }
        let mut last = AskError::BadUrl { url: String::new(), why: "no endpoint is given" };
        for target in &self.targets {
            let attempt = async {
                let mut session =
                    Session { http: Http::open(target, self.config.tls.as_ref()).await?, token: None };
                session.login(self.config.login.as_ref()).await?;
                let reply = session.say(path, &body).await;
                Ok((session, reply))
            };
            match attempt.await {
                // This member has no leader or is going down; another may be better.
                Ok((_, Err(error @ (AskError::Http(_) | AskError::Refused { status: 503, .. })))) => {
                    last = error
                }
                Ok((session, reply)) => return self.keep(session, reply),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn keep(&mut self, session: Session, result: Result<Reply, AskError>) -> Result<Reply, AskError> {
        if result.is_ok() {
            self.session = Some(session);
        }
        result
    }
}

impl Session {
    async fn say(&mut self, path: &'static str, body: &Value) -> Result<Reply, AskError> {
        let token = self.token.clone();
        let headers: Vec<_> = token.iter().map(|t| ("authorization", t.as_str())).collect();
        let reply = self.http.post(WHO, path, &headers, body.to_string().into_bytes(), BODY_MAX).await?;
        serde_json::from_slice(&reply).map_err(|_| AskError::Untrusted("etcd answered in another language"))
    }

    async fn login(&mut self, login: Option<&Login>) -> Result<(), AskError> {
        #[derive(Deserialize)]
        struct Token {
            token: String,
        }
        let Some(Login { user, password }) = login else { return Ok(()) };
        let body = json!({ "name": user, "password": password }).to_string().into_bytes();
        let reply = self.http.post(WHO, "/v3/auth/authenticate", &[], body, BODY_MAX).await?;
        let token: Token = serde_json::from_slice(&reply)
            .map_err(|_| AskError::Untrusted("etcd answered in another language"))?;
        self.token = Some(token.token);
        Ok(())
    }
}

fn number(text: &str) -> Result<u64, AskError> {
    text.parse().map_err(|_| AskError::Untrusted("etcd gave a number that is none"))
}
