//! The agent of the active node hangs → systemd notices by its watchdog and starts it anew; nothing moves.

use super::{Context, Scenario, now, row};
use anyhow::ensure;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-agent-hung",
    shows: "the agent of the active node is stopped as if it hung: systemd's watchdog ends it and starts it anew, the role \
            stays where it is",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        let pid = super::agent_killed::pid(watched, active)?;
        let fault = now();
        watched.lab.pair.node(active)?.guest.run("systemctl kill --signal=STOP edgepair-agent.service")?;
        let deadline = context.seconds(40);
        while super::agent_killed::pid(watched, active).is_ok_and(|now| now == pid || now == "0") {
            ensure!(!deadline.passed(), "the hung agent of node {active} was not started anew");
            std::thread::sleep(Duration::from_millis(500));
        }
        println!("  agent of node {active} hung: started anew after {:.1} s", fault.elapsed().as_secs_f32());
        watched.wait_written(context, "agent hung", fault)?;
        let still = watched.wait_whole(context)?;
        ensure!(still == active, "the role moved to node {still}");
        Ok(())
    })
}
