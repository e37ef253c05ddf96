//! The standby loses its disk below DRBD → the active node goes on alone. Then the active node dies → nobody becomes
//! active with stale data; it returns and is active.

use super::{Context, Scenario, now, row};
use anyhow::ensure;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-standby-disk-error",
    shows: "the standby loses its disk below DRBD: the active node goes on; when it dies, nobody becomes active with what \
            the lost disk held; it returns and is active",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        let broken = active.other();
        let fault = now();
        super::disk_error::break_it(watched.lab.pair.node(broken)?)?;
        watched.wait_written(context, &format!("disk of node {broken} (standby) broken"), fault)?;
        let deadline = context.seconds(30);
        loop {
            // The standby gives the record away; the active node learns of it when it rereads it.
            match watched.lab.pair.status(active) {
                Ok(status) if status.record.as_deref() == Some(&*format!("solo({active})")) => break,
                last => ensure!(
                    !deadline.passed(),
                    "node {active} goes on with a broken standby, and the record is not its own: {last:?}"
                ),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        watched.lab.pair.kill(active);
        std::thread::sleep(Duration::from_secs(5 * context.accel.patience()));
        if let Ok(status) = watched.lab.pair.status(broken) {
            ensure!(status.role != Role::Active, "the node with the lost disk became active: {status:?}");
            println!("  node {broken} alone: {}, {}", status.role, status.why);
        }
        let back = now();
        watched.start(context, active)?;
        watched.wait_written(context, &format!("node {active} back"), back)?;
        watched.wait_active(active, context.seconds(20))
    })
}
