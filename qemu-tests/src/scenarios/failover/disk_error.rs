//! The active node loses its disk below DRBD → the role is handed over, and the node without a disk says so.

use super::{Context, Scenario, now, row};
use crate::harness::vm::Vm;
use anyhow::ensure;
use edgepair_status::Role;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-disk-error",
    shows: "the active node loses its disk below DRBD: the standby becomes active, the other one says what is wrong",
    run,
};

/// DRBD drops its disk at once, as it does after an I/O error (`on-io-error detach`), with everything in flight failed.
pub fn break_it(vm: &mut Vm) -> anyhow::Result<()> {
    vm.guest.run("drbdadm detach --force edgepair").map(|_| ())
}

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let broken = watched.lab.active;
        let heir = broken.other();
        let fault = now();
        break_it(watched.lab.pair.node(broken)?)?;
        watched.wait_active(heir, context.seconds(60))?;
        watched.wait_written(context, &format!("disk of node {broken} (active) broken"), fault)?;
        let deadline = context.seconds(60);
        let status = loop {
            match watched.lab.pair.status(broken) {
                Ok(status) if status.role != Role::Active => break status,
                last => ensure!(!deadline.passed(), "node {broken} with a broken disk: {last:?}"),
            }
        };
        println!("  node {broken}: {}, {}; {}", status.role, status.why, status.problems.join("; "));
        Ok(())
    })
}
