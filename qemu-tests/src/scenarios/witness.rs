//! The witness's unit file under the real systemd: sealed, started, killed, its database put back.

use super::{Context, Scenario};
use crate::harness::vm::{Begin, Config, Vm};
use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub const SCENARIO: Scenario = Scenario {
    name: "witness",
    shows: "the witness runs from its unit file, sealed off; enrolled pairs swap; a kill loses nothing; an old database is noticed",
    run,
};

/// As a user installs it.
const UNIT: &str = include_str!("../../../overlays/witness/usr/lib/systemd/system/edgepair-witness.service");
const DATA: &str = "/var/lib/private/edgepair-witness";
const DISK_A: &str = "000102030405060708090a0b0c0d0e0a";
const DISK_B: &str = "000102030405060708090a0b0c0d0e0b";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let config = Config {
        networks: vec!["user,restrict=on".into()],
        ..Config::plain("witness", &context.image.disk, 6 << 30)
    };
    let dir = context.dir.join("vm");
    Vm::prepare(context.image, &config, &dir)?;
    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    super::boot::wait_until_ready(context, &mut vm)?;

    // A node's root is sealed and has the program elsewhere; nothing else of the unit is changed.
    let program = "/usr/lib/edgepair/node-init";
    let unit = UNIT.replace("/usr/bin/node-init", program);
    ensure!(unit != UNIT, "the unit does not start node-init");
    let place = "/run/systemd/system/edgepair-witness.service";
    vm.guest.run(&format!("echo {} | base64 -d > {place}", STANDARD.encode(unit)))?;
    let said = vm.guest.run(&format!("systemd-analyze verify --man=no {place} 2>&1"))?;
    ensure!(said.is_empty(), "systemd finds fault with the unit:\n{said}");
    vm.guest.run("systemctl daemon-reload && systemctl start edgepair-witness.service")?;
    // At once, while it starts: what an operator asks as root must not take its files from it.
    vm.guest.run(&format!("{program} witness fingerprint"))?;

    let shell = |text: &str| format!("cd /run && N={program}; {text}");
    let status =
        shell("(for try in $(seq 100); do $N witness status --json && exit 0; sleep 0.3; done; exit 1)");
    let ready = vm.guest.try_run(&status, context.seconds(30))?;
    ensure!(ready.status == 0, "the witness does not answer on its socket:\n{}", ready.text);
    let exposure =
        vm.guest.run("systemd-analyze security --no-pager edgepair-witness.service | tail -n 1")?;
    println!("  {}", exposure.trim());
    let user = vm.guest.run("ps -o user=,rss= -p $(systemctl show -P MainPID edgepair-witness.service)")?;
    println!("  user and KiB of memory: {user}");
    ensure!(!user.starts_with("root"), "the witness runs as root");

    // Enrol, form, go on alone.
    vm.guest.run(&shell("umask 077; printf 'a-secret-of-this-test-only-0123456789' > pair.secret"))?;
    let fingerprint = vm.guest.run(&shell("$N witness fingerprint"))?;
    vm.guest.run(&shell(
        "$N witness enrol --name site-042 --key $($N witness pair-key --pair site-042 --secret-file pair.secret)",
    ))?;
    let whom = format!(
        "--url https://127.0.0.1:8443 --fingerprint {fingerprint} --secret-file pair.secret --pair site-042 --timeout 20000 --json"
    );
    let read = shell(&format!("$N witness read {whom}"));
    let ask = |vm: &mut Vm, rest: &str| -> anyhow::Result<Value> {
        let words = rest.split_once(' ').map_or((rest, ""), |(verb, rest)| (verb, rest));
        let text = vm.guest.run(&shell(&format!("$N witness {} {whom} {}", words.0, words.1)))?;
        Ok(serde_json::from_str(&text)?)
    };
    let first = ask(&mut vm, "read")?;
    ensure!(first["record"]["holder"] == "unknown", "a new pair is {first}");
    let paired = ask(&mut vm, &format!("claim --side a --disk {DISK_A} adopt --peer {DISK_B}"))?;
    println!("  {paired}");
    vm.guest.run(&format!("systemctl stop edgepair-witness.service && cp -a {DATA} /var/lib/backup"))?;
    vm.guest.run("systemctl start edgepair-witness.service")?;
    wait(context, &mut vm, &read)?;
    let solo = ask(&mut vm, &format!("claim --side b --disk {DISK_B} solo"))?;
    ensure!(solo["record"]["holder"]["solo"]["side"] == "b", "the claim did not win: {solo}");
    let refused = vm.guest.try_run(
        &shell(&format!("$N witness claim {whom} --side a --disk {DISK_A} solo")),
        context.seconds(10),
    )?;
    ensure!(refused.status != 0, "two nodes own one record: {}", refused.text);

    // Killed: systemd brings it back, with what it has answered.
    vm.guest.run("systemctl kill --signal=KILL edgepair-witness.service")?;
    vm.guest.try_run(
        &shell("until [ $(systemctl show -P NRestarts edgepair-witness.service) -ge 1 ]; do sleep 0.2; done"),
        context.seconds(20),
    )?;
    wait(context, &mut vm, &read)?;
    let after = ask(&mut vm, "read")?;
    ensure!(after["record"] == solo["record"], "before the kill {solo}, after it {after}");
    println!("  killed and back: {}", after["record"]);

    // An old database: everything is unknown, under a new lineage.
    vm.guest.run(&format!(
        "systemctl stop edgepair-witness.service && rm {DATA}/witness.db* && cp -a /var/lib/backup/witness.db* {DATA}/"
    ))?;
    vm.guest.run("systemctl start edgepair-witness.service")?;
    wait(context, &mut vm, &read)?;
    let restored = ask(&mut vm, "read")?;
    ensure!(restored["record"]["holder"] == "unknown", "an old database was believed: {restored}");
    ensure!(restored["record"]["lineage"] != solo["record"]["lineage"], "the lineage is the old one");
    println!("  an old database is noticed: {}", restored["record"]);
    vm.kill();
    Ok(())
}

/// Until it answers a node again: an operator's commands are answered from the database when nothing runs.
fn wait(context: &Context<'_>, vm: &mut Vm, read: &str) -> anyhow::Result<()> {
    let until = format!("(for try in $(seq 100); do ({read}) && exit 0; sleep 0.3; done; exit 1)");
    let answer = vm.guest.try_run(&until, context.seconds(30))?;
    ensure!(answer.status == 0, "the witness did not come back:\n{}", answer.text);
    Ok(())
}
