//! How a node asks for its record: of a witness, or of an etcd cluster that does the job.
//!
//! [`Keeper`] is what the agent and the fence handler hold. It needs no running agent, no file and no state:
//! a URL, a fingerprint, the pair's key, and a time limit for everything together. [`blocking`] is for a
//! program that has no runtime, such as the handler.

pub mod etcd;
pub mod http;
pub mod pin;
pub mod witness;

use std::future::Future;
use std::time::Duration;

use pair_core::record::Swap;
use thiserror::Error;
use witness_protocol::wire::Malformed;
use witness_protocol::{Seen, Verdict};

/// Why there is no answer. None of these says anything about the record; after a swap it is not known whether it
/// happened, and only a fresh claim finds out.
#[derive(Debug, Error)]
pub enum AskError {
    /// The time limit passed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No connection.
    #[error("{target} cannot be reached: {source}")]
    Unreachable {
        /// Host and port.
        target: String,
        /// Why.
        source: std::io::Error,
    },
    /// The address is not one.
    #[error("`{url}` is no address of a witness: {why}")]
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// HTTP went wrong.
    #[error("the conversation broke off: {0}")]
    Http(#[from] hyper::Error),
    /// An answer that is none: status and the first line of the body.
    #[error("{who} refused: {status} {text}")]
    Refused {
        /// Who.
        who: &'static str,
        /// HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// The answer is not in our encoding.
    #[error("the answer is damaged: {0}")]
    Malformed(#[from] Malformed),
    /// The answer belongs to another request.
    #[error("the answer belongs to another request")]
    NotOurs,
    /// What etcd holds cannot be trusted.
    #[error("the record in etcd is not to be trusted: {0}")]
    Untrusted(&'static str),
    /// The system gave no random bytes.
    #[error("no random numbers from the system")]
    NoRandomness,
    /// A runtime could not be started.
    #[error("no runtime: {0}")]
    Runtime(std::io::Error),
}

/// Whoever keeps the record of this pair.
#[derive(Debug)]
pub enum Keeper {
    /// `node-init witness serve`.
    Witness(witness::WitnessClient),
    /// An etcd cluster.
    Etcd(etcd::EtcdClient),
}

impl Keeper {
    /// The record as it stands; never a grant. `seen` is the latest record that the node remembers, so that a
    /// witness that was rolled back notices.
    ///
    /// # Errors
    /// [`AskError`], after `limit` at the latest.
    pub async fn read(&mut self, seen: Option<Seen>, limit: Duration) -> Result<Verdict, AskError> {
        within(limit, async {
            match self {
                Keeper::Witness(client) => client.read(seen).await,
                Keeper::Etcd(client) => client.read(seen).await,
            }
        })
        .await
    }

    /// One compare-and-swap. Only [`Verdict::Changed`] is a success, and it is durable.
    ///
    /// # Errors
    /// [`AskError`], after `limit` at the latest.
    pub async fn claim(&mut self, swap: &Swap, limit: Duration) -> Result<Verdict, AskError> {
        within(limit, async {
            match self {
                Keeper::Witness(client) => client.claim(swap).await,
                Keeper::Etcd(client) => client.claim(swap).await,
            }
        })
        .await
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    tokio::time::timeout(limit, work).await.map_err(|_| AskError::TimedOut(limit))?
}

/// Runs one conversation in a program that has no runtime. Name resolution that hangs does not hold the
/// program back: what is left of it is abandoned.
///
/// # Errors
/// [`AskError::Runtime`], and what `work` gives.
pub fn blocking<T>(work: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AskError::Runtime)?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
