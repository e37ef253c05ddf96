//! The witness is down, then the nodes are cut from each other → the active node freezes and nobody writes. The witness is
//! back → one of them goes on by itself; healed, the pair is whole and what waited was not lost.

use super::{Context, Scenario, now, row};
use crate::harness::pair::Place;
use crate::harness::site::Side;
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
            let status = watched.lab.pair.status(first)?;
            if status.role == Role::Frozen {
                break status;
            }
            ensure!(!deadline.passed(), "the active node did not freeze: {}: {}", status.role, status.why);
            std::thread::sleep(Duration::from_millis(200));
        };
        let before = watched.writer.count();
        std::thread::sleep(Duration::from_secs(3 * context.accel.patience()));
        let more = watched.writer.count() - before;
        ensure!(more == 0, "{more} writes were acknowledged by a frozen pair");
        println!("  node {first} without peer and witness: {}, {}", status.role, status.why);
        let back = now();
        watched.lab.pair.witness.as_mut().context("no witness")?.start()?;
        watched.wait_written(context, "witness back", back)?;
        let mut roles = Vec::new();
        for side in Side::BOTH {
            // The one that lost may be starting anew.
            roles.extend(watched.lab.pair.status(side).ok().map(|status| status.role));
        }
        ensure!(roles.iter().filter(|role| **role == Role::Active).count() <= 1, "{roles:?}");
        watched.lab.pair.heal()?;
        watched.wait_whole(context).map(|_| ())
    })
}
