//! What every renderer needs to know about the box it renders for.

use std::net::IpAddr;

use edgepair_seed::{Member, Node, NodeId, Seed, Worker};
use ipnet::IpNet;

use crate::{Facts, Links, RenderError};

/// A seed seen from one of its boxes.
#[derive(Debug)]
pub struct Context<'a> {
    /// The seed.
    pub seed: &'a Seed,
    /// Which box.
    pub member: &'a Member,
    /// Its cards.
    pub links: Links,
}

impl<'a> Context<'a> {
    /// A seed seen from `member`.
    ///
    /// # Errors
    /// When the seed has no such box, or a card is missing.
    pub fn new(seed: &'a Seed, member: &'a Member, facts: &Facts) -> Result<Self, RenderError> {
        if let Member::Worker(name) = member {
            if !seed.workers.contains_key(name) {
                return Err(RenderError::NoSuchMember(name.clone()));
            }
        }
        Ok(Self { seed, member, links: Links::resolve(seed, member, facts)? })
    }

    /// Which of the two nodes, when it is one.
    #[must_use]
    pub fn id(&self) -> Option<NodeId> {
        match self.member {
            Member::Node(id) => Some(*id),
            Member::Worker(_) => None,
        }
    }

    /// This box, when it is a node.
    #[must_use]
    pub fn node(&self) -> Option<&'a Node> {
        self.id().map(|id| self.seed.node(id))
    }

    /// The other node, when this is a node.
    #[must_use]
    pub fn peer(&self) -> Option<&'a Node> {
        self.id().map(|id| self.seed.node(id.peer()))
    }

    /// This box, when it is a worker.
    #[must_use]
    pub fn worker(&self) -> Option<&'a Worker> {
        match self.member {
            Member::Node(_) => None,
            Member::Worker(name) => self.seed.workers.get(name),
        }
    }

    /// Host name of this box.
    #[must_use]
    pub fn hostname(&self) -> &'a str {
        match (self.node(), self.worker()) {
            (Some(node), _) => &node.hostname,
            (None, Some(worker)) => &worker.hostname,
            (None, None) => &self.seed.pair.name,
        }
    }

    /// Addresses of this box with their networks.
    #[must_use]
    pub fn addresses(&self) -> &'a [IpNet] {
        match (self.node(), self.worker()) {
            (Some(node), _) => &node.addresses,
            (None, Some(worker)) => &worker.addresses,
            (None, None) => &[],
        }
    }

    /// Default gateways of this box.
    #[must_use]
    pub fn gateways(&self) -> &'a [IpAddr] {
        match self.worker() {
            Some(worker) if !worker.gateways.is_empty() => &worker.gateways,
            _ => &self.seed.network.gateways,
        }
    }

    /// Name of the interface that carries this box's addresses.
    #[must_use]
    pub fn lan(&self) -> String {
        match (self.seed.network.vlan, self.bonded()) {
            // The VLAN and the bond are the pair's; a worker stands in a network of its own.
            (Some(vlan), _) if self.node().is_some() => format!("vlan{vlan}"),
            (_, true) => BOND.to_owned(),
            _ => self.links.lan.first().map(|card| card.name.clone()).unwrap_or_default(),
        }
    }

    /// Name of the interface that carries the replication.
    #[must_use]
    pub fn replication(&self) -> String {
        let separate = self.node().is_some_and(|node| node.replication_address.is_some());
        match (&self.links.replication, self.seed.network.replication_vlan) {
            (_, Some(_)) if separate => REPLICATION_VLAN.to_owned(),
            (Some(card), None) if separate => card.name.clone(),
            _ => self.lan(),
        }
    }

    /// Whether the cards are put into a bond.
    #[must_use]
    pub fn bonded(&self) -> bool {
        self.seed.network.bond.is_some() && self.node().is_some()
    }

    /// Addresses of all other boxes: the other node or both, and all other workers.
    #[must_use]
    pub fn other_boxes(&self) -> Vec<IpAddr> {
        let nodes = [NodeId::A, NodeId::B].into_iter().filter(|id| self.id() != Some(*id));
        let nodes = nodes.flat_map(|id| &self.seed.node(id).addresses);
        let workers = self
            .seed
            .workers
            .iter()
            .filter(|(name, _)| !matches!(self.member, Member::Worker(me) if me == *name))
            .flat_map(|(_, worker)| &worker.addresses);
        nodes.chain(workers).map(IpNet::addr).collect()
    }
}

/// Name of the bond. Not `bond0`: the kernel module makes one of that name by itself.
pub(crate) const BOND: &str = "lan-bond";
/// Name of the replication link's VLAN interface.
pub(crate) const REPLICATION_VLAN: &str = "repl-vlan";
