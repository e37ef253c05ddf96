//! The datastore of the active node ends whenever it is started → the other node gets the role, once. There it happens as
//! well → the role stays, and the node says why; repaired, it goes on by itself.

use super::{Context, Scenario, Watched, now, row};
use crate::harness::site::Side;
use anyhow::ensure;
use edgepair_render::names::POSTGRES_UNIT;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-crash-loop",
    shows: "the datastore of the active node ends again and again: the role is handed over once; when the same happens \
            there, it stays and the node says why",
    run,
};

/// The agent counts a datastore as well that ran for a minute.
const WELL: Duration = Duration::from_secs(70);

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let first = watched.lab.active;
        let second = first.other();
        std::thread::sleep(WELL);
        let fault = now();
        sicken(watched, first)?;
        watched.wait_active(second, context.seconds(60))?;
        watched.wait_written(context, &format!("datastore of node {first} in a crash loop"), fault)?;
        std::thread::sleep(WELL / 10);
        sicken(watched, second)?;
        let deadline = context.seconds(60);
        loop {
            let status = watched.lab.pair.status(second)?;
            if let Some(said) = status.problems.iter().find(|problem| problem.contains("stays here")) {
                println!("  and on node {second}: {said}");
                break;
            }
            ensure!(!deadline.passed(), "node {second} does not say that its datastore fails: {status:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
        ensure!(watched.lab.pair.status(second)?.role == Role::Active, "the role moved a second time");
        let mended = now();
        for side in Side::BOTH {
            watched.lab.pair.node(side)?.guest.run(&format!("rm {DROP_IN}; systemctl daemon-reload"))?;
        }
        watched.wait_written(context, "mended", mended)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == second, "node {active} is active");
        Ok(())
    })
}

const DROP_IN: &str = "/run/systemd/system/edgepair-postgres.service.d/50-broken.conf";

fn sicken(watched: &mut Watched<'_>, side: Side) -> anyhow::Result<()> {
    let guest = &mut watched.lab.pair.node(side)?.guest;
    guest.run(&format!(
        "mkdir -p $(dirname {DROP_IN}) && printf '[Service]\\nExecStartPre=/bin/false\\n' > {DROP_IN} && systemctl daemon-reload && \
         systemctl kill --signal=KILL {POSTGRES_UNIT}"
    ))?;
    Ok(())
}
