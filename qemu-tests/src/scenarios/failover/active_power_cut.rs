//! Active power cut → the standby becomes active by itself; the dead one comes back as standby and is synchronised.

use super::{Context, Scenario, now, row};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-active-power-cut",
    shows: "the plug of the active node is pulled: the standby becomes active; the other one returns, is synchronised and \
            both disks are equal",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let dead = watched.lab.active;
        let heir = dead.other();
        let fault = now();
        watched.lab.pair.kill(dead);
        watched.wait_written(context, &format!("power of node {dead} (active) gone"), fault)?;
        watched.wait_active(heir, context.seconds(20))?;
        super::super::pair_forms::on_one_node(watched.lab, &[heir], heir)?;
        watched.start(context, dead)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node that came back is active");
        Ok(())
    })
}
