//! The initrd: only what this board needs to reach its disk, check the root and hand over to it.

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::digest_of_folder;
use crate::engine::step::{Action, Input, Step};
use anyhow::Context;
use std::path::Path;

const MODULES: &str = "systemd systemd-initrd systemd-veritysetup dm base fs-lib rootfs-block kernel-modules udev-rules \
                       dracut-systemd systemd-udevd systemd-journald systemd-tmpfiles systemd-sysctl systemd-modules-load";

/// Drivers that every board needs: what the root and the state partition consist of.
const DRIVERS: &[&str] =
    &["dm_verity", "erofs", "overlay", "ext4", "vfat", "nls_ascii", "nls_cp437", "crc32c_generic"];

/// Programs that node-init runs before the root is switched to.
const PROGRAMS: &str =
    "/usr/lib/edgepair/node-init systemd-repart mkfs.ext4 e2fsck resize2fs sfdisk mount umount";

/// Plans the step. `overlay` is the folder that is laid over the initrd.
///
/// # Errors
/// When the overlay cannot be read.
pub fn step(definition: &Definition, board: &Board, overlay: &Path) -> anyhow::Result<Step> {
    let mut drivers: Vec<&str> = DRIVERS.to_vec();
    drivers.extend(board.initrd_modules.iter().map(String::as_str));
    drivers.extend(definition.initrd_modules.iter().map(|module| module.value.as_str()));
    // dracut asks the tree's own tools about libraries; with --sysroot everything is taken from the unpacked root.
    let dracut = format!(
        "exec dracut --sysroot /build/tree --kver \"$(cat /in/kernel-version)\" --kmoddir \"/build/tree/usr/lib/modules/$(cat /in/kernel-version)\" \
         --no-hostonly --no-hostonly-cmdline --reproducible --zstd --no-early-microcode --modules '{MODULES}' --drivers '{}' \
         --install '{PROGRAMS}' --include /in/initrd-overlay / --tmpdir /build/tmp /build/initrd",
        drivers.join(" ")
    );
    let tree = "mkdir tree tmp && tar -x -C tree -f /in/root.tar && mkdir -p tree/usr/lib/edgepair && \
                cp /in/node-init tree/usr/lib/edgepair/node-init && chmod 755 tree/usr/lib/edgepair/node-init";
    Ok(Step {
        name: "initrd",
        title: format!("Initrd for {}", board.name),
        inputs: vec![
            Input::Output { step: "root", file: "root.tar" },
            Input::Output { step: "root", file: "kernel-version" },
            Input::Output { step: "node-init", file: "node-init" },
            Input::Host {
                name: "initrd-overlay".into(),
                path: overlay.to_owned(),
                digest: digest_of_folder(overlay).context("the initrd's overlay")?,
            },
        ],
        files: Vec::new(),
        actions: vec![
            Action::run(["sh", "-c", tree]),
            Action::run(["sh", "-c", &dracut])
                .env("SOURCE_DATE_EPOCH", definition.epoch.value.to_string())
                // The tree being built has no dracut of its own.
                .env("dracutbasedir", "/usr/lib/dracut"),
            Action::run(["rm", "-rf", "tree", "tmp"]),
        ],
        outputs: vec!["initrd"],
        network: false,
        mounts: Vec::new(),
    })
}
