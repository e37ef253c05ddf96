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
    &["dm_verity", "erofs", "overlay", "ext4", "vfat", "nls_ascii", "nls_cp437", "crc32c_generic", "loop"];

/// Programs that node-init runs before the root is switched to.
const PROGRAMS: &str = "/usr/lib/edgepair/node-init systemd-repart mkfs.ext4 mke2fs e2fsck resize2fs sfdisk mount umount modprobe";

/// Plans the part that dracut makes: programs, libraries and drivers from the root tree.
pub fn step(definition: &Definition, board: &Board) -> Step {
    let mut drivers: Vec<&str> = DRIVERS.to_vec();
    drivers.extend(board.initrd_modules.iter().map(String::as_str));
    drivers.extend(definition.initrd_modules.iter().map(|module| module.value.as_str()));
    // libgcc_s is what node-init needs beyond the C library, and systemd does not.
    let dracut = format!(
        "exec dracut --sysroot /build/tree --kver \"$(cat /in/kernel-version)\" --kmoddir \"/build/tree/usr/lib/modules/$(cat /in/kernel-version)\" \
         --no-hostonly --no-hostonly-cmdline --reproducible --zstd --no-early-microcode --modules '{MODULES}' --drivers '{}' \
         --install \"{PROGRAMS} $(cd tree && echo usr/lib/*-linux-gnu/libgcc_s.so.1 | sed 's,^,/,') $(cd tree && echo usr/lib/*-linux-gnu/libm.so.6 | sed 's,^,/,')\" \
         --tmpdir /build/tmp /build/initrd",
        drivers.join(" ")
    );
    Step {
        name: "initrd",
        title: format!("Initrd for {}", board.name),
        inputs: vec![
            Input::Output { step: "root", file: "root.tar" },
            Input::Output { step: "root", file: "kernel-version" },
        ],
        files: Vec::new(),
        actions: vec![
            Action::run(["sh", "-c", "mkdir tree tmp && tar -x -C tree -f /in/root.tar"]),
            Action::run(["sh", "-c", &dracut])
                .env("SOURCE_DATE_EPOCH", definition.epoch.value.to_string())
                // The tree being built has no dracut of its own.
                .env("dracutbasedir", "/usr/lib/dracut"),
            Action::run(["rm", "-rf", "tree", "tmp"]),
        ],
        outputs: vec!["initrd"],
        network: false,
        mounts: Vec::new(),
    }
}

/// Plans the part that is ours: node-init and its units, a second archive that the kernel unpacks over the first
/// (kernel, Documentation/driver-api/early-userspace/buffer-format.rst). A new node-init so costs no dracut run.
///
/// # Errors
/// When the overlay folder cannot be read.
pub fn overlay_step(definition: &Definition, overlay: &Path) -> anyhow::Result<Step> {
    let script = format!(
        "mkdir -p tree/usr/lib/edgepair && cp -r /in/initrd-overlay/. tree/ && cp /in/node-init tree/usr/lib/edgepair/node-init && \
         chmod -R u=rwX,go=rX tree && chmod 755 tree/usr/lib/edgepair/node-init && find tree -exec touch -h -d @{} {{}} + && cd tree && \
         find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible | zstd -q -15 > ../initrd-overlay.cpio.zst && \
         cd .. && rm -rf tree",
        definition.epoch.value
    );
    Ok(Step {
        name: "initrd-own",
        title: "node-init for the initrd".to_owned(),
        inputs: vec![
            Input::Output { step: "node-init", file: "node-init" },
            Input::Host {
                name: "initrd-overlay".into(),
                path: overlay.to_owned(),
                digest: digest_of_folder(overlay).context("the initrd's overlay")?,
            },
        ],
        files: Vec::new(),
        actions: vec![Action::run(["sh", "-c", &script])],
        outputs: vec!["initrd-overlay.cpio.zst"],
        network: false,
        mounts: Vec::new(),
    })
}
