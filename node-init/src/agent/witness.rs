//! Asking the witness, each time within a limit.

use super::config::Config;
use crate::witness::client::etcd::{EtcdClient, EtcdConfig};
use crate::witness::client::witness::WitnessClient;
use crate::witness::client::{AskError, Keeper};
use crate::witness::identity::Fingerprint;
use edgepair_seed::WitnessPlace;
use pair_core::effect::Query;
use pair_core::event::Answer;
use pair_core::record::Record;
use std::sync::Arc;
use std::time::Duration;
use witness_protocol::{PairKey, Seen, Verdict};

/// How many idle clients are kept: the agent's and the handler's request may run at the same time.
const IDLE: usize = 2;

/// Clients of the seed's witness.
#[derive(Debug)]
pub struct Witness {
    place: WitnessPlace,
    key: Arc<PairKey>,
    limit: Duration,
    idle: Vec<Keeper>,
}

impl Witness {
    /// For the witness of the seed; `None` in modes without one.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn new(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(witness) = &config.witness else { return Ok(None) };
        let key = PairKey::from_seed(config.witness_key.expose_secret())?;
        Ok(Some(Self {
            place: witness.place.clone(),
            key: Arc::new(key),
            limit: Duration::from_millis(witness.timeout_ms),
            idle: Vec::new(),
        }))
    }

    /// The pair's public key, which is enrolled at the witness.
    #[must_use]
    pub fn pair_id(&self) -> String {
        self.key.id().to_string()
    }

    /// How long one request may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// A client: an idle one, else a new one.
    ///
    /// # Errors
    /// [`AskError`] when the seed's address or key is none.
    pub fn client(&mut self) -> Result<Keeper, AskError> {
        if let Some(keeper) = self.idle.pop() {
            return Ok(keeper);
        }
        match &self.place {
            WitnessPlace::Own { url, fingerprint } => {
                let client =
                    WitnessClient::new(url, Fingerprint(*fingerprint.bytes()), Arc::clone(&self.key))?;
                Ok(Keeper::Witness(client))
            }
            WitnessPlace::Etcd { endpoints, ca, certificate, key } => {
                let tls = crate::witness::client::etcd::mutual(
                    ca.expose_secret().as_bytes(),
                    certificate.expose_secret().as_bytes(),
                    key.expose_secret().as_bytes(),
                )?;
                let config = EtcdConfig {
                    endpoints: endpoints.clone(),
                    tls: Some(tls),
                    login: None,
                    prefix: "/edgepair/witness".to_owned(),
                };
                Ok(Keeper::Etcd(EtcdClient::new(config, Arc::clone(&self.key))?))
            }
        }
    }

    /// Takes a client back that has worked.
    pub fn back(&mut self, keeper: Keeper) {
        if self.idle.len() < IDLE {
            self.idle.push(keeper);
        }
    }
}

/// One request. What went wrong is silence for the pair core, and words for people.
pub async fn ask(
    keeper: &mut Keeper,
    query: Query,
    remembered: Option<Record>,
    limit: Duration,
) -> (Answer, Option<String>) {
    let verdict = match query {
        Query::Read => {
            let seen = remembered.map(|record| Seen { lineage: record.lineage, epoch: record.epoch });
            keeper.read(seen, limit).await
        }
        Query::Swap(swap) => keeper.claim(&swap, limit).await,
    };
    match verdict {
        Ok(Verdict::Current(record)) => (Answer::Is(record), None),
        Ok(Verdict::Changed(record)) => (Answer::Won(record), None),
        Ok(Verdict::Refused(refusal)) => (Answer::Refused(refusal), None),
        Err(error) => (Answer::Silence, Some(error.to_string())),
    }
}
