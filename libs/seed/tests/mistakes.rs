//! One mistake at a time in a seed that is good: which finding, and at which line.

mod common;

use common::{DUAL_STACK, MINIMAL, WORKERS, checked, codes};

/// One mistake in a good seed: the text to replace, what with, and the findings, without the warning that stays.
struct Mistake(&'static str, &'static str, &'static [&'static str]);

fn each(seed: &str, steady: &str, mistakes: &[Mistake]) {
    let mut failures = String::new();
    for Mistake(from, to, expected) in mistakes {
        assert!(seed.contains(from), "the seed has no {from:?}");
        let got: Vec<String> =
            codes(&seed.replacen(from, to, 1)).into_iter().filter(|code| !code.ends_with(steady)).collect();
        if got != *expected {
            failures.push_str(&format!("{from:?} -> {to:?}:\n  expected {expected:?}\n  got      {got:?}\n"));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn mistakes_of_form() {
    let mistakes = [
        Mistake("schema = 1", "schema = 2", &["E 1 schema schema"]),
        Mistake("schema = 1", "", &["E 1 schema missing-key"]),
        Mistake("schema = 1", "schema = \"1\"", &["E 1 schema wrong-type"]),
        Mistake("[network]", "[netwrok]", &["E 16 netwrok unknown-key"]),
        Mistake("[node.b]", "[node.c]", &["E 12 node.c bad-name", "E 32 node.b missing-table"]),
        Mistake("dns = [\"192.0.2.1\"]", "dns = [\"192.0.2\", \"x\"]", &["E 18 network.dns bad-value"; 2]),
        Mistake("dns = [\"192.0.2.1\"]", "dns = \"192.0.2.1\"", &["E 18 network.dns wrong-type"]),
        Mistake("192.0.2.60/24", "192.0.2.60", &["E 10 node.a.address bad-value"]),
        Mistake("192.0.2.60/24", "192.0.2.0/24", &["E 10 node.a.address bad-value"]),
        Mistake("\"8GiB\"", "\"8G\"", &["E 22 storage.size bad-value"]),
        Mistake("\"8GiB\"", "8", &["E 22 storage.size wrong-type"]),
        Mistake("mac = \"52:54:00:00:00:01\"", "mac = \"53:54:00:00:00:01\"", &["E 9 node.a.mac bad-value"]),
        Mistake("mode = \"loop\"", "mode = \"lop\"", &["E 21 storage.mode unknown-word"]),
        Mistake(
            "[storage]\nmode",
            "storage = 3\n[x]\nmode",
            &["E 20 network.storage unknown-key", "E 21 x unknown-key", "E 33 storage missing-table"],
        ),
        Mistake("\"operator\"", "", &[]),
    ];
    // The last stands for nothing: it makes sure that a text that is not there is noticed.
    each(MINIMAL, "one-disk", &mistakes[..mistakes.len() - 1]);
    assert!(std::panic::catch_unwind(|| each(MINIMAL, "one-disk", &mistakes[mistakes.len() - 1..])).is_err());
}

#[test]
fn mistakes_with_addresses() {
    each(
        MINIMAL,
        "one-disk",
        &[
            Mistake("192.0.2.61/24", "192.0.2.60/24", &["E 14 node.b.address duplicate-address"]),
            Mistake("192.0.2.50/24", "192.0.2.61/24", &["E 5 pair.virtual_ip duplicate-address"]),
            Mistake("192.0.2.50/24", "192.0.2.1/24", &["E 17 network.gateway duplicate-address"]),
            Mistake("192.0.2.50/24", "198.51.100.5/24", &["E 5 pair.virtual_ip outside-network"]),
            Mistake("192.0.2.50/24", "192.0.2.50/25", &["E 5 pair.virtual_ip outside-network"]),
            Mistake("192.0.2.50/24", "2001:db8::5/64", &["E 5 pair.virtual_ip outside-network"]),
            Mistake(
                "gateway = \"192.0.2.1\"",
                "gateway = \"198.51.100.1\"",
                &["E 17 network.gateway outside-network"],
            ),
            Mistake("192.0.2.61/24", "198.51.100.61/24", &["E 14 node.b.address networks-differ"]),
            Mistake(
                "\"192.0.2.61/24\"",
                "[\"192.0.2.61/24\", \"2001:db8::5/64\"]",
                &["E 14 node.b.address families-differ"],
            ),
            Mistake(
                "\"192.0.2.61/24\"",
                "[\"192.0.2.61/24\", \"192.0.2.62/24\"]",
                &["E 14 node.b.address one-per-family"],
            ),
            Mistake("52:54:00:00:00:02", "52:54:00:00:00:01", &["E 13 node.b.mac duplicate-mac"]),
            Mistake(
                "mac = \"52:54:00:00:00:02\"",
                "hostname = \"site-042-a\"",
                &["W 12 node.b no-identity", "E 13 node.b.hostname duplicate-hostname"],
            ),
            Mistake(
                "\"52:54:00:00:00:02\"",
                "[\"52:54:00:00:00:02\", \"52:54:00:00:00:03\"]",
                &["E 13 node.b.mac bond-missing"],
            ),
            Mistake(
                "dns = [\"192.0.2.1\"]",
                "bond = { mode = \"802.3ad\" }",
                &["E 9 node.a.mac bond-members", "E 13 node.b.mac bond-members"],
            ),
            Mistake(
                "gateway = \"192.0.2.1\"\ndns = [\"192.0.2.1\"]",
                "dns = [\"198.51.100.1\"]",
                &["W 17 network.dns no-gateway"],
            ),
            Mistake(
                "[node.b]",
                "replication_address = \"198.51.100.1/30\"\n[node.b]",
                &["E 12 node.a.replication_address replication-address"],
            ),
            Mistake(
                "dns = [\"192.0.2.1\"]",
                "replication = { mtu = 9000 }",
                &["E 18 network.replication replication-address"],
            ),
        ],
    );
    each(
        DUAL_STACK,
        "-",
        &[
            Mistake(
                "2001:db8:20::b/64",
                "2001:db8:10::c/64",
                &[
                    "E 29 node.b.replication_address networks-differ",
                    "E 29 node.b.replication_address overlap",
                ],
            ),
            Mistake(
                "replication_mac = \"52:54:00:00:02:03\"\n",
                "",
                &["E 28 node.b.replication_address replication-card"],
            ),
            Mistake("2001:db8:30::b", "2001:db8:30::a", &["E 34 node.b.fence.address same-outlet"]),
            Mistake("2001:db8:30::b", "2001:db8:10::b", &["E 34 node.b.fence.address fence-inside"]),
            Mistake("fence_ipmilan", "reboot", &["E 18 node.a.fence.agent bad-value"]),
            Mistake("lanplus=1", "password=x", &["E 22 node.a.fence.options bad-value"]),
            Mistake(
                "[node.b.fence]\nagent = \"fence_ipmilan\"\naddress = \"2001:db8:30::b\"\nusername = \"power\"\npassword_file = \"fence-b.secret\"\noptions = [\"lanplus=1\"]\n",
                "",
                &["E 24 node.b.fence no-fence"],
            ),
            Mistake("\"10.43.0.0/16\"", "\"10.42.8.0/24\"", &["E 64 kubernetes.service_cidr overlap"]),
            Mistake(
                "\"10.43.0.0/16\"",
                "\"fd00:44::/112\"",
                &["E 64 kubernetes.service_cidr one-per-family"],
            ),
        ],
    );
}

#[test]
fn mistakes_with_storage_and_failover() {
    each(
        MINIMAL,
        "one-disk",
        &[
            Mistake("size = \"8GiB\"\n", "", &["E 20 storage.size missing-key"]),
            Mistake("\"8GiB\"", "\"512MiB\"", &["E 22 storage.size too-small"]),
            Mistake("\"8GiB\"", "\"8GiB\"\ndisk = \"8GB\"", &["E 22 storage.size does-not-fit"]),
            Mistake("\"8GiB\"", "\"17TiB\"", &["E 22 storage.size too-large"]),
            Mistake("\"8GiB\"", "\"2000001KB\"", &["E 22 storage.size odd-size"]),
            Mistake("\"8GiB\"", "\"8GiB\"\nport = 5432", &["E 23 storage.port port-taken"]),
            Mistake("\"8GiB\"", "\"8GiB\"\ndevice = \"/dev/sdb\"", &["E 23 storage.device wrong-mode"]),
            Mistake(
                "mode = \"loop\"\nsize = \"8GiB\"",
                "mode = \"device\"\ndevice = \"/dev/sdb\"",
                &["W 22 storage.device device-name"],
            ),
            Mistake(
                "mode = \"loop\"\nsize = \"8GiB\"",
                "mode = \"device\"",
                &["E 20 storage.device missing-key"; 2],
            ),
            Mistake("witness = {", "#", &["E 25 failover.mode no-witness"]),
            Mistake("https://192.0.2.9", "https://192.0.2.60", &["E 26 failover.witness.url witness-inside"]),
            Mistake("https://192.0.2.9", "http://192.0.2.9", &["E 26 failover.witness.url not-https"]),
            Mistake(
                "https://192.0.2.9",
                "https://witness.example",
                &["W 26 failover.witness.url witness-name"],
            ),
            Mistake("sha256:9f86", "sha256:9f8", &["E 26 failover.witness.fingerprint bad-value"]),
            Mistake("url = \"https://192.0.2.9:8443\", ", "", &["E 26 failover.witness no-witness"]),
            Mistake(
                "mode = \"witness\"",
                "mode = \"manual\"",
                &["W 25 failover.mode no-witness", "W 26 failover.witness unused"],
            ),
            Mistake(
                "mode = \"witness\"\n",
                "mode = \"availability-first\"\n#",
                &["W 25 failover.mode can-lose-data"],
            ),
            Mistake(
                "mode = \"witness\"\n",
                "mode = \"fence\"\n#",
                &["E 8 node.a.fence no-fence", "E 12 node.b.fence no-fence"],
            ),
            Mistake(
                "mode = \"witness\"\n",
                "mode = \"witness\"\nstandby_delay = \"20s\"\n",
                &["E 26 failover.standby_delay out-of-range"],
            ),
            Mistake(
                "secret_file = \"pair.secret\"",
                "secret_file = \"other\"",
                &["E 6 pair.secret_file file-missing"],
            ),
            Mistake(
                "secret_file = \"pair.secret\"",
                "secret_file = \"../x\"",
                &["E 6 pair.secret_file bad-value"],
            ),
            Mistake("secret_file = \"pair.secret\"", "", &["E 3 pair.secret missing-key"]),
            Mistake(
                "secret_file = \"pair.secret\"",
                "secret = \"short\"",
                &["E 6 pair.secret weak-secret", "W 6 pair.secret secret-in-seed"],
            ),
            Mistake(
                "secret_file = \"pair.secret\"",
                "secret_file = \"pair.secret\"\nvrrp_id = 51",
                &["W 7 pair.vrrp_id vrrp-id"],
            ),
        ],
    );
}

#[test]
fn mistakes_with_kubernetes_and_system() {
    each(
        MINIMAL,
        "one-disk",
        &[
            Mistake("\"postgres\"", "\"external\"", &["E 28 kubernetes.endpoint missing-key"]),
            Mistake(
                "\"postgres\"",
                "\"sqlite\"\nendpoint_file = \"x.secret\"",
                &["E 30 kubernetes.endpoint_file wrong-mode"],
            ),
            Mistake(
                "\"postgres\"",
                "\"postgres\"\napi_port = 7443",
                &["E 28 kubernetes.balancer.port port-taken"],
            ),
            Mistake(
                "\"postgres\"",
                "\"postgres\"\ncluster_cidr = \"192.0.0.0/16\"",
                &["E 30 kubernetes.cluster_cidr overlap"],
            ),
            Mistake(
                "\"postgres\"",
                "\"postgres\"\ncluster_cidr = \"fd00::/56\"",
                &["E 30 kubernetes.cluster_cidr families-differ"],
            ),
            Mistake(
                "\"postgres\"",
                "\"postgres\"\nconfig = { token = 1, v = 2 }",
                &["E 30 kubernetes.config.token owned-option"],
            ),
            Mistake(
                "\"postgres\"",
                "\"postgres\"\nconfig = { kube-scheduler-arg = [\"v=2\", \"leader-elect-lease-duration=9s\"] }",
                &["E 30 kubernetes.config.kube-scheduler-arg owned-argument"],
            ),
            Mistake(
                "[kubernetes]\ndatastore = \"postgres\"",
                "[worker.x]\naddress = \"192.0.2.70/24\"\nmac = \"52:54:00:00:00:09\"",
                &["E 28 worker.x no-kubernetes"],
            ),
            Mistake(
                "[access]",
                "[worker.x]\naddress = \"198.51.100.70/24\"\nserial = \"1\"\n[access]",
                &["E 32 worker.x.address outside-network"],
            ),
            Mistake(
                "[access]",
                "[watchdog]\nenabled = false\ntimeout = \"60s\"\n[access]",
                &["W 32 watchdog.enabled no-watchdog", "E 33 watchdog.timeout out-of-range"],
            ),
            Mistake(
                "[access]",
                "[access]\nports = [\"80\", \"0/tcp\", \"9-3/udp\"]",
                &["E 32 access.ports bad-value"; 3],
            ),
            Mistake(
                "[access]",
                "[access]\nssh_from = [\"192.0.2.1/24\"]",
                &["E 32 access.ssh_from bad-value"],
            ),
            Mistake("[access]", "[access]\npassword = \"hunter2\"", &["E 32 access.password unknown-key"]),
        ],
    );
}

#[test]
fn mistakes_with_updates() {
    each(
        WORKERS,
        "one-disk",
        &[
            Mistake(
                "channel = \"https",
                "chanel = \"https",
                &["E 69 update.channel missing-key", "E 70 update.chanel unknown-key"],
            ),
            Mistake("stable.channel", "stable.bundle", &["E 70 update.channel channel-name"]),
            Mistake("stable.channel", "stable.channel?x", &["E 70 update.channel channel-name"]),
            Mistake("stable.channel", ".channel", &["E 70 update.channel channel-name"]),
            Mistake("stable.channel", "a~b.channel", &["E 70 update.channel channel-name"]),
            Mistake("https://updates.depot", "http://updates.depot", &["W 70 update.channel channel-seen"]),
            Mistake(
                "https://updates.depot",
                "https://me:x@updates.depot",
                &["E 70 update.channel bad-value"],
            ),
            Mistake("\"automatic\"", "\"auto\"", &["E 71 update.mode unknown-word"]),
            Mistake("\"automatic\"", "\"announce\"", &["W 72 update.windows unused"]),
            Mistake("Mon-Fri 22:00-04:00", "Monday 22:00-04:00", &["E 72 update.windows bad-value"]),
            Mistake("Sat,Sun 00:00-24:00", "Sat 04:00-04:00", &["E 72 update.windows bad-value"]),
            Mistake(
                "\"Mon-Fri 22:00-04:00\", \"Sat,Sun 00:00-24:00 UTC\"",
                "\"Mon,Tue 22:00-22:20\"",
                &["W 72 update.windows short-window"],
            ),
            Mistake(
                "windows = [\"Mon-Fri 22:00-04:00\", \"Sat,Sun 00:00-24:00 UTC\"]\n",
                "",
                &["W 72 update.zone unused"],
            ),
            Mistake("Europe/Vienna", "../etc/passwd", &["E 73 update.zone bad-value"]),
            Mistake("\"2h\"", "\"30s\"", &["E 74 update.poll out-of-range"]),
            Mistake("\"2h\"", "\"25h\"", &["E 74 update.poll bad-value"]),
        ],
    );
    let (seed, _) = checked(WORKERS);
    let update = seed.and_then(|seed| seed.update).expect("a channel");
    assert_eq!((update.automatic, update.windows.len(), update.poll_ms), (true, 2, 7_200_000));
    // Without the table there is none, and that it is not there is no value.
    let minimal = common::good(MINIMAL);
    assert_eq!(minimal.update, None);
    let with = common::good(&format!("{MINIMAL}\n[update]\nchannel = \"https://u.example/x.channel\"\n"));
    let update = with.update.clone().expect("a channel");
    assert_eq!((update.automatic, update.zone.as_str(), update.poll_ms), (false, "UTC", 3_600_000));
    let difference = edgepair_seed::Difference::between(&minimal, &with);
    assert!(
        difference.changes().iter().all(|changed| changed.key.starts_with("update.")),
        "{}",
        difference.render()
    );
    assert!(difference.is_one_nodes_business() && !difference.is_empty());
}

#[test]
fn mistakes_with_workers() {
    each(
        WORKERS,
        "one-disk",
        &[
            Mistake(
                "overlay = \"wireguard\"",
                "overlay = \"host-gw\"",
                &["E 25 worker.yard.address outside-network", "W 48 kubernetes.overlay open-overlay"],
            ),
            Mistake("gateway = \"198.51.100.1\"\n", "", &["E 25 worker.yard.address outside-network"]),
            Mistake(
                "\"198.51.100.70/24\"\ngateway = \"198.51.100.1\"",
                "\"2001:db8::70/64\"\ngateway = \"2001:db8::1\"",
                &["E 25 worker.yard.address families-differ"],
            ),
            Mistake("192.0.2.70/24", "192.0.2.61/24", &["E 19 worker.press.address duplicate-address"]),
            Mistake("role=press", "role", &["E 20 worker.press.labels bad-value"]),
            Mistake("press=only:NoSchedule", "press:Never", &["E 21 worker.press.taints bad-value"]),
            Mistake("[worker.yard]", "[worker.Yard]", &["E 23 worker.Yard bad-name"]),
            Mistake(
                "[registry.\"docker.io\"]",
                "[registry.\"docker io\"]",
                &["E 58 registry.\"docker io\" bad-name"],
            ),
            Mistake("port = 8443", "port = 6443", &["E 52 kubernetes.balancer.port port-taken"]),
            Mistake("containers = \"12GiB\"", "containers = \"30GiB\"", &["E 35 storage.size does-not-fit"]),
        ],
    );
}
