//! The initrd: only what this board needs to reach its disk, check the root and hand over to it.

use super::tools::host_architecture;
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

/// What dracut's module `dm` brings along and no board boots from; together more than a megabyte.
const OMITTED: &[&str] = &[
    "bcache",
    "dlm",
    "drbd",
    "md_mod",
    "md_cluster",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
    "dm_bio_prison",
    "dm_cache",
    "dm_cache_smq",
    "dm_crypt",
    "dm_delay",
    "dm_era",
    "dm_flakey",
    "dm_integrity",
    "dm_log",
    "dm_log_userspace",
    "dm_log_writes",
    "dm_mirror",
    "dm_multipath",
    "dm_persistent_data",
    "dm_queue_length",
    "dm_raid",
    "dm_region_hash",
    "dm_round_robin",
    "dm_service_time",
    "dm_historical_service_time",
    "dm_io_affinity",
    "dm_snapshot",
    "dm_switch",
    "dm_thin_pool",
    "dm_unstripe",
    "dm_writecache",
    "dm_zero",
    "dm_zoned",
    "dm_clone",
    "dm_dust",
    "dm_ebs",
    "dm_ps_historical_service_time",
];

/// Programs that node-init runs before the root is switched to. It is not among them: the initrd runs the one of the
/// root, which is mounted and verified by then.
const PROGRAMS: &str = "systemd-repart mkfs.ext4 mke2fs e2fsck resize2fs sfdisk mount umount modprobe";

/// dracut asks `ldd` what a program needs, and that of the tools tree knows its own architecture only. The loader of the
/// root being built can list libraries too; the kernel runs it through qemu-user. What is no program must say so in
/// ldd's words, or dracut takes the error for a path (dracut-install(8), `DRACUT_LDD`).
const FOREIGN_LDD: &str = "#!/bin/sh\n\
    loader=$(cd /build/tree && echo /lib/ld-linux-*.so.*)\n\
    chroot /build/tree \"$loader\" --list \"${1#/build/tree}\" 2>/dev/null || echo 'not a dynamic executable'\n";

/// Plans the part that dracut makes: programs, libraries and drivers from the root tree.
pub fn step(definition: &Definition, board: &Board) -> Step {
    let mut drivers: Vec<&str> = DRIVERS.to_vec();
    drivers.extend(board.initrd_modules.iter().map(String::as_str));
    drivers.extend(definition.initrd_modules.iter().map(|module| module.value.as_str()));
    let omitted: Vec<&str> = OMITTED.iter().copied().filter(|module| !drivers.contains(module)).collect();
    // libgcc_s and libm are what node-init needs beyond the C library, and systemd does not. zstd at level 19 takes
    // 8 MiB to unpack and is 8.6 % smaller than dracut's 15; level 22 saves 1.6 % more and would take 64 MiB.
    let dracut = format!(
        "exec dracut --sysroot /build/tree --kver \"$(cat /in/kernel-version)\" --kmoddir \"/build/tree/usr/lib/modules/$(cat /in/kernel-version)\" \
         --no-hostonly --no-hostonly-cmdline --reproducible --compress 'zstd -q -19' --no-early-microcode --modules '{MODULES}' \
         --drivers '{}' --omit-drivers '{}' \
         --install \"{PROGRAMS} $(cd tree && echo usr/lib/*-linux-gnu/libgcc_s.so.1 | sed 's,^,/,') $(cd tree && echo usr/lib/*-linux-gnu/libm.so.6 | sed 's,^,/,')\" \
         --tmpdir /build/tmp /build/initrd",
        drivers.join(" "),
        omitted.join(" ")
    );
    let mut run_dracut = Action::run(["sh", "-c", &dracut])
        .env("SOURCE_DATE_EPOCH", definition.epoch.value.to_string())
        // The tree being built has no dracut of its own.
        .env("dracutbasedir", "/usr/lib/dracut");
    let mut files = Vec::new();
    if board.architecture.debian != host_architecture() {
        files.push(("ldd".to_owned(), FOREIGN_LDD.to_owned()));
        run_dracut = run_dracut.env("DRACUT_LDD", "/build/ldd");
    }
    Step {
        name: "initrd",
        title: format!("Initrd for {}", board.name),
        inputs: vec![
            Input::Output { step: "root", file: "root.tar" },
            Input::Output { step: "root", file: "kernel-version" },
        ],
        files,
        actions: vec![
            // An ordinary user cannot make device nodes, and dracut needs none.
            Action::run(["sh", "-c", "mkdir tree tmp && tar -x -C tree --exclude='./dev/*' -f /in/root.tar"]),
            run_dracut,
            Action::run(["rm", "-rf", "tree", "tmp"]),
        ],
        outputs: vec!["initrd"],
        network: false,
        mounts: Vec::new(),
    }
}

/// Plans the part that is ours: the units that run the root's node-init, a second archive that the kernel unpacks over
/// the first (kernel, Documentation/driver-api/early-userspace/buffer-format.rst). A change of it costs no dracut run.
///
/// # Errors
/// When the overlay folder cannot be read.
pub fn overlay_step(definition: &Definition, overlay: &Path) -> anyhow::Result<Step> {
    let script = format!(
        "mkdir tree && cp -r /in/initrd-overlay/. tree/ && chmod -R u=rwX,go=rX tree && find tree -exec touch -h -d @{} {{}} + && cd tree && \
         find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible | zstd -q -19 > ../initrd-overlay.cpio.zst && \
         cd .. && rm -rf tree",
        definition.epoch.value
    );
    Ok(Step {
        name: "initrd-overlay",
        title: "Our units for the initrd".to_owned(),
        inputs: vec![Input::Host {
            name: "initrd-overlay".into(),
            path: overlay.to_owned(),
            digest: digest_of_folder(overlay).context("the initrd's overlay")?,
        }],
        files: Vec::new(),
        actions: vec![Action::run(["sh", "-c", &script])],
        outputs: vec!["initrd-overlay.cpio.zst"],
        network: false,
        mounts: Vec::new(),
    })
}
