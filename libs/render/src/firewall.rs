//! nftables: everything is dropped but what the seed says (nft(8)).
//!
//! Only the table `inet edgepair` is ours: flushing the whole rule set would take the rules of k3s with it. A packet
//! has to be accepted by our chains *and* by those of others.

use std::net::IpAddr;

use edgepair_seed::{Datastore, Overlay, Port, Protocol};
use ipnet::IpNet;

use crate::conf::Conf;
use crate::names::port;
use crate::output::Start;
use crate::{Context, Rendered};

/// VRRP's number among the protocols of IP (RFC 9568).
const VRRP: u8 = 112;

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    // Not world-readable: it tells a stranger with a shell what to try.
    out.put("/etc/nftables.conf".to_owned(), 0o600, "root:root", rules(context), false);
    out.unit("nftables.service", Start::Boot);
}

fn rules(context: &Context<'_>) -> String {
    let mut conf = Conf::default();
    conf.line("#!/usr/sbin/nft -f");
    conf.line(format!("# {}", crate::conf::NOTICE));
    // Declared, deleted, made anew: in one transaction, so that no packet sees a gap.
    conf.line("table inet edgepair");
    conf.line("delete table inet edgepair");
    conf.block("table inet edgepair", |conf| {
        conf.block("chain input", |conf| {
            conf.line("type filter hook input priority filter; policy drop;");
            conf.line("iif \"lo\" accept");
            basics(conf);
            pair(context, conf);
            kubernetes_input(context, conf);
            access(context, conf);
        });
        conf.line("");
        conf.block("chain forward", |conf| {
            conf.line("type filter hook forward priority filter; policy drop;");
            forward(context, conf);
        });
        conf.line("");
        conf.block("chain output", |conf| {
            conf.line("type filter hook output priority filter; policy accept;");
        });
    });
    conf.finish()
}

/// Without these, IPv6 finds no neighbour and large packets vanish (RFC 4890).
fn basics(conf: &mut Conf) {
    conf.lines([
        // Before connection tracking, which can call a neighbour's answer invalid. Hop limit 255: from this link.
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
        "icmpv6 type mld-listener-query ip6 saddr fe80::/10 accept",
        "ct state established,related accept",
        "ct state invalid drop",
        "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept",
        "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
        "icmpv6 type echo-request limit rate 50/second accept",
        "icmp type echo-request limit rate 50/second accept",
    ]);
}

/// What only the other node may reach.
fn pair(context: &Context<'_>, conf: &mut Conf) {
    let (Some(node), Some(peer)) = (context.node(), context.peer()) else { return };
    let lan = context.lan();
    let peers: Vec<IpAddr> = peer.addresses.iter().map(IpNet::addr).collect();
    conf.line("");
    conf.line("# from the other node only");
    from(conf, &hosts(&peers), Some(&lan), &format!("meta l4proto {VRRP}"));
    let agents = format!("tcp dport {{ {}, {} }}", port::AGENT, port::BUNDLES);
    from(conf, &hosts(&peers), Some(&lan), &agents);
    if *context.seed.datastore() == Datastore::Postgres {
        // The proxy of either node looks for the active database on both.
        from(conf, &hosts(&peers), Some(&lan), &format!("tcp dport {}", port::POSTGRES));
    }
    if let Some(address) = peer.replication() {
        let link = context.replication();
        from(conf, &hosts(&[address]), Some(&link), &format!("tcp dport {}", context.seed.storage.port));
        if node.replication_address.is_some() {
            // The agents also talk over the second link, so that a cut of the first is seen as what it is.
            from(conf, &hosts(&[address]), Some(&link), &agents);
        }
    }
}

fn kubernetes_input(context: &Context<'_>, conf: &mut Conf) {
    let Some(kubernetes) = &context.seed.kubernetes else { return };
    let boxes = hosts(&context.other_boxes());
    conf.line("");
    conf.line("# between the boxes of the cluster");
    from(conf, &boxes, None, &format!("tcp dport {}", port::KUBELET));
    match kubernetes.overlay {
        Overlay::Vxlan => from(conf, &boxes, None, "udp dport 8472"),
        Overlay::Wireguard => from(conf, &boxes, None, "udp dport { 51820, 51821 }"),
        Overlay::HostGateway | Overlay::None => {}
    }
    // From pods of this box, and of others over the overlay: metrics, and the API behind its service address.
    let pods = format!("tcp dport {{ {}, {} }}", kubernetes.api_port, port::KUBELET);
    from_inside(context, conf, &kubernetes.cluster_cidrs, &pods);
    if context.node().is_some() {
        let mut ports = vec![kubernetes.api_port];
        ports.extend(kubernetes.balancer_port);
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let api = format!("tcp dport {{ {} }}", ports.join(", "));
        from(conf, &boxes, None, &api);
        from(conf, &context.seed.access.api_from, None, &api);
    }
}

/// What the seed opens.
fn access(context: &Context<'_>, conf: &mut Conf) {
    let access = &context.seed.access;
    conf.line("");
    conf.line("# as the seed says");
    if !access.ssh_keys.is_empty() {
        from(conf, &access.ssh_from, None, &format!("tcp dport {}", port::SSH));
    }
    from(conf, &access.status_from, None, &format!("tcp dport {}", port::STATUS));
    if context.node().is_some() && *context.seed.datastore() == Datastore::Postgres {
        from(conf, &access.postgres_from, None, &format!("tcp dport {}", port::POSTGRES));
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if let Some(ports) = ports_of(&access.ports, protocol) {
            conf.line(format!("{protocol} dport {{ {ports} }} accept"));
        }
    }
}

fn forward(context: &Context<'_>, conf: &mut Conf) {
    let Some(kubernetes) = &context.seed.kubernetes else { return };
    conf.line("ct state established,related accept");
    conf.line("ct state invalid drop");
    from_inside(context, conf, &kubernetes.cluster_cidrs, "");
    let boxes = context.other_boxes();
    for net in &kubernetes.cluster_cidrs {
        let same: Vec<IpAddr> =
            boxes.iter().copied().filter(|address| address.is_ipv4() == net.addr().is_ipv4()).collect();
        let word = family(net.addr());
        from(conf, &hosts(&same), None, &format!("{word} daddr {net}"));
    }
    // A service with an outside port is rewritten before it gets here; what counts is the port that was called.
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if let Some(ports) = ports_of(&context.seed.access.ports, protocol) {
            conf.line(format!(
                "ct status dnat meta l4proto {protocol} ct original proto-dst {{ {ports} }} accept"
            ));
        }
    }
}

/// From pod addresses, but not through the outer interface, where anybody could write them into a packet. Routes
/// between the boxes (`host-gw`) do bring pods' packets in there, from the other boxes' cards.
fn from_inside(context: &Context<'_>, conf: &mut Conf, pods: &[IpNet], what: &str) {
    let routed =
        context.seed.kubernetes.as_ref().is_some_and(|kubernetes| kubernetes.overlay == Overlay::HostGateway);
    let guard = if routed { String::new() } else { format!("iifname != \"{}\"", context.lan()) };
    for net in pods {
        let parts = [guard.as_str(), &format!("{} saddr {net}", family(net.addr())), what, "accept"];
        conf.line(parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" "));
    }
}

/// One rule for each address family among the sources. Everybody needs no source.
fn from(conf: &mut Conf, sources: &[IpNet], interface: Option<&str>, what: &str) {
    let guard = interface.map(|name| format!("iifname \"{name}\" ")).unwrap_or_default();
    for four in [true, false] {
        let mut nets: Vec<IpNet> =
            sources.iter().copied().filter(|net| net.addr().is_ipv4() == four).collect();
        nets = IpNet::aggregate(&nets);
        if nets.is_empty() {
            continue;
        }
        let word = if four { "ip" } else { "ip6" };
        if nets.iter().any(|net| net.prefix_len() == 0) {
            let family = if four { "ipv4" } else { "ipv6" };
            conf.line(format!("{guard}meta nfproto {family} {what} accept"));
            continue;
        }
        let listed: Vec<String> = nets.iter().map(host_or_net).collect();
        let source = if listed.len() == 1 { listed.concat() } else { format!("{{ {} }}", listed.join(", ")) };
        conf.line(format!("{guard}{word} saddr {source} {what} accept"));
    }
}

fn host_or_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn hosts(addresses: &[IpAddr]) -> Vec<IpNet> {
    addresses.iter().copied().map(IpNet::from).collect()
}

const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn ports_of(ports: &[Port], protocol: Protocol) -> Option<String> {
    // A set with overlapping ranges is refused by nft, so they are joined.
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports.iter().filter(|port| port.protocol == protocol) {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(port.first) <= u32::from(*last) + 1 => *last = port.last.max(*last),
            _ => ranges.push((port.first, port.last)),
        }
    }
    let text = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    (!ranges.is_empty()).then(|| ranges.iter().map(text).collect::<Vec<_>>().join(", "))
}
