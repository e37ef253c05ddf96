//! The witness is down, then the nodes are cut from each other → the active node freezes and nobody writes. The witness is
//! back → one of them goes on by itself; healed, the pair is whole and what waited was not lost.

use super::{Context, Scenario, now, row};
use crate::harness::pair::Place;
use anyhow::{Context as _, ensure};
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-frozen",
    shows: "without the witness the nodes are cut from each other: the active one freezes and nobody writes; the witness \
            answers again: one of them goes on by itself",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let first = watched.lab.active;
        watched.lab.pair.witness.as_mut().context("no witness")?.kill();
        watched.writer.wait_for(10, context.seconds(20)).context("writes without the witness")?;
        watched.lab.pair.cut(Place::Node(first), Place::Node(first.other()), true);
        let deadline = context.seconds(20);
        let status = loop {
            match watched.lab.pair.status(first) {
                Ok(status) if status.role == Role::Frozen => break status,
                last => ensure!(!deadline.passed(), "the active node did not freeze: {last:?}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        let before = watched.writer.count();
        // Less than the time after which a frozen node starts anew.
        std::thread::sleep(Duration::from_secs(10));
        let more = watched.writer.count() - before;
        ensure!(more == 0, "{more} writes were acknowledged by a frozen pair");
        println!("  node {first} without peer and witness: {}, {}", status.role, status.why);
        let (back, inside) = (now(), watched.inner.seen().len());
        watched.lab.pair.witness.as_mut().context("no witness")?.start()?;
        watched.wait_written(context, "witness back", back)?;
        // Which one it is, the writers inside say: the other one is starting anew, and who asks it waits in vain. That only
        // one of them acknowledged is the row's last check.
        let deadline = context.seconds(20);
        let winner = loop {
            if let Some(last) = watched.inner.seen().get(inside) {
                break last.side;
            }
            ensure!(!deadline.passed(), "neither node's own writer gets anything acknowledged");
            std::thread::sleep(Duration::from_millis(50));
        };
        watched.wait_active(winner, context.seconds(20))?;
        println!("  node {winner} goes on");
        watched.lab.pair.heal()?;
        let active = watched.wait_whole(context)?;
        ensure!(active == winner, "healed, the role moved to node {active}");
        Ok(())
    })
}
