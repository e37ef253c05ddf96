//! Time, watchdog, journal, kernel settings.

use crate::conf::Conf;
use crate::output::Start;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    out.add("/etc/systemd/timesyncd.conf.d/10-edgepair.conf", time(context));
    out.unit("systemd-timesyncd.service", Start::Boot);
    out.add("/etc/systemd/journald.conf.d/10-edgepair.conf", journal(context));
    out.add("/etc/systemd/system.conf.d/10-edgepair.conf", watchdog(context));
    out.add("/etc/sysctl.d/90-edgepair.conf", sysctl(context));
}

fn time(context: &Context<'_>) -> String {
    let servers = &context.seed.network.ntp;
    let mut conf = Conf::new();
    conf.section("Time");
    if !servers.is_empty() {
        conf.line(format!("NTP={}", servers.join(" ")));
        // With servers of its own a site does not want others asked.
        conf.line("FallbackNTP=");
    }
    // Boards without a battery start in the past; the last known time is kept every minute.
    conf.line("SaveIntervalSec=60");
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
        conf.line(format!("RuntimeWatchdogSec={}ms", watchdog.timeout_ms));
        conf.line("RebootWatchdogSec=2min");
        if let Some(device) = &watchdog.device {
            conf.line(format!("WatchdogDevice={device}"));
        }
    } else {
        conf.line("RuntimeWatchdogSec=off");
        conf.line("RebootWatchdogSec=off");
    }
    // A unit that hangs on frozen storage must not hold up the others at shutdown for long.
    conf.line("DefaultTimeoutStopSec=30s");
    conf.finish()
}

fn sysctl(context: &Context<'_>) -> String {
    let mut conf = Conf::new();
    conf.lines([
        // A node that panics is gone for the pair; the sooner it is back the better.
        "kernel.panic = 3",
        "kernel.panic_on_oops = 1",
        "net.ipv4.conf.all.accept_redirects = 0",
        "net.ipv4.conf.all.send_redirects = 0",
        "net.ipv4.conf.all.accept_source_route = 0",
        // With two links a node must not answer for one on the other.
        "net.ipv4.conf.all.arp_ignore = 1",
        "net.ipv4.conf.all.arp_announce = 2",
        "net.ipv6.conf.all.accept_redirects = 0",
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
