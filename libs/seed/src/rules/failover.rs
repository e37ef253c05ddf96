//! Whether the failover mode has what it needs, and what it risks.

use std::net::IpAddr;

use super::Rules;

/// The fence handler answers within 2 s; a request to the witness has to fit into that.
pub const WITNESS_TIMEOUT_MAX_MS: u64 = 1800;
/// Longest wait of the standby: it adds to every failover.
pub const STANDBY_DELAY_MAX_MS: u64 = 10_000;

impl Rules<'_> {
    pub(super) fn failover(&mut self) {
        let seed = self.seed;
        let Some(mode) = seed.text("failover.mode") else { return };
        let witness = seed.has_table("failover.witness") || seed.is_bad("failover.witness");
        match mode {
            "witness" if !witness => self.error(
                "no-witness",
                "failover.mode",
                "mode \"witness\" asks a witness who may write, and none is named",
                "add witness = { url = \"https://…:8443\", fingerprint = \"sha256:…\" }, or choose mode \"fence\" or \"manual\"",
            ),
            "fence" => self.fence_devices(),
            "manual" => self.warn(
                "no-witness",
                "failover.mode",
                "without a witness nobody takes over by itself: when the active box dies, an operator must promote the other",
                "name a witness; any small third machine can be one",
            ),
            "availability-first" => self.warn(
                "can-lose-data",
                "failover.mode",
                "when the link between the boxes is cut, both go on writing alone; when it is back, everything \
                 that one of them acknowledged since the cut is thrown away. After a power cut of both, the one \
                 that returns first goes on, even when its data is the older: what the other had acknowledged \
                 since is lost",
                "use mode \"witness\", \"fence\" or \"manual\": none of them loses an acknowledged write",
            ),
            _ => {}
        }
        if witness && mode != "witness" {
            self.warn(
                "unused",
                "failover.witness",
                format!("a witness is named, and mode \"{mode}\" does not ask it"),
                "write mode = \"witness\", or take the witness out",
            );
        }
        if seed.has_table("failover.witness") {
            self.witness();
        }
        for node in ["a", "b"] {
            if seed.has_table(&format!("node.{node}.fence")) {
                self.fence_device(node, mode);
            }
        }
        self.same_outlet();
        self.bound("failover.standby_delay", 0, STANDBY_DELAY_MAX_MS, "it adds to every failover");
        self.bound(
            "failover.fence_timeout",
            5_000,
            300_000,
            "power is off within seconds, or something is wrong",
        );
        self.bound(
            "failover.witness.timeout",
            100,
            WITNESS_TIMEOUT_MAX_MS,
            "the kernel's handler must answer in 2 s",
        );
    }

    fn witness(&mut self) {
        let seed = self.seed;
        let [url, fingerprint, etcd] =
            ["url", "fingerprint", "etcd"].map(|key| format!("failover.witness.{key}"));
        match (seed.written(&url), seed.written(&etcd)) {
            (true, true) => self.error(
                "two-witnesses",
                &etcd,
                "both url and etcd are given",
                "keep one: there is one record",
            ),
            (false, false) => self.error(
                "no-witness",
                "failover.witness",
                "neither url nor etcd says where the witness is",
                "add url = \"https://…:8443\" and its fingerprint",
            ),
            (true, false) => {
                if !seed.written(&fingerprint) {
                    self.error(
                        "missing-key",
                        &fingerprint,
                        "without the fingerprint anybody in between could answer for the witness",
                        "add fingerprint = \"sha256:…\"; the witness prints it when it starts",
                    );
                }
            }
            (false, true) => {
                for key in ["ca_file", "cert_file", "key_file"].map(|key| format!("failover.witness.{key}")) {
                    if !seed.written(&key) {
                        self.error(
                            "missing-key",
                            &key,
                            "etcd is asked over TLS with a client certificate",
                            format!("add {}", key.rsplit('.').next().unwrap_or_default()),
                        );
                    }
                }
                if matches!(seed.items(&etcd).len(), 1 | 2) {
                    self.warn(
                        "etcd-size",
                        &etcd,
                        "an etcd cluster of fewer than three members stops when one does",
                        "name all members of a cluster of three or five",
                    );
                }
            }
        }
        for key in ["ca_file", "cert_file", "key_file"] {
            self.readable(&format!("failover.witness.{key}"));
        }
        let ours = self.own_addresses();
        for (key, text) in [url.as_str(), etcd.as_str()]
            .into_iter()
            .flat_map(|key| seed.texts(key).into_iter().map(move |text| (key, text)))
        {
            if text.starts_with("http://") {
                self.error("not-https", key, "the witness is asked over https only", "write https://");
            }
            let host = host_of(&text);
            if host.parse::<IpAddr>().is_ok_and(|address| ours.contains(&address)) {
                self.error(
                    "witness-inside",
                    key,
                    format!("{host} is an address of the pair itself: it would fail together with what it has to judge"),
                    "run the witness on a third machine",
                );
            } else if host.parse::<IpAddr>().is_err() {
                self.warn(
                    "witness-name",
                    key,
                    format!("{host} is a name: when the name server is away, so is the witness"),
                    "write the address of the witness",
                );
            }
        }
    }

    /// Addresses of the two nodes and the virtual IPs.
    fn own_addresses(&self) -> Vec<IpAddr> {
        ["node.a.address", "node.b.address", "node.a.replication_address", "node.b.replication_address"]
            .into_iter()
            .chain(["pair.virtual_ip"])
            .flat_map(|key| self.seed.nets(key))
            .map(|(net, _)| net.addr())
            .collect()
    }

    fn fence_devices(&mut self) {
        for node in ["a", "b"] {
            let table = format!("node.{node}.fence");
            if !self.seed.written(&table)
                && !self.seed.has_table(&table)
                && self.seed.has_table(&format!("node.{node}"))
            {
                self.error(
                    "no-fence",
                    &table,
                    format!("mode \"fence\" cuts the power of the other box, and nothing says how node {node}'s is cut"),
                    format!("add [{table}] with agent and address"),
                );
            }
        }
    }

    fn fence_device(&mut self, node: &str, mode: &str) {
        let seed = self.seed;
        let key = |name: &str| format!("node.{node}.fence.{name}");
        if let Some(agent) = seed.text(&key("agent")) {
            let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
            if !agent.starts_with("fence_") || !agent.chars().all(good) {
                let reason = format!("\"{agent}\" is no name of a fence agent");
                self.error(
                    "bad-value",
                    &key("agent"),
                    reason,
                    "write its program's name, for example fence_redfish",
                );
            }
        }
        self.one_secret(&key("password"), &key("password_file"), false);
        if let Some(address) = seed.text(&key("address")).and_then(|host| host.parse::<IpAddr>().ok()) {
            if self.own_addresses().contains(&address) {
                self.error(
                    "fence-inside",
                    &key("address"),
                    format!("{address} is an address of the pair: it dies with the box it should switch off"),
                    "write the address of the management board or power strip",
                );
            }
        }
        for option in seed.texts(&key("options")) {
            let name = option.split('=').next().unwrap_or_default().to_lowercase();
            if !option.contains('=') || name.contains("passw") || name.contains("secret") {
                self.error(
                    "bad-value",
                    &key("options"),
                    format!("{name} does not belong here"),
                    "write name=value; a password goes into password_file",
                );
            }
        }
        if matches!(mode, "manual" | "availability-first") {
            self.warn(
                "unused",
                &format!("node.{node}.fence"),
                format!("a fence device is named, and mode \"{mode}\" does not use it to decide"),
                "write mode = \"fence\" or \"witness\", or take it out",
            );
        }
    }

    fn same_outlet(&mut self) {
        let seed = self.seed;
        let outlet = |node: &str| {
            let key = |name: &str| format!("node.{node}.fence.{name}");
            let address = seed.text(&key("address"))?.to_owned();
            Some((address, seed.integer(&key("port")), seed.text(&key("plug")).map(str::to_owned)))
        };
        if let (Some(a), Some(b)) = (outlet("a"), outlet("b")) {
            if a == b {
                self.error(
                    "same-outlet",
                    "node.b.fence.address",
                    "both boxes have the same outlet: cutting one would cut both",
                    "give each its own address, or its own plug of the power strip",
                );
            }
        }
    }

    /// A time within bounds, both in milliseconds and both included.
    pub(super) fn bound(&mut self, key: &str, low: u64, high: u64, why: &str) {
        let words = |millis: u64| {
            if millis % 1000 == 0 { format!("{} s", millis / 1000) } else { format!("{millis} ms") }
        };
        if let Some(millis) = self.seed.millis(key).filter(|millis| !(low..=high).contains(millis)) {
            let reason = format!("{} is out of bounds: {why}", words(millis));
            self.error("out-of-range", key, reason, format!("write {} to {}", words(low), words(high)));
        }
    }
}

/// The host of an address whose form has been checked.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(bracket) => bracket.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}
