//! The active node loses its disk below DRBD → it gives the record away and resets itself, the standby is active, and what
//! happened is in the history of the node that comes back.

use super::{Context, Scenario, now, row};
use crate::harness::vm::Vm;
use anyhow::{Context as _, ensure};
use edgepair_layout::path::NODE_INIT;
use edgepair_render::names::BACKING_FILE;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-disk-error",
    shows: "the active node loses its disk below DRBD: the standby becomes active, the other one starts anew, remembers \
            why, and rejoins with an old disk",
    run,
};

/// The device below DRBD ends after its first MiB from one moment on: what the datastore or the other node writes next
/// fails, and DRBD calls its `local-io-error` handler. (`drbdadm detach --force` would ask nobody.) The file below stays as
/// it is, so after a reset the node has an old disk.
///
/// A second later, because a node may reset itself before it could answer.
pub fn break_it(vm: &mut Vm) -> anyhow::Result<()> {
    // LOOP_GET_STATUS64 and LOOP_SET_STATUS64 of loop(4); `lo_sizelimit` is the fifth 64-bit word.
    let script = "import fcntl,sys; disk = open(sys.argv[1]); info = bytearray(232); fcntl.ioctl(disk, 0x4c05, info); \
                  info[32:40] = (1 << 20).to_bytes(8, sys.byteorder); fcntl.ioctl(disk, 0x4c04, info)";
    let find = format!("losetup --noheadings --output NAME --associated {BACKING_FILE}");
    let disk = vm.guest.run(&find)?;
    ensure!(disk.trim().starts_with("/dev/loop"), "no loop device below DRBD: {disk}");
    vm.guest
        .run(&format!("(sleep 1; python3 -c '{script}' {}) </dev/null >/dev/kmsg 2>&1 &", disk.trim()))?;
    Ok(())
}

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let broken = watched.lab.active;
        let heir = broken.other();
        let fault = now();
        break_it(watched.lab.pair.node(broken)?)?;
        watched.wait_active(heir, context.seconds(60))?;
        watched.wait_written(context, &format!("disk of node {broken} (active) broken"), fault)?;
        // It gave the record away and reset itself; its disk is old now.
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node whose disk failed is active again");
        let said = watched.lab.pair.node(broken)?.guest.run(&format!("{NODE_INIT} status --history"))?;
        let told = said.lines().rfind(|line| line.contains("this node's disk failed"));
        println!("  node {broken}: {}", told.context("the failed disk is not in its history")?);
        Ok(())
    })
}
