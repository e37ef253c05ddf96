//! What the agent takes from the seed, in the form it needs. Pure.

use super::fence::Device;
use super::peer::Settings;
use crate::extension::decide::Layout;
use edgepair_render::names::port;
use edgepair_render::{Rendered, Start, timing};
use edgepair_seed::{Datastore, FailoverMode, Member, NodeId, Purpose, Seed, WitnessPlace};
use pair_core::event::Timer;
use pair_core::message::{Mode, Policy, WitnessId};
use pair_core::record::Side;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What is stored on the replicated file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A PostgreSQL cluster.
    Postgres,
    /// The folder of the k3s server.
    Sqlite,
    /// Nothing of ours.
    External,
}

impl Store {
    /// The seed's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
            Self::External => "external",
        }
    }
}

/// What of Kubernetes the agent has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kubernetes {
    /// Who runs a server.
    pub layout: Layout,
    /// A lost node's pods are moved at once.
    pub taint: bool,
}

/// What the agent takes from the seed.
#[derive(Clone)]
pub struct Config {
    /// Which node this is.
    pub side: Side,
    /// Host names: of this node, of the other.
    pub names: (String, String),
    /// Name of the pair.
    pub pair: String,
    /// How the seed wants it decided.
    pub mode: Mode,
    /// The seed's word for it.
    pub mode_word: &'static str,
    /// The witness of the seed.
    pub witness: Option<edgepair_seed::Witness>,
    /// Seed of the key that signs requests to it.
    pub witness_key: edgepair_seed::Key,
    /// The channel to the other agent.
    pub peer: Settings,
    /// What is stored.
    pub store: Store,
    /// Units of the active node, in the order in which they start.
    pub active_units: Vec<String>,
    /// Units of a node that is not active.
    pub standby_units: Vec<String>,
    /// What of Kubernetes runs on this pair, when the seed wants it.
    pub kubernetes: Option<Kubernetes>,
    /// Addresses that follow the active node.
    pub virtual_ips: Vec<IpAddr>,
    /// Addresses of this node in the clients' network.
    pub own: Vec<IpAddr>,
    /// Interface of the clients' network.
    pub lan: String,
    /// The seed's hash.
    pub seed: String,
    /// Tells one secret from another.
    pub secret_fingerprint: String,
    /// The power switch of the other box, where there is one.
    pub fence: Option<Device>,
    /// How long its power may take to be off.
    pub fence_limit: Duration,
    database_password: edgepair_seed::Secret,
    standby_delay: Duration,
    self_fence: Duration,
    /// The seed wants the hardware watchdog used.
    pub watchdog: bool,
    /// First wait before a failed datastore is started again; doubled up to a minute.
    pub again: Duration,
    /// A datastore that ran for so long was well.
    pub well: Duration,
    /// Updates from a channel.
    pub channel: Option<crate::update::channel::Settings>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Config({} of {})", self.side, self.pair)
    }
}

/// How long a frozen node without a hardware watchdog keeps trying before it starts anew.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a lone active node looks at its record.
const REREAD: Duration = Duration::from_secs(3);
/// How often the other agent is asked how it is.
const HELLO: Duration = Duration::from_secs(1);
/// First wait before something is tried again; doubled up to [`RETRY_MOST`]. Also the time that the other node has to
/// become active when this one hands over: it includes a `drbdadm primary` on the slowest board.
const RETRY: Duration = Duration::from_secs(5);
/// The same for a frozen node: its clients wait. Longer than a request to the witness may take.
const RETRY_FROZEN: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_secs(15);

impl Config {
    /// From a seed, for one of the two nodes; `None` for a worker.
    #[must_use]
    pub fn new(seed: &Seed, member: &Member, rendered: &Rendered, lan: String) -> Option<Self> {
        let Member::Node(id) = member else { return None };
        let side = match id {
            NodeId::A => Side::A,
            NodeId::B => Side::B,
        };
        let (own, other) = (seed.node(*id), seed.node(id.peer()));
        let mut peers: Vec<IpAddr> = other.replication().into_iter().collect();
        peers.extend(
            other.addresses.iter().map(|net| net.addr()).filter(|ip| Some(*ip) != other.replication()),
        );
        let units = |start: Start| {
            let units = rendered.units.iter().filter(move |unit| unit.start == start);
            units.map(|unit| unit.name.clone()).collect::<Vec<_>>()
        };
        let mode = match seed.failover.mode {
            FailoverMode::Witness(_) => Mode::Witness,
            FailoverMode::Fence => Mode::Fence,
            FailoverMode::Manual => Mode::Manual,
            FailoverMode::AvailabilityFirst => Mode::AvailabilityFirst,
        };
        let witness = match &seed.failover.mode {
            FailoverMode::Witness(witness) => Some(witness.clone()),
            FailoverMode::Fence | FailoverMode::Manual | FailoverMode::AvailabilityFirst => None,
        };
        let fence =
            timing::self_fence(seed).map(|time| time.total_ms().saturating_sub(timing::detection_ms()));
        Some(Self {
            side,
            names: (own.hostname.clone(), other.hostname.clone()),
            pair: seed.pair.name.clone(),
            mode,
            mode_word: seed.failover.mode.word(),
            witness,
            witness_key: seed.pair.secret.key(Purpose::WitnessRequest),
            peer: Settings {
                key: *seed.pair.secret.key(Purpose::PeerChannel).expose_secret(),
                side,
                peers: peers.into_iter().map(|ip| SocketAddr::new(ip, port::AGENT)).collect(),
                port: port::AGENT,
            },
            store: match seed.datastore() {
                Datastore::Postgres => Store::Postgres,
                Datastore::Sqlite => Store::Sqlite,
                Datastore::External(_) => Store::External,
            },
            active_units: units(Start::Active),
            standby_units: units(Start::Standby),
            kubernetes: seed.kubernetes.as_ref().map(|kubernetes| Kubernetes {
                layout: match kubernetes.datastore {
                    Datastore::Sqlite => Layout::OneServer,
                    Datastore::Postgres | Datastore::External(_) => Layout::TwoServers,
                },
                taint: seed.failover.taint,
            }),
            virtual_ips: seed.pair.virtual_ips.iter().map(|net| net.addr()).collect(),
            own: own.addresses.iter().map(|net| net.addr()).collect(),
            lan,
            seed: seed.hash(),
            secret_fingerprint: seed.pair.secret.fingerprint(),
            fence: other.fence.as_ref().map(Device::of),
            fence_limit: Duration::from_millis(seed.failover.fence_timeout_ms),
            database_password: seed.pair.secret.text(Purpose::DatabasePassword),
            standby_delay: Duration::from_millis(seed.failover.standby_delay_ms),
            self_fence: fence.map_or(PATIENCE, Duration::from_millis),
            watchdog: seed.watchdog.enabled,
            again: Duration::from_secs(2),
            well: Duration::from_secs(60),
            channel: crate::update::channel::Settings::new(seed),
        })
    }

    /// The password of the datastore's user.
    #[must_use]
    pub fn database_password(&self) -> &str {
        self.database_password.expose_secret()
    }

    /// The policy that this seed asks for, as the first one of a pair.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { revision: 1, mode: self.mode, witness: self.witness_id() }
    }

    /// Names the seed's witness: another address or key is another witness.
    #[must_use]
    pub fn witness_id(&self) -> WitnessId {
        let Some(witness) = &self.witness else { return WitnessId(0) };
        let text = match &witness.place {
            WitnessPlace::Own { url, fingerprint } => format!("{url} {fingerprint}"),
            WitnessPlace::Etcd { endpoints, .. } => endpoints.join(" "),
        };
        let digest = Sha256::digest(text);
        WitnessId(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }

    /// How long a timer runs; `tries` counts those before it that brought nothing.
    #[must_use]
    pub fn duration(&self, timer: Timer, tries: u32, frozen: bool) -> Duration {
        let first = if frozen { RETRY_FROZEN } else { RETRY };
        match timer {
            Timer::Claim => self.standby_delay,
            Timer::Retry => first.saturating_mul(1 << tries.min(8)).min(RETRY_MOST),
            Timer::SelfFence | Timer::PeerGone => self.self_fence,
            Timer::Reread => REREAD,
            Timer::Hello => HELLO,
        }
    }
}
