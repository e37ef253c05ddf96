//! keepalived: moves the virtual IP, decides nothing (keepalived.conf(5)).
//!
//! It starts in FAULT and stays there until node-init writes `0` into the tracked file. VRRP version 3 has no
//! authentication (RFC 9568), so the firewall takes VRRP from the other node only.

use ipnet::IpNet;

use crate::conf::Conf;
use crate::names::{FAULT_FILE, KEEPALIVED_FIFO};
use crate::output::Start;
use crate::timing::ADVERT_INTERVAL;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    out.add("/etc/keepalived/keepalived.conf", config(context));
    out.add("/etc/systemd/system/keepalived.service.d/10-edgepair.conf", unit(context));
    out.unit("keepalived.service", Start::Boot);
}

fn config(context: &Context<'_>) -> String {
    let seed = context.seed;
    let lan = context.lan();
    let mut conf = Conf::new();
    conf.block("global_defs", |conf| {
        conf.lines([
            format!("router_id {}", context.hostname()),
            "vrrp_version 3".to_owned(),
            "enable_script_security".to_owned(),
            "script_user root".to_owned(),
            format!("vrrp_notify_fifo {KEEPALIVED_FIFO}"),
            // The VLAN or bond may come up after keepalived; until then it is in FAULT anyway.
            "dynamic_interfaces".to_owned(),
            // Switches that drop the first announcement learn from a later one.
            "vrrp_garp_master_delay 1".to_owned(),
            "vrrp_garp_master_repeat 3".to_owned(),
            "vrrp_garp_master_refresh 30".to_owned(),
            // Five adverts a second must not wait for a busy box.
            "vrrp_rt_priority 50".to_owned(),
            // The kernel kills a real-time process that computes for so long without a pause, in microseconds. The default
            // of 10 ms is less than reading the configuration takes on a small board.
            "vrrp_rlimit_rttime 1000000".to_owned(),
            "vrrp_no_swap".to_owned(),
        ]);
    });
    conf.block("track_file edgepair", |conf| {
        conf.line(format!("file \"{FAULT_FILE}\""));
        conf.line("weight 0");
        // Whatever an earlier run left there: start in FAULT.
        conf.line("init_file 1 overwrite");
    });
    // One instance speaks one family; addresses of the other move along with it.
    let first_is_four = seed.pair.virtual_ips.first().is_none_or(|net| net.addr().is_ipv4());
    let (main, along): (Vec<&IpNet>, Vec<&IpNet>) =
        seed.pair.virtual_ips.iter().partition(|net| net.addr().is_ipv4() == first_is_four);
    let own = |nets: &[IpNet]| nets.iter().find(|net| net.addr().is_ipv4() == first_is_four).map(IpNet::addr);
    conf.block("vrrp_instance pair", |conf| {
        conf.lines([
            "state BACKUP".to_owned(),
            "nopreempt".to_owned(),
            format!("interface {lan}"),
            format!("virtual_router_id {}", seed.pair.vrrp_id),
            "priority 100".to_owned(),
            format!("advert_int {ADVERT_INTERVAL}"),
        ]);
        if let Some(address) = own(context.addresses()) {
            conf.line(format!("unicast_src_ip {address}"));
        }
        if let Some(address) = context.peer().and_then(|peer| own(&peer.addresses)) {
            conf.block("unicast_peer", |conf| conf.line(address.to_string()));
        }
        conf.block("track_file", |conf| conf.line("edgepair weight 0"));
        conf.block("virtual_ipaddress", |conf| conf.lines(main.iter().map(|net| virtual_ip(net, &lan))));
        if !along.is_empty() {
            conf.block("virtual_ipaddress_excluded", |conf| {
                conf.lines(along.iter().map(|net| virtual_ip(net, &lan)));
            });
        }
    });
    conf.finish()
}

/// As a host address: with the network's length it could become the source of this node's own connections.
fn host(net: &IpNet) -> String {
    format!("{}/{}", net.addr(), net.max_prefix_len())
}

fn virtual_ip(net: &IpNet, lan: &str) -> String {
    // IPv6 chooses sources by the longest common prefix; a deprecated address is never chosen (RFC 6724, rule 3).
    let deprecated = if net.addr().is_ipv6() { " preferred_lft 0" } else { "" };
    format!("{} dev {lan}{deprecated}", host(net))
}

fn unit(context: &Context<'_>) -> String {
    let lan = context.lan();
    let mut conf = Conf::new();
    conf.section("Service");
    // A keepalived that was killed leaves its address behind.
    let remove = |net: &IpNet| format!("ExecStopPost=-/usr/sbin/ip address del {} dev {lan}", host(net));
    conf.lines(context.seed.pair.virtual_ips.iter().map(remove));
    conf.line(format!("ExecStartPre=/usr/bin/mkdir -p {}", edgepair_layout::path::RUN_DIR));
    conf.line("Restart=always");
    conf.line("RestartSec=1");
    conf.finish()
}
