//! Time, watchdog, journal, kernel settings.

use crate::conf::Conf;
use crate::output::Start;
use crate::timing::BOOT_WATCHDOG_MS;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    out.add("/etc/chrony/chrony.conf", time(context));
    out.unit("chrony.service", Start::Boot);
    // Numbers above those of the image's own files: of two files the later one counts.
    out.add("/etc/systemd/journald.conf.d/60-edgepair-seed.conf", journal(context));
    out.add("/etc/systemd/system.conf.d/60-edgepair-seed.conf", watchdog(context));
    out.add("/etc/sysctl.d/95-edgepair-seed.conf", sysctl(context));
}

/// chrony.conf(5). Time is for logs and certificates; who may write is decided without a clock.
fn time(context: &Context<'_>) -> String {
    let servers = &context.seed.network.ntp;
    let mut conf = Conf::new();
    if servers.is_empty() {
        conf.line("pool 2.debian.pool.ntp.org iburst maxsources 4");
    }
    conf.lines(servers.iter().map(|server| format!("server {server} iburst")));
    conf.lines([
        "driftfile /var/lib/chrony/chrony.drift",
        // Boards without a battery start years back: jump at the start, later only drift, which databases like better.
        "makestep 1.0 3",
        "rtcsync",
        // It asks and does not serve.
        "port 0",
        "cmdport 0",
    ]);
    conf.finish()
}

fn journal(context: &Context<'_>) -> String {
    let log = &context.seed.log;
    let mut conf = Conf::new();
    conf.section("Journal");
    conf.line(if log.persistent { "Storage=persistent" } else { "Storage=volatile" });
    conf.line(format!("SystemMaxUse={}", log.size));
    conf.line(format!("RuntimeMaxUse={}", log.size.min(32 << 20)));
    // A file at a time is thrown away; eight of them keep seven eighths of what fits.
    conf.line(format!("SystemMaxFileSize={}", (log.size / 8).max(1 << 20)));
    // Flash wears out by syncs; messages of priority crit and above are synced at once anyway.
    conf.line("SyncIntervalSec=5m");
    conf.line("RateLimitIntervalSec=30s");
    conf.line("RateLimitBurst=2000");
    conf.finish()
}

fn watchdog(context: &Context<'_>) -> String {
    let watchdog = &context.seed.watchdog;
    let mut conf = Conf::new();
    conf.section("Manager");
    if watchdog.enabled {
        // While the machine boots, with room for a slow disk. Provisioning sets the seed's own time before this node
        // can become active, and from then on it counts.
        conf.line(format!("RuntimeWatchdogSec={}ms", BOOT_WATCHDOG_MS.max(watchdog.timeout_ms)));
        conf.line("RebootWatchdogSec=2min");
        if let Some(device) = &watchdog.device {
            conf.line(format!("WatchdogDevice={device}"));
        }
    } else {
        conf.line("RuntimeWatchdogSec=off");
        conf.line("RebootWatchdogSec=off");
    }
    // What each service writes to the disk is counted, for `status`.
    conf.line("DefaultIOAccounting=yes");
    // A unit that hangs on frozen storage must not hold up the others at shutdown for long.
    conf.line("DefaultTimeoutStopSec=30s");
    conf.finish()
}

fn sysctl(context: &Context<'_>) -> String {
    let mut conf = Conf::new();
    conf.lines([
        // With two links a node must not answer for one on the other.
        "net.ipv4.conf.all.arp_ignore = 1",
        "net.ipv4.conf.all.arp_announce = 2",
        "net.ipv4.conf.all.send_redirects = 0",
        "net.ipv4.conf.all.accept_source_route = 0",
        "net.ipv6.conf.all.accept_ra = 0",
    ]);
    if context.seed.kubernetes.is_some() {
        conf.line("net.ipv4.ip_forward = 1");
        conf.line("net.ipv6.conf.all.forwarding = 1");
        // The kubelet refuses to start where these differ, when asked to protect them.
        conf.line("vm.overcommit_memory = 1");
        conf.line("fs.inotify.max_user_instances = 1024");
    } else {
        conf.line("net.ipv4.ip_forward = 0");
        conf.line("net.ipv6.conf.all.forwarding = 0");
    }
    conf.finish()
}
