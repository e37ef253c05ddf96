//! What a stranger on the pair's network can reach: only what the seed says.

use super::formed::Lab;
use super::{Context, Scenario};
use crate::harness::site::{Side, VIRTUAL_IP, VIRTUAL_IP6};
use crate::harness::stranger::{Scan, Stranger};
use anyhow::{bail, ensure};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-ports",
    shows: "a third host tries all 65,535 TCP ports and the listed UDP ports of both nodes and the virtual IP, over IPv4 and \
            IPv6: only what the seed says is open; with the firewall off the same scan finds more",
    run,
};

/// UDP ports of what is on a node or could be: DNS, DHCP, TFTP, portmapper, NTP, NetBIOS, SNMP, DHCPv6, chrony's own,
/// IKE, syslog, multicast DNS, LLMNR, the agents, DRBD, VXLAN, WireGuard.
const UDP: [u16; 22] = [
    53, 67, 68, 69, 111, 123, 137, 161, 323, 500, 514, 546, 547, 4500, 5353, 5355, 7788, 7790, 8472, 51820,
    51821, 33434,
];
/// SSH and, from the lab's network, PostgreSQL: what the lab's seed opens.
const SSH: u16 = 22;
const POSTGRES: u16 = 5432;

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_pair(|lab| {
        let mut stranger = Stranger::plug_in(&lab.pair.stranger_port())?;
        let patience = 5 * context.accel.patience();
        let mut targets: Vec<(String, IpAddr, bool)> = Vec::new();
        for side in Side::BOTH {
            let here = side == lab.active;
            targets.push((format!("node {side}"), side.address().parse()?, here));
            targets.push((format!("node {side}"), side.address6().parse()?, here));
        }
        for address in [VIRTUAL_IP, VIRTUAL_IP6] {
            targets.push(("virtual IP".into(), address.parse()?, true));
        }
        for (what, address, serves) in &targets {
            let tcp = stranger.scan_tcp(*address, SSH, patience)?;
            let udp = stranger.probe_udp(*address, &UDP, patience)?;
            judge(*address, *serves, &tcp, &udp).map_err(|why| why.context(what.clone()))?;
            println!("  {what}, {address}: open {}; {} UDP ports silent", list(&tcp.open), UDP.len());
        }
        without_firewall(lab, &mut stranger, patience)
    })
}

/// Whether a scan found what it may find, and nothing else.
fn judge(address: IpAddr, serves: bool, tcp: &Scan, udp: &Scan) -> anyhow::Result<()> {
    // The seed opens PostgreSQL to the lab's IPv4 network. On the standby nobody listens there: it refuses.
    let postgres = address.is_ipv4().then_some(POSTGRES);
    let mut open = BTreeSet::from([SSH]);
    let mut refused = BTreeSet::new();
    if serves { &mut open } else { &mut refused }.extend(postgres);
    ensure!(
        tcp.open == open,
        "TCP ports {} of {address} are open, and should be {}",
        list(&tcp.open),
        list(&open)
    );
    ensure!(
        tcp.refused == refused,
        "TCP ports {} of {address} are let through without a listener, and should be {}",
        list(&tcp.refused),
        list(&refused)
    );
    ensure!(
        *udp == Scan::default(),
        "UDP ports of {address}: {} answer, {} are let through",
        list(&udp.open),
        list(&udp.refused)
    );
    Ok(())
}

/// The same scan must find more where nothing is filtered: a scan that cannot fail shows nothing.
fn without_firewall(lab: &mut Lab, stranger: &mut Stranger, patience: u64) -> anyhow::Result<()> {
    let side = lab.active;
    lab.pair.node(side)?.guest.run("nft flush ruleset")?;
    let address: IpAddr = side.address().parse()?;
    let tcp = stranger.scan_tcp(address, SSH, patience)?;
    let udp = stranger.probe_udp(address, &UDP, patience)?;
    match judge(address, true, &tcp, &udp) {
        Ok(()) => bail!("without a firewall the scan finds no more than with it"),
        Err(why) => println!("  firewall off, the same scan goes red: {why:#}"),
    }
    ensure!(
        tcp.open.len() > 2,
        "DRBD and the agent listen, and the scan does not see them: {}",
        list(&tcp.open)
    );
    ensure!(
        tcp.open.len() + tcp.refused.len() == usize::from(u16::MAX),
        "{} of 65535 ports gave no answer at all",
        usize::from(u16::MAX) - tcp.open.len() - tcp.refused.len()
    );
    Ok(())
}

fn list(ports: &BTreeSet<u16>) -> String {
    match ports.len() {
        0 => "none".into(),
        1..=12 => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
        many => format!("{many} of them"),
    }
}
