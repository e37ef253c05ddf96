//! keepalived is killed on the active node → no address is left behind and no role moves; clients reach the same node again.

use super::super::pair_forms::addresses;
use super::{Context, Scenario, now, row};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-keepalived-killed",
    shows: "keepalived is killed on the active node: it is started anew, the addresses are on that node and only there",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        let fault = now();
        let vm = watched.lab.pair.node(active)?;
        let before = vm.guest.run("systemctl show -P MainPID keepalived.service")?;
        vm.guest.run("systemctl kill --signal=KILL keepalived.service")?;
        watched.wait_written(context, &format!("keepalived of node {active} killed"), fault)?;
        let still = watched.wait_whole(context)?;
        ensure!(still == active, "the role moved to node {still}");
        addresses(watched.lab, active)?;
        let after =
            watched.lab.pair.node(active)?.guest.run("systemctl show -P MainPID keepalived.service")?;
        ensure!(before != after, "keepalived was not killed");
        Ok(())
    })
}
