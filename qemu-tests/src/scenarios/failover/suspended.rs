//! The active node is suspended and resumed → the standby is active, and the one that wakes up acknowledges nothing: it
//! finds out that it is not the owner, resets itself and rejoins.

use super::{Context, Scenario, now, row};
use anyhow::{Context as _, ensure};
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-suspended",
    shows: "the active node is suspended for 30 s: the standby becomes active; resumed, the first one acknowledges nothing \
            more, starts anew and rejoins",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    // An acknowledgement from just before may come out after it was resumed: that looks like two more changes of node.
    row(context, 3, |watched| {
        let first = watched.lab.active;
        let second = first.other();
        let vm = watched.lab.pair.node(first)?;
        let before = vm.guest.run("cut -d' ' -f1 /proc/uptime; cat /proc/sys/kernel/random/boot_id")?;
        let (uptime, boot) = before.split_once('\n').context("no uptime")?;
        let uptime: f64 = uptime.trim().parse()?;
        vm.pause(true)?;
        let fault = now();
        let count = watched.inner.seen().len();
        watched.wait_written(context, &format!("node {first} (active) suspended"), fault)?;
        watched.wait_active(second, context.seconds(20))?;
        std::thread::sleep(Duration::from_secs(30).saturating_sub(fault.elapsed()));
        watched.lab.pair.node(first)?.pause(false)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == second, "node {active} is active after the resume");
        let id = watched.lab.pair.node(first)?.guest.run("cat /proc/sys/kernel/random/boot_id")?;
        ensure!(id.trim() != boot.trim(), "node {first} did not start anew");
        // Its own time stood still meanwhile; between reading it and the stop a moment passed.
        let seen = watched.inner.seen();
        let late = seen[count..].iter().filter(|inside| inside.side == first && inside.uptime > uptime + 2.0);
        ensure!(late.count() == 0, "node {first} acknowledged after it was resumed");
        Ok(())
    })
}
