//! `node-init witness pair-key|read|claim`: what a node does, by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use pair_core::record::{Claim as RecordClaim, DiskId, Epoch, Record, Side, Swap};
use serde_json::json;
use witness_protocol::Verdict;

use crate::witness::client::etcd::{EtcdClient, EtcdConfig, authority};
use crate::witness::client::witness::WitnessClient;
use crate::witness::client::{Keeper, blocking, pin};
use crate::witness::identity::Fingerprint;

#[derive(Debug, Args)]
pub(super) struct PairKeyArguments {
    /// The file with the pair secret.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// `pair.name` of the seed: another name is another key.
    #[arg(long, value_name = "NAME")]
    pair: String,
}

#[derive(Debug, Args)]
struct Whom {
    /// The witness, or with --etcd an endpoint of the cluster.
    #[arg(long)]
    url: String,
    /// The key of whoever answers there; `node-init witness fingerprint` prints it.
    #[arg(long, value_name = "sha256:HEX", required_unless_present = "etcd")]
    fingerprint: Option<Fingerprint>,
    /// The file with the pair secret.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// `pair.name` of the seed: another name is another key.
    #[arg(long, value_name = "NAME")]
    pair: String,
    /// The URL is that of an etcd cluster.
    #[arg(long)]
    etcd: bool,
    /// Authority of the etcd cluster's certificates (PEM).
    #[arg(long, value_name = "FILE", requires = "etcd", conflicts_with = "fingerprint")]
    ca_file: Option<PathBuf>,
    /// Time for everything, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1500)]
    timeout: u64,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Read {
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, Args)]
pub(super) struct Claim {
    #[command(flatten)]
    whom: Whom,
    /// Which node speaks.
    #[arg(long, value_parser = side)]
    side: Side,
    /// Its disk id.
    #[arg(long, value_name = "HEX")]
    disk: DiskId,
    /// The epoch at which the change is to happen; without it, the one that a read shows.
    #[arg(long)]
    epoch: Option<u64>,
    #[command(subcommand)]
    claim: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Go on alone.
    Solo,
    /// Make the peer the one that goes on alone.
    GiveAway,
    /// Alone no more: the peer is connected and both disks are up to date.
    Pair {
        /// The peer's disk id.
        #[arg(long, value_name = "HEX")]
        peer: DiskId,
    },
    /// The witness knows nothing, and both nodes are connected and up to date.
    Adopt {
        /// The peer's disk id.
        #[arg(long, value_name = "HEX")]
        peer: DiskId,
        /// The highest epoch that either node remembers.
        #[arg(long, default_value_t = 0)]
        floor: u64,
    },
    /// An operator's word: the other node is off and will be wiped.
    Appoint {
        /// The highest epoch that this node remembers.
        #[arg(long, default_value_t = 0)]
        floor: u64,
    },
}

fn side(text: &str) -> Result<Side, String> {
    match text {
        "a" => Ok(Side::A),
        "b" => Ok(Side::B),
        _ => Err("a or b".into()),
    }
}

impl Whom {
    fn keeper(&self) -> anyhow::Result<Keeper> {
        let key = Arc::new(super::key_of(&self.secret_file, &self.pair)?);
        if !self.etcd {
            let fingerprint = self.fingerprint.context("--fingerprint is needed")?;
            return Ok(Keeper::Witness(WitnessClient::new(&self.url, fingerprint, key)?));
        }
        let tls = match (self.fingerprint, &self.ca_file) {
            (Some(fingerprint), _) => Some(pin::config(fingerprint)?),
            (None, Some(file)) => {
                let pem = std::fs::read(file).with_context(|| file.display().to_string())?;
                Some(authority(&pem)?)
            }
            (None, None) => None,
        };
        let config = EtcdConfig {
            endpoints: vec![self.url.clone()],
            tls,
            login: None,
            prefix: "/edgepair/witness".into(),
        };
        Ok(Keeper::Etcd(EtcdClient::new(config, key)?))
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }

    fn show(&self, outcome: &str, record: &Record) {
        if self.json {
            println!("{}", json!({ "outcome": outcome, "record": record }));
        } else {
            println!("{outcome}: {record} (lineage {})", record.lineage);
        }
    }
}

pub(super) fn pair_key(arguments: &PairKeyArguments) -> anyhow::Result<()> {
    println!("{}", super::key_of(&arguments.secret_file, &arguments.pair)?.id());
    Ok(())
}

pub(super) fn read(arguments: &Read) -> anyhow::Result<()> {
    let whom = &arguments.whom;
    let mut keeper = whom.keeper()?;
    let verdict = blocking(async move { keeper.read(None, whom.limit()).await })?;
    whom.show("current", &verdict.record());
    Ok(())
}

pub(super) fn claim(arguments: &Claim) -> anyhow::Result<()> {
    let whom = &arguments.whom;
    let mut keeper = whom.keeper()?;
    let claim = match arguments.claim {
        What::Solo => RecordClaim::Solo,
        What::GiveAway => RecordClaim::GiveAway,
        What::Pair { peer } => RecordClaim::Pair { peer },
        What::Adopt { peer, floor } => RecordClaim::Adopt { peer, floor: Epoch(floor) },
        What::Appoint { floor } => RecordClaim::Appoint { floor: Epoch(floor) },
    };
    let verdict = blocking(async move {
        let record = keeper.read(None, whom.limit()).await?.record();
        let swap = Swap {
            lineage: record.lineage,
            expect: arguments.epoch.map_or(record.epoch, Epoch),
            side: arguments.side,
            disk: arguments.disk,
            claim,
        };
        keeper.claim(&swap, whom.limit()).await
    })?;
    match verdict {
        Verdict::Changed(record) => {
            whom.show("changed", &record);
            Ok(())
        }
        Verdict::Refused(refusal) => {
            whom.show("refused", &refusal.current());
            bail!("refused: {refusal}")
        }
        Verdict::Current(_) => bail!("the witness answered a read where a change was asked for"),
    }
}
