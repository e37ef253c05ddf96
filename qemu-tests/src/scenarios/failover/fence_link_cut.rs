//! Mode `fence`, the nodes are cut from each other and both reach the boards → the active node has the standby switched off and
//! goes on; nothing moves. The standby starts anew and waits, because nobody is fenced at boot; healed, it joins.

use super::{Context, Kind, Scenario, now, row_of};
use crate::harness::pair::Place;
use anyhow::ensure;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-fence-link-cut",
    shows: "mode fence: the nodes are cut from each other: the active one switches the standby off and goes on, and the \
            standby, switched on again, fences nobody",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row_of(context, Kind::Fenced, 0, |watched| {
        let active = watched.lab.active;
        let standby = active.other();
        let fault = now();
        watched.lab.pair.cut(Place::Node(active), Place::Node(standby), true);
        watched.wait_asked(standby, &["ForceOff"], context.seconds(60))?;
        println!("  switched off {:.1} s after the cut", fault.elapsed().as_secs_f32());
        watched.wait_written(context, "nodes cut from each other", fault)?;
        watched.wait_active(active, context.seconds(20))?;
        watched.wait_switched(context, standby)?;
        // Longer than the standby of a pair that was whole would wait.
        std::thread::sleep(Duration::from_secs(10 * context.accel.patience()));
        let status = watched.lab.pair.status(standby)?;
        println!("  node {standby} switched on beside a cut: {}, {}", status.role, status.why);
        ensure!(status.role != Role::Active, "a node that was fenced became active at boot");
        let asked = watched.lab.pair.board(active)?.asked();
        ensure!(asked.is_empty(), "the active node's board was asked for {asked:?}");
        watched.lab.pair.heal()?;
        let whole = watched.wait_whole(context)?;
        ensure!(whole == active, "the role moved");
        Ok(())
    })
}
