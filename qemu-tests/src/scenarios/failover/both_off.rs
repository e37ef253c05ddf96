//! Both nodes lose power in the same moment, in sync; one comes back alone → it is active by itself, by the witness's word;
//! then the other one joins.

use super::{Context, Scenario, now, row};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-both-off",
    shows: "both nodes lose power; the former standby comes back alone: it becomes active by itself and has every \
            acknowledged row; the other one joins",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let first = watched.lab.active;
        let second = first.other();
        watched.lab.pair.kill(first);
        watched.lab.pair.kill(second);
        let back = now();
        watched.start(context, second)?;
        watched.wait_written(context, &format!("both off, node {second} alone back on"), back)?;
        watched.wait_active(second, context.seconds(20))?;
        watched.start(context, first)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == second, "node {active} is active");
        Ok(())
    })
}
