//! The nodes are cut from each other, clients and witness are not → the active node stays. Then the active node is cut
//! from everything → the standby becomes active, and the cut one serves nobody.

use super::{Context, Scenario, now, row};
use crate::harness::pair::Place;
use anyhow::ensure;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-link-cut",
    shows: "the nodes are cut from each other: the active one stays; then it is cut from everything: the standby becomes \
            active; healed, the pair is whole and no write is lost",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let first = watched.lab.active;
        let second = first.other();
        let fault = now();
        watched.lab.pair.cut(Place::Node(first), Place::Node(second), true);
        // Longer than both need to notice, and than the standby waits before it claims.
        std::thread::sleep(Duration::from_secs(5 * context.accel.patience()));
        watched.wait_written(context, "nodes cut from each other", fault)?;
        watched.wait_active(first, context.seconds(10))?;
        watched.lab.pair.heal()?;
        let still = watched.wait_whole(context)?;
        ensure!(still == first, "a cut cable moved the role to node {still}");

        let fault = now();
        watched.lab.pair.isolate(Place::Node(first), true);
        watched.wait_written(context, &format!("node {first} (active) cut from everything"), fault)?;
        watched.wait_active(second, context.seconds(20))?;
        watched.lab.pair.heal()?;
        // The loser finds out when it reads the record, and starts anew; its writer is gone with it.
        let active = watched.wait_whole(context)?;
        ensure!(active == second, "node {active} is active after the cut is healed");
        Ok(())
    })
}
