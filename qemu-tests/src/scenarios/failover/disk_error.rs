//! The disk below the active node gives errors → the role is handed over, and the node without a disk says so.

use super::{Context, Scenario, now, row};
use crate::harness::vm::Vm;
use anyhow::ensure;
use edgepair_render::names::BACKING_FILE;
use edgepair_status::Role;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-disk-error",
    shows: "the disk below the active node gives errors: the standby becomes active, the other one says what is wrong",
    run,
};

/// Cuts the file off below the loop device: what lies behind its end gives real I/O errors from then on.
pub fn break_it(vm: &mut Vm) -> anyhow::Result<()> {
    vm.guest.run(&format!("truncate --size=1M {BACKING_FILE}")).map(|_| ())
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
