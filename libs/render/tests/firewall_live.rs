//! The rendered rules in a real kernel: who gets through to which port, from the other node and from a stranger.
//!
//! Three network namespaces on one bridge: node, other node, stranger. Nothing listens on the node, so a port that the
//! rules let through answers with a reset at once, and one that they drop does not answer. Needs root, `ip`, `nft` and
//! a kernel with namespaces, bridges and nf_tables; says "skipped" otherwise. The same scan without the rules finds
//! every port reachable, which shows that the scan can tell.

mod common;

use std::path::Path;

use common::netns::{Net, ip, run};

const PORTS: [u16; 10] = [22, 111, 5432, 6443, 7788, 7790, 7791, 7792, 8080, 10250];

/// Ports of the node that answer, asked from the namespace `from`; all at once, for at most a second.
fn scan(net: &Net, from: usize, address: &str) -> Vec<u16> {
    let script = format!(
        "for p in {}; do ( timeout 1 bash -c \"exec 3<>/dev/tcp/{address}/$p\" 2>/dev/null; [ $? = 124 ] || echo $p ) & done; wait",
        PORTS.map(|port| port.to_string()).join(" ")
    );
    let output = run("ip", &["netns", "exec", &net.names[from], "bash", "-c", &script]).expect("scans");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut ports: Vec<u16> = text.lines().filter_map(|line| line.parse().ok()).collect();
    ports.sort_unstable();
    ports
}

const PEER: usize = 2;
const STRANGER: usize = 3;

#[test]
fn only_what_the_seed_says_gets_through() {
    let missing = ["/usr/sbin/nft", "/bin/bash"].into_iter().find(|program| !Path::new(program).exists());
    let net = match (missing, Net::new()) {
        (None, Ok(net)) => net,
        (Some(program), _) => return println!("skipped: {program} is not installed"),
        (None, Err(why)) => return println!("skipped: no network namespaces here: {why}"),
    };
    // Both families on both nodes; the API for one management network only.
    let text = common::SEEDS[0]
        .1
        .replace("\"192.0.2.60/24\"", "[\"192.0.2.60/24\", \"2001:db8::60/64\"]")
        .replace("\"192.0.2.61/24\"", "[\"192.0.2.61/24\", \"2001:db8::61/64\"]")
        .replace("[access]\n", "[access]\napi_from = [\"198.51.100.0/24\"]\nports = [\"8080/tcp\"]\n");
    let rules = common::rendered(&common::seed(&text), "a")
        .file("/etc/nftables.conf")
        .expect("rules")
        .content
        .clone();
    let file = tempfile::NamedTempFile::new().expect("tempfile");
    std::io::Write::write_all(&mut file.as_file(), rules.as_bytes()).expect("writes");
    let file_name = file.path().to_string_lossy().into_owned();

    for address in ["192.0.2.60", "2001:db8::60"] {
        assert_eq!(
            scan(&net, STRANGER, address),
            PORTS,
            "without rules the scan reaches everything at {address}"
        );
    }
    if let Err(why) = run("ip", &["netns", "exec", &net.names[1], "nft", "-f", &file_name]) {
        return println!("skipped: the kernel takes no rules: {why}");
    }
    // A second time, as at every reload.
    run("ip", &["netns", "exec", &net.names[1], "nft", "-f", &file_name]).expect("loads again");
    // Forget neighbours, so that IPv6 has to find them through the rules.
    for name in &net.names[1..] {
        ip(&format!("-n {name} neighbour flush all")).expect("flushes");
    }
    for address in ["192.0.2.60", "2001:db8::60"] {
        assert_eq!(scan(&net, STRANGER, address), [22, 8080], "a stranger at {address}");
    }
    assert_eq!(scan(&net, PEER, "192.0.2.60"), [22, 5432, 6443, 7788, 7790, 7792, 8080, 10250]);
    // The replication runs over the first address, which is the IPv4 one.
    assert_eq!(scan(&net, PEER, "2001:db8::60"), [22, 5432, 6443, 7790, 7792, 8080, 10250]);
}
