//! Addresses: which belong together, which must differ.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::Rules;
use edgepair_findings::Severity;

pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

impl Rules<'_> {
    /// Networks the two nodes stand in, without repetition.
    pub(super) fn node_networks(&self) -> Vec<IpNet> {
        let mut networks: Vec<IpNet> = ["node.a.address", "node.b.address"]
            .iter()
            .flat_map(|key| self.seed.nets(key))
            .map(|(net, _)| net.trunc())
            .collect();
        networks.sort();
        networks.dedup();
        networks
    }

    pub(super) fn addresses(&mut self) {
        let seed = self.seed;
        let mut all: Vec<(IpAddr, String, Range<usize>)> = Vec::new();
        for path in self.boxes() {
            for key in [format!("{path}.address"), format!("{path}.replication_address")] {
                self.one_per_family(&key);
                all.extend(seed.nets(&key).into_iter().map(|(net, span)| (net.addr(), key.clone(), span)));
            }
        }
        self.one_per_family("pair.virtual_ip");
        let virtual_ips = seed.nets("pair.virtual_ip");
        all.extend(
            virtual_ips.into_iter().map(|(net, span)| (net.addr(), "pair.virtual_ip".to_owned(), span)),
        );
        let mut gateways = Vec::new();
        for (gateway, span) in seed.addresses("network.gateway") {
            gateways.push((family(gateway), "network.gateway".to_owned(), span.clone()));
            all.push((gateway, "network.gateway".to_owned(), span));
        }
        self.unique("duplicate-address", "address", all);
        self.unique("one-per-family", "gateway for", gateways);
        self.nodes_together();
        self.virtual_ips();
        self.gateways();
        self.workers_reachable();
    }

    fn one_per_family(&mut self, key: &str) {
        let seen = self.seed.nets(key);
        for (index, (net, span)) in seen.iter().enumerate() {
            if seen[..index].iter().any(|(other, _)| family(other.addr()) == family(net.addr())) {
                let reason = format!("there is a second {} address", family(net.addr()));
                self.at(
                    Severity::Error,
                    "one-per-family",
                    key,
                    span.clone(),
                    reason,
                    "keep one for each family",
                );
            }
        }
    }

    /// The two nodes stand in the same networks.
    fn nodes_together(&mut self) {
        let (a, b) = (self.seed.nets("node.a.address"), self.seed.nets("node.b.address"));
        if a.is_empty() || b.is_empty() {
            return;
        }
        for (net, span) in &b {
            let mate = a.iter().find(|(other, _)| family(other.addr()) == family(net.addr()));
            let Some((mate, _)) = mate else {
                let reason = format!("node b has an {} address and node a has none", family(net.addr()));
                let fix = "give both nodes addresses of the same families";
                self.at(Severity::Error, "families-differ", "node.b.address", span.clone(), reason, fix);
                continue;
            };
            if mate.trunc() != net.trunc() {
                let reason = format!("{net} is not in node a's network {}", mate.trunc());
                let fix = "put both nodes into one network with the same prefix length; the virtual IP moves within it";
                self.at(Severity::Error, "networks-differ", "node.b.address", span.clone(), reason, fix);
            }
        }
        for (net, span) in &a {
            if !b.iter().any(|(other, _)| family(other.addr()) == family(net.addr())) {
                let reason = format!("node a has an {} address and node b has none", family(net.addr()));
                let fix = "give both nodes addresses of the same families";
                self.at(Severity::Error, "families-differ", "node.a.address", span.clone(), reason, fix);
            }
        }
    }

    fn virtual_ips(&mut self) {
        let networks = self.node_networks();
        if networks.is_empty() {
            return;
        }
        for (net, span) in self.seed.nets("pair.virtual_ip") {
            let same_family: Vec<&IpNet> =
                networks.iter().filter(|other| family(other.addr()) == family(net.addr())).collect();
            if same_family.iter().any(|network| **network == net.trunc()) {
                continue;
            }
            let reason = match same_family.first() {
                Some(network) => format!("the virtual IP {net} is not in the nodes' network {network}"),
                None => format!("the nodes have no {} address", family(net.addr())),
            };
            let fix = "choose a free address of the nodes' network, with the same prefix length";
            self.at(Severity::Error, "outside-network", "pair.virtual_ip", span, reason, fix);
        }
    }

    fn gateways(&mut self) {
        let networks = self.node_networks();
        for (gateway, span) in self.seed.addresses("network.gateway") {
            if !networks.is_empty() && !networks.iter().any(|network| network.contains(&gateway)) {
                let listed: Vec<String> = networks.iter().map(ToString::to_string).collect();
                let reason =
                    format!("the gateway {gateway} is outside the nodes' network {}", listed.join(", "));
                let fix = "write the router's address in that network, or correct the nodes' prefix length";
                self.at(Severity::Error, "outside-network", "network.gateway", span, reason, fix);
            }
        }
        let far: Vec<IpAddr> = self
            .seed
            .addresses("network.dns")
            .into_iter()
            .map(|(address, _)| address)
            .filter(|address| !networks.iter().any(|network| network.contains(address)))
            .collect();
        if !far.is_empty() && !networks.is_empty() && !self.seed.written("network.gateway") {
            self.warn(
                "no-gateway",
                "network.dns",
                format!("{} is outside the nodes' network, and there is no gateway", far[0]),
                "add network.gateway, or name a server inside the network",
            );
        }
    }

    fn workers_reachable(&mut self) {
        let networks = self.node_networks();
        for path in self.boxes().into_iter().filter(|path| path.starts_with("worker.")) {
            let gateways: Vec<IpAddr> = ["network.gateway".to_owned(), format!("{path}.gateway")]
                .iter()
                .flat_map(|key| self.seed.addresses(key))
                .map(|(address, _)| address)
                .collect();
            let key = format!("{path}.address");
            let own = self.seed.nets(&key);
            let reaches = |net: &IpNet| {
                networks.contains(&net.trunc()) || gateways.iter().any(|gateway| net.contains(gateway))
            };
            // One way to the nodes is enough; a second address may serve devices beside the worker.
            if networks.is_empty() || own.iter().any(|(net, _)| reaches(net)) {
                continue;
            }
            if let Some((net, span)) = own.first() {
                let reason =
                    format!("{net} is neither in the nodes' network nor has it a gateway to get there");
                let fix = format!("add {path}.gateway, an address inside {}", net.trunc());
                self.at(Severity::Error, "outside-network", &key, span.clone(), reason, fix);
            }
        }
    }

    /// The second link, for replication only.
    pub(super) fn replication(&mut self) {
        let seed = self.seed;
        let keys = ["node.a.replication_address", "node.b.replication_address"];
        let table = seed.has_table("network.replication");
        match keys.map(|key| seed.written(key)) {
            [true, true] => {}
            [false, false] => {
                if table {
                    self.error(
                        "replication-address",
                        "network.replication",
                        "there is a replication link and no node has an address on it",
                        "add replication_address to [node.a] and [node.b]",
                    );
                }
                return;
            }
            [has_a, _] => {
                let (has, lacks) = if has_a { ("a", "b") } else { ("b", "a") };
                self.error(
                    "replication-address",
                    &format!("node.{has}.replication_address"),
                    format!("node {has} has an address on the replication link and node {lacks} has none"),
                    format!("add replication_address to [node.{lacks}], or take this one out"),
                );
                return;
            }
        }
        let lan = self.node_networks();
        for key in keys {
            for (net, span) in seed.nets(key) {
                if let Some(hit) = lan.iter().find(|network| overlap(network, &net)) {
                    let reason = format!(
                        "{net} overlaps the nodes' own network {hit}; packets would take either link"
                    );
                    let fix = "choose another network for the replication link";
                    self.at(Severity::Error, "overlap", key, span, reason, fix);
                }
            }
        }
        if let ([(a, _)], [(b, span)]) = (&seed.nets(keys[0])[..], &seed.nets(keys[1])[..]) {
            if a.trunc() != b.trunc() {
                let reason = format!("{b} is not in the network of node a's replication address {a}");
                let fix = "put both into one network with the same prefix length";
                self.at(Severity::Error, "networks-differ", keys[1], span.clone(), reason, fix);
            }
        }
        let tagged = seed.written("network.replication.vlan");
        for node in ["node.a", "node.b"].into_iter().filter(|_| !tagged) {
            if !seed.written(&format!("{node}.replication_mac")) {
                self.error(
                    "replication-card",
                    &format!("{node}.replication_address"),
                    format!("nothing says which card of [{node}] the replication link is"),
                    "add replication_mac, or network.replication.vlan when it shares the card",
                );
            }
        }
    }
}
