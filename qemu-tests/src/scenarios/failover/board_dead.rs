//! A witness and management boards, the active node dies together with its board → the witness decides; the survivor says that
//! the switch does not answer. Both return and the pair is whole.

use super::{Context, Kind, Scenario, now, row_of};
use anyhow::ensure;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-board-dead",
    shows: "the active node and its management board lose power together: the witness decides as ever, and the survivor says \
            that the switch does not answer",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row_of(context, Kind::WatchedWithBoards, 1, |watched| {
        let dead = watched.lab.active;
        let heir = dead.other();
        let fault = now();
        watched.lab.pair.kill(dead);
        watched.lab.pair.boards[dead as usize] = None;
        watched.wait_written(context, &format!("node {dead} (active) and its board gone"), fault)?;
        watched.wait_active(heir, context.seconds(20))?;
        let deadline = context.seconds(60);
        let line = loop {
            let problems = watched.lab.pair.status(heir)?.problems;
            if let Some(line) = problems.iter().find(|line| line.contains("cannot be switched off")) {
                break line.clone();
            }
            ensure!(!deadline.passed(), "node {heir} says nothing of the dead board: {problems:?}");
            std::thread::sleep(Duration::from_millis(500));
        };
        println!("  node {heir}: {line}");
        watched.lab.pair.start_board(dead)?;
        watched.start(context, dead)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node that died is active");
        Ok(())
    })
}
