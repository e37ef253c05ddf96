//! systemd-networkd: links by MAC address, bond, VLAN, replication link (systemd.network(5), systemd.netdev(5)).

use edgepair_seed::Bond;
use ipnet::IpNet;

use crate::conf::Conf;
use crate::context::{BOND, REPLICATION_VLAN};
use crate::output::Start;
use crate::{Card, Context, Rendered};

const DIR: &str = "/etc/systemd/network";

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    let network = &context.seed.network;
    let on_node = context.node().is_some();
    let vlan = network.vlan.filter(|_| on_node);
    let bond = network.bond.as_ref().filter(|_| on_node);
    let separate = context.node().and_then(|node| node.replication_address);
    let replication_vlan = network.replication_vlan.filter(|_| separate.is_some());

    // VLANs that sit on the main link.
    let mut on_lan: Vec<String> = vlan.iter().map(|id| format!("vlan{id}")).collect();
    if replication_vlan.is_some() && context.links.replication.is_none() {
        on_lan.push(REPLICATION_VLAN.to_owned());
    }
    // The main link carries the addresses itself, or only the VLAN that does.
    let main = Lan { context, addressed: vlan.is_none(), vlans: &on_lan };

    if let Some(bond) = bond {
        out.add(format!("{DIR}/10-lan-bond.netdev"), bond_netdev(bond, network.mtu));
        for (index, card) in context.links.lan.iter().enumerate() {
            out.add(format!("{DIR}/11-lan-card{index}.network"), bond_member(card, network.mtu));
        }
        out.add(format!("{DIR}/20-lan.network"), main.network(&format!("Name={BOND}"), network.mtu));
    } else if let Some(card) = context.links.lan.first() {
        out.add(format!("{DIR}/20-lan.network"), main.network(&matching(card), network.mtu));
    }
    if let Some(id) = vlan {
        let name = format!("vlan{id}");
        out.add(format!("{DIR}/30-lan-vlan.netdev"), vlan_netdev(&name, id, network.mtu));
        let tagged = Lan { context, addressed: true, vlans: &[] };
        out.add(format!("{DIR}/31-lan-vlan.network"), tagged.network(&format!("Name={name}"), network.mtu));
    }
    if let Some(address) = separate {
        replication(context, address, out);
    }
    out.add(format!("{DIR}/80-unconfigured.network"), others());
    out.add("/etc/systemd/networkd.conf.d/60-edgepair-seed.conf", daemon());
    out.unit("systemd-networkd.service", Start::Boot);
}

/// By the permanent MAC address, because a bond gives its own to every member.
fn matching(card: &Card) -> String {
    match card.mac {
        Some(mac) => format!("PermanentMACAddress={mac}"),
        None => format!("Name={}", card.name),
    }
}

struct Lan<'a> {
    context: &'a Context<'a>,
    addressed: bool,
    vlans: &'a [String],
}

impl Lan<'_> {
    fn network(&self, matching: &str, mtu: Option<u16>) -> String {
        let mut conf = Conf::new();
        conf.section("Match");
        conf.line(matching);
        link(&mut conf, mtu);
        conf.section("Network");
        let addresses: &[IpNet] = if self.addressed { self.context.addresses() } else { &[] };
        common(&mut conf, addresses);
        conf.lines(addresses.iter().map(|net| format!("Address={net}")));
        if self.addressed {
            conf.lines(self.context.gateways().iter().map(|gateway| format!("Gateway={gateway}")));
        }
        conf.lines(self.vlans.iter().map(|vlan| format!("VLAN={vlan}")));
        conf.finish()
    }
}

fn replication(context: &Context<'_>, address: IpNet, out: &mut Rendered) {
    let network = &context.seed.network;
    let mtu = network.replication_mtu;
    let addressed = |matching: String| {
        let mut conf = Conf::new();
        conf.section("Match");
        conf.line(matching);
        link(&mut conf, mtu);
        conf.section("Network");
        common(&mut conf, &[address]);
        conf.line(format!("Address={address}"));
        conf.finish()
    };
    match (network.replication_vlan, &context.links.replication) {
        (Some(id), card) => {
            out.add(format!("{DIR}/40-replication-vlan.netdev"), vlan_netdev(REPLICATION_VLAN, id, mtu));
            if let Some(card) = card {
                let mut conf = Conf::new();
                conf.section("Match");
                conf.line(matching(card));
                link(&mut conf, mtu);
                conf.section("Network");
                common(&mut conf, &[]);
                conf.line(format!("VLAN={REPLICATION_VLAN}"));
                out.add(format!("{DIR}/41-replication-card.network"), conf.finish());
            }
            out.add(format!("{DIR}/42-replication.network"), addressed(format!("Name={REPLICATION_VLAN}")));
        }
        (None, Some(card)) => out.add(format!("{DIR}/42-replication.network"), addressed(matching(card))),
        // The check of the seed asks for a card or a VLAN; without either the address has no place to go.
        (None, None) => {}
    }
}

fn link(conf: &mut Conf, mtu: Option<u16>) {
    conf.section("Link");
    if let Some(mtu) = mtu {
        conf.line(format!("MTUBytes={mtu}"));
    }
    // A pair whose switch comes up late boots all the same.
    conf.line("RequiredForOnline=no");
}

/// Static and nothing else: no DHCP, no router advertisements, and no loss of addresses with the carrier, because
/// daemons are bound to them.
fn common(conf: &mut Conf, addresses: &[IpNet]) {
    let six = addresses.iter().any(|net| net.addr().is_ipv6());
    conf.line("DHCP=no");
    conf.line("IPv6AcceptRA=no");
    conf.line(format!("LinkLocalAddressing={}", if six { "ipv6" } else { "no" }));
    conf.line("LLMNR=no");
    conf.line("MulticastDNS=no");
    conf.line("ConfigureWithoutCarrier=yes");
    conf.line("IgnoreCarrierLoss=yes");
    // The virtual IP is keepalived's; networkd would remove it as foreign when it restarts.
    conf.line("KeepConfiguration=yes");
}

fn bond_netdev(bond: &Bond, mtu: Option<u16>) -> String {
    let mut conf = Conf::new();
    conf.section("NetDev");
    conf.line(format!("Name={BOND}"));
    conf.line("Kind=bond");
    if let Some(mtu) = mtu {
        conf.line(format!("MTUBytes={mtu}"));
    }
    conf.section("Bond");
    conf.line(format!("Mode={}", bond.mode));
    conf.line(format!("MIIMonitorSec={}ms", bond.monitor_ms));
    if bond.mode == "802.3ad" {
        // One LACP frame a second: a dead partner shows after three seconds instead of ninety.
        conf.line("LACPTransmitRate=fast");
    }
    if bond.mode != "active-backup" {
        conf.line("TransmitHashPolicy=layer3+4");
    }
    conf.finish()
}

fn bond_member(card: &Card, mtu: Option<u16>) -> String {
    let mut conf = Conf::new();
    conf.section("Match");
    conf.line(matching(card));
    // The bond takes over a member's address; its permanent one would match the bond as well.
    conf.line("Kind=!bond");
    link(&mut conf, mtu);
    conf.section("Network");
    conf.line(format!("Bond={BOND}"));
    conf.finish()
}

fn vlan_netdev(name: &str, id: u16, mtu: Option<u16>) -> String {
    let mut conf = Conf::new();
    conf.section("NetDev");
    conf.line(format!("Name={name}"));
    conf.line("Kind=vlan");
    if let Some(mtu) = mtu {
        conf.line(format!("MTUBytes={mtu}"));
    }
    conf.section("VLAN");
    conf.line(format!("Id={id}"));
    conf.finish()
}

/// In place of the image's file of this name, which asks for an address on every card: with a seed, cards that it does
/// not name are left alone.
fn others() -> String {
    let mut conf = Conf::new();
    conf.section("Match");
    conf.line("Kind=!*");
    conf.line("Type=ether");
    conf.section("Link");
    conf.line("Unmanaged=yes");
    conf.finish()
}

fn daemon() -> String {
    let mut conf = Conf::new();
    conf.section("Network");
    // Routes and rules of the container network are not networkd's to remove.
    conf.line("ManageForeignRoutes=no");
    conf.line("ManageForeignRoutingPolicyRules=no");
    conf.line("ManageForeignNextHops=no");
    conf.finish()
}
