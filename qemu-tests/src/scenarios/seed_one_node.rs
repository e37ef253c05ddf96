//! One box and its seed: it waits, takes the seed from a stick without a reboot, and every later boot changes nothing.

use super::{Context, Scenario};
use crate::harness::site::{SECRET_FILE, Side, Site, Wishes};
use crate::harness::vm::{Begin, Card, Config, Vm};
use anyhow::{Context as _, ensure};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner};
use serde_json::json;
use std::path::Path;

pub const SCENARIO: Scenario = Scenario {
    name: "seed-one-node",
    shows: "a box without a seed waits and says so; a stick with one makes it a node without a reboot: disk attached, \
            units active, firewall closed, nothing failed; after a power cut the next boot changes nothing",
    run,
};

/// A command in the guest, which has it nowhere on its path.
pub const NODE_INIT: &str = "/usr/lib/edgepair/node-init";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let site = Site::make(&context.dir.join("seed"), &Wishes::manual("site-042", context.accel))?;
    let config = config(context, "one", &["-device", "qemu-xhci,id=xhci"]);
    let dir = context.dir.join("vm");
    Vm::prepare(context.image, &config, &dir)?;
    make_stick(context, &site, &dir)?;

    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    super::boot::wait_until_ready(context, &mut vm)?;
    let screen = vm.guest.run(&format!("{NODE_INIT} console --once"))?;
    ensure!(screen.contains("waits for  a seed"), "the box does not say that it waits:\n{screen}");
    let open = vm.guest.run("ss --no-header --listening --tcp --udp --numeric | grep -vE '127.0.0.1|\\[::1\\]|:68 |:546 ' || true")?;
    ensure!(open.is_empty(), "a box without a seed listens:\n{open}");
    println!("  without a seed: waits, nothing listens");

    let qmp = vm.qmp()?;
    let file = json!({"driver": "file", "filename": "/build/stick.img"});
    qmp.command("blockdev-add", &json!({"driver": "raw", "node-name": "stick", "file": file}))?;
    let device = json!({"driver": "usb-storage", "bus": "xhci.0", "drive": "stick", "id": "stick0", "removable": true});
    qmp.command("device_add", &device)?;
    wait_provisioned(context, &mut vm).context("after the stick was put in")?;
    let boots = vm.guest.run("journalctl --list-boots --no-pager -q | wc -l")?;
    ensure!(boots.trim() == "1", "it was rebooted: {boots} boots");
    println!("  stick put in: a node without a reboot");
    is_a_node(&mut vm, &site)?;
    let first = durable(&mut vm)?;
    println!("{}", indent(&steps(&mut vm)?));

    change_by_hand(&mut vm, &site)?;

    // A power cut, and the stick is gone.
    vm.kill();
    std::fs::rename(dir.join("serial.log"), dir.join("serial-first.log"))?;
    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    super::boot::wait_until_ready(context, &mut vm)?;
    wait_provisioned(context, &mut vm).context("after a power cut")?;
    is_a_node(&mut vm, &site)?;
    ensure!(
        durable(&mut vm)? == first,
        "the second boot changed what is kept:\n{first}\n{}",
        durable(&mut vm)?
    );
    let said = steps(&mut vm)?;
    println!("{}", indent(&said));
    let configure = vm.guest.run("journalctl -b -u edgepair-provision -o cat --no-pager")?;
    ensure!(
        configure.contains("no step is missing"),
        "the second boot had something to configure:\n{configure}"
    );
    for step in ["backing-file", "metadata", "host-key", "files", "reload"] {
        ensure!(!said.contains(&format!("step {step}:")), "the second boot took the step {step}:\n{said}");
    }
    println!("  a second boot configures nothing: {}", configure.lines().last().unwrap_or_default());
    vm.kill();
    Ok(())
}

/// A machine with node a's card.
pub fn config(context: &Context<'_>, name: &str, extra: &[&str]) -> Config {
    let card = Card { netdev: "user,restrict=on".into(), mac: Some(Side::A.mac().into()) };
    Config {
        networks: vec![card],
        watchdog: true,
        extra: extra.iter().map(|word| (*word).to_owned()).collect(),
        ..Config::plain(name, &context.image.disk, 6 << 30)
    }
}

/// A stick as a person makes one: one FAT file system labelled SEED, two files.
fn make_stick(context: &Context<'_>, site: &Site, dir: &Path) -> anyhow::Result<()> {
    let sandbox = Sandbox { tools: context.image.tools.clone() };
    let mounts = [Mount { source: dir.to_owned(), target: "/build".into(), writable: true }];
    let make = ["mkfs.fat", "-n", "SEED", "-C", "/build/stick.img", "16384"].map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&make, &[], &mounts, false)).context("mkfs.fat")?;
    edgepair_seed_place::put(&dir.join("stick.img"), &site.payload())?;
    Ok(())
}

/// Waits until provisioning has nothing left to do.
pub fn wait_provisioned(context: &Context<'_>, vm: &mut Vm) -> anyhow::Result<()> {
    let deadline = context.seconds(120);
    loop {
        let answer = vm.guest.try_run(
            &format!("test -e /run/edgepair/member.json && {NODE_INIT} provision --dry-run"),
            context.seconds(20),
        )?;
        if answer.status == 0 && answer.text.contains("no step is missing") {
            return Ok(());
        }
        if deadline.passed() {
            let log = vm.guest.run("journalctl -b -u 'edgepair-*' -o cat --no-pager | tail -n 40")?;
            anyhow::bail!("provisioning does not end: {}\n{log}", answer.text);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

/// Everything that makes a box a node of its pair.
fn is_a_node(vm: &mut Vm, site: &Site) -> anyhow::Result<()> {
    let mut seen = |what: &str, command: &str, want: &str| -> anyhow::Result<()> {
        let have = vm.guest.run(command)?;
        ensure!(have == want, "{what}: `{command}` says\n{have}\nand should say\n{want}");
        Ok(())
    };
    seen("failed units", "systemctl --failed --no-legend --plain", "")?;
    let units = "nftables systemd-networkd chrony ssh edgepair-storage keepalived edgepair-agent";
    let active = ["active"; 7].join("\n");
    seen("units", &format!("systemctl is-active {units}"), &active)?;
    seen(
        "masked units",
        "systemctl is-enabled drbd.service postgresql.service ssh.socket fstrim.timer || true",
        &["masked"; 4].join("\n"),
    )?;
    seen("host name", "hostname", "site-042-a")?;
    seen("disk", "sed -n 's/.* ds:\\([A-Za-z]*\\).*/\\1/p' /proc/drbd", "Inconsistent")?;
    seen(
        "direct I/O",
        "cat /sys/block/$(basename $(readlink -f /dev/disk/by-loop-ref/edgepair))/loop/dio",
        "1",
    )?;
    seen(
        "discards",
        "cat /sys/block/$(basename $(readlink -f /dev/disk/by-loop-ref/edgepair))/queue/discard_max_bytes",
        "0",
    )?;
    seen(
        "holes in the backing file",
        "test $(($(stat -c %b /var/lib/edgepair/backing.img) * 512)) -ge $(stat -c %s /var/lib/edgepair/backing.img) && echo none",
        "none",
    )?;
    seen(
        "address",
        "ip -4 -o addr show scope global | awk '{print $4}'",
        &format!("{}/24", Side::A.address()),
    )?;
    seen("no address by DHCP", "ip -o addr show scope global dynamic", "")?;
    // The rules were there before the first address.
    seen(
        "firewall before network",
        "a=$(systemctl show -P ActiveEnterTimestampMonotonic nftables); b=$(systemctl show -P ActiveEnterTimestampMonotonic systemd-networkd); test $a -le $b && echo yes",
        "yes",
    )?;
    seen("firewall", "nft list chain inet edgepair input | grep -c 'policy drop'", "1")?;
    seen(
        "passwords over SSH",
        "sshd -T 2>/dev/null | grep -cE '^(passwordauthentication|kbdinteractiveauthentication) no'",
        "2",
    )?;
    seen("clusters", "find / -xdev -name PG_VERSION; find /var -xdev -name PG_VERSION", "")?;
    seen(
        "modes",
        "stat -c '%a %U' /var/lib/edgepair /var/lib/edgepair/kept-seed.json /var/lib/edgepair/backing.img /etc/drbd.d/edgepair.res",
        "700 root\n600 root\n600 root\n600 root",
    )?;
    // The secret itself, and what is derived from it for DRBD, stand in no log and in no file that others may read.
    for secret in [&site.secret, &site.seed.pair.secret.text(edgepair_seed::Purpose::DrbdSharedSecret)] {
        let word = secret.expose_secret();
        let find = format!(
            "journalctl -b --no-pager | grep -cF -- '{word}'; find /etc /run /var -xdev -type f -perm /077 -size -1M -exec grep -lF -- '{word}' {{}} + 2>/dev/null || true"
        );
        // The command itself is in no journal: the shell of the lab writes none.
        seen(SECRET_FILE, &find, "0")?;
    }
    let said = vm.guest.run(&format!("{NODE_INIT} provision"))?;
    ensure!(said.contains("no step is missing"), "running it again does something:\n{said}");
    println!("  {}", said.lines().last().unwrap_or_default());
    Ok(())
}

/// What must be the same after every boot.
fn durable(vm: &mut Vm) -> anyhow::Result<String> {
    vm.guest.run(
        "cd /var/lib/edgepair; sha256sum disk-id.json cards.json ssh/*; stat -c '%i %s %n' backing.img; cat /etc/machine-id",
    )
}

fn steps(vm: &mut Vm) -> anyhow::Result<String> {
    vm.guest.run(
        "journalctl -b -u edgepair-provision -u edgepair-storage -u 'edgepair-seed@*' -o short-monotonic --no-pager | grep -E 'step |steps |seed of' | grep -v ' done$' | cut -c1-150 || true",
    )
}

/// An operator changes a seed: the difference is printed, it is in force at once, and the same again is nothing.
fn change_by_hand(vm: &mut Vm, site: &Site) -> anyhow::Result<()> {
    let text = format!("{}\n[network]\nntp = [\"192.0.2.7\"]\n", site.text);
    put_seed(vm, &text, site)?;
    let apply = format!("{NODE_INIT} provision --apply /run/given/seed.toml");
    let said = vm.guest.run(&apply)?;
    let line =
        said.lines().find(|line| line.starts_with("network.ntp:")).context("no difference was printed")?;
    ensure!(line.contains("-> 192.0.2.7") && line.ends_with("[live]"), "{line}");
    ensure!(vm.guest.run("grep -c '^server 192.0.2.7' /etc/chrony/chrony.conf")? == "1", "not in force");
    println!("  by hand: {line}");
    let again = vm.guest.run(&apply)?;
    ensure!(again.contains("no step is missing"), "the same seed again does something:\n{again}");
    Ok(())
}

/// Puts a seed and its secret into the guest.
pub fn put_seed(vm: &mut Vm, text: &str, site: &Site) -> anyhow::Result<()> {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    vm.guest.run("mkdir -p -m 0700 /run/given")?;
    vm.guest.run(&format!("echo {} | base64 -d > /run/given/seed.toml", encode(text)))?;
    vm.guest.run(&format!(
        "echo {} | base64 -d > /run/given/{SECRET_FILE}",
        encode(site.secret.expose_secret())
    ))?;
    Ok(())
}

pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
