//! The active node dies while the standby is being synchronised → the standby's copy is useless for now: it waits and says
//! why. The active node returns → it is active and the synchronisation goes on.

use super::{Context, Scenario, now, row};
use anyhow::ensure;
use edgepair_render::names::DATA;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-dies-in-resync",
    shows: "the active node dies while the standby is being synchronised: the standby waits and says why; the active one \
            returns and the pair becomes whole",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        let standby = active.other();
        let fault = now();
        watched.lab.pair.kill(standby);
        watched.wait_written(context, &format!("power of node {standby} (standby) gone"), fault)?;
        // Enough to be synchronised that it takes a while.
        let fill = format!(
            "dd if=/dev/urandom of={DATA}/filler bs=1M count=160 conv=fsync status=none && rm {DATA}/filler"
        );
        watched.lab.pair.node(active)?.guest.try_run(&fill, context.seconds(60))?;
        watched.start(context, standby)?;
        let deadline = context.seconds(60);
        loop {
            let text = watched.lab.pair.node(standby)?.guest.run("cat /proc/drbd")?;
            if text.contains("SyncTarget") && text.contains("Inconsistent") {
                break;
            }
            ensure!(!deadline.passed(), "node {standby} is not being synchronised:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
        watched.lab.pair.kill(active);
        std::thread::sleep(Duration::from_secs(5 * context.accel.patience()));
        let status = watched.lab.pair.status(standby)?;
        ensure!(status.role != Role::Active, "a half synchronised node became active: {status:?}");
        let drbd = watched.lab.pair.node(standby)?.guest.run("cat /proc/drbd")?;
        ensure!(
            drbd.contains("Inconsistent"),
            "node {standby} was synchronised before its peer died:\n{drbd}"
        );
        println!("  node {standby} with half a copy: {}, {}", status.role, status.why);
        watched.start(context, active)?;
        let again = watched.wait_whole(context)?;
        ensure!(again == active, "the half synchronised node became active");
        Ok(())
    })
}
