//! The block device below DRBD, the file system on it, and keeping everybody else's hands off.

use edgepair_layout::path;
use edgepair_seed::StorageMode;

use crate::conf::Conf;
use crate::names::{BACKING_FILE, BACKING_REF, BACKING_UNIT, DATA, DATA_MOUNT, DRBD_DEVICE};
use crate::output::Start;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    if matches!(context.seed.storage.mode, StorageMode::Loop { .. }) {
        out.add(format!("/etc/systemd/system/{BACKING_UNIT}"), backing_unit());
        out.unit(BACKING_UNIT, Start::Boot);
    }
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
pub(crate) fn backing_device(context: &Context<'_>) -> String {
    match context.node().and_then(|node| node.storage_device.clone()) {
        Some(device) => device,
        None => format!("/dev/disk/by-loop-ref/{BACKING_REF}"),
    }
}

fn backing_unit() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=Backing device of the replicated storage");
    conf.line("DefaultDependencies=no");
    conf.line(format!("RequiresMountsFor={}", path::STATE_DIR));
    conf.line("After=systemd-udevd.service");
    conf.line("Conflicts=umount.target");
    // The file is made by provisioning, once; before that there is nothing to attach.
    conf.line(format!("ConditionPathExists={BACKING_FILE}"));
    conf.section("Service");
    conf.line("Type=oneshot");
    conf.line("RemainAfterExit=yes");
    // Direct I/O: no second copy in memory, and a flush of the device is a flush of the file.
    conf.line(format!("ExecStart=/usr/sbin/losetup --find --nooverlap --direct-io=on --loop-ref={BACKING_REF} {BACKING_FILE}"));
    conf.line("ExecStart=/usr/bin/udevadm settle --timeout=10");
    conf.line(format!("ExecStop=/usr/sbin/losetup --detach /dev/disk/by-loop-ref/{BACKING_REF}"));
    conf.finish()
}

fn mount_unit() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=Replicated file system");
    // Started by the agent on the active node only, and never by a device that turns up.
    conf.line("DefaultDependencies=no");
    conf.line("Conflicts=umount.target");
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
