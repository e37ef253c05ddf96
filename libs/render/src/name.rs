//! Host name, hosts and name servers.

use edgepair_seed::NodeId;

use crate::conf::Conf;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    out.add("/etc/hostname", format!("{}\n", context.hostname()));
    out.add("/etc/hosts", hosts(context));
    out.add("/etc/resolv.conf", resolv(context));
}

/// Every box of the pair by name, so that none of them depends on a name server to find another.
fn hosts(context: &Context<'_>) -> String {
    let seed = context.seed;
    let mut conf = Conf::new();
    conf.line("127.0.0.1 localhost");
    conf.line("::1 localhost ip6-localhost ip6-loopback");
    for id in [NodeId::A, NodeId::B] {
        let node = seed.node(id);
        conf.lines(node.addresses.iter().map(|net| format!("{} {}", net.addr(), node.hostname)));
    }
    conf.lines(seed.pair.virtual_ips.iter().map(|net| format!("{} {}", net.addr(), seed.pair.name)));
    for worker in seed.workers.values() {
        conf.lines(worker.addresses.iter().map(|net| format!("{} {}", net.addr(), worker.hostname)));
    }
    conf.finish()
}

fn resolv(context: &Context<'_>) -> String {
    let network = &context.seed.network;
    let mut conf = Conf::new();
    if !network.search.is_empty() {
        conf.line(format!("search {}", network.search.join(" ")));
    }
    // resolv.conf(5): the library asks at most three.
    conf.lines(network.dns.iter().take(3).map(|server| format!("nameserver {server}")));
    conf.line("options timeout:2 attempts:2");
    conf.finish()
}
