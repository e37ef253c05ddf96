//! Kubernetes: datastore, networks, and options that belong to the pair.

use ipnet::IpNet;

use super::Rules;
use super::addresses::{family, overlap};
use crate::value::Value;
use edgepair_findings::Severity;

/// Options of k3s that follow from the seed, and where they come from. Setting them by hand would take the pair apart.
pub const OWNED: &[(&str, &str)] = &[
    ("token", "derived from the pair secret"),
    ("agent-token", "derived from the pair secret"),
    ("token-file", "derived from the pair secret"),
    ("server", "the pair's own address"),
    ("datastore-endpoint", "kubernetes.datastore"),
    ("datastore-cafile", "kubernetes.datastore"),
    ("datastore-certfile", "kubernetes.datastore"),
    ("datastore-keyfile", "kubernetes.datastore"),
    ("cluster-init", "kubernetes.datastore"),
    ("cluster-reset", "kubernetes.datastore"),
    ("data-dir", "the layout of the image"),
    ("node-name", "hostname"),
    ("with-node-id", "hostname"),
    ("node-ip", "address"),
    ("node-external-ip", "address"),
    ("bind-address", "address"),
    ("advertise-address", "address"),
    ("https-listen-port", "kubernetes.api_port"),
    ("supervisor-port", "kubernetes.api_port"),
    ("cluster-cidr", "kubernetes.cluster_cidr"),
    ("service-cidr", "kubernetes.service_cidr"),
    ("cluster-dns", "kubernetes.service_cidr"),
    ("flannel-backend", "kubernetes.overlay"),
    ("flannel-iface", "address"),
    ("tls-san", "kubernetes.tls_san"),
    ("disable", "kubernetes.disable"),
    ("node-label", "kubernetes.labels"),
    ("node-taint", "kubernetes.taints"),
    ("private-registry", "registry"),
    ("resolv-conf", "network.dns"),
    ("rootless", "the image"),
    ("disable-agent", "the image"),
    ("write-kubeconfig", "the layout of the image"),
];

/// Arguments of Kubernetes' components that the move of the database rests on.
pub const OWNED_ARGUMENTS: &[&str] =
    &["leader-elect-lease-duration", "leader-elect-renew-deadline", "leader-elect-retry-period"];

impl Rules<'_> {
    pub(super) fn kubernetes(&mut self) {
        let seed = self.seed;
        if !seed.has_table("kubernetes") {
            if seed.is_bad("kubernetes") {
                return;
            }
            for path in self.boxes().into_iter().filter(|path| path.starts_with("worker.")) {
                self.error(
                    "no-kubernetes",
                    &path,
                    "a worker joins Kubernetes, and there is no table [kubernetes]",
                    "add [kubernetes], or take the worker out",
                );
            }
            for name in seed.names_under("registry") {
                self.warn(
                    "unused",
                    &format!("registry.{name}"),
                    "container images are only fetched by Kubernetes, and there is no table [kubernetes]",
                    "add [kubernetes], or take the registry out",
                );
            }
            return;
        }
        self.datastore();
        self.owned_options();
        self.cluster_networks();
        self.overlay();
        for name in seed.names_under("registry") {
            let key = |part: &str| format!("registry.{name}.{part}");
            self.one_secret(&key("password"), &key("password_file"), false);
            self.readable(&key("ca_file"));
        }
    }

    fn datastore(&mut self) {
        let [value, file] = ["kubernetes.endpoint", "kubernetes.endpoint_file"];
        match self.seed.text("kubernetes.datastore").unwrap_or("postgres") {
            "external" => self.one_secret(value, file, true),
            other => {
                let other = other.to_owned();
                for key in [value, file].into_iter().filter(|key| self.seed.written(key)) {
                    self.error(
                        "wrong-mode",
                        key,
                        format!("an endpoint is given, and datastore \"{other}\" has its own"),
                        "write datastore = \"external\", or take the endpoint out",
                    );
                }
            }
        }
    }

    fn owned_options(&mut self) {
        let seed = self.seed;
        let keys: Vec<&String> =
            seed.values.keys().filter(|key| key.starts_with("kubernetes.config.")).collect();
        for key in keys {
            let option = key.trim_start_matches("kubernetes.config.");
            // Old spellings with underscores are taken by k3s as well.
            let plain = option.trim_matches('"').trim_end_matches('+').replace('_', "-");
            if let Some((_, owner)) = OWNED.iter().find(|(name, _)| *name == plain) {
                self.error(
                    "owned-option",
                    key,
                    format!("the pair sets {plain} itself: {owner}"),
                    "take it out",
                );
            }
            self.owned_arguments(key, plain.as_str());
        }
    }

    /// Arguments in the lists `kube-…-arg`.
    fn owned_arguments(&mut self, key: &str, option: &str) {
        let Some(Value::Anything(value)) = self.seed.values.get(key).map(|entry| &entry.value) else {
            return;
        };
        if !option.ends_with("-arg") {
            return;
        }
        let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for text in items.iter().filter_map(|item| item.as_str()) {
            let name = text.trim_start_matches('-').split('=').next().unwrap_or_default();
            if OWNED_ARGUMENTS.contains(&name) {
                self.error(
                    "owned-argument",
                    key,
                    format!(
                        "the pair sets {name} itself: a control plane must outlive the move of its database"
                    ),
                    "take it out of the list",
                );
            }
        }
    }

    fn cluster_networks(&mut self) {
        let seed = self.seed;
        let mut taken: Vec<(String, IpNet)> = self
            .node_networks()
            .into_iter()
            .map(|net| ("the nodes' network".to_owned(), net))
            .chain(
                seed.nets("node.a.replication_address")
                    .into_iter()
                    .map(|(net, _)| ("the replication link".to_owned(), net.trunc())),
            )
            .collect();
        for (key, default) in
            [("kubernetes.cluster_cidr", "10.42.0.0/16"), ("kubernetes.service_cidr", "10.43.0.0/16")]
        {
            let written = seed.nets(key);
            let nets = if seed.written(key) {
                written
            } else {
                default.parse().map(|net| vec![(net, seed.span("kubernetes"))]).unwrap_or_default()
            };
            for (net, span) in &nets {
                if let Some((what, other)) = taken.iter().find(|(_, other)| overlap(other, net)) {
                    let reason = format!("{net} overlaps {what} {other}");
                    let fix = format!("set {key} to a network that is used nowhere else");
                    self.at(Severity::Error, "overlap", key, span.clone(), reason, fix);
                }
            }
            self.family_of_cluster(key, &nets.iter().map(|(net, _)| *net).collect::<Vec<_>>());
            taken.extend(nets.into_iter().map(|(net, _)| (key.to_owned(), net)));
        }
    }

    /// Routes between the boxes have conditions that a tunnel has not.
    fn overlay(&mut self) {
        if self.seed.text("kubernetes.overlay") != Some("host-gw") {
            return;
        }
        self.warn(
            "open-overlay",
            "kubernetes.overlay",
            "packets of pods travel bare: whoever can send into this network can send in a pod's name",
            "use \"vxlan\" or \"wireguard\" unless the network is yours alone",
        );
        let networks = self.node_networks();
        for path in self.boxes().into_iter().filter(|path| path.starts_with("worker.")) {
            let key = format!("{path}.address");
            let own = self.seed.nets(&key);
            if networks.is_empty() || own.iter().any(|(net, _)| networks.contains(&net.trunc())) {
                continue;
            }
            if let Some((net, span)) = own.first() {
                let reason =
                    format!("{net} is not in the nodes' network, and overlay \"host-gw\" routes within one");
                let fix = "use overlay \"vxlan\" or \"wireguard\"";
                self.at(Severity::Error, "outside-network", &key, span.clone(), reason, fix);
            }
        }
    }

    /// Pods and services need a family that the nodes have.
    fn family_of_cluster(&mut self, key: &str, nets: &[IpNet]) {
        let nodes = self.node_networks();
        if nodes.is_empty() {
            return;
        }
        for net in nets {
            if !nodes.iter().any(|node| family(node.addr()) == family(net.addr())) {
                self.error(
                    "families-differ",
                    key,
                    format!("{net} is {}, and the nodes have no such address", family(net.addr())),
                    format!("set {key} to a network of the nodes' family, for example fd00:42::/56 for IPv6"),
                );
            }
        }
        for path in self.boxes().into_iter().filter(|path| path.starts_with("worker.")) {
            let address = format!("{path}.address");
            let have = self.seed.nets(&address);
            for net in nets.iter().filter(|_| !have.is_empty() && key.ends_with("cluster_cidr")) {
                if !have.iter().any(|(own, _)| family(own.addr()) == family(net.addr())) {
                    self.error(
                        "families-differ",
                        &address,
                        format!("pods have {} addresses, and this box has none", family(net.addr())),
                        "give the worker an address of each family that the pods have",
                    );
                }
            }
        }
        for (index, net) in nets.iter().enumerate() {
            if nets[..index].iter().any(|other| family(other.addr()) == family(net.addr())) {
                self.error(
                    "one-per-family",
                    key,
                    format!("a second {} network", family(net.addr())),
                    "keep one",
                );
            }
        }
    }
}
