//! The active node hangs: nothing but one program that never yields runs on any processor → its hardware watchdog resets
//! it, the standby is active.

use super::{Context, Scenario, now, row};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-kernel-hang",
    shows: "no process of the active node gets a processor any more: the hardware watchdog resets it, the standby becomes \
            active, the reset one rejoins",
    run,
};

/// Real-time programs on every processor, without the kernel's limit for them (sched(7)).
const HANG: &str = "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; \
                    for cpu in $(seq 0 $(($(nproc) - 1))); do \
                    systemd-run --quiet --collect taskset -c $cpu chrt -f 99 sh -c 'while :; do :; done'; done";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let first = watched.lab.active;
        let second = first.other();
        let vm = watched.lab.pair.node(first)?;
        let boot = vm.guest.run("cat /proc/sys/kernel/random/boot_id")?;
        let fault = now();
        // The answer may never come.
        let _ = vm.guest.try_run(HANG, crate::harness::Deadline::seconds(5));
        watched.wait_written(context, &format!("node {first} (active) hangs"), fault)?;
        watched.wait_active(second, context.seconds(20))?;
        let active = watched.wait_whole(context)?;
        ensure!(active == second, "node {active} is active");
        let id = watched.lab.pair.node(first)?.guest.run("cat /proc/sys/kernel/random/boot_id")?;
        ensure!(id != boot, "node {first} was not reset");
        Ok(())
    })
}
