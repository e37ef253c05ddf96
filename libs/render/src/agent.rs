//! The units of `node-init agent`, and of `node-init leave` at the end.

use edgepair_layout::path;

use crate::Rendered;
use crate::conf::Conf;
use crate::names::{AGENT_UNIT, LEAVE_UNIT, STORAGE_UNIT};
use crate::output::Start;
use crate::timing::AGENT_WATCHDOG_MS;

pub(crate) fn render(out: &mut Rendered) {
    out.add(format!("/etc/systemd/system/{AGENT_UNIT}"), unit());
    out.unit(AGENT_UNIT, Start::Boot);
    out.add(format!("/etc/systemd/system/{LEAVE_UNIT}"), leave_unit());
    out.unit(LEAVE_UNIT, Start::Boot);
}

/// A standby that goes down in order disconnects, and from then on the active node writes alone without having asked
/// anybody. So the right to it is claimed first. Stops before everything that it needs: agent, DRBD, network.
fn leave_unit() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=edgepair: takes leave of the other node before this one goes down");
    conf.line(format!(
        "After={AGENT_UNIT} {STORAGE_UNIT} systemd-networkd.service nftables.service dbus.socket"
    ));
    conf.section("Service");
    conf.line("Type=oneshot");
    conf.line("RemainAfterExit=yes");
    // Without the other node's leave this one goes down all the same: as if the power had gone, which is safe.
    conf.line(format!("ExecStop=-{} leave", path::NODE_INIT));
    conf.line("TimeoutStopSec=20");
    conf.line("NoNewPrivileges=yes");
    conf.line("ProtectSystem=strict");
    conf.line("ProtectHome=yes");
    conf.line("RestrictAddressFamilies=AF_UNIX");
    conf.finish()
}

fn unit() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=edgepair: holds the active role on one of the two nodes");
    conf.line("Wants=dbus.socket");
    conf.line("After=dbus.socket edgepair-provision.service");
    // Started anew a few times; a node whose agent cannot live must not stay, whatever it holds. Not FailureAction: a
    // service that is started anew passes through "failed" each time, and one killed agent would reset the node.
    conf.line("StartLimitIntervalSec=60");
    conf.line("StartLimitBurst=10");
    conf.line("StartLimitAction=reboot-immediate");
    conf.section("Service");
    conf.line("Type=notify");
    conf.line(format!("ExecStart={} agent", path::NODE_INIT));
    conf.line(format!("WatchdogSec={AGENT_WATCHDOG_MS}ms"));
    conf.line("Restart=always");
    conf.line("RestartSec=500ms");
    conf.line("TimeoutStartSec=30");
    // A drbdadm that waits in the kernel must not hold the stop up.
    conf.line("TimeoutStopSec=5");
    conf.line("TimeoutAbortSec=1");
    conf.line("OOMScoreAdjust=-950");
    conf.line("Nice=-10");
    conf.line("NoNewPrivileges=yes");
    // Mounts below /var must come and go here as they do outside, or an unmounted device would stay in use.
    conf.line("ProtectSystem=full");
    // Boot entries of the other slot; mounted read-only except while one is written.
    conf.line("ReadWritePaths=-/efi");
    conf.line("ProtectHome=yes");
    conf.line("ProtectControlGroups=yes");
    conf.line("ProtectKernelModules=yes");
    conf.line("RestrictNamespaces=yes");
    conf.line("RestrictRealtime=yes");
    conf.line("RestrictSUIDSGID=yes");
    conf.line("LockPersonality=yes");
    conf.line("MemoryDenyWriteExecute=yes");
    conf.line("SystemCallArchitectures=native");
    conf.line("RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6 AF_PACKET");
    // drbdadm, mount checks, database programs as their own user, the reset; ARP probes (CAP_NET_RAW, AF_PACKET).
    conf.line(
        "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_BOOT CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER \
         CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_KILL",
    );
    conf.finish()
}
