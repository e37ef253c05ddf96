//! Secure Boot on a machine that has only the user's keys: what was signed boots, what was changed does not.

use super::{Context, Scenario};
use crate::harness::Image;
use crate::harness::vm::{Begin, Config, Vm};
use anyhow::{Context as _, ensure};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner};
use std::fs;
use std::path::Path;

pub const SCENARIO: Scenario = Scenario {
    name: "secure-boot",
    shows: "with only the user's keys in the firmware: the signed image boots, one changed byte in its kernel image and an unsigned loader do not",
    run,
};

/// Whose keys the firmware is told they are; any UUID does (UEFI specification 2.10, section 32.4.1).
const OWNER: &str = "6d1f5e0a-6a0c-4f0e-9d0b-0a5f7c1b8e21";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let keys = context
        .secure_boot
        .context("this scenario needs --secure-boot DIR: the keys that the image was signed with")?;
    let disk = context.dir.join("signed.img");
    super::written_copies::decompress(&context.image.image, &disk)?;

    // First what must not boot: it ends within seconds of the firmware, long before a kernel.
    let tampered = context.dir.join("tampered.img");
    copy(&disk, &tampered)?;
    let where_changed = tamper(context, &tampered)?;
    let mut vm = start(context, keys, "tampered", &tampered)?;
    refused(context, &mut vm, "the kernel image with one changed byte")?;
    println!(
        "  one byte changed at {where_changed} of the kernel image: the loader is refused it, no kernel ran"
    );
    vm.kill();
    drop(vm);
    fs::remove_file(&tampered)?;

    let unsigned = context.dir.join("unsigned.img");
    copy(&disk, &unsigned)?;
    strip_loader(context, &unsigned)?;
    let mut vm = start(context, keys, "unsigned", &unsigned)?;
    refused(context, &mut vm, "a loader without signature")?;
    println!("  the loader without its signature: the firmware refuses it");
    vm.kill();
    drop(vm);
    fs::remove_file(&unsigned)?;

    let mut vm = start(context, keys, "signed", &disk)?;
    let status = super::boot::wait_until_ready(context, &mut vm)?;
    println!("  signed: {status}");
    // The variable's first four bytes are its attributes.
    let on = vm
        .guest
        .run("od -An -t u1 -j 4 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")?;
    ensure!(on.trim() == "1", "the kernel booted, but not under Secure Boot: {on}");
    let lockdown = vm.guest.run("cat /sys/kernel/security/lockdown 2>/dev/null || true")?;
    println!(
        "  SecureBoot=1, kernel lockdown: {}",
        if lockdown.is_empty() { "not built in" } else { lockdown.trim() }
    );
    vm.kill();
    fs::remove_file(&disk)?;
    Ok(())
}

/// Waits for the firmware's or the loader's refusal; a kernel that speaks is a failure.
fn refused(context: &Context<'_>, vm: &mut Vm, what: &str) -> anyhow::Result<()> {
    let said = vm.serial.wait_for(
        &[
            "Access denied",
            "Access Denied",
            "Security Violation",
            "Security violation",
            "ready after",
            "NOT WELL",
        ],
        context.seconds(60),
    )?;
    ensure!(said != "ready after" && said != "NOT WELL", "{what} was booted");
    let log = vm.serial.text();
    ensure!(!log.contains("Linux version"), "{what}: a kernel ran all the same");
    Ok(())
}

/// A machine whose firmware enforces Secure Boot with the user's keys and no others.
fn start(context: &Context<'_>, keys: &Path, name: &str, disk: &Path) -> anyhow::Result<Vm> {
    let dir = context.dir.join(name);
    fs::create_dir_all(&dir)?;
    let sandbox = Sandbox { tools: context.image.tools.clone() };
    let mounts = [
        Mount { source: dir.clone(), target: "/build".into(), writable: true },
        Mount { source: keys.to_owned(), target: "/in/keys".into(), writable: false },
    ];
    let enrol = [
        "virt-fw-vars",
        "--input",
        &context.image.qemu.firmware_vars,
        "--output",
        "/build/enrolled.fd",
        "--set-pk",
        OWNER,
        "/in/keys/PK.crt",
        "--add-kek",
        OWNER,
        "/in/keys/KEK.crt",
        "--add-db",
        OWNER,
        "/in/keys/db.crt",
        "--secure-boot",
    ]
    .map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&enrol, &[], &mounts, false)).context("enrol the keys")?;

    let mut image: Image = context.image.clone();
    // The firmware build that enforces, with its variables behind system management mode (edk2, OvmfPkg/README).
    image.qemu.firmware_code = image.qemu.firmware_code.replace("OVMF_CODE_4M.fd", "OVMF_CODE_4M.secboot.fd");
    ensure!(
        image.qemu.firmware_code != context.image.qemu.firmware_code,
        "no firmware with Secure Boot is known here"
    );
    image.qemu.machine = format!("{},smm=on", image.qemu.machine);
    image.qemu.firmware_vars = "/build/enrolled.fd".into();
    let config = Config {
        extra: ["-global", "driver=cfi.pflash01,property=secure,value=on"].map(str::to_owned).into(),
        ..Config::plain(name, disk, 6 << 30)
    };
    Vm::prepare(&image, &config, &dir)?;
    Vm::start(&image, &config, &dir, context.accel, Begin::Running)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let call = edgepair_host_io::Invocation::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(from.to_string_lossy())
        .arg(to.to_string_lossy());
    HostRunner.run(&call).context("copy of the disk")?;
    Ok(())
}

/// Runs a script in the tools tree beside a disk; `$esp` is the boot partition as mtools names it.
fn with_esp(context: &Context<'_>, disk: &Path, script: &str) -> anyhow::Result<String> {
    let offset = super::corrupt_root::partition_start(&fs::File::open(disk)?, "esp")?;
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let sandbox = Sandbox { tools: context.image.tools.clone() };
    let mounts = [Mount { source: context.dir.to_owned(), target: "/build".into(), writable: true }];
    let script = format!("set -eu; cd /build; esp={name}@@{offset}; {script}");
    let argv = ["sh", "-c", &script].map(str::to_owned);
    let env = [("MTOOLS_SKIP_CHECK".to_owned(), "1".to_owned())];
    Ok(HostRunner.run(&sandbox.wrap(&argv, &env, &mounts, false)).context("the boot partition")?.text())
}

/// Changes one byte in the middle of the kernel image, where the initrd is: the loader could start it.
fn tamper(context: &Context<'_>, disk: &Path) -> anyhow::Result<String> {
    with_esp(
        context,
        disk,
        "uki=$(mdir -b -i $esp ::/EFI/Linux | head -n 1); mcopy -i $esp \"$uki\" uki.efi; \
         at=$(( $(stat -c %s uki.efi) / 2 )); old=$(od -An -t u1 -j $at -N 1 uki.efi); \
         printf \"\\\\$(printf %o $(( (old + 1) % 256 )))\" | dd of=uki.efi bs=1 seek=$at conv=notrunc status=none; \
         mcopy -o -i $esp uki.efi \"$uki\"; rm uki.efi; printf '%s' $at",
    )
}

/// Takes the signature off the loader.
fn strip_loader(context: &Context<'_>, disk: &Path) -> anyhow::Result<()> {
    with_esp(
        context,
        disk,
        "mcopy -i $esp ::/EFI/BOOT/BOOTX64.EFI loader.efi; sbattach --remove loader.efi; \
         mcopy -o -i $esp loader.efi ::/EFI/BOOT/BOOTX64.EFI; rm loader.efi",
    )?;
    Ok(())
}
