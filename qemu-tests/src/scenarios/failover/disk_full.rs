//! The datastore's file system is full → the role does not move, because the other node has the same file system; the node
//! says so, and goes on by itself when there is room.

use super::{Context, Scenario, now, row};
use anyhow::ensure;
use edgepair_render::names::DATA;
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-disk-full",
    shows: "the datastore's file system is full: the role stays, the node says why, and goes on when there is room",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        // The log goes on in the segment it has; the next one finds no room.
        let fill = format!(
            "dd if=/dev/zero of={DATA}/filler bs=1M status=none; \
             setpriv --reuid postgres --regid postgres --clear-groups psql -h /run/postgresql -qAtc \
             'SELECT pg_switch_wal()' -c 'CREATE TABLE x AS SELECT generate_series(1, 100000)' -c 'SELECT pg_switch_wal()' postgres"
        );
        let said = watched.lab.pair.node(active)?.guest.try_run(&fill, context.seconds(60))?;
        println!("  PostgreSQL: {}", said.text.lines().last().unwrap_or_default());
        let deadline = context.seconds(60);
        loop {
            let status = watched.lab.pair.status(active)?;
            ensure!(status.role == Role::Active, "the role moved: {status:?}");
            // While it still runs the node says "nearly full"; what counts is what it says when the datastore has ended.
            let full = |problem: &&String| problem.contains("cannot run because its file system is full");
            if let Some(said) = status.problems.iter().find(full) {
                println!("  node {active}: {said}");
                break;
            }
            ensure!(
                !deadline.passed(),
                "node {active} does not say that its datastore cannot run: {status:?}"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
        let room = now();
        watched.lab.pair.node(active)?.guest.run(&format!("rm {DATA}/filler"))?;
        watched.wait_written(context, "room made", room)?;
        let still = watched.wait_whole(context)?;
        ensure!(still == active, "the role moved to node {still}");
        Ok(())
    })
}
