//! What a good seed means: defaults, identity, derived ids, differences.

mod common;

use common::{DUAL_STACK, MINIMAL, SQLITE_MANUAL, WORKERS, good};
use edgepair_seed::table::Change;
use edgepair_seed::{
    BoxFacts, Datastore, Difference, FailoverMode, FoundBy, IdentityError, Mac, Member, NodeId, Overlay,
    Purpose, StorageMode, identify,
};

fn mac(text: &str) -> Mac {
    Mac::parse(text).expect("a MAC address")
}

#[test]
fn the_minimal_seed() {
    let seed = good(MINIMAL);
    assert_eq!(seed.node(NodeId::A).hostname, "site-042-a");
    assert_eq!(seed.node(NodeId::A.peer()).hostname, "site-042-b");
    assert_eq!(seed.storage.mode, StorageMode::Loop { size: 8 << 30 });
    assert_eq!((seed.storage.port, seed.storage.verify), (7788, true));
    assert_eq!((seed.failover.standby_delay_ms, seed.failover.taint), (1500, true));
    assert_eq!((seed.watchdog.enabled, seed.watchdog.timeout_ms), (true, 10_000));
    assert_eq!((seed.log.size, seed.log.persistent), (64 << 20, true));
    assert!(matches!(seed.failover.mode, FailoverMode::Witness(_)));
    assert_eq!(seed.pair.vrrp_id, seed.pair.secret.vrrp_id());
    assert_eq!(seed.access.ssh_from.len(), 2);
    assert_eq!(seed.access.api_from, ["192.0.2.0/24".parse().expect("a network")]);
    let kubernetes = seed.kubernetes.as_ref().expect("there is Kubernetes");
    assert_eq!(kubernetes.cluster_cidrs, ["10.42.0.0/16".parse().expect("a network")]);
    assert_eq!((kubernetes.api_port, kubernetes.balancer_port), (6443, None));
    assert_eq!(kubernetes.overlay, Overlay::Vxlan);
    assert_eq!(seed.pair.secret.text(Purpose::DrbdSharedSecret).expose_secret().len(), 32);
}

#[test]
fn the_other_seeds() {
    let seed = good(DUAL_STACK);
    assert_eq!((seed.pair.vrrp_id, seed.pair.vrrp_id_given), (77, true));
    assert_eq!(seed.a.storage_device.as_deref(), Some("/dev/disk/by-id/nvme-east"));
    assert_eq!(seed.b.storage_device.as_deref(), Some("/dev/disk/by-id/nvme-west"));
    assert_eq!(seed.a.replication(), "2001:db8:20::a".parse().ok());
    let fence = seed.b.fence.as_ref().expect("b has a fence device");
    assert_eq!(fence.password.as_ref().map(|p| p.expose_secret()), Some("fence-b.secret-hunter2"));
    assert_eq!(good(SQLITE_MANUAL).datastore(), &Datastore::Sqlite);
    let seed = good(WORKERS);
    assert_eq!(seed.workers["yard"].hostname, "depot-yard");
    let kubernetes = seed.kubernetes.as_ref().expect("there is Kubernetes");
    assert_eq!(kubernetes.balancer_port, Some(8443));
    assert_eq!(kubernetes.config["secrets-encryption"], true);
    assert!(seed.registries.contains_key("docker.io"));
    let without = good(&MINIMAL.replace("[kubernetes]\ndatastore = \"postgres\"\n", ""));
    assert_eq!((without.kubernetes.is_none(), without.datastore()), (true, &Datastore::Postgres));
}

#[test]
fn a_box_finds_itself() {
    let seed = good(WORKERS);
    let by_mac =
        BoxFacts { macs: vec![mac("02:00:00:00:00:01"), mac("52-54-00-00-03-02")], ..BoxFacts::default() };
    assert_eq!(identify(&seed, &by_mac), Ok((Member::Node(NodeId::B), FoundBy::Mac)));
    let worker = BoxFacts { macs: vec![mac("52:54:00:00:03:03")], ..BoxFacts::default() };
    assert_eq!(identify(&seed, &worker), Ok((Member::Worker("press".into()), FoundBy::Mac)));
    let told = BoxFacts { node_file: Some("a\n".into()), ..BoxFacts::default() };
    assert_eq!(identify(&seed, &told), Ok((Member::Node(NodeId::A), FoundBy::NodeFile)));
    let argument = BoxFacts { kernel_argument: Some("b".into()), ..told };
    assert_eq!(identify(&seed, &argument), Ok((Member::Node(NodeId::B), FoundBy::KernelArgument)));
    let wrong_box = BoxFacts { node_file: Some("a".into()), ..by_mac };
    assert!(matches!(identify(&seed, &wrong_box), Err(IdentityError::Conflict { .. })));
    let stranger = BoxFacts { node_file: Some("attic".into()), ..BoxFacts::default() };
    assert!(matches!(identify(&seed, &stranger), Err(IdentityError::NoSuchMember { .. })));
    assert!(matches!(identify(&seed, &BoxFacts::default()), Err(IdentityError::Unknown { .. })));
    let serial = BoxFacts { serial: Some("10000000abcdef02".into()), ..BoxFacts::default() };
    assert_eq!(identify(&good(SQLITE_MANUAL), &serial), Ok((Member::Node(NodeId::B), FoundBy::Serial)));
    let both =
        BoxFacts { macs: vec![mac("52:54:00:00:03:01"), mac("52:54:00:00:03:02")], ..BoxFacts::default() };
    assert!(matches!(identify(&seed, &both), Err(IdentityError::Conflict { .. })));
}

#[test]
fn what_is_written_out_is_no_difference() {
    let before = good(MINIMAL);
    let explicit = MINIMAL
        .replace("[storage]\n", "[storage]\nport = 7788\ndisk = \"64GB\"\n# a comment\n")
        .replace("datastore = \"postgres\"", "cluster_cidr = [\"10.42.0.0/16\"]")
        .replace("\"8GiB\"", "\"8192MiB\"")
        .replace("secret_file = \"pair.secret\"", &format!("secret = \"{}\"", common::SECRET));
    let after = good(&explicit);
    let difference = Difference::between(&before, &after);
    assert!(difference.is_empty() && difference.hardest().is_none(), "{}", difference.render());
    assert_eq!(before.hash(), after.hash());
}

#[test]
fn differences_say_what_they_take() {
    let before = good(MINIMAL);
    let cases = [
        ("operator\"", "operator2\"", Change::Live, "access.ssh_keys"),
        ("dns = [\"192.0.2.1\"]", "dns = []", Change::Live, "network.dns"),
        ("gateway = \"192.0.2.1\"", "gateway = \"192.0.2.2\"", Change::Reboot, "network.gateway"),
        ("[access]", "[watchdog]\ntimeout = \"8s\"\n[access]", Change::Reboot, "watchdog.timeout"),
        ("192.0.2.61/24", "192.0.2.62/24", Change::Pair, "node.b.address"),
        ("192.0.2.50/24", "192.0.2.51/24", Change::Pair, "pair.virtual_ip"),
        ("192.0.2.9:8443", "192.0.2.8:8443", Change::Pair, "failover.witness.url"),
        ("\"pair.secret\"", "\"new-pair-2026.secret\"", Change::Pair, "pair.secret"),
        ("\"8GiB\"", "\"9GiB\"", Change::Rebuild, "storage.size"),
        ("\"postgres\"", "\"sqlite\"", Change::Rebuild, "kubernetes.datastore"),
        (
            "\"postgres\"",
            "\"postgres\"\ncluster_cidr = \"10.44.0.0/16\"",
            Change::Rebuild,
            "kubernetes.cluster_cidr",
        ),
        ("[kubernetes]\ndatastore = \"postgres\"\n", "", Change::Pair, "kubernetes.cluster_cidr"),
    ];
    for (from, to, change, key) in cases {
        let after = good(&MINIMAL.replacen(from, to, 1));
        let difference = Difference::between(&before, &after);
        assert_eq!(difference.hardest(), Some(change), "{from}: {}", difference.render());
        assert!(difference.of(change).any(|changed| changed.key == key), "{}", difference.render());
        assert_eq!(difference.is_one_nodes_business(), matches!(change, Change::Live | Change::Reboot));
        assert_ne!(before.hash(), after.hash());
        let printed = format!("{}{}", difference.render(), difference.to_json());
        assert!(!printed.contains("hunter2") && !printed.contains(common::SECRET), "{printed}");
    }
}

#[test]
fn etcd_as_the_witness_and_a_datastore_elsewhere() {
    let witness = "witness = { etcd = [\"https://192.0.2.11:2379\", \"https://192.0.2.12:2379\", \"https://[2001:db8::13]:2379\"], ca_file = \"ca.secret\", cert_file = \"cert.secret\", key_file = \"key.secret\", timeout = \"900ms\" }\n#";
    let text = MINIMAL
        .replace("witness = {", witness)
        .replace("datastore = \"postgres\"", "datastore = \"external\"\nendpoint_file = \"dsn.secret\"");
    let seed = good(&text);
    let FailoverMode::Witness(witness) = &seed.failover.mode else { panic!("{:?}", seed.failover.mode) };
    assert_eq!(witness.timeout_ms, 900);
    let edgepair_seed::WitnessPlace::Etcd { endpoints, key, .. } = &witness.place else {
        panic!("{witness:?}")
    };
    assert_eq!((endpoints.len(), key.expose_secret()), (3, "key.secret-hunter2\n"));
    let Datastore::External(endpoint) = seed.datastore() else { panic!("{:?}", seed.datastore()) };
    assert_eq!(endpoint.expose_secret(), "dsn.secret-hunter2");
    assert!(!format!("{seed:?}").contains("hunter2"));
    let moved = Difference::between(&good(MINIMAL), &seed);
    assert!(
        moved.of(Change::Pair).any(|changed| changed.key == "failover.witness.etcd"),
        "{}",
        moved.render()
    );
    assert!(
        moved.of(Change::Rebuild).any(|changed| changed.key == "kubernetes.datastore"),
        "{}",
        moved.render()
    );
    assert!(!moved.render().contains("hunter2"));
    let two = text.replace(", \"https://192.0.2.12:2379\"", "");
    assert!(common::codes(&two).contains(&"W 26 failover.witness.etcd etcd-size".to_owned()));
    let without = text.replace("ca_file = \"ca.secret\", ", "");
    assert!(common::codes(&without).contains(&"E 26 failover.witness.ca_file missing-key".to_owned()));
}
