//! A witness and management boards, the active node hangs → the witness decides at once; then the new active node proves the
//! other one's death, switches it off and on, and it returns without anybody.

use super::{Context, Kind, Scenario, now, row_of};
use anyhow::{Context as _, ensure};
use edgepair_layout::path::NODE_INIT;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-fence-beside-witness",
    shows: "with a witness a management board decides nothing: the active node hangs, the standby is active by its claim before \
            the board is asked, then the hung node is switched off and on and joins",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row_of(context, Kind::WatchedWithBoards, 1, |watched| {
        let dead = watched.lab.active;
        let heir = dead.other();
        let fault = now();
        watched.lab.pair.node(dead)?.pause(true)?;
        watched.wait_written(context, &format!("node {dead} (active) hangs"), fault)?;
        watched.wait_active(heir, context.seconds(20))?;
        watched.wait_switched(context, dead)?;
        println!("  switched off and on {:.1} s after it hung", fault.elapsed().as_secs_f32());
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node that was switched off is active");
        let asked = watched.lab.pair.board(heir)?.asked();
        ensure!(asked.is_empty(), "the survivor's own board was asked for {asked:?}");
        let said = watched.lab.pair.node(heir)?.guest.run(&format!("{NODE_INIT} status --history"))?;
        let at = |words: &str| {
            said.lines()
                .position(|line| line.contains(words))
                .with_context(|| format!("no `{words}` in\n{said}"))
        };
        ensure!(
            at("take the virtual IP")? < at("was read back as off")?,
            "the board was asked before the record:\n{said}"
        );
        Ok(())
    })
}
