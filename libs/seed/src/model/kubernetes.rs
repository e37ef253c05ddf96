//! Kubernetes, its workers, and the registries its images come from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::scalar::Mac;
use crate::secret::Secret;

/// `[kubernetes]`
#[derive(Debug, Clone, PartialEq)]
pub struct Kubernetes {
    /// Where the cluster's state is stored.
    pub datastore: Datastore,
    /// Further names in the API's certificate.
    pub tls_san: Vec<String>,
    /// Networks of the pods.
    pub cluster_cidrs: Vec<IpNet>,
    /// Networks of the services.
    pub service_cidrs: Vec<IpNet>,
    /// How pods on different boxes reach each other.
    pub overlay: Overlay,
    /// Parts of k3s to leave out.
    pub disable: Vec<String>,
    /// Labels of both nodes.
    pub labels: Vec<String>,
    /// Taints of both nodes.
    pub taints: Vec<String>,
    /// Port of the API.
    pub api_port: u16,
    /// Port of the balancer, when it runs.
    pub balancer_port: Option<u16>,
    /// Further options of k3s.
    pub config: BTreeMap<String, serde_json::Value>,
}

/// Where the state of the cluster is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Datastore {
    /// PostgreSQL on the replicated storage.
    Postgres,
    /// SQLite on the replicated storage.
    Sqlite,
    /// An endpoint of the user's.
    External(Secret),
}

/// How pods on different boxes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// VXLAN, UDP port 8472.
    Vxlan,
    /// WireGuard, UDP ports 51820 and 51821.
    Wireguard,
    /// Routes between the boxes; all in one network.
    HostGateway,
    /// The user brings one.
    None,
}

/// `[worker.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// MAC address of the card. May be empty.
    pub macs: Vec<Mac>,
    /// Serial number.
    pub serial: Option<String>,
    /// Host name, given or made of the pair's name.
    pub hostname: String,
    /// Addresses.
    pub addresses: Vec<IpNet>,
    /// Gateways; the pair's when empty.
    pub gateways: Vec<IpAddr>,
    /// Labels of the Kubernetes node.
    pub labels: Vec<String>,
    /// Taints of the Kubernetes node.
    pub taints: Vec<String>,
}

/// `[registry.HOST]`
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    /// Mirrors, in order.
    pub endpoints: Vec<String>,
    /// Login name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// CA certificate of the mirrors, PEM.
    pub ca: Option<Secret>,
}
