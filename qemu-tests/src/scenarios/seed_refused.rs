//! What a box refuses: a bad seed, a disk with somebody's data, the seed of another pair. With a clock that is at 1970.

use super::seed_one_node::{NODE_INIT, config, indent, put_seed, wait_provisioned};
use super::{Context, Scenario};
use crate::harness::site::{Side, Site, Wishes};
use crate::harness::vm::{Begin, Config, Vm};
use anyhow::{Context as _, ensure};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner, digest};
use edgepair_seed_place::Payload;
use std::path::Path;

pub const SCENARIO: Scenario = Scenario {
    name: "seed-refused",
    shows: "with its clock at 1970, a box shows all findings of a bad seed on its console, takes the corrected one without \
            a reboot, leaves a disk with foreign data alone, and as a member of a pair refuses another pair's seed",
    run,
};

/// Ten errors.
const BAD: &str = r#"schema = 1
[pair]
name = "Site 042"
virtual_ip = "192.0.2.50"
secret = "short"
[node.a]
mac = "52:54:00:00:00"
address = "192.0.2.60/33"
[node.b]
mac = "52:54:00:00:00:02"
address = "192.0.2.300/24"
[storage]
mode = "lop"
size = "8 potatoes"
[failover]
mode = "witness"
[acces]
ssh_keys = []
"#;

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let dir = context.dir.join("vm");
    std::fs::create_dir_all(&dir)?;
    let disk = context.dir.join("flashed.img");
    crate::harness::site::copy_sparse(&context.image.disk, &disk)?;
    let mut payload = Payload::default();
    payload.file("seed.toml", BAD.as_bytes());
    edgepair_seed_place::put(&disk, &payload)?;
    let foreign = make_foreign(context, &dir)?;
    let extra = [
        "-rtc",
        "base=1970-01-01T00:00:00",
        "-blockdev",
        "driver=raw,node-name=other,file.driver=file,file.filename=/build/other.img",
        "-device",
        "virtio-blk-pci,drive=other,serial=other-disk",
    ];
    let config = Config { disk, ..config(context, "refused", &extra) };
    Vm::prepare(context.image, &config, &dir)?;
    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    super::boot::wait_until_ready(context, &mut vm)?;

    let screen = vm.guest.run(&format!("{NODE_INIT} console --once"))?;
    let findings: Vec<&str> =
        screen.lines().map(str::trim).filter(|line| line.starts_with("seed.toml:")).collect();
    ensure!(findings.len() >= 10, "{} findings on the screen:\n{screen}", findings.len());
    for (line, key) in [
        (3, "pair.name"),
        (4, "pair.virtual_ip"),
        (8, "node.a.address"),
        (11, "node.b.address"),
        (13, "storage.mode"),
    ] {
        let found = findings
            .iter()
            .any(|finding| finding.starts_with(&format!("seed.toml:{line}:")) && finding.contains(key));
        ensure!(found, "no finding at line {line} about {key}:\n{screen}");
    }
    ensure!(vm.serial.text().contains("seed.toml:13:"), "the findings are not on the serial console");
    println!("  a bad seed: {} findings on the console\n{}", findings.len(), indent(&findings.join("\n")));
    println!("  the box's clock: {}", vm.guest.run("hwclock --get 2>/dev/null || date")?);
    let failed = vm.guest.run("systemctl --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "failed units:\n{failed}");

    // A corrected seed, whose disk holds somebody's file system.
    let site = Site::make(&context.dir.join("seed"), &Wishes::manual("site-042", context.accel))?;
    let text = with_disk(&site.text)?;
    put_seed(&mut vm, &text, &site)?;
    let apply = format!("{NODE_INIT} provision --apply /run/given/seed.toml");
    let answer = vm.guest.try_run(&apply, context.seconds(60))?;
    ensure!(
        answer.status == 1 && answer.text.contains("ext4"),
        "a disk with an ext4 file system:\n{}",
        answer.text
    );
    ensure!(vm.guest.run("hostname")? == "site-042-a", "the rest of the seed is not in force");
    let screen = vm.guest.run(&format!("{NODE_INIT} console --once"))?;
    ensure!(
        screen.contains("ext4") && !screen.contains("seed.toml:"),
        "the screen is not up to date:\n{screen}"
    );
    let after = vm.guest.run("sync; sha256sum /dev/disk/by-id/virtio-other-disk | cut -d' ' -f1")?;
    ensure!(after == foreign, "the disk with foreign data was written to");
    println!("  {}", answer.text.lines().find(|line| line.contains("ext4")).unwrap_or_default());

    // Emptied by hand, as the message says, the same seed goes on. No reboot so far.
    let disk = "/dev/disk/by-id/virtio-other-disk";
    vm.guest.run(&format!("wipefs --quiet --all {disk} && dd if=/dev/zero of={disk} bs=1M count=1 conv=fsync status=none && dd if=/dev/zero of={disk} bs=1M seek=1535 count=1 conv=fsync status=none"))?;
    let said = vm.guest.run(&format!("{NODE_INIT} provision"))?;
    ensure!(said.contains("step metadata done") && said.contains("up attach done"), "an empty disk:\n{said}");
    wait_provisioned(context, &mut vm)?;
    ensure!(vm.guest.run("journalctl --list-boots --no-pager -q | wc -l")?.trim() == "1", "it was rebooted");
    println!("  emptied by hand: metadata made and attached, without a reboot");

    another_pair(context, &mut vm, &site, &text)?;
    vm.kill();

    // The bad seed still lies on the partition; the last good one stays in force.
    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    super::boot::wait_until_ready(context, &mut vm)?;
    ensure!(vm.guest.run("hostname")? == "site-042-a", "the last good seed is not in force");
    let screen = vm.guest.run(&format!("{NODE_INIT} console --once"))?;
    ensure!(screen.contains("stays in force"), "the screen does not say what is in force:\n{screen}");
    wait_provisioned(context, &mut vm).context("the next boot")?;
    println!("  next boot: the bad seed is refused again, the last good one stays in force");
    vm.kill();
    Ok(())
}

/// The lab's seed with a disk of its own for the storage.
fn with_disk(text: &str) -> anyhow::Result<String> {
    let from = "mode = \"loop\"\nsize = \"1GiB\"";
    ensure!(text.contains(from), "the lab's seed has another form");
    Ok(text.replace(from, "mode = \"device\"\ndevice = \"/dev/disk/by-id/virtio-other-disk\""))
}

/// A disk with somebody's file system; returns its digest.
fn make_foreign(context: &Context<'_>, dir: &Path) -> anyhow::Result<String> {
    let sandbox = Sandbox { tools: context.image.tools.clone() };
    let mounts = [Mount { source: dir.to_owned(), target: "/build".into(), writable: true }];
    let make = "truncate -s 1536M /build/other.img && mkfs.ext4 -q -L photos /build/other.img";
    let argv = ["sh", "-c", make].map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false)).context("a foreign file system")?;
    Ok(digest::of_file(&dir.join("other.img"))?)
}

/// As the disk has been in use, the box is a member and another pair's seed is not taken, whatever else it says.
fn another_pair(context: &Context<'_>, vm: &mut Vm, site: &Site, text: &str) -> anyhow::Result<()> {
    // What makes a box a member is that data was written under its metadata. There is no second box here to form a pair
    // with, so the generation is moved on with DRBD's own tool.
    vm.guest.run("systemctl stop edgepair-agent; drbdadm detach edgepair && echo yes | drbdmeta 0 v08 /dev/disk/by-id/virtio-other-disk internal set-gi 1234567890ABCDEF:0000000000000004:0:0 >/dev/null; drbdadm attach edgepair; systemctl start edgepair-agent")?;
    for (what, from, to) in [
        ("another pair's seed", "name = \"site-042\"", "name = \"site-043\""),
        ("a change of both nodes", Side::B.address(), "192.0.2.99"),
    ] {
        let other = text.replacen(from, to, 1);
        ensure!(other != text, "the seed has no {from}");
        put_seed(vm, &other, site)?;
        let command = format!("{NODE_INIT} provision --apply /run/given/seed.toml");
        let answer = vm.guest.try_run(&command, context.seconds(30))?;
        let refused = answer.text.lines().find(|line| line.contains("is refused")).unwrap_or_default();
        ensure!(
            answer.status == 1 && refused.contains("stays in force"),
            "{what} was taken:\n{}",
            answer.text
        );
        println!("  {what}: {refused}");
    }
    ensure!(vm.guest.run("hostname")? == "site-042-a", "another pair's seed is in force");
    Ok(())
}
