//! The witness is down while the pair is up → no effect. Then the active node dies → nobody may go on; when the witness is
//! back, the standby becomes active by itself.

use super::{Context, Scenario, now, row};
use anyhow::{Context as _, ensure};
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-witness-down",
    shows: "without the witness the pair goes on and says that it is away; when the active node dies then, nobody goes on \
            until the witness answers again",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let dead = watched.lab.active;
        let heir = dead.other();
        watched.lab.pair.witness.as_mut().context("no witness")?.kill();
        watched.writer.wait_for(20, context.seconds(20)).context("writes without the witness")?;
        watched.lab.pair.kill(dead);
        let before = watched.writer.count();
        std::thread::sleep(Duration::from_secs(5 * context.accel.patience()));
        let status = watched.lab.pair.status(heir)?;
        ensure!(status.role != Role::Active, "node {heir} went on without the witness");
        let more = watched.writer.count() - before;
        // One may have been on its way.
        ensure!(more <= 1, "{more} writes were acknowledged while nobody may write");
        println!("  without witness and active node: {}, {}", status.role, status.why);
        let back = now();
        watched.lab.pair.witness.as_mut().context("no witness")?.start()?;
        watched.wait_written(context, "witness back", back)?;
        watched.wait_active(heir, context.seconds(20))?;
        watched.start(context, dead)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node that came back is active");
        Ok(())
    })
}
