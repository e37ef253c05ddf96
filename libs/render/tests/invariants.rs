//! What holds for every box of every seed, whatever it renders.

mod common;

use std::collections::BTreeSet;

use common::{SECRET, each_box, named, rendered};
use edgepair_render::{Card, Facts, RenderError, Start, plan, render, secrets, timing};
use edgepair_seed::{Mac, Member, NodeId};
use proptest::prelude::*;

#[test]
fn files_are_whole_and_single() {
    each_box(|name, context, rendered| {
        let paths: BTreeSet<&str> = rendered.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.len(), rendered.files.len(), "{name}: a path stands twice");
        let units: BTreeSet<&str> = rendered.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(units.len(), rendered.units.len(), "{name}: a unit stands twice");
        for file in &rendered.files {
            assert!(file.path.starts_with("/etc/") && !file.path.contains(".."), "{}", file.path);
            assert!(file.content.ends_with('\n') && !file.content.contains('\r'), "{}", file.path);
        }
        let again = render(context.seed, context.member, &Facts::assumed(context.seed, context.member));
        assert_eq!(again.as_ref(), Ok(rendered));
    });
}

#[test]
fn secrets_stay_in_files_that_only_root_reads() {
    each_box(|name, context, rendered| {
        let all = secrets(context.seed);
        assert!(all.len() >= 6);
        for file in &rendered.files {
            let has = |text: &str| all.iter().any(|secret| text.contains(secret.expose_secret()));
            assert!(!file.content.contains(SECRET), "{name} {}: the pair secret itself", file.path);
            assert_eq!(has(&file.content), file.secret, "{name} {}", file.path);
            assert!(!file.secret || file.mode & 0o077 == 0, "{name} {}", file.path);
            assert!(!has(&file.redacted(&all)) && !has(&format!("{file:?}")), "{name} {}", file.path);
        }
    });
}

/// A stranger reaches nothing but what the seed opens to everybody.
#[test]
fn rules_without_a_source_are_the_ones_the_seed_asks_for() {
    let free = |node: &str, seed: &edgepair_seed::Seed| -> Vec<String> {
        let rendered = rendered(seed, node);
        let rules = rendered.file("/etc/nftables.conf").expect("rules").content.clone();
        let open =
            rules.lines().map(str::trim).filter(|line| line.ends_with("accept") && line.contains("dport"));
        open.filter(|line| !line.contains("saddr")).map(str::to_owned).collect()
    };
    let ssh = ["meta nfproto ipv4 tcp dport 22 accept", "meta nfproto ipv6 tcp dport 22 accept"];
    assert_eq!(free("a", &named("minimal")), ssh);
    assert_eq!(free("b", &named("dual-stack")), Vec::<String>::new());
    assert_eq!(free("a", &named("sqlite-manual")), Vec::<String>::new());
    assert_eq!(
        free("yard", &named("workers")),
        ["tcp dport { 80, 443 } accept", "udp dport { 30000-32767 } accept"]
    );
    each_box(|name, _, rendered| {
        let rules = &rendered.file("/etc/nftables.conf").expect("rules").content;
        assert_eq!(rules.matches("policy drop").count(), 2, "{name}");
        for kind in ["nd-neighbor-solicit", "nd-neighbor-advert", "packet-too-big"] {
            assert!(rules.contains(kind), "{name}: IPv6 needs {kind}");
        }
    });
}

#[test]
fn replication_is_taken_from_the_other_node_only() {
    for (seed, node, peer) in [
        ("minimal", "a", "iifname \"eth0\" ip saddr 192.0.2.61 tcp dport 7788 accept"),
        ("minimal", "b", "iifname \"eth0\" ip saddr 192.0.2.60 tcp dport 7788 accept"),
        ("dual-stack", "a", "iifname \"eth2\" ip6 saddr 2001:db8:20::b tcp dport 7788 accept"),
    ] {
        let rendered = rendered(&named(seed), node);
        let rules = &rendered.file("/etc/nftables.conf").expect("rules").content;
        let lines: Vec<&str> = rules.lines().map(str::trim).filter(|line| line.contains("7788")).collect();
        assert_eq!(lines, [peer]);
    }
}

#[test]
fn both_nodes_have_the_same_resource_and_their_own_rest() {
    for name in ["minimal", "dual-stack", "sqlite-manual", "workers"] {
        let seed = named(name);
        let (a, b) = (rendered(&seed, "a"), rendered(&seed, "b"));
        let text = |of: &edgepair_render::Rendered, path: &str| of.file(path).expect(path).content.clone();
        assert_eq!(text(&a, "/etc/drbd.d/edgepair.res"), text(&b, "/etc/drbd.d/edgepair.res"));
        assert_ne!(text(&a, "/etc/hostname"), text(&b, "/etc/hostname"));
        assert_ne!(text(&a, "/etc/keepalived/keepalived.conf"), text(&b, "/etc/keepalived/keepalived.conf"));
    }
}

#[test]
fn no_key_means_no_ssh() {
    let rendered = rendered(&named("sqlite-manual"), "a");
    let ssh = rendered.units.iter().find(|unit| unit.name == "ssh.service").map(|unit| unit.start);
    assert_eq!(ssh, Some(Start::Masked));
    let rules = &rendered.file("/etc/nftables.conf").expect("rules").content;
    assert!(!rules.contains("dport 22 "), "{rules}");
    let config = &rendered.file("/etc/ssh/sshd_config").expect("config").content;
    assert!(
        config.contains("PasswordAuthentication no") && config.contains("KbdInteractiveAuthentication no")
    );
}

#[test]
fn what_only_the_active_node_may_run_never_starts_at_boot() {
    each_box(|name, context, rendered| {
        for unit in &rendered.units {
            let storage = unit.name.ends_with(".mount") || unit.name == "edgepair-postgres.service";
            assert!(!storage || unit.start == Start::Active, "{name}: {unit:?}");
        }
        let mut installs = rendered.files.iter().filter(|file| file.path.starts_with("/etc/systemd/system/"));
        assert!(
            installs.all(|file| !file.content.contains("[Install]")),
            "{name}: only node-init starts units"
        );
        if context.node().is_none() {
            let drbd = rendered
                .files
                .iter()
                .any(|file| file.path.contains("drbd") || file.path.contains("keepalived"));
            assert!(!drbd, "{name}: a worker has no part in the pair");
        }
    });
}

fn card(name: &str, mac: &str) -> Card {
    Card { name: name.to_owned(), mac: Mac::parse(mac).ok() }
}

#[test]
fn cards_are_found_by_their_address() {
    let seed = named("minimal");
    let member = Member::Node(NodeId::A);
    let two = [card("enp2s0", "52:54:00:aa:00:01"), card("enp1s0", "52:54:00:00:00:01")];
    let rendered = render(&seed, &member, &Facts { cards: two.to_vec() }).expect("renders");
    assert!(rendered.notes.is_empty());
    let keepalived = &rendered.file("/etc/keepalived/keepalived.conf").expect("config").content;
    assert!(keepalived.contains("interface enp1s0"), "{keepalived}");
    // A replaced box: one card, another address.
    let replaced =
        render(&seed, &member, &Facts { cards: vec![card("end0", "52:54:00:bb:00:01")] }).expect("renders");
    assert_eq!(replaced.notes.len(), 1);
    let network = &replaced.file("/etc/systemd/network/20-lan.network").expect("network").content;
    assert!(network.contains("PermanentMACAddress=52:54:00:bb:00:01"), "{network}");
    // Two strangers: nobody can tell which.
    let strangers = vec![card("a", "52:54:00:bb:00:01"), card("b", "52:54:00:bb:00:02")];
    let refused = render(&seed, &member, &Facts { cards: strangers });
    assert!(matches!(refused, Err(RenderError::NoCard { .. })), "{refused:?}");
    assert!(matches!(render(&seed, &member, &Facts::default()), Err(RenderError::NoCard { .. })));
    let nobody = Member::Worker("nobody".to_owned());
    assert!(matches!(render(&seed, &nobody, &Facts::default()), Err(RenderError::NoSuchMember(_))));
}

#[test]
fn self_fence_time_is_the_sum_of_its_parts() {
    let seed = named("sqlite-manual");
    let fence = timing::self_fence(&seed).expect("there is a watchdog");
    assert_eq!(fence.total_ms(), timing::detection_ms() + 2_000 + 6_000 + 15_000 + 2_000);
    assert!(fence.parts.iter().all(|part| part.millis > 0 && !part.from.is_empty()));
    let text = common::SEEDS[2].1.replace("timeout = \"15s\"", "enabled = false");
    assert_eq!(timing::self_fence(&common::seed(&text)), None);
}

/// A frozen node must not reset itself while it waits for the other one's power to be off.
#[test]
fn a_node_that_waits_for_a_power_switch_waits_longer() {
    let text = common::SEEDS[1].1.replace("mode = \"fence\"", "mode = \"fence\"\nfence_timeout = \"90s\"");
    let seed = common::seed(&text);
    assert_eq!(timing::handler_ms(&seed), 92_000);
    let fence = timing::self_fence(&seed).expect("there is a watchdog");
    assert!(fence.total_ms() - timing::detection_ms() > 92_000 + 6_000);
    let resource = rendered(&seed, "a");
    let resource = resource.file("/etc/drbd.d/edgepair.res").expect("the resource");
    assert!(resource.content.contains("fence-peer --patience 92000\";"), "{}", resource.content);
    for name in ["minimal", "sqlite-manual"] {
        assert_eq!(timing::handler_ms(&named(name)), 2_000);
    }
}

#[test]
fn every_destructive_step_asks_for_a_proof() {
    each_box(|name, context, rendered| {
        let steps = plan::steps(context, rendered);
        let ids: BTreeSet<&str> = steps.iter().map(|step| step.id).collect();
        assert_eq!(ids.len(), steps.len(), "{name}: a step stands twice");
        for step in &steps {
            let destroys = ["create-md", "mkfs", "initdb", "zeros", "new-current-uuid"]
                .iter()
                .any(|word| step.what.contains(word));
            assert_eq!(destroys, step.needs_empty.is_some(), "{name}: {step:?}");
            assert!(!step.done_when.is_empty());
        }
    });
}

/// Seeds put together at random from parts that are each valid.
fn any_seed() -> impl Strategy<Value = String> {
    let choice = |words: &'static [&'static str]| prop::sample::select(words.to_vec());
    (
        any::<[bool; 6]>(),
        choice(&["", "vlan = 7\n", "mtu = 9000\n", "vlan = 4094\nmtu = 1280\n"]),
        choice(&["loop\"\nsize = \"1GiB", "device\"\ndevice = \"/dev/disk/by-id/x.y-1", "device\"\nsize = \"2GiB\"\ndevice = \"/dev/vdb"]),
        choice(&["manual", "availability-first"]),
        choice(&["", "[kubernetes]\n", "[kubernetes]\ndatastore = \"sqlite\"\n", "[kubernetes]\noverlay = \"host-gw\"\nbalancer = {}\n", "[kubernetes]\noverlay = \"none\"\nbalancer = { enabled = false }\n"]),
        choice(&["", "ports = [\"80/tcp\", \"70-90/tcp\", \"91/tcp\", \"53/udp\"]\n", "ssh_from = []\n", "postgres_from = [\"0.0.0.0/0\", \"10.0.0.0/8\"]\n"]),
        1_u8..=254,
    )
        .prop_map(|(on, network, storage, mode, kubernetes, access, host)| {
            let [six, bond, link, serial, key, worker] = on;
            let other = if host == 254 { 1 } else { host + 1 };
            let virtual_ip = if other == 254 { 1 } else { other + 1 };
            let virtual_ip = if virtual_ip == host { host + 1 } else { virtual_ip };
            let node = |letter: &str, host: u8, tag: u8| {
                let six = if six { format!(", \"2001:db8::{host}/64\"") } else { String::new() };
                let macs = if bond { format!("[\"52:54:00:00:00:{tag}1\", \"52:54:00:00:00:{tag}2\"]") } else { format!("\"52:54:00:00:00:{tag}1\"") };
                let mac = if serial && !bond { format!("serial = \"s{tag}\"\n") } else { format!("mac = {macs}\n") };
                let link = if link { format!("replication_address = \"198.51.100.{tag}/24\"\nreplication_mac = \"52:54:00:00:00:{tag}9\"\n") } else { String::new() };
                format!("[node.{letter}]\naddress = [\"192.0.2.{host}/24\"{six}]\n{mac}{link}")
            };
            let bond = if bond { "bond = { mode = \"active-backup\" }\n" } else { "" };
            let key = if key { "ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDY2OyC8UZ3b+LhzUCdXNpM8OcGKNwhYwxYwWfN0g52 x\"]\n" } else { "" };
            let worker = if worker && !kubernetes.is_empty() { "[worker.w]\naddress = [\"192.0.2.254/24\", \"2001:db8::fe/64\"]\nserial = \"w\"\n" } else { "" };
            format!(
                "schema = 1\n[pair]\nname = \"p\"\nvirtual_ip = \"192.0.2.{virtual_ip}/24\"\nsecret_file = \"pair.secret\"\n{}{}[network]\n{network}{bond}\n[storage]\nmode = \"{storage}\"\n[failover]\nmode = \"{mode}\"\n{kubernetes}{worker}[access]\n{access}{key}",
                node("a", host, 1),
                node("b", other, 2),
            )
        })
        .prop_filter("the worker's address is free", |text| text.matches("192.0.2.254").count() < 2)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_valid_seed_renders(text in any_seed()) {
        let seed = common::seed(&text);
        for member in edgepair_render::checks::members(&seed) {
            let facts = Facts::assumed(&seed, &member);
            let rendered = render(&seed, &member, &facts);
            prop_assert!(rendered.is_ok(), "{:?}", rendered);
            let rendered = rendered.expect("checked");
            let rules = &rendered.file("/etc/nftables.conf").expect("rules").content;
            prop_assert_eq!(rules.matches('{').count(), rules.matches('}').count());
            prop_assert!(!rules.contains("saddr {  }") && !rules.contains("iifname \"\""), "{}", rules);
            for file in &rendered.files {
                // Braces that close, and no empty value where one belongs.
                prop_assert!(!file.content.lines().any(|line| line.ends_with('=') && !line.starts_with("FallbackNTP")), "{:?}", file);
            }
        }
    }
}
