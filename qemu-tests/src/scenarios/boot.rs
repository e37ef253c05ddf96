//! The flashed image boots to ready, twice, with nothing failed.

use super::{Context, Scenario};
use crate::harness::Deadline;
use crate::harness::vm::{Begin, Config, Vm};
use anyhow::{Context as _, ensure};
use std::fs;

pub const SCENARIO: Scenario = Scenario {
    name: "boot",
    shows: "a flashed disk boots to ready, first and second time, with zero failed units, a read-only root and a state partition",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    // The bytes that a user flashes: the compressed image written out, not the builder's own file.
    let disk = context.dir.join("flashed.img");
    super::written_copies::decompress(&context.image.image, &disk)?;
    let config =
        Config { networks: vec!["user,restrict=on".into()], ..Config::plain("boot", &disk, 6 << 30) };
    let dir = context.dir.join("vm");
    Vm::prepare(context.image, &config, &dir)?;

    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    let first = wait_until_ready(context, &mut vm)?;
    println!("  first boot: {first}");
    ensure!(
        first.contains("ready after") && first.contains("is good"),
        "the first boot is not called good: {first}"
    );
    let failed = vm.guest.run("systemctl --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "failed units:\n{failed}");
    ensure!(vm.guest.run("systemctl is-system-running || true")? == "running", "the system is not running");
    println!("  systemctl --failed: empty");

    // Every unit that is off has a reason, and what has a reason is off.
    let reasons = vm.guest.run("cat /usr/lib/edgepair/units")?;
    for line in reasons.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let (kind, unit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let state = vm.guest.run(&format!("systemctl is-enabled {unit} 2>/dev/null || true"))?;
        let active = vm.guest.run(&format!("systemctl is-active {unit} || true"))?;
        println!("  {kind} {unit}: {} ({state}, {active})", words.next().unwrap_or_default());
        let off = if kind == "masked" { state == "masked" } else { state != "enabled" };
        ensure!(
            off && active != "active" && active != "failed",
            "{unit} should be {kind}, is {state} and {active}"
        );
    }
    println!("{}", indent(&vm.guest.run("findmnt --real --output TARGET,SOURCE,FSTYPE,OPTIONS")?));
    println!("{}", indent(&vm.guest.run("lsblk --output NAME,SIZE,TYPE,PARTLABEL,FSTYPE,MOUNTPOINTS")?));
    println!("{}", indent(&vm.guest.run("systemd-analyze time; systemd-analyze blame | head -n 8")?));

    // The root cannot be written, not even by root and not even after asking for it.
    for attempt in [
        "touch /usr/x",
        "mount -o remount,rw / && touch /usr/x",
        "dd if=/dev/zero of=/dev/mapper/root bs=4096 count=1",
    ] {
        let answer = vm.guest.try_run(attempt, context.seconds(10))?;
        ensure!(answer.status != 0, "`{attempt}` succeeded:\n{}", answer.text);
    }
    println!("  the root refuses writes: touch, remount, dd");

    let id = vm.guest.run("cat /etc/machine-id /etc/hostname")?;
    let uuids = vm.guest.run("lsblk --noheadings --list --output PARTLABEL,PARTUUID /dev/vda | sort")?;
    let size: u64 = vm.guest.run("findmnt --noheadings --bytes --output SIZE /var")?.trim().parse()?;
    ensure!(size > 3 << 30, "the state partition did not take the rest of the disk: {size} bytes");
    let counted = vm.guest.run("ls /efi/EFI/Linux")?;
    ensure!(
        counted == format!("edgepair_{}.efi", context.image.version),
        "the attempt counter is still there: {counted}"
    );
    ensure!(
        vm.guest
            .run(
                "node-init provision --dry-run 2>/dev/null || /usr/lib/edgepair/node-init provision --dry-run"
            )?
            .contains("no step is missing"),
        "provision is not idempotent"
    );
    vm.guest.run("echo kept > /var/lib/edgepair/test; sync")?;

    let screen = vm.serial.text();
    for part in ["version", "slot       A on vda", "addresses", "waits for  a seed"] {
        ensure!(screen.contains(part), "the serial screen does not show `{part}`");
    }
    vm.power_off(context.seconds(30)).context("orderly power off")?;

    // The second boot: same identity, state kept, nothing made anew.
    fs::rename(dir.join("serial.log"), dir.join("serial-first.log"))?;
    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    let second = wait_until_ready(context, &mut vm)?;
    println!("  second boot: {second}");
    ensure!(vm.guest.run("cat /etc/machine-id /etc/hostname")? == id, "the identity changed");
    ensure!(vm.guest.run("cat /var/lib/edgepair/test")? == "kept", "state was not kept");
    ensure!(
        vm.guest.run("grep -c '\"first_boot\": false' /run/edgepair/booted.json")? == "1",
        "the second boot thinks it is the first"
    );
    let again = vm.guest.run("lsblk --noheadings --list --output PARTLABEL,PARTUUID /dev/vda | sort")?;
    ensure!(again == uuids, "partition UUIDs changed:\n{uuids}\n{again}");
    vm.kill();
    Ok(())
}

/// Waits for the shell and the verdict; returns the screen's status line.
pub fn wait_until_ready(context: &Context<'_>, vm: &mut Vm) -> anyhow::Result<String> {
    let deadline = context.seconds(100);
    let ends = ["ready after", "NOT WELL", "Kernel panic", "emergency mode", "Out of memory"];
    loop {
        let moment = Deadline::seconds(deadline.left().as_secs().min(5));
        match vm.serial.wait_for(&ends, moment) {
            Err(error) if deadline.passed() => return Err(error),
            Err(_) => vm.unstick()?,
            Ok(_) => break,
        };
    }
    vm.wait_shell(deadline)?;
    let log = vm.serial.text();
    if let Some(line) =
        log.lines().find(|line| line.contains("Kernel panic") || line.contains("Out of memory"))
    {
        anyhow::bail!("{}", line.trim());
    }
    let status = log
        .lines()
        .rev()
        .find(|line| line.contains("ready after") || line.contains("NOT WELL"))
        .unwrap_or("no status line")
        .trim();
    if status.contains("NOT WELL") {
        let why = vm.guest.run(
            "systemctl --failed --no-legend --plain; journalctl -b -p warning --no-pager | tail -n 40",
        )?;
        anyhow::bail!("{status}\n{why}");
    }
    Ok(status.to_owned())
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
