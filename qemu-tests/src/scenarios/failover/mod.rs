//! What breaks while a pair with a witness serves, and what must become of it: one file a row.
//!
//! Every row runs with a writer at the virtual IP and a second one inside each node, and ends with the same checks: every
//! acknowledged row is there, once; the two nodes' datastores never acknowledged in turns; the pair is whole again.

mod active_power_cut;
mod agent_hung;
mod agent_killed;
mod board_dead;
mod both_off;
mod cloned_card;
mod crash_loop;
mod cycles;
mod dies_in_resync;
mod disk_error;
mod disk_full;
mod dropped_writes;
mod fence_beside_witness;
mod fence_hang;
mod fence_link_cut;
mod flapping_link;
mod frozen;
mod keepalived_killed;
mod kernel_hang;
mod link_cut;
mod partition;
mod soak;
mod stale_first;
mod standby_disk_error;
mod standby_power_cut;
mod suspended;
mod witness_down;
mod witness_restored;

pub use cycles::SOAK as CYCLES;
pub use soak::SOAK;

use super::formed::{Kind, Lab, now};
use super::{Context, Scenario};
use crate::harness::Deadline;
use crate::harness::inner::{self, InnerWriters};
use crate::harness::site::Side;
use crate::harness::writer::{Verdict, Writer};
use anyhow::{Context as _, ensure};
use edgepair_status::Role;
use std::time::{Duration, Instant};

/// The rows of every test run.
pub const ESSENTIAL: &[Scenario] = &[
    active_power_cut::SCENARIO,
    standby_power_cut::SCENARIO,
    link_cut::SCENARIO,
    witness_down::SCENARIO,
    agent_killed::SCENARIO,
    kernel_hang::SCENARIO,
    stale_first::SCENARIO,
    both_off::SCENARIO,
];

/// The other rows: by name, and all in the long run.
pub const MORE: &[Scenario] = &[
    agent_hung::SCENARIO,
    board_dead::SCENARIO,
    cloned_card::SCENARIO,
    crash_loop::SCENARIO,
    dies_in_resync::SCENARIO,
    disk_error::SCENARIO,
    disk_full::SCENARIO,
    dropped_writes::SCENARIO,
    fence_beside_witness::SCENARIO,
    fence_hang::SCENARIO,
    fence_link_cut::SCENARIO,
    flapping_link::SCENARIO,
    frozen::SCENARIO,
    keepalived_killed::SCENARIO,
    partition::SCENARIO,
    standby_disk_error::SCENARIO,
    suspended::SCENARIO,
    witness_restored::SCENARIO,
];

/// A pair under fire.
pub(super) struct Watched<'a> {
    pub(super) lab: &'a mut Lab,
    pub(super) writer: Writer,
    inner: InnerWriters,
    /// How often a writer inside was started, so that no number is used twice.
    starts: i64,
}

impl Watched<'_> {
    /// Switches a node on again, with its writer.
    pub(super) fn start(&mut self, context: &Context<'_>, side: Side) -> anyhow::Result<()> {
        self.lab.pair.start(side)?;
        self.lab.pair.node(side)?.wait_shell(context.seconds(60))?;
        self.start_inner(side)
    }

    /// Waits until a node's management board was asked for these, in order, before anything else in this row.
    fn wait_asked(&mut self, side: Side, wanted: &[&str], deadline: Deadline) -> anyhow::Result<()> {
        loop {
            let asked = self.lab.pair.board(side)?.asked();
            if asked.iter().zip(wanted).filter(|(one, other)| one == other).count() == wanted.len() {
                return Ok(());
            }
            ensure!(
                !deadline.passed(),
                "the board of node {side} was asked for {asked:?}, not for {wanted:?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a node that its management board has switched off and on is there again, with its writer.
    fn wait_switched(&mut self, context: &Context<'_>, side: Side) -> anyhow::Result<()> {
        self.wait_asked(side, &["ForceOff", "On"], context.seconds(90))?;
        let vm = self.lab.pair.node(side)?;
        vm.was_reset();
        vm.wait_shell(context.seconds(60))?;
        self.start_inner(side)
    }

    pub(super) fn start_inner(&mut self, side: Side) -> anyhow::Result<()> {
        self.starts += 1;
        inner::start_in(&mut self.lab.pair, side, self.starts * 1_000_000)
    }

    /// Waits until this node says that it is active.
    fn wait_active(&mut self, side: Side, deadline: Deadline) -> anyhow::Result<()> {
        loop {
            let status = self.lab.pair.status(side);
            if status.as_ref().is_ok_and(|status| status.role == Role::Active) {
                return Ok(());
            }
            ensure!(
                !deadline.passed(),
                "node {side} did not become active: {}",
                status.map_or_else(
                    |error| format!("{error:#}"),
                    |status| format!("{}: {}", status.role, status.why)
                )
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for writes at the virtual IP and says how long it took since `fault`.
    fn wait_written(&mut self, context: &Context<'_>, what: &str, fault: Instant) -> anyhow::Result<()> {
        self.writer.wait_for(1, context.seconds(40)).with_context(|| format!("writes after {what}"))?;
        println!("  {what}: first write acknowledged after {:.1} s", fault.elapsed().as_secs_f32());
        self.writer.wait_for(10, context.seconds(20))
    }

    /// Waits until the pair is whole; returns the active node.
    pub(super) fn wait_whole(&mut self, context: &Context<'_>) -> anyhow::Result<Side> {
        let begun = now();
        let deadline = context.seconds(120);
        let active = loop {
            let active = self.lab.pair.wait_formed(deadline, &mut |_| {})?;
            // Whole is also what the record says, where there is one: a pair that is not paired there has no successor.
            let mut records = Vec::new();
            for side in Side::BOTH {
                let status = self.lab.pair.status(side)?;
                records.extend((status.mode == "witness").then_some(status.record));
            }
            if records.iter().all(|record| record.as_deref() == Some("paired")) {
                break active;
            }
            ensure!(!deadline.passed(), "both disks are current, and the record still says {records:?}");
            std::thread::sleep(Duration::from_millis(200));
        };
        println!("  whole again after {:.1} s, node {active} is active", begun.elapsed().as_secs_f32());
        Ok(active)
    }
}

/// Runs one row: the pair as it was formed, writers on, the fault, and the data check. `most` is how often the datastore
/// that serves may have changed at the end.
pub(super) fn row(
    context: &Context<'_>,
    most: usize,
    fault: impl FnOnce(&mut Watched<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    row_of(context, Kind::Watched, most, fault)
}

/// The same with a pair of another kind.
fn row_of(
    context: &Context<'_>,
    kind: Kind,
    most: usize,
    fault: impl FnOnce(&mut Watched<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    context.with_kind(kind, |lab| {
        let active = lab.active;
        let inner = InnerWriters::watch(&lab.pair);
        let writer = Writer::start(&lab.reach, 1, &lab.folder(Side::A).join("acknowledged.log"))?;
        let mut watched = Watched { lab, writer, inner, starts: 0 };
        for side in Side::BOTH {
            watched.start_inner(side)?;
        }
        watched.writer.wait_for(20, context.seconds(30))?;
        watched.inner.wait_for(active, context.seconds(30))?;
        fault(&mut watched)?;
        verify(&mut watched, context)?;
        let Watched { lab, writer, inner, .. } = watched;
        let outside = Verdict::check(&lab.reach, &writer.stop()?)?;
        let seen = inner.seen();
        inner::check(&seen, &lab.reach.query("SELECT node, number FROM lab_inner")?)?;
        let moves = inner::moves(&seen);
        ensure!(
            moves <= most,
            "the two nodes' datastores acknowledged in turns: {moves} changes, where {most} are expected"
        );
        println!(
            "  data: {} acknowledged at the virtual IP and {} inside, 0 lost, 0 twice, no overlap ({moves} changes of node); \
             longest gap {:.1} s",
            outside.acknowledged,
            seen.len(),
            outside.gap.as_secs_f32()
        );
        Ok(())
    })
}

/// Both disks hold the same: DRBD reads and compares them block by block, while the writers go on. Minutes on emulated
/// processors, so only where `EDGEPAIR_VERIFY` is set, as in long runs.
fn verify(watched: &mut Watched<'_>, context: &Context<'_>) -> anyhow::Result<()> {
    if std::env::var_os("EDGEPAIR_VERIFY").is_none() {
        return Ok(());
    }
    let active = watched.wait_whole(context)?;
    let vm = watched.lab.pair.node(active)?;
    let begun = now();
    vm.guest.run("drbdadm verify edgepair")?;
    let deadline = context.seconds(240);
    loop {
        let text = vm.guest.run("cat /proc/drbd")?;
        if !text.contains("cs:Verify") {
            ensure!(text.contains("oos:0"), "the disks are not equal:\n{text}");
            println!("  drbdadm verify: the disks are equal ({:.0} s)", begun.elapsed().as_secs_f32());
            return Ok(());
        }
        ensure!(!deadline.passed(), "drbdadm verify does not end:\n{text}");
        std::thread::sleep(Duration::from_millis(500));
    }
}
