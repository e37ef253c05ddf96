//! The block device below DRBD, the file system on it, and keeping everybody else's hands off.

use edgepair_layout::path;
use edgepair_seed::StorageMode;

use crate::conf::Conf;
use crate::names::{BACKING_FILE, BACKING_REF, DATA, DATA_MOUNT, DRBD_DEVICE, DRBD_RESOURCE, STORAGE_UNIT};
use crate::output::Start;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    out.add(format!("/etc/systemd/system/{STORAGE_UNIT}"), storage_unit(context));
    out.unit(STORAGE_UNIT, Start::Boot);
    out.add(format!("/etc/systemd/system/{DATA_MOUNT}"), mount_unit());
    out.unit(DATA_MOUNT, Start::Active);
    out.add("/etc/udev/rules.d/61-edgepair-storage.rules", udev(context));
    out.add("/etc/lvm/lvm.conf", lvm(context));
    out.add("/etc/multipath.conf", multipath());
    // It would punch holes into the preallocated file, through loop device and file system.
    out.unit("fstrim.timer", Start::Masked);
    out.unit("fstrim.service", Start::Masked);
    // Debian's own starts resources by itself; which node may be active is decided elsewhere.
    out.unit("drbd.service", Start::Masked);
}

/// The backing device of DRBD on this node.
#[must_use]
pub fn backing_device(context: &Context<'_>) -> String {
    match context.node().and_then(|node| node.storage_device.clone()) {
        Some(device) => device,
        None => format!("/dev/disk/by-loop-ref/{BACKING_REF}"),
    }
}

/// After the network's configuration and not before it: to write out a large file takes minutes, and an operator must
/// be able to log in meanwhile.
fn storage_unit(context: &Context<'_>) -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=Disk below the replicated storage");
    conf.line(format!("RequiresMountsFor={}", path::STATE_DIR));
    conf.line("Wants=edgepair-provision.service");
    conf.line("After=edgepair-provision.service systemd-udevd.service");
    conf.section("Service");
    conf.line("Type=oneshot");
    conf.line("RemainAfterExit=yes");
    conf.line(format!("ExecStart={} provision --boot --only storage", path::NODE_INIT));
    // Whoever uses the storage is ordered after this unit, so it has stopped by then.
    conf.line(format!("ExecStop=-/usr/sbin/drbdadm down {DRBD_RESOURCE}"));
    if matches!(context.seed.storage.mode, StorageMode::Loop { .. }) {
        conf.line(format!("ExecStop=-/usr/sbin/losetup --detach /dev/disk/by-loop-ref/{BACKING_REF}"));
    }
    conf.line("TimeoutStartSec=infinity");
    conf.line("TimeoutStopSec=30");
    // What a person has to solve is no failure of the unit. What is one, for example a busy box, may be over soon.
    conf.line("Restart=on-failure");
    conf.line("RestartSec=5s");
    conf.line("StandardOutput=journal+console");
    conf.line("StandardError=journal+console");
    conf.finish()
}

fn mount_unit() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=Replicated file system");
    // Started by the agent on the active node only, and never by a device that turns up.
    conf.line("DefaultDependencies=no");
    conf.line("Conflicts=umount.target");
    conf.line("Before=umount.target");
    // At shutdown the file system goes before the disk below it.
    conf.line(format!("After={STORAGE_UNIT}"));
    conf.section("Mount");
    conf.line(format!("What={DRBD_DEVICE}"));
    conf.line(format!("Where={DATA}"));
    conf.line("Type=ext4");
    // After an error of the file system nothing more is acknowledged; the agent then hands over.
    conf.line("Options=noatime,nodiscard,nosuid,nodev,errors=remount-ro,data=ordered,barrier=1");
    conf.line("DirectoryMode=0711");
    conf.line("TimeoutSec=30");
    conf.finish()
}

fn udev(context: &Context<'_>) -> String {
    let mut conf = Conf::new();
    conf.line("# No discards down to the preallocated file.");
    conf.line(format!(
        "SUBSYSTEM==\"block\", KERNEL==\"loop*\", ATTR{{loop/backing_file}}==\"{BACKING_FILE}\", \
         ATTR{{queue/discard_max_bytes}}=\"0\", ENV{{UDISKS_IGNORE}}=\"1\""
    ));
    conf.line("# The replicated device is opened by nobody but its file system.");
    conf.line("SUBSYSTEM==\"block\", KERNEL==\"drbd*\", ENV{UDISKS_IGNORE}=\"1\", OPTIONS+=\"nowatch\"");
    if let Some(link) = context.node().and_then(|node| node.storage_device.as_deref()) {
        let name = link.trim_start_matches("/dev/");
        conf.line(format!(
            "SUBSYSTEM==\"block\", ENV{{DEVLINKS}}==\"*/dev/{name}*\", ENV{{UDISKS_IGNORE}}=\"1\", OPTIONS+=\"nowatch\""
        ));
    }
    conf.finish()
}

/// A volume group inside the replicated storage must not be activated by a standby, nor by its backing device.
fn lvm(context: &Context<'_>) -> String {
    let mut conf = Conf::new();
    let backing = context.node().and_then(|node| node.storage_device.as_deref());
    let mut filters = vec!["r|^/dev/drbd|".to_owned(), "r|^/dev/loop|".to_owned()];
    filters.extend(backing.map(|device| format!("r|^{}$|", device.replace('.', "\\\\."))));
    let filters: Vec<String> = filters.iter().map(|filter| format!("\"{filter}\"")).collect();
    conf.block("devices", |conf| {
        conf.line(format!("global_filter = [ {} ]", filters.join(", ")));
        conf.line("issue_discards = 0");
    });
    conf.finish()
}

fn multipath() -> String {
    let mut conf = Conf::new();
    conf.block("blacklist", |conf| {
        conf.line("devnode \"^drbd[0-9]+\"");
        conf.line("devnode \"^loop[0-9]+\"");
    });
    conf.finish()
}
