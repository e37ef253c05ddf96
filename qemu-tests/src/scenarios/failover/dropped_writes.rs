//! Both nodes lose power in the same moment and with it everything that was not flushed; only the former standby returns → it is
//! active, and every row that was acknowledged by the active node is on its disk.
//!
//! DRBD 8.4 does not tell the peer of a flush that has nothing to write (docs/protocol.md, "Commits force a non-empty flush"), so
//! this is where that would show. Every write to the standby's disk is recorded since it was flashed, and its disk is made anew
//! up to the last flush.

use super::super::formed::{Kind, now};
use super::{Context, Scenario};
use crate::harness::writer::{Verdict, Writer};
use anyhow::{Context as _, ensure};
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-dropped-writes",
    shows: "both nodes lose power and what was not flushed; only the former standby returns: it is active and has every \
            acknowledged row",
    run,
};

/// Goes back so many flushes more, so that somebody can see the check fail.
const BACK: &str = "EDGEPAIR_FLUSHES_BACK";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let dir = context.dir.join("pair");
    let mut lab = context.two_boxes_with(&dir, Kind::Watched, |spec, _| {
        spec.write_log = true;
    })?;
    lab.look(|lab| {
        for side in crate::harness::site::Side::BOTH {
            lab.pair.start(side)?;
        }
        let active = lab.pair.wait_formed(context.seconds(250), &mut |_| {})?;
        let standby = active.other();
        lab.reach.wait(context.seconds(20))?;
        let writer = Writer::start(&lab.reach, 1, &lab.folder(active).join("acknowledged.log"))?;
        writer.wait_for(200, context.seconds(120))?;
        // A log segment that was written before is where an empty flush would come from.
        lab.pair.node(active)?.guest.run(
            "cd /; setpriv --reuid=postgres --regid=postgres --init-groups -- /usr/lib/postgresql/17/bin/psql -X -q \
             -h /run/postgresql -d postgres -c 'SELECT pg_switch_wal()' -c CHECKPOINT",
        )?;
        writer.wait_for(200, context.seconds(120))?;
        lab.pair.kill(active);
        lab.pair.kill(standby);
        let acknowledged = writer.stop()?;
        let back = std::env::var(BACK).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let seen = lab.pair.spec.drop_unflushed(standby, back)?;
        println!(
            "  disk of node {standby}: {} writes up to the last of {} flushes, {} writes after it dropped ({} KiB)",
            seen.taken,
            seen.flushes,
            seen.dropped,
            seen.dropped_bytes >> 10
        );
        lab.pair.spec.write_log = false;
        let begun = now();
        lab.pair.start(standby)?;
        lab.pair.node(standby)?.wait_shell(context.seconds(60))?;
        let deadline = context.seconds(60);
        while !lab.pair.status(standby).is_ok_and(|status| status.role == Role::Active) {
            ensure!(!deadline.passed(), "node {standby} alone is not active: {:?}", lab.pair.status(standby));
            std::thread::sleep(Duration::from_millis(300));
        }
        lab.reach.wait(context.seconds(40))?;
        println!("  node {standby} alone is active after {:.1} s", begun.elapsed().as_secs_f32());
        let verdict = Verdict::check(&lab.reach, &acknowledged).context("after a cut that dropped what was not flushed")?;
        println!(
            "  data: {} acknowledged before the cut, 0 lost, 0 twice, {} stored without an answer",
            verdict.acknowledged, verdict.unanswered
        );
        Ok(())
    })
}
