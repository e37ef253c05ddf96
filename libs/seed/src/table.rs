//! The schema as data: one row for every key of a seed.
//!
//! Everything that has to agree about the keys reads this table: the walk over the document ([`crate::shape`]), the
//! JSON schema, the table in the user documentation and the classes of a difference between two seeds.

mod failover;
mod kubernetes;
mod node;
mod pair;
mod system;

/// What may stand at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty and has no control characters.
    Text,
    /// A secret: like text, but never printed.
    Secret,
    /// Name of a file beside the seed that holds a secret.
    SecretFile,
    /// Name of a file beside the seed.
    File,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Integer(i64, i64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A host name label: letters, digits, hyphens, at most 63 (RFC 1123).
    Label,
    /// A host name or an IP address.
    Host,
    /// A DNS domain.
    Domain,
    /// An IP address.
    Address,
    /// An IP address with the length of its network: `192.0.2.60/24`.
    Interface,
    /// A network: `192.0.2.0/24`, no bits set behind the length.
    Network,
    /// A MAC address of one card.
    Mac,
    /// A size in bytes: `8GiB`, `512MiB`, `32GB`.
    Size,
    /// A time: `10s`, `250ms`.
    Duration,
    /// A device under `/dev`.
    Device,
    /// An `https://` or `http://` address.
    Url,
    /// `sha256:` and 64 hexadecimal digits.
    Fingerprint,
    /// One line of an `authorized_keys` file.
    SshKey,
    /// `80/tcp`, `30000-32767/udp`.
    Port,
    /// A label of Kubernetes: `key=value`.
    KubeLabel,
    /// A taint of Kubernetes: `key=value:NoSchedule`.
    KubeTaint,
    /// A maintenance window: `Mon-Fri 22:00-04:00`.
    Window,
    /// A name of the time zone database: `Europe/Vienna`.
    Zone,
    /// A list of one of the kinds above.
    List(&'static Kind),
    /// One value, or a list of them.
    OneOrMore(&'static Kind),
    /// Anything TOML can say; handed on as it is.
    Anything,
}

impl Kind {
    /// What to write there, in words, for messages and documentation.
    #[must_use]
    pub fn expects(&self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Secret => "a secret text".into(),
            Self::SecretFile | Self::File => "the name of a file beside the seed".into(),
            Self::Bool => "true or false".into(),
            Self::Integer(low, high) => format!("a whole number from {low} to {high}"),
            Self::OneOf(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
            Self::Label => "a name of letters, digits and hyphens".into(),
            Self::Host => "a host name or an IP address".into(),
            Self::Domain => "a DNS domain".into(),
            Self::Address => "an IP address, for example \"192.0.2.1\"".into(),
            Self::Interface => "an IP address with prefix length, for example \"192.0.2.60/24\"".into(),
            Self::Network => "a network, for example \"192.0.2.0/24\"".into(),
            Self::Mac => "a MAC address, for example \"52:54:00:00:00:01\"".into(),
            Self::Size => "a size, for example \"8GiB\"".into(),
            Self::Duration => "a time, for example \"10s\"".into(),
            Self::Device => "a device, for example \"/dev/disk/by-id/…\"".into(),
            Self::Url => "an address that starts with https:// or http://".into(),
            Self::Fingerprint => "\"sha256:\" and 64 hexadecimal digits".into(),
            Self::SshKey => "an SSH public key, for example \"ssh-ed25519 AAAA… name\"".into(),
            Self::Port => "a port, for example \"443/tcp\" or \"30000-32767/udp\"".into(),
            Self::KubeLabel => "a label, for example \"site=north\"".into(),
            Self::KubeTaint => "a taint, for example \"disk=slow:NoSchedule\"".into(),
            Self::Window => "a window, for example \"Mon-Fri 22:00-04:00\"".into(),
            Self::Zone => "a time zone, for example \"Europe/Vienna\"".into(),
            Self::List(item) => format!("a list; each item: {}", item.expects()),
            Self::OneOrMore(item) => format!("{}, or a list of them", item.expects()),
            Self::Anything => "any value".into(),
        }
    }
}

/// When a changed value can take effect on a pair that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// At once, one node at a time.
    Live,
    /// At the next boot of the node.
    Reboot,
    /// Only by both nodes together: a transaction of a connected pair, never one node's edit.
    Pair,
    /// Never on a formed pair: it would need the data to be made anew.
    Rebuild,
}

impl Change {
    /// The word used in printed differences and in documentation.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reboot => "reboot",
            Self::Pair => "pair transaction",
            Self::Rebuild => "new pair",
        }
    }
}

/// One row: a key of the seed.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path; `*` stands for a name the author chooses.
    pub path: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// The table it stands in cannot do without it.
    pub required: bool,
    /// The value in effect when the key is absent, as it would be written; empty when there is none.
    pub default: &'static str,
    /// When a change takes effect.
    pub change: Change,
    /// What it is for, in one or two sentences.
    pub about: &'static str,
}

impl Key {
    const fn new(path: &'static str, kind: Kind, change: Change, about: &'static str) -> Self {
        Self { path, kind, required: false, default: "", change, about }
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn default(mut self, value: &'static str) -> Self {
        self.default = value;
        self
    }

    /// Whether the value must never be printed.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// A table of the seed, `[pair]` for example.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Dotted path; `*` stands for a name the author chooses.
    pub path: &'static str,
    /// No seed can do without it.
    pub required: bool,
    /// What it is for.
    pub about: &'static str,
}

/// All tables, in the order of the documentation.
pub const TABLES: &[Table] = &[
    Table { path: "pair", required: true, about: "What both boxes are together." },
    Table { path: "node.a", required: true, about: "The first box." },
    Table { path: "node.b", required: true, about: "The second box." },
    Table {
        path: "node.*.fence",
        required: false,
        about: "How to cut the power of this box: a management board, a switched power strip.",
    },
    Table { path: "network", required: false, about: "The network both boxes stand in." },
    Table { path: "network.bond", required: false, about: "Several cards used as one." },
    Table { path: "network.replication", required: false, about: "A second link, only for replication." },
    Table { path: "storage", required: true, about: "The replicated storage." },
    Table { path: "failover", required: true, about: "Who may go on alone, and how that is known." },
    Table {
        path: "failover.witness",
        required: false,
        about: "The third party that records who may write. Either `url` with `fingerprint`, or `etcd`.",
    },
    Table { path: "kubernetes", required: false, about: "Kubernetes; without the table there is none." },
    Table {
        path: "kubernetes.balancer",
        required: false,
        about: "A balancer for the API on both nodes, so that a crashed API server is no outage.",
    },
    Table {
        path: "kubernetes.config",
        required: false,
        about: "Further options of k3s, handed on as they are. Options that the pair owns are refused.",
    },
    Table { path: "worker.*", required: false, about: "A further box that only runs workload." },
    Table { path: "registry.*", required: false, about: "Where container images of a registry are fetched." },
    Table { path: "access", required: false, about: "Who may reach what." },
    Table { path: "watchdog", required: false, about: "The hardware watchdog." },
    Table { path: "console", required: false, about: "Screen and serial line." },
    Table { path: "log", required: false, about: "The journal." },
    Table {
        path: "update",
        required: false,
        about: "Updates from a channel; without it, the pair is updated by an operator only. See channel.md.",
    },
    Table { path: "install", required: false, about: "Installing to a disk from the network." },
];

/// All keys, in the order of the documentation.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    const SCHEMA: &[Key] = &[Key::new(
        "schema",
        Kind::Integer(0, i64::MAX),
        Change::Rebuild,
        "Version of this format. This release reads version 1.",
    )
    .required()];
    [
        SCHEMA,
        pair::KEYS,
        node::KEYS,
        pair::NETWORK,
        pair::STORAGE,
        failover::KEYS,
        kubernetes::KEYS,
        node::WORKER,
    ]
    .into_iter()
    .chain([kubernetes::REGISTRY, system::KEYS, system::UPDATE, system::INSTALL])
    .flatten()
}

/// The row for a concrete path such as `node.a.mac`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| matches(key.path, path))
}

/// Whether a pattern of the table covers a path. `*` covers one name, which may itself contain dots only when it
/// was quoted; paths here carry such names quoted.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let path = segments(path);
    let pattern: Vec<&str> = pattern.split('.').collect();
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(want, have)| *want == "*" || want == have)
}

/// Splits a path at its dots, those inside quotes left alone.
#[must_use]
pub fn segments(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quoted = false;
    let mut start = 0;
    for (at, letter) in path.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                parts.push(&path[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&path[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_a_known_table() {
        for key in keys() {
            let parent = key.path.rsplit_once('.').map(|(parent, _)| parent);
            let known = parent
                .is_none_or(|parent| parent == "node.*" || TABLES.iter().any(|table| table.path == parent));
            assert!(known, "{} stands in no table", key.path);
        }
    }

    #[test]
    fn no_key_stands_twice() {
        let mut paths: Vec<_> = keys().map(|key| key.path).collect();
        paths.sort_unstable();
        let before = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), before);
    }

    #[test]
    fn quoted_names_are_one_segment() {
        assert_eq!(segments("registry.\"docker.io\".endpoints"), ["registry", "\"docker.io\"", "endpoints"]);
        assert!(matches("registry.*.endpoints", "registry.\"docker.io\".endpoints"));
        assert!(!matches("node.*.mac", "node.a.mac.x"));
    }
}
