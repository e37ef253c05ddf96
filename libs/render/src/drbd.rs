//! DRBD 8.4 (drbd.conf(5) of that version; `fencing` stands in the `disk` section there).

use edgepair_layout::path;
use edgepair_seed::{FailoverMode, NodeId, Purpose};

use crate::conf::Conf;
use crate::names::{DRBD_DEVICE, DRBD_RESOURCE};
use crate::storage::backing_device;
use crate::timing::{
    DRBD_CONNECT_S, DRBD_KO_COUNT, DRBD_PING_S, DRBD_PING_TIMEOUT_DS, DRBD_TIMEOUT_DS, handler_ms,
};
use crate::{Context, Facts, Rendered};

/// What a resynchronisation gets in any case, in KiB per second.
const RESYNC_LEAST_KIB: u64 = 8 << 10;
/// What it gets at most where the seed sets no limit: more than ten gigabits.
const RESYNC_MOST_KIB: u64 = 2 << 20;

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    out.add("/etc/drbd.conf", format!("# {}\ninclude \"drbd.d/*.res\";\n", crate::conf::NOTICE));
    out.add_secret(format!("/etc/drbd.d/{DRBD_RESOURCE}.res"), "root:root", resource(context));
}

fn resource(context: &Context<'_>) -> String {
    let seed = context.seed;
    let mut conf = Conf::new();
    // Nothing is told to anybody outside the pair.
    conf.block("global", |conf| {
        conf.line("usage-count no;");
        // Metadata is made before the network is up, when this node's address is not there yet.
        conf.line("disable-ip-verification;");
    });
    conf.block(&format!("resource {DRBD_RESOURCE}"), |conf| {
        conf.block("net", |conf| {
            conf.lines([
                "protocol C;".to_owned(),
                "allow-two-primaries no;".to_owned(),
                "cram-hmac-alg sha256;".to_owned(),
                format!(
                    "shared-secret \"{}\";",
                    seed.pair.secret.text(Purpose::DrbdSharedSecret).expose_secret()
                ),
                "verify-alg sha256;".to_owned(),
                // Nothing is thrown away without an operator.
                "after-sb-0pri disconnect;".to_owned(),
                "after-sb-1pri disconnect;".to_owned(),
                "after-sb-2pri disconnect;".to_owned(),
                "rr-conflict disconnect;".to_owned(),
                format!("timeout {DRBD_TIMEOUT_DS};"),
                format!("ping-int {DRBD_PING_S};"),
                format!("ping-timeout {DRBD_PING_TIMEOUT_DS};"),
                format!("connect-int {DRBD_CONNECT_S};"),
                format!("ko-count {DRBD_KO_COUNT};"),
            ]);
        });
        conf.block("disk", |conf| {
            conf.lines([
                // I/O freezes when the peer is lost, until the handler has an answer.
                "fencing resource-and-stonith;",
                "on-io-error call-local-io-error;",
                "disk-flushes yes;",
                "md-flushes yes;",
                "disk-barrier no;",
            ]);
            // A resynchronisation keeps so much on the way (in sectors; the kernel's 50 KiB starve it on any link that
            // takes a millisecond), and gets so much even while the datastore writes.
            conf.line("c-fill-target 2048s;");
            // In KiB per second.
            let limit = seed.storage.resync_limit.map_or(RESYNC_MOST_KIB, |limit| (limit >> 10).max(1));
            conf.line(format!("c-min-rate {}k;", limit.min(RESYNC_LEAST_KIB)));
            conf.line(format!("c-max-rate {limit}k;"));
            if let edgepair_seed::StorageMode::Device { size: Some(size) } = seed.storage.mode {
                conf.line(format!("size {}k;", size >> 10));
            }
        });
        conf.block("options", |conf| conf.line("on-no-data-accessible suspend-io;"));
        conf.block("handlers", |conf| {
            // Mode `fence` waits for a power switch; elsewhere the handler has its own bound.
            let patience = match seed.failover.mode {
                FailoverMode::Fence => format!(" --patience {}", handler_ms(seed)),
                _ => String::new(),
            };
            conf.line(format!("fence-peer \"{} fence-peer{patience}\";", path::NODE_INIT));
            conf.line(format!("local-io-error \"{} fence-peer --local-io-error\";", path::NODE_INIT));
        });
        for id in [NodeId::A, NodeId::B] {
            side(context, id, conf);
        }
    });
    conf.finish()
}

fn side(context: &Context<'_>, id: NodeId, conf: &mut Conf) {
    let node = context.seed.node(id);
    let member = edgepair_seed::Member::Node(id);
    // The other side's backing device is named in our file as well; DRBD looks only at its own.
    let theirs = Context::new(context.seed, &member, &Facts::assumed(context.seed, &member));
    let disk = theirs.as_ref().map(backing_device).unwrap_or_default();
    let address = match node.replication() {
        Some(address) if address.is_ipv6() => format!("ipv6 [{address}]:{}", context.seed.storage.port),
        Some(address) => format!("{address}:{}", context.seed.storage.port),
        None => return,
    };
    conf.block(&format!("on {}", node.hostname), |conf| {
        conf.block("volume 0", |conf| {
            conf.line(format!("device {DRBD_DEVICE} minor 0;"));
            conf.line(format!("disk {disk};"));
            conf.line("meta-disk internal;");
        });
        conf.line(format!("address {address};"));
    });
}
