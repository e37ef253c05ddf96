//! The active node dies, the other one goes on alone and dies as well; the stale one starts first → it waits and says why.
//! When the current one is back, that one is active and the stale one is synchronised.

use super::{Context, Scenario, now, row};
use anyhow::ensure;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-stale-first",
    shows: "the active node dies, the standby goes on alone and dies too: the stale one, started first, waits and says why; \
            then the other one is active and the first is synchronised",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let stale = watched.lab.active;
        let current = stale.other();
        let fault = now();
        watched.lab.pair.kill(stale);
        watched.wait_written(context, &format!("power of node {stale} (active) gone"), fault)?;
        watched.lab.pair.kill(current);
        watched.lab.pair.start(stale)?;
        watched.lab.pair.node(stale)?.wait_shell(context.seconds(60))?;
        let deadline = context.seconds(20);
        let wanted = format!("solo({current})");
        let status = loop {
            match watched.lab.pair.status(stale) {
                Ok(status) if status.record.as_deref() == Some(wanted.as_str()) => break status,
                last => ensure!(!deadline.passed(), "node {stale} did not read {wanted}: {last:?}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        };
        println!("  stale node {stale} alone: {}, {}", status.role, status.why);
        // Time enough to do what it must not.
        std::thread::sleep(Duration::from_secs(3 * context.accel.patience()));
        let status = watched.lab.pair.status(stale)?;
        ensure!(status.role != Role::Active, "the stale node became active: {status:?}");
        let role = watched.lab.pair.node(stale)?.guest.run("drbdadm role edgepair")?;
        ensure!(!role.starts_with("Primary"), "the stale node is {role}");
        watched.start(context, current)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == current, "the stale node became active");
        Ok(())
    })
}
