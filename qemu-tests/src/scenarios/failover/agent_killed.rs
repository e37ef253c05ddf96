//! The agent of either node is killed → systemd starts it anew, nothing moves and clients notice nothing but a late answer.

use super::{Context, Scenario, now, row};
use crate::harness::site::Side;
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-agent-killed",
    shows: "the agent is killed on the active node and on the standby: it is started anew and nothing moves",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        for side in [active, active.other()] {
            let pid = pid(watched, side)?;
            let fault = now();
            watched.lab.pair.node(side)?.guest.run("systemctl kill --signal=KILL edgepair-agent.service")?;
            watched.wait_written(context, &format!("agent of node {side} killed"), fault)?;
            let still = watched.wait_whole(context)?;
            ensure!(still == active, "the role moved to node {still}");
            ensure!(self::pid(watched, side)? != pid, "the agent of node {side} was not started anew");
        }
        Ok(())
    })
}

pub(super) fn pid(watched: &mut super::Watched<'_>, side: Side) -> anyhow::Result<String> {
    watched.lab.pair.node(side)?.guest.run("systemctl show -P MainPID edgepair-agent.service")
}
