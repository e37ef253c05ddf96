//! Two flashed boxes with one seed form a pair; a row written at the virtual IP is there after a planned switchover.

use super::formed::{Lab, now};
use super::{Context, Scenario};
use crate::harness::site::{Side, VIRTUAL_IP, VIRTUAL_IP6};
use crate::harness::writer::{Verdict, Writer};
use anyhow::{Context as _, ensure};
use edgepair_layout::path::NODE_INIT;
use edgepair_status::table::{Column, render};

pub const SCENARIO: Scenario = Scenario {
    name: "pair-forms",
    shows: "two boxes with one seed form a pair by themselves: both disks current, virtual IP on one node, and what was \
            written through it is there after a planned switchover",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_pair(|lab| {
        let first = lab.active;
        show(lab)?;
        addresses(lab, first)?;
        for side in Side::BOTH {
            let failed = lab.pair.node(side)?.guest.run("systemctl --failed --no-legend --plain")?;
            ensure!(failed.is_empty(), "failed units on node {side}:\n{failed}");
        }
        println!("  no failed unit on either node");

        lab.reach.query(
            "CREATE TABLE proof (word text); INSERT INTO proof VALUES ('written through the virtual IP')",
        )?;
        let writer = Writer::start(&lab.reach, 1, &lab.folder(Side::A).join("acknowledged.log"))?;
        writer.wait_for(20, context.seconds(20))?;

        let second = first.other();
        let begun = now();
        let said =
            lab.pair.node(first)?.guest.try_run(&format!("{NODE_INIT} switchover"), context.seconds(20))?;
        ensure!(
            said.status == 0,
            "`node-init switchover` on {first} ended with {}: {}",
            said.status,
            said.text
        );
        let active = lab.pair.wait_formed(context.seconds(30), &mut |_| {})?;
        ensure!(active == second, "after the switchover node {active} is active");
        println!(
            "  planned switchover from {first} to {second}: whole again after {:.1} s",
            begun.elapsed().as_secs_f32()
        );
        addresses(lab, second)?;
        writer.wait_for(20, context.seconds(20)).context("writes after the switchover")?;
        let verdict = Verdict::check(&lab.reach, &writer.stop()?)?;
        println!(
            "  writer over the switchover: {} acknowledged, 0 lost, 0 twice, longest gap {:.1} s",
            verdict.acknowledged,
            verdict.gap.as_secs_f32()
        );
        let rows = lab.reach.query("SELECT word FROM proof")?;
        ensure!(
            rows == [[Some("written through the virtual IP".to_owned())]],
            "the row is not there: {rows:?}"
        );
        println!("  the row written on {first} is read on {second}");
        Ok(())
    })
}

/// Prints the table that `lab up` ends with.
fn show(lab: &mut Lab) -> anyhow::Result<()> {
    let mut columns = Vec::new();
    for side in Side::BOTH {
        let status = lab.pair.status(side)?;
        let drbd = status.drbd.clone().context("no DRBD")?;
        ensure!(drbd.disk == "UpToDate" && drbd.peer_disk == "UpToDate", "node {side}: {drbd:?}");
        columns.push(Column::from(status));
    }
    for line in render(&columns).lines() {
        println!("    {line}");
    }
    Ok(())
}

/// The kernel's word, not the agent's: the virtual IP is on this node and on no other.
pub(super) fn addresses(lab: &mut Lab, active: Side) -> anyhow::Result<()> {
    on_one_node(lab, &Side::BOTH, active)
}

/// The same for the nodes that are on.
pub(super) fn on_one_node(lab: &mut Lab, on: &[Side], active: Side) -> anyhow::Result<()> {
    for side in on.iter().copied() {
        let text = lab.pair.node(side)?.guest.run("ip -oneline address show scope global")?;
        for address in [VIRTUAL_IP, VIRTUAL_IP6] {
            let here = text.contains(&format!(" {address}/"));
            ensure!(
                here == (side == active),
                "{address} is {}on node {side}:\n{text}",
                if here { "" } else { "not " }
            );
        }
    }
    println!("  {VIRTUAL_IP} and {VIRTUAL_IP6} are on node {active} and only there");
    Ok(())
}
