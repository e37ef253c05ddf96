//! Every mistake an author can make is reported with its line, and all of them at once.

mod common;

use common::{DUAL_STACK, IPV6_ONLY, MINIMAL, SQLITE_MANUAL, TEN_ERRORS, WORKERS, checked, codes};

#[test]
fn ten_errors_are_ten_findings() {
    let (seed, report) = checked(TEN_ERRORS);
    assert!(seed.is_none());
    assert_eq!(report.findings().len(), 10, "{}", report.render(false));
    let expected = include_str!("golden/ten-errors.txt");
    assert_eq!(report.render_short(), expected, "if this is meant, update tests/golden/ten-errors.txt");
    let json = report.to_json();
    let positions: Vec<(u64, u64)> = json["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|f| Some((f["line"].as_u64()?, f["column"].as_u64()?)))
        .collect();
    assert_eq!(positions.len(), 10);
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]), "in the order of the text: {positions:?}");
}

#[test]
fn good_seeds_have_no_error() {
    for (name, text) in common::GOOD {
        let (seed, report) = checked(text);
        assert!(seed.is_some(), "{name}:\n{}", report.render(false));
    }
    // What remains is legal and unwise.
    assert_eq!(codes(MINIMAL), ["W 21 storage.mode one-disk"]);
    assert_eq!(codes(DUAL_STACK), Vec::<String>::new());
    assert_eq!(
        codes(SQLITE_MANUAL),
        ["W 1 access.ssh_keys no-ssh-key", "W 18 storage.mode one-disk", "W 22 failover.mode no-witness"]
    );
    assert_eq!(codes(WORKERS), ["W 34 storage.mode one-disk"]);
    assert_eq!(codes(IPV6_ONLY), ["W 32 failover.mode can-lose-data", "W 35 watchdog.enabled no-watchdog"]);
}

#[test]
fn secrets_never_show_in_reports() {
    let broken = [
        ("secret_file = \"pair.secret\"", "secret = \"hunter2\""),
        ("secret_file = \"pair.secret\"", "secret = \"hunter2"),
        ("secret_file = \"pair.secret\"", "secret = hunter2"),
        ("secret_file = \"pair.secret\"", "secert = \"hunter2\""),
        ("[network]", "[node.b.fence]\naddress=\"x\"\npassword = \"hunter2\"\nplug = 3\n[network]"),
        ("[network]", "[node.b]\nfence = { password = \"hunter2\", plug = 3 }\n[network]"),
        ("datastore = \"postgres\"", "endpoint = \"postgres://u:hunter2@h\"\nendpoin = 1"),
    ];
    for (from, to) in broken {
        let (seed, report) = checked(&MINIMAL.replacen(from, to, 1));
        let printed =
            format!("{}{}{}{report:?}", report.render(false), report.render_short(), report.to_json());
        assert!(seed.is_none() && !printed.contains("hunter2"), "{to}:\n{printed}");
    }
}

#[test]
fn a_good_seed_does_not_print_its_secrets() {
    for (name, text) in common::GOOD {
        let printed = format!("{:?}", common::good(text));
        assert!(!printed.contains(common::SECRET) && !printed.contains("hunter2"), "{name}: {printed}");
    }
}

#[test]
fn a_disk_that_is_known_goes_before_the_one_written() {
    let companions = common::companions(WORKERS);
    let input =
        edgepair_seed::Input { name: "s", text: WORKERS, companions: &companions, disk: Some(16 << 30) };
    let (seed, report) = edgepair_seed::check(&input);
    assert!(seed.is_none());
    assert!(report.errors().any(|finding| finding.code == "does-not-fit"), "{}", report.render(false));
}
