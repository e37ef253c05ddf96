//! k3s: configuration and units. The files are JSON, which is YAML as well, so nothing has to be quoted by hand.

use edgepair_seed::{Datastore, Kubernetes, NodeId, Overlay, Purpose};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::conf::Conf;
use crate::names::{
    DATA, DATA_MOUNT, EXTENSION_UNIT, IMAGES_UNIT, K3S, K3S_AGENT_UNIT, K3S_SERVER_DIR, K3S_SERVER_MOUNT,
    K3S_SERVER_UNIT, KINE, POSTGRES_CERTIFICATE, port,
};
use crate::output::Start;
use crate::{Context, Rendered};

const SERVER_CONFIG: &str = "/etc/rancher/k3s/server.yaml";
const AGENT_CONFIG: &str = "/etc/rancher/k3s/agent.yaml";

/// Options of the user that `k3s agent` takes as well; the others are the server's and would stop it.
const AGENT_OPTIONS: &[&str] = &[
    "kubelet-arg",
    "kube-proxy-arg",
    "snapshotter",
    "pause-image",
    "selinux",
    "protect-kernel-defaults",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "container-runtime-endpoint",
    "default-runtime",
    "disable-default-registry-endpoint",
    "disable-apiserver-lb",
    "lb-server-port",
    "prefer-bundled-bin",
    "nonroot-devices",
    "debug",
    "v",
    "vmodule",
];

/// Where k3s keeps a node's password.
const NODE_PASSWORD: &str = "/etc/rancher/node/password";

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    let Some(kubernetes) = &context.seed.kubernetes else { return };
    // The password with which a node claims its name (k3s, "Node Registration"). Derived, so that a box that replaces
    // another one is not refused, and rendered at every boot, so that no power cut leaves half of one.
    let password = context.seed.pair.secret.text(Purpose::K3sNodePassword);
    out.add_secret(NODE_PASSWORD, "root:root", format!("{}\n", password.expose_secret()));
    if context.node().is_none() {
        agent_file(context, kubernetes, out);
        out.unit(K3S_AGENT_UNIT, Start::Boot);
        return;
    }
    out.add_secret(SERVER_CONFIG, "root:root", pretty(server(context, kubernetes)));
    out.add(format!("/etc/systemd/system/{K3S_SERVER_UNIT}"), server_unit(kubernetes));
    if kubernetes.datastore == Datastore::Sqlite {
        // One server, where the storage is; the other box is its agent until it takes over.
        out.add(format!("/etc/systemd/system/{K3S_SERVER_MOUNT}"), server_mount());
        out.unit(K3S_SERVER_MOUNT, Start::Active);
        out.unit(K3S_SERVER_UNIT, Start::Active);
        agent_file(context, kubernetes, out);
        out.unit(K3S_AGENT_UNIT, Start::Standby);
    } else {
        // Both control planes are warm; only the database moves.
        out.unit(K3S_SERVER_UNIT, Start::Boot);
    }
}

fn agent_file(context: &Context<'_>, kubernetes: &Kubernetes, out: &mut Rendered) {
    out.add_secret(AGENT_CONFIG, "root:root", pretty(agent(context, kubernetes)));
    let mut conf = Conf::new();
    unit_head(&mut conf, "Kubernetes agent", "agent", AGENT_CONFIG, &["network-online.target"]);
    if context.node().is_some() {
        conf.section("Unit");
        conf.line(format!("Conflicts={K3S_SERVER_UNIT}"));
    }
    out.add(format!("/etc/systemd/system/{K3S_AGENT_UNIT}"), conf.finish());
}

fn pretty(config: Map<String, Value>) -> String {
    format!("# {}\n{:#}\n", crate::conf::NOTICE, Value::Object(config))
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    items.into_iter().map(|item| Value::from(item.to_string())).collect()
}

fn joined(nets: &[IpNet]) -> Value {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
}

/// This box's addresses in the order of the pods' networks: k3s wants the first of both to be of one family.
fn node_ip(context: &Context<'_>, kubernetes: &Kubernetes) -> String {
    let of_family = |pods: &IpNet| {
        context
            .addresses()
            .iter()
            .find(|net| net.addr().is_ipv4() == pods.addr().is_ipv4())
            .map(|net| net.addr().to_string())
    };
    kubernetes.cluster_cidrs.iter().filter_map(of_family).collect::<Vec<_>>().join(",")
}

/// What server and agent have in common.
fn common(context: &Context<'_>, kubernetes: &Kubernetes) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |key: &str, value: Value| {
        if value.as_array().is_none_or(|items| !items.is_empty()) {
            config.insert(key.to_owned(), value);
        }
    };
    set("token", context.seed.pair.secret.text(Purpose::K3sToken).expose_secret().into());
    set("node-name", context.hostname().into());
    set("node-ip", node_ip(context, kubernetes).into());
    set("resolv-conf", "/etc/resolv.conf".into());
    if kubernetes.overlay != Overlay::None {
        set("flannel-iface", context.lan().into());
    }
    match context.worker() {
        Some(worker) => {
            set("node-label", list(&worker.labels));
            set("node-taint", list(&worker.taints));
        }
        None => {
            set("node-label", list(&kubernetes.labels));
            set("node-taint", list(&kubernetes.taints));
        }
    }
    // Small disks, and flash that wears out: bounded logs, and images that nobody uses go early.
    config.insert(
        "kubelet-arg".into(),
        json!([
            "container-log-max-files=2",
            "container-log-max-size=5Mi",
            "image-gc-high-threshold=80",
            "image-gc-low-threshold=70"
        ]),
    );
    config
}

fn server(context: &Context<'_>, kubernetes: &Kubernetes) -> Map<String, Value> {
    let seed = context.seed;
    let mut config = common(context, kubernetes);
    let mut names: Vec<String> = seed.pair.virtual_ips.iter().map(|net| net.addr().to_string()).collect();
    names.push(seed.pair.name.clone());
    for id in [NodeId::A, NodeId::B] {
        names.push(seed.node(id).hostname.clone());
        names.extend(seed.node(id).addresses.iter().map(|net| net.addr().to_string()));
    }
    names.extend(kubernetes.tls_san.iter().cloned());
    names.dedup();
    let backend = match kubernetes.overlay {
        Overlay::Vxlan => "vxlan",
        Overlay::Wireguard => "wireguard-native",
        Overlay::HostGateway => "host-gw",
        Overlay::None => "none",
    };
    config.insert("datastore-endpoint".into(), endpoint(context, kubernetes).into());
    if kubernetes.datastore == Datastore::Postgres {
        config.insert("datastore-cafile".into(), POSTGRES_CERTIFICATE.into());
    }
    config.insert("tls-san".into(), list(names));
    config.insert("https-listen-port".into(), kubernetes.api_port.into());
    config.insert("cluster-cidr".into(), joined(&kubernetes.cluster_cidrs));
    config.insert("service-cidr".into(), joined(&kubernetes.service_cidrs));
    config.insert("flannel-backend".into(), backend.into());
    config.insert("write-kubeconfig-mode".into(), "0600".into());
    if !kubernetes.disable.is_empty() {
        config.insert("disable".into(), list(&kubernetes.disable));
    }
    // Leases that outlive a move of the database: a warm server then keeps running instead of starting anew.
    let leases = json!([
        "leader-elect-lease-duration=60s",
        "leader-elect-renew-deadline=45s",
        "leader-elect-retry-period=5s"
    ]);
    for component in
        ["kube-controller-manager-arg", "kube-scheduler-arg", "kube-cloud-controller-manager-arg"]
    {
        config.insert(component.into(), leases.clone());
    }
    // A node counts as lost after this. Not sooner: while the database moves, nobody can renew anything.
    add(&mut config, "kube-controller-manager-arg", &["node-monitor-grace-period=40s"]);
    // Its pods then move after another half minute. A node that is proven off does not wait for either: node-init marks
    // it as out of service.
    let patience = ["default-not-ready-toleration-seconds=30", "default-unreachable-toleration-seconds=30"];
    add(&mut config, "kube-apiserver-arg", &patience);
    for (key, value) in &kubernetes.config {
        merge(&mut config, key, value);
    }
    config
}

fn agent(context: &Context<'_>, kubernetes: &Kubernetes) -> Map<String, Value> {
    let seed = context.seed;
    let mut config = common(context, kubernetes);
    let port = kubernetes.balancer_port.unwrap_or(kubernetes.api_port);
    if let Some(address) = seed.pair.virtual_ips.first().map(IpNet::addr) {
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        config.insert("server".into(), format!("https://{host}:{port}").into());
    }
    for (key, value) in kubernetes.config.iter().filter(|(key, _)| AGENT_OPTIONS.contains(&key.as_str())) {
        merge(&mut config, key, value);
    }
    config
}

/// Appends to a list of ours.
fn add(config: &mut Map<String, Value>, key: &str, items: &[&str]) {
    let list = config.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.extend(items.iter().map(|item| Value::from(*item)));
    }
}

/// Lists of the user are appended to ours, and of two arguments with one name the user's stays; everything else is the
/// user's. What must not be changed is an error in the seed already.
fn merge(config: &mut Map<String, Value>, key: &str, value: &Value) {
    let theirs = match value {
        Value::Array(theirs) => theirs.clone(),
        one => vec![one.clone()],
    };
    match config.get_mut(key) {
        Some(Value::Array(ours)) => {
            let name =
                |item: &Value| item.as_str().and_then(|text| text.split('=').next()).map(str::to_owned);
            ours.retain(|item| !theirs.iter().any(|other| name(other) == name(item)));
            ours.extend(theirs);
        }
        _ => {
            config.insert(key.to_owned(), value.clone());
        }
    }
}

fn endpoint(context: &Context<'_>, kubernetes: &Kubernetes) -> String {
    match &kubernetes.datastore {
        Datastore::Postgres => {
            let password = context.seed.pair.secret.text(Purpose::DatabasePassword);
            // To the proxy on the loopback, and through it to the active node: TLS all the way, with the certificate that
            // both know. The letters of a derived password need no escaping.
            let password = password.expose_secret();
            format!(
                "postgres://{KINE}:{password}@127.0.0.1:{}/{KINE}?sslmode=verify-full",
                port::POSTGRES_PROXY
            )
        }
        // FULL: with kine's own default, NORMAL, a power cut can drop rows that were acknowledged.
        Datastore::Sqlite => format!(
            "sqlite://{K3S_SERVER_DIR}/db/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate\
             &_synchronous=FULL"
        ),
        Datastore::External(endpoint) => endpoint.expose_secret().to_owned(),
    }
}

fn unit_head(conf: &mut Conf, what: &str, verb: &str, config: &str, after: &[&str]) {
    conf.section("Unit");
    conf.line(format!("Description={what}"));
    conf.line(format!("After={} {EXTENSION_UNIT} {IMAGES_UNIT}", after.join(" ")));
    // A server starts with the version that the pair has chosen. An agent does so only when the servers have: the pair's
    // agent says when.
    let extension = if verb == "server" { format!(" {EXTENSION_UNIT}") } else { String::new() };
    conf.line(format!("Wants=network-online.target {IMAGES_UNIT}{extension}"));
    // k3s comes as an extension; without it there is nothing to start, and that is no failure.
    conf.line(format!("ConditionPathExists={K3S}"));
    conf.line("StartLimitIntervalSec=0");
    conf.section("Service");
    conf.line("Type=notify");
    conf.line(format!("ExecStart={K3S} {verb} --config {config}"));
    // Pods go on while k3s itself restarts.
    conf.line("KillMode=process");
    conf.line("Delegate=yes");
    conf.line("LimitNOFILE=1048576");
    conf.line("LimitNPROC=infinity");
    conf.line("LimitCORE=0");
    conf.line("TasksMax=infinity");
    conf.line("IOAccounting=yes");
    // An agent waits for its server as long as it takes. A server that is not ready by then has hung: it is started anew,
    // and an active node that has no other tries the other node.
    conf.line(if verb == "server" { "TimeoutStartSec=10min" } else { "TimeoutStartSec=0" });
    // Longer than k3s takes to stop, and short enough for a role that moves.
    conf.line("TimeoutStopSec=15s");
    conf.line("Restart=always");
    // As k3s's own unit. Each start takes the processors for seconds: one that ends at once is not to take them from the
    // database all the time.
    conf.line("RestartSec=5s");
}

fn server_unit(kubernetes: &Kubernetes) -> String {
    let mut conf = Conf::new();
    let mut after = vec!["network-online.target"];
    match kubernetes.datastore {
        Datastore::Postgres => after.push("haproxy.service"),
        Datastore::Sqlite => after.push(K3S_SERVER_MOUNT),
        Datastore::External(_) => {}
    }
    unit_head(&mut conf, "Kubernetes server", "server", SERVER_CONFIG, &after);
    if kubernetes.datastore == Datastore::Sqlite {
        conf.section("Unit");
        conf.line(format!("BindsTo={K3S_SERVER_MOUNT}"));
        // kine makes the folder only when it is not told where the file is (kine, `pkg/drivers/sqlite`).
        conf.section("Service");
        conf.line(format!("ExecStartPre=/usr/bin/mkdir -p -m 0700 {K3S_SERVER_DIR}/db"));
    }
    conf.finish()
}

/// The state of the one server lies on the replicated storage.
fn server_mount() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=State of the Kubernetes server on the replicated storage");
    conf.line("DefaultDependencies=no");
    conf.line("Conflicts=umount.target");
    conf.line(format!("BindsTo={DATA_MOUNT}"));
    conf.line(format!("After={DATA_MOUNT}"));
    conf.section("Mount");
    conf.line(format!("What={DATA}/k3s-server"));
    conf.line(format!("Where={K3S_SERVER_DIR}"));
    conf.line("Type=none");
    conf.line("Options=bind");
    conf.finish()
}
