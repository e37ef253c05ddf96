//! From the flat map to the typed [`Seed`], after all checks have passed.
//!
//! Every `?` here stands for something that the checks have made sure of. Were one of them to fail, the caller
//! reports a finding and no seed: a gap between checks and types is never a panic on a node.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::companions::Companions;
use crate::keys::PairSecret;
use crate::model::{
    Access, Bond, Console, Datastore, Failover, FailoverMode, FenceDevice, Kubernetes, Log, Network, Node,
    NodeId, Overlay, Pair, Registry, Seed, Storage, StorageMode, Update, Watchdog, Witness, WitnessPlace,
    Worker,
};
use crate::scalar::{self, Mac, Port};
use crate::secret::Secret;
use crate::shape::Shaped;
use crate::table;
use crate::value::Value;

pub(crate) struct Builder<'a> {
    pub seed: &'a Shaped,
    pub companions: &'a Companions,
}

impl Builder<'_> {
    pub fn build(&self) -> Option<Seed> {
        let name = self.seed.text("pair.name")?.to_owned();
        let secret = PairSecret::new(self.secret("pair.secret", "pair.secret_file")?, &name);
        let given = self.seed.integer("pair.vrrp_id").and_then(|id| u8::try_from(id).ok());
        let (a, b) = (self.node(NodeId::A, &name)?, self.node(NodeId::B, &name)?);
        let mut lan: Vec<IpNet> = a.addresses.iter().map(IpNet::trunc).collect();
        lan.dedup();
        let workers = self.seed.names_under("worker").into_iter();
        let registries = self.seed.names_under("registry").into_iter();
        let kubernetes = if self.seed.has_table("kubernetes") { Some(self.kubernetes()?) } else { None };
        Some(Seed {
            network: self.network(),
            storage: self.storage()?,
            failover: self.failover()?,
            kubernetes,
            workers: workers
                .map(|worker| Some((worker.clone(), self.worker(&worker, &name)?)))
                .collect::<Option<_>>()?,
            registries: registries
                .map(|host| (host.trim_matches('"').to_owned(), self.registry(&host)))
                .collect(),
            access: self.access(lan),
            watchdog: Watchdog {
                enabled: self.bool("watchdog.enabled"),
                timeout_ms: self.millis("watchdog.timeout"),
                device: self.text("watchdog.device"),
            },
            console: Console {
                devices: self.seed.texts("console.devices"),
                status: self.bool("console.status"),
            },
            log: Log { size: self.size("log.size")?, persistent: self.bool("log.persistent") },
            update: if self.seed.has_table("update") { Some(self.update()?) } else { None },
            install_disk: self.text("install.disk"),
            flat: crate::diff::flatten(self.seed, self.companions, &secret),
            pair: Pair {
                name,
                virtual_ips: self.nets("pair.virtual_ip"),
                vrrp_id: given.unwrap_or_else(|| secret.vrrp_id()),
                vrrp_id_given: given.is_some(),
                secret,
            },
            a,
            b,
        })
    }

    fn node(&self, id: NodeId, pair: &str) -> Option<Node> {
        let key = |name: &str| format!("node.{id}.{name}");
        let own = self.text(&key("storage_device"));
        let device = own.or_else(|| self.text("storage.device"));
        let fence = if self.seed.has_table(&key("fence")) { Some(self.fence(&key("fence"))?) } else { None };
        Some(Node {
            macs: self.macs(&key("mac")),
            serial: self.text(&key("serial")),
            hostname: self.text(&key("hostname")).unwrap_or_else(|| format!("{pair}-{id}")),
            addresses: Some(self.nets(&key("address"))).filter(|nets| !nets.is_empty())?,
            replication_address: self.nets(&key("replication_address")).first().copied(),
            replication_mac: self.macs(&key("replication_mac")).first().copied(),
            storage_device: device.filter(|_| self.seed.text("storage.mode") == Some("device")),
            fence,
        })
    }

    fn fence(&self, table: &str) -> Option<FenceDevice> {
        let key = |name: &str| format!("{table}.{name}");
        Some(FenceDevice {
            agent: self.text(&key("agent"))?,
            address: self.text(&key("address"))?,
            port: self.number(&key("port")),
            username: self.text(&key("username")),
            password: self.secret(&key("password"), &key("password_file")),
            plug: self.text(&key("plug")),
            options: self.seed.texts(&key("options")),
        })
    }

    fn network(&self) -> Network {
        let bond = self
            .seed
            .text("network.bond.mode")
            .map(|mode| Bond { mode: mode.to_owned(), monitor_ms: self.millis("network.bond.monitor") });
        Network {
            gateways: self.addresses("network.gateway"),
            dns: self.addresses("network.dns"),
            search: self.seed.texts("network.search"),
            ntp: self.seed.texts("network.ntp"),
            vlan: self.number("network.vlan"),
            mtu: self.number("network.mtu"),
            bond,
            replication_vlan: self.number("network.replication.vlan"),
            replication_mtu: self.number("network.replication.mtu"),
        }
    }

    fn storage(&self) -> Option<Storage> {
        let size = self.seed.size("storage.size");
        let mode = match self.seed.text("storage.mode")? {
            "loop" => StorageMode::Loop { size: size? },
            _ => StorageMode::Device { size },
        };
        Some(Storage {
            mode,
            port: self.number_or_default("storage.port")?,
            containers: self.seed.size("storage.containers"),
            resync_limit: self.seed.size("storage.resync_limit"),
            verify: self.bool("storage.verify"),
        })
    }

    fn failover(&self) -> Option<Failover> {
        let mode = match self.seed.text("failover.mode")? {
            "witness" => FailoverMode::Witness(self.witness()?),
            "fence" => FailoverMode::Fence,
            "manual" => FailoverMode::Manual,
            _ => FailoverMode::AvailabilityFirst,
        };
        Some(Failover {
            mode,
            standby_delay_ms: self.millis("failover.standby_delay"),
            fence_timeout_ms: self.millis("failover.fence_timeout"),
            taint: self.bool("failover.taint"),
        })
    }

    fn witness(&self) -> Option<Witness> {
        let key = |name: &str| format!("failover.witness.{name}");
        let place = if let Some(url) = self.text(&key("url")) {
            let fingerprint = match self.seed.values.get(&key("fingerprint"))?.value {
                Value::Fingerprint(fingerprint) => fingerprint,
                _ => return None,
            };
            WitnessPlace::Own { url, fingerprint }
        } else {
            WitnessPlace::Etcd {
                endpoints: self.seed.texts(&key("etcd")),
                ca: self.file(&key("ca_file"))?,
                certificate: self.file(&key("cert_file"))?,
                key: self.file(&key("key_file"))?,
            }
        };
        Some(Witness { place, timeout_ms: self.millis(&key("timeout")) })
    }

    fn kubernetes(&self) -> Option<Kubernetes> {
        let datastore = match self.seed.text("kubernetes.datastore") {
            Some("sqlite") => Datastore::Sqlite,
            Some("external") => {
                Datastore::External(self.secret("kubernetes.endpoint", "kubernetes.endpoint_file")?)
            }
            _ => Datastore::Postgres,
        };
        let overlay = match self.seed.text("kubernetes.overlay") {
            Some("wireguard") => Overlay::Wireguard,
            Some("host-gw") => Overlay::HostGateway,
            Some("none") => Overlay::None,
            _ => Overlay::Vxlan,
        };
        let balancer = self.seed.has_table("kubernetes.balancer") && self.bool("kubernetes.balancer.enabled");
        let config = self.seed.values.iter().filter_map(|(path, entry)| match &entry.value {
            Value::Anything(value) => {
                let name = path.strip_prefix("kubernetes.config.")?.trim_matches('"').to_owned();
                Some((name, value.clone()))
            }
            _ => None,
        });
        Some(Kubernetes {
            datastore,
            tls_san: self.seed.texts("kubernetes.tls_san"),
            cluster_cidrs: self.nets_or_default("kubernetes.cluster_cidr"),
            service_cidrs: self.nets_or_default("kubernetes.service_cidr"),
            overlay,
            disable: self.seed.texts("kubernetes.disable"),
            labels: self.seed.texts("kubernetes.labels"),
            taints: self.seed.texts("kubernetes.taints"),
            api_port: self.number_or_default("kubernetes.api_port")?,
            balancer_port: self.number_or_default("kubernetes.balancer.port").filter(|_| balancer),
            config: config.collect(),
        })
    }

    fn worker(&self, worker: &str, pair: &str) -> Option<Worker> {
        let key = |name: &str| format!("worker.{worker}.{name}");
        Some(Worker {
            macs: self.macs(&key("mac")),
            serial: self.text(&key("serial")),
            hostname: self.text(&key("hostname")).unwrap_or_else(|| format!("{pair}-{worker}")),
            addresses: Some(self.nets(&key("address"))).filter(|nets| !nets.is_empty())?,
            gateways: self.addresses(&key("gateway")),
            labels: self.seed.texts(&key("labels")),
            taints: self.seed.texts(&key("taints")),
        })
    }

    fn registry(&self, host: &str) -> Registry {
        let key = |name: &str| format!("registry.{host}.{name}");
        Registry {
            endpoints: self.seed.texts(&key("endpoints")),
            username: self.text(&key("username")),
            password: self.secret(&key("password"), &key("password_file")),
            ca: self.file(&key("ca_file")),
        }
    }

    fn access(&self, lan: Vec<IpNet>) -> Access {
        let ports = self.seed.items("access.ports").into_iter().filter_map(|(value, _)| match value {
            Value::Port(port) => Some(*port),
            _ => None,
        });
        let mut ports: Vec<Port> = ports.collect();
        ports.sort();
        ports.dedup();
        let api = if self.seed.written("access.api_from") { self.nets("access.api_from") } else { lan };
        Access {
            ssh_keys: self.seed.texts("access.ssh_keys"),
            ssh_from: self.nets_or_default("access.ssh_from"),
            api_from: api,
            postgres_from: self.nets("access.postgres_from"),
            status_from: self.nets("access.status_from"),
            ports,
        }
    }

    fn update(&self) -> Option<Update> {
        let windows = self.seed.items("update.windows").into_iter().filter_map(|(value, _)| match value {
            Value::Window(window) => Some(*window),
            _ => None,
        });
        let zone = self.text("update.zone");
        Some(Update {
            channel: self.text("update.channel")?,
            automatic: self.seed.text("update.mode") == Some("automatic"),
            windows: windows.collect(),
            zone: zone.unwrap_or_else(|| default("update.zone").trim_matches('"').to_owned()),
            poll_ms: self.millis("update.poll"),
        })
    }

    fn text(&self, path: &str) -> Option<String> {
        self.seed.text(path).map(str::to_owned)
    }

    fn secret(&self, value: &str, file: &str) -> Option<Secret> {
        let inline = self.seed.secret(value).cloned();
        inline.or_else(|| self.companions.trimmed(self.seed.text(file)?))
    }

    fn file(&self, path: &str) -> Option<Secret> {
        self.companions.whole(self.seed.text(path)?)
    }

    fn number(&self, path: &str) -> Option<u16> {
        self.seed.integer(path).and_then(|number| u16::try_from(number).ok())
    }

    fn macs(&self, path: &str) -> Vec<Mac> {
        self.seed.macs(path).into_iter().map(|(mac, _)| mac).collect()
    }

    fn nets(&self, path: &str) -> Vec<IpNet> {
        self.seed.nets(path).into_iter().map(|(net, _)| net).collect()
    }

    fn addresses(&self, path: &str) -> Vec<IpAddr> {
        self.seed.addresses(path).into_iter().map(|(address, _)| address).collect()
    }
}

/// Values that are in effect when the seed does not say: read from the table, so that documentation and effect
/// cannot differ. A test reads every default through the parser of its key.
impl Builder<'_> {
    fn bool(&self, path: &str) -> bool {
        self.seed.bool(path).unwrap_or_else(|| default(path) == "true")
    }

    fn millis(&self, path: &str) -> u64 {
        self.seed
            .millis(path)
            .or_else(|| scalar::duration(default(path).trim_matches('"')).ok())
            .unwrap_or_default()
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.seed.size(path).or_else(|| scalar::size(default(path).trim_matches('"')).ok())
    }

    fn number_or_default(&self, path: &str) -> Option<u16> {
        self.number(path).or_else(|| default(path).parse().ok())
    }

    fn nets_or_default(&self, path: &str) -> Vec<IpNet> {
        if self.seed.written(path) {
            return self.nets(path);
        }
        let words = default(path).split(['[', ']', '"', ',', ' ']);
        words.filter_map(|word| word.parse().ok()).collect()
    }
}

fn default(path: &str) -> &'static str {
    table::find(path).map_or("", |row| row.default)
}
