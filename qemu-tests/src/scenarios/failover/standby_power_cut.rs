//! Standby power cut → the active node goes on alone; the standby returns and is synchronised.

use super::{Context, Scenario, now, row};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-standby-power-cut",
    shows: "the plug of the standby is pulled: the active node goes on alone and nothing moves; the standby returns",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        let dead = active.other();
        let fault = now();
        watched.lab.pair.kill(dead);
        watched.wait_written(context, &format!("power of node {dead} (standby) gone"), fault)?;
        watched.start(context, dead)?;
        let still = watched.wait_whole(context)?;
        ensure!(still == active, "the role moved to node {still}");
        Ok(())
    })
}
