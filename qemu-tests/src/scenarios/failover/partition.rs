//! The nodes are cut from each other and the active one goes on alone; both lose power, the cut one starts first → it
//! refuses and says why. The other one starts → it is active and every acknowledged row is there.

use super::{Context, Scenario, now, row};
use crate::harness::pair::Place;
use anyhow::ensure;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-partition",
    shows: "the nodes are cut from each other, the one that went on dies, the other one is started anew: it refuses and says \
            why until the first is back",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let winner = watched.lab.active;
        let loser = winner.other();
        let fault = now();
        watched.lab.pair.cut(Place::Node(winner), Place::Node(loser), true);
        // Longer than both need to notice, and than the standby waits before it claims.
        std::thread::sleep(Duration::from_secs(5 * context.accel.patience()));
        watched.wait_written(context, "nodes cut from each other", fault)?;
        watched.wait_active(winner, context.seconds(10))?;
        watched.lab.pair.kill(winner);
        watched.lab.pair.kill(loser);
        watched.lab.pair.heal()?;
        watched.lab.pair.start(loser)?;
        watched.lab.pair.node(loser)?.wait_shell(context.seconds(60))?;
        let wanted = format!("solo({winner})");
        let deadline = context.seconds(20);
        let status = loop {
            match watched.lab.pair.status(loser) {
                Ok(status) if status.record.as_deref() == Some(wanted.as_str()) => break status,
                last => ensure!(!deadline.passed(), "node {loser} does not know {wanted}: {last:?}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        };
        println!("  node {loser} alone: {}, {}", status.role, status.why);
        std::thread::sleep(Duration::from_secs(3 * context.accel.patience()));
        let status = watched.lab.pair.status(loser)?;
        ensure!(status.role != Role::Active, "the loser of a partition became active: {status:?}");
        watched.start(context, winner)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == winner, "the loser of a partition became active");
        Ok(())
    })
}
