//! Boxes that must not join, and one that must: what each says, and that the pair stays whole.

use super::formed::{Lab, now};
use super::{Context, Scenario};
use crate::harness::Deadline;
use crate::harness::pair::{Extra, Pair};
use crate::harness::site::Side;
use crate::harness::writer::{Verdict, Writer};
use anyhow::{Context as _, bail, ensure};
use edgepair_host_io::digest;
use edgepair_seed::{NODE_FILE, secret_from_random};

pub const SCENARIO: Scenario = Scenario {
    name: "pair-refusals",
    shows: "a box with another secret and one that claims to be the other node are refused with a message; a second disk \
            with the same labels and a link that is a minute late do no harm; a new box joins and is synchronised",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_copy(|lab| {
        let active = lab.active;
        let standby = active.other();
        let writer = Writer::start(&lab.reach, 1, &lab.folder(Side::A).join("acknowledged.log"))?;
        writer.wait_for(20, context.seconds(20))?;

        wrong_secret(context, lab, standby)?;
        still_serves(lab, active, &writer, context.seconds(20))?;
        both_claim(context, lab, standby)?;
        still_serves(lab, active, &writer, context.seconds(20))?;
        replaced_box(context, lab, standby)?;
        still_serves(lab, active, &writer, context.seconds(20))?;
        second_disk(context, lab, standby)?;
        still_serves(lab, active, &writer, context.seconds(20))?;
        late_link(context, lab, standby)?;
        still_serves(lab, active, &writer, context.seconds(20))?;

        let verdict = Verdict::check(&lab.reach, &writer.stop()?)?;
        println!("  writer over all of it: {} acknowledged, 0 lost, 0 twice", verdict.acknowledged);
        Ok(())
    })
}

/// Whatever is beside it, the node that was active is, and stores what is written.
fn still_serves(lab: &mut Lab, active: Side, writer: &Writer, deadline: Deadline) -> anyhow::Result<()> {
    ensure!(lab.pair.active()? == Some(active), "node {active} is not active any more");
    writer.wait_for(10, deadline).context("the datastore does not take writes any more")
}

/// Waits until a node says something on its screen or in its journal.
fn hears(lab: &mut Lab, side: Side, words: &[&str], deadline: Deadline) -> anyhow::Result<String> {
    loop {
        let vm = lab.pair.node(side)?;
        let said = vm.guest.try_run(
            "/usr/lib/edgepair/node-init console --once; /usr/lib/edgepair/node-init status 2>&1; journalctl --boot --output=cat --no-pager --priority=notice",
            Deadline::seconds(10),
        );
        if let Ok(said) = &said
            && let Some(line) = said.text.lines().find(|line| {
                let line = line.to_lowercase();
                words.iter().all(|word| line.contains(word))
            })
        {
            return Ok(line.trim().to_owned());
        }
        if deadline.passed() {
            let text = said.map_or_else(|error| error.to_string(), |said| said.text);
            let lines: Vec<&str> = text.lines().collect();
            bail!(
                "node {side} says nothing of {words:?}; its last words:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn wrong_secret(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
    let foreign = lab.site.with_secret(secret_from_random(&random))?;
    lab.pair.kill(side);
    Pair::flash(&lab.pair.spec, side, &foreign)?;
    lab.pair.start(side)?;
    let line = hears(lab, side, &["secret"], context.seconds(90)).context("a box with another secret")?;
    let status = lab.pair.status(side)?;
    ensure!(!status.peer.reachable && !status.formed(), "a box with another secret was taken in: {status:?}");
    println!("  box with another secret, on its side: {line}");
    let line = hears(lab, side.other(), &["secret"], context.seconds(30)).context("the node beside it")?;
    println!("  and on node {}: {line}", side.other());
    Ok(())
}

/// A box whose card says that it is the other node: first in the wrong box, then in one that no seed knows.
fn both_claim(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    for (mac, words) in [(None, "wrong box"), (Some("52:54:00:00:00:77"), "as well")] {
        lab.pair.kill(side);
        Pair::flash(&lab.pair.spec, side, &lab.site)?;
        let mut payload = lab.site.payload();
        payload.file(NODE_FILE, format!("{}\n", side.other()).as_bytes());
        edgepair_seed_place::put(&lab.pair.spec.flashed(side), &payload)?;
        lab.pair.extra[side as usize].mac = mac.map(str::to_owned);
        lab.pair.start(side)?;
        let line = hears(lab, side, &[words], context.seconds(90)).with_context(|| {
            format!("a box with the address {mac:?} that claims to be node {}", side.other())
        })?;
        println!("  box {side} whose card says {}: {line}", side.other());
    }
    lab.pair.extra[side as usize] = Extra::default();
    Ok(())
}

fn replaced_box(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    let begun = now();
    lab.pair.kill(side);
    Pair::flash(&lab.pair.spec, side, &lab.site)?;
    lab.pair.start(side)?;
    let active =
        lab.pair.wait_formed(context.seconds(200), &mut |_| {}).context("a new box in place of a node")?;
    ensure!(active == side.other(), "the new box became active");
    println!(
        "  new box in place of node {side}: joined and current after {:.0} s",
        begun.elapsed().as_secs_f32()
    );
    Ok(())
}

fn second_disk(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    lab.pair.kill(side);
    // The image as it is flashed: the same partition names and the same UUIDs as the disk that is booted from.
    let image = lab.pair.spec.image.disk.clone();
    lab.pair.extra[side as usize] = lab.pair.spec.second_disk(side, &image)?;
    let second = lab.folder(side).join("second.qcow2");
    let before = digest::of_file(&second)?;
    lab.pair.start(side)?;
    let active = lab
        .pair
        .wait_formed(context.seconds(200), &mut |_| {})
        .context("a second disk with the same labels")?;
    ensure!(active == side.other(), "the node with a second disk became active");
    let vm = lab.pair.node(side)?;
    let booted = vm.guest.run("findmnt --noheadings --output SOURCE /var")?;
    println!(
        "  second disk with the same labels in node {side}: /var is {}, and the pair is whole",
        booted.trim()
    );
    lab.pair.kill(side);
    ensure!(digest::of_file(&second)? == before, "something was written to the second disk");
    lab.pair.extra[side as usize] = Extra::default();
    Ok(())
}

fn late_link(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    lab.pair.start_unplugged(side)?;
    let vm = lab.pair.node(side)?;
    vm.wait_shell(context.seconds(60))?;
    // A minute of the node's own time: long after everything that waits for a network has given up.
    let deadline = context.seconds(60);
    loop {
        let up: f64 = vm.guest.run("cut -d' ' -f1 /proc/uptime")?.trim().parse()?;
        if up > 60.0 {
            break;
        }
        ensure!(!deadline.passed(), "the clock of node {side} stands still");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let line = hears(lab, side, &["network"], context.seconds(10))
        .or_else(|_| hears(lab, side, &["link"], context.seconds(10)))?;
    lab.pair.carrier(side, true)?;
    let active = lab
        .pair
        .wait_formed(context.seconds(60), &mut |_| {})
        .context("a link that came up a minute late")?;
    ensure!(active == side.other(), "the node with the late link became active");
    println!("  link of node {side} a minute late: it said `{line}`, and joined when it came");
    Ok(())
}
