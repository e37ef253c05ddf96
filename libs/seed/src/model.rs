//! The valid seed, typed. A [`Seed`] exists only after every check has passed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::keys::PairSecret;
use crate::scalar::{Fingerprint, Mac, Port};
use crate::secret::Secret;

mod kubernetes;
mod update;

pub use kubernetes::{Datastore, Kubernetes, Overlay, Registry, Worker};
pub use update::Update;

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeId {
    /// `[node.a]`
    A,
    /// `[node.b]`
    B,
}

impl NodeId {
    /// The other node.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

/// A box of the seed: a node of the pair, or a worker by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A node of the pair.
    Node(NodeId),
    /// `[worker.NAME]`
    Worker(String),
}

impl Member {
    /// Reads `a`, `b` or the name of a worker, as `--node` and the `node` file have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "a" => Some(Self::Node(NodeId::A)),
            "b" => Some(Self::Node(NodeId::B)),
            name if crate::scalar::label(name).is_ok() => Some(Self::Worker(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => id.fmt(f),
            Self::Worker(name) => f.write_str(name),
        }
    }
}

/// What a pair of boxes is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The pair as a whole.
    pub pair: Pair,
    /// First node.
    pub a: Node,
    /// Second node.
    pub b: Node,
    /// The network both stand in.
    pub network: Network,
    /// The replicated storage.
    pub storage: Storage,
    /// Who may go on alone.
    pub failover: Failover,
    /// Kubernetes, when wanted.
    pub kubernetes: Option<Kubernetes>,
    /// Further boxes, by name.
    pub workers: BTreeMap<String, Worker>,
    /// Container registries, by host.
    pub registries: BTreeMap<String, Registry>,
    /// Who may reach what.
    pub access: Access,
    /// The hardware watchdog.
    pub watchdog: Watchdog,
    /// Screen and serial line.
    pub console: Console,
    /// The journal.
    pub log: Log,
    /// Updates from a channel, when wanted.
    pub update: Option<Update>,
    /// Disk to install to when booted from the network.
    pub install_disk: Option<String>,
    /// Every key with the value in effect, secrets as fingerprints; what differences are made of.
    pub(crate) flat: BTreeMap<String, String>,
}

impl Seed {
    /// A node of the pair.
    #[must_use]
    pub const fn node(&self, id: NodeId) -> &Node {
        match id {
            NodeId::A => &self.a,
            NodeId::B => &self.b,
        }
    }

    /// Disk or partition of a box's storage, where it has one of its own.
    #[must_use]
    pub fn storage_device(&self, member: &Member) -> Option<&str> {
        match member {
            Member::Node(id) => self.node(*id).storage_device.as_deref(),
            Member::Worker(_) => None,
        }
    }

    /// The datastore that runs. Without Kubernetes it is PostgreSQL, for its own sake.
    #[must_use]
    pub fn datastore(&self) -> &Datastore {
        self.kubernetes.as_ref().map_or(&Datastore::Postgres, |kubernetes| &kubernetes.datastore)
    }

    /// SHA-256 over all keys in effect, in hexadecimal. Comments, order and defaults written out do not change it;
    /// a changed secret does.
    #[must_use]
    pub fn hash(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hasher = Sha256::new();
        for (key, value) in &self.flat {
            hasher.update(key.as_bytes());
            hasher.update(b"=");
            hasher.update(value.as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `[pair]`
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Name of the pair.
    pub name: String,
    /// The addresses that follow the active node, with the nodes' prefix length; at least one.
    pub virtual_ips: Vec<IpNet>,
    /// VRRP router id, given or derived.
    pub vrrp_id: u8,
    /// Whether the seed gives the VRRP id.
    pub vrrp_id_given: bool,
    /// The secret, from which all keys are derived.
    pub secret: PairSecret,
}

/// `[node.a]` and `[node.b]`
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// MAC addresses of the cards: one, or all members of the bond. May be empty.
    pub macs: Vec<Mac>,
    /// Serial number of the box.
    pub serial: Option<String>,
    /// Host name, given or made of the pair's name.
    pub hostname: String,
    /// Addresses: one for each family; at least one.
    pub addresses: Vec<IpNet>,
    /// Address on the replication link.
    pub replication_address: Option<IpNet>,
    /// MAC address of the card of the replication link.
    pub replication_mac: Option<Mac>,
    /// Disk or partition of the storage, in device mode.
    pub storage_device: Option<String>,
    /// How to cut this box's power.
    pub fence: Option<FenceDevice>,
}

impl Node {
    /// The address by which the peer reaches this node for replication.
    #[must_use]
    pub fn replication(&self) -> Option<IpAddr> {
        self.replication_address.or_else(|| self.addresses.first().copied()).map(|net| net.addr())
    }
}

/// `[node.*.fence]`
#[derive(Debug, Clone, PartialEq)]
pub struct FenceDevice {
    /// Program of the fence agent.
    pub agent: String,
    /// Management board or power strip.
    pub address: String,
    /// Port there.
    pub port: Option<u16>,
    /// Login name there.
    pub username: Option<String>,
    /// Password there.
    pub password: Option<Secret>,
    /// Outlet or system id.
    pub plug: Option<String>,
    /// Further options, `name=value`.
    pub options: Vec<String>,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Default gateways: at most one for each family.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// DNS search domains.
    pub search: Vec<String>,
    /// Time servers.
    pub ntp: Vec<String>,
    /// VLAN id.
    pub vlan: Option<u16>,
    /// Largest packet in bytes, when given.
    pub mtu: Option<u16>,
    /// Bond over several cards.
    pub bond: Option<Bond>,
    /// VLAN id of the replication link.
    pub replication_vlan: Option<u16>,
    /// Largest packet on the replication link, when given.
    pub replication_mtu: Option<u16>,
}

/// `[network.bond]`
#[derive(Debug, Clone, PartialEq)]
pub struct Bond {
    /// Mode in the kernel's words.
    pub mode: String,
    /// Milliseconds between looks at the link.
    pub monitor_ms: u64,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// Loop file or device.
    pub mode: StorageMode,
    /// TCP port of the replication.
    pub port: u16,
    /// Most space for containers, in bytes.
    pub containers: Option<u64>,
    /// Most bytes per second of a resynchronisation.
    pub resync_limit: Option<u64>,
    /// Whether both disks are compared once a week.
    pub verify: bool,
}

/// What the replicated storage is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageMode {
    /// A preallocated file on the state partition.
    Loop {
        /// Bytes.
        size: u64,
    },
    /// A disk or partition of its own; which one is in each node's `storage_device`.
    Device {
        /// Bytes to use, when not all of it.
        size: Option<u64>,
    },
}

/// `[failover]`
#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// Who decides.
    pub mode: FailoverMode,
    /// Milliseconds the standby waits before it claims.
    pub standby_delay_ms: u64,
    /// Milliseconds until fencing counts as failed.
    pub fence_timeout_ms: u64,
    /// Whether a dead box gets the out-of-service taint.
    pub taint: bool,
}

/// Who decides which node may go on alone.
#[derive(Debug, Clone, PartialEq)]
pub enum FailoverMode {
    /// A third party.
    Witness(Witness),
    /// Proof that the other box is without power.
    Fence,
    /// An operator.
    Manual,
    /// Nobody: go on without proof.
    AvailabilityFirst,
}

impl FailoverMode {
    /// The word in the seed.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Witness(_) => "witness",
            Self::Fence => "fence",
            Self::Manual => "manual",
            Self::AvailabilityFirst => "availability-first",
        }
    }
}

/// `[failover.witness]`
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// Where the record is.
    pub place: WitnessPlace,
    /// Milliseconds one request may take.
    pub timeout_ms: u64,
}

/// Where the witness' record is.
#[derive(Debug, Clone, PartialEq)]
pub enum WitnessPlace {
    /// `node-init witness` on a third box.
    Own {
        /// Address.
        url: String,
        /// SHA-256 of its certificate.
        fingerprint: Fingerprint,
    },
    /// An etcd cluster.
    Etcd {
        /// Its members.
        endpoints: Vec<String>,
        /// CA certificate, PEM.
        ca: Secret,
        /// Client certificate, PEM.
        certificate: Secret,
        /// Key of the client certificate, PEM.
        key: Secret,
    },
}

/// `[access]`
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// Lines for `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// Networks that may reach SSH.
    pub ssh_from: Vec<IpNet>,
    /// Networks that may reach the Kubernetes API.
    pub api_from: Vec<IpNet>,
    /// Networks that may reach PostgreSQL.
    pub postgres_from: Vec<IpNet>,
    /// Networks that may reach the status page.
    pub status_from: Vec<IpNet>,
    /// Ports open to everybody.
    pub ports: Vec<Port>,
}

/// `[watchdog]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// Whether it is used.
    pub enabled: bool,
    /// Milliseconds until the hardware resets.
    pub timeout_ms: u64,
    /// Which one.
    pub device: Option<String>,
}

/// `[console]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Terminals; those of the kernel when empty.
    pub devices: Vec<String>,
    /// Whether the status is shown.
    pub status: bool,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Most bytes of the journal.
    pub size: u64,
    /// Whether it survives a reboot.
    pub persistent: bool,
}
