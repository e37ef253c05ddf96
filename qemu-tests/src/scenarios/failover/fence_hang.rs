//! Mode `fence`, the active node hangs → the standby has its power cut, reads it back as off, is active, and has it switched on
//! again; it returns as standby. There is no witness in this mode, so a witness that is down before the active node dies is
//! this row as well.

use super::{Context, Kind, Scenario, now, row_of};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-fence-hang",
    shows: "mode fence: the active node hangs with its power on: the standby switches it off at its management board, is active, \
            switches it on again, and it joins",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row_of(context, Kind::Fenced, 1, |watched| {
        let dead = watched.lab.active;
        let heir = dead.other();
        let fault = now();
        // It hangs with everything it has, its watchdog included.
        watched.lab.pair.node(dead)?.pause(true)?;
        watched.wait_asked(dead, &["ForceOff"], context.seconds(60))?;
        println!("  switched off {:.1} s after it hung", fault.elapsed().as_secs_f32());
        watched.wait_written(context, &format!("node {dead} (active) hangs"), fault)?;
        watched.wait_active(heir, context.seconds(20))?;
        watched.wait_switched(context, dead)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node that was switched off is active");
        let asked = watched.lab.pair.board(heir)?.asked();
        ensure!(asked.is_empty(), "the survivor's own board was asked for {asked:?}");
        let fence = watched.lab.pair.status(heir)?.fence;
        println!("  node {heir} on the switch of node {dead}: {fence:?}");
        ensure!(
            fence.is_some_and(|fence| fence.answers && fence.answer == "on"),
            "it does not know that it is on"
        );
        Ok(())
    })
}
