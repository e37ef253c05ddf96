//! Which node is active survives reboots of either; a lost active is not replaced in manual mode, and there are never two.

use super::formed::{Lab, now};
use super::{Context, Scenario};
use crate::harness::Deadline;
use crate::harness::site::Side;
use crate::harness::writer::{Verdict, Writer};
use anyhow::{Context as _, bail, ensure};
use edgepair_layout::path::NODE_INIT;
use edgepair_status::Role;
use serde_json::Value;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-reboots",
    shows: "which node is active survives a reboot of either; the boot of a provisioned node takes no step; a lost active \
            has no successor in manual mode, and there are never two",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_pair(|lab| {
        let active = lab.active;
        let standby = active.other();
        let writer = Writer::start(&lab.reach, 1, &lab.folder(Side::A).join("acknowledged.log"))?;
        writer.wait_for(20, context.seconds(20))?;

        // The standby: nobody notices.
        reboot(context, lab, standby)?;
        let still = lab.pair.wait_formed(context.seconds(60), &mut |_| {})?;
        ensure!(still == active, "after a reboot of the standby, node {still} is active");
        println!("  node {standby} (standby) rebooted: node {active} is still active");
        unchanged(lab, standby)?;

        // The active one, orderly: the other may not take over in manual mode, and it is active again afterwards.
        reboot(context, lab, active)?;
        let again = wait_without_successor(lab, standby, context.seconds(60))?;
        ensure!(again == active, "after a reboot of the active node, node {again} is active");
        println!("  node {active} (active) rebooted: it is active again");
        unchanged(lab, active)?;
        writer.wait_for(20, context.seconds(30)).context("writes after the reboots")?;

        // The plug: no successor, also when there was time enough to become one.
        lab.pair.kill(active);
        let begun = now();
        let watch = context.seconds(10);
        while !watch.passed() {
            ensure!(!is_active(lab, standby)?, "node {standby} took over in manual mode");
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        let status = lab.pair.status(standby)?;
        ensure!(!status.peer.reachable, "node {standby} has not noticed that its peer is dead: {status:?}");
        println!(
            "  node {active} dead for {:.0} s: node {standby} is {}: {}",
            begun.elapsed().as_secs_f32(),
            status.role,
            status.why
        );
        lab.pair.start(active)?;
        let back = wait_without_successor(lab, standby, context.seconds(100))?;
        ensure!(back == active, "after the power came back, node {back} is active");
        println!("  power back: node {active} is active again, {:.0} s after the cut", begun.elapsed().as_secs_f32());
        writer.wait_for(20, context.seconds(30)).context("writes after the power cut")?;
        let verdict = Verdict::check(&lab.reach, &writer.stop()?)?;
        println!(
            "  writer over both reboots and the power cut: {} acknowledged, 0 lost, 0 twice, {} stored without an answer",
            verdict.acknowledged, verdict.unanswered
        );
        Ok(())
    })
}

/// Reboots a node in an orderly way, and waits until it has gone down.
fn reboot(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    let vm = lab.pair.node(side)?;
    let before = vm.guest.run("cat /proc/sys/kernel/random/boot_id")?;
    vm.guest.run("systemctl --no-block reboot")?;
    let deadline = context.seconds(60);
    loop {
        // While it goes down and comes up, nobody answers.
        let asked = vm.guest.try_run("cat /proc/sys/kernel/random/boot_id", Deadline::seconds(2));
        if asked.is_ok_and(|answer| answer.status == 0 && answer.text != before) {
            return Ok(());
        }
        if deadline.passed() {
            bail!("node {side} did not come back from a reboot");
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

fn is_active(lab: &mut Lab, side: Side) -> anyhow::Result<bool> {
    // The kernel is asked as well: a Primary that the agent does not know of would be worse.
    let role = lab.pair.node(side)?.guest.run("drbdadm role edgepair")?;
    Ok(role.contains("Primary/") || role.trim() == "Primary" || lab.pair.status(side)?.role == Role::Active)
}

/// Waits until the pair is whole; the standby must not become active on the way.
fn wait_without_successor(lab: &mut Lab, standby: Side, deadline: Deadline) -> anyhow::Result<Side> {
    loop {
        ensure!(!is_active(lab, standby)?, "node {standby} took over in manual mode");
        match lab.pair.wait_formed(Deadline::seconds(1), &mut |_| {}) {
            Ok(active) => return Ok(active),
            Err(error) if deadline.passed() => return Err(error),
            Err(_) => {}
        }
    }
}

/// The boot of a provisioned node takes no step; says how long it took.
fn unchanged(lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    let vm = lab.pair.node(side)?;
    let again = vm.guest.run(&format!("{NODE_INIT} provision --json"))?;
    let report: Value = serde_json::from_str(&again).with_context(|| again.clone())?;
    let steps = report["steps"].as_array().context("`provision --json` has no steps")?;
    ensure!(steps.is_empty(), "a provisioned node has steps left: {steps:?}");
    let boot =
        vm.guest.run("journalctl --boot --output=cat --grep='^(step |no step is missing)' --no-pager")?;
    let taken: Vec<&str> = boot.lines().filter(|line| line.starts_with("step ")).collect();
    ensure!(taken.is_empty(), "the boot of a provisioned node took steps: {taken:?}");
    let figures: Vec<&str> = boot.lines().filter(|line| line.starts_with("no step")).collect();
    println!("  boot of the provisioned node {side}: {}", figures.join("; "));
    Ok(())
}
