//! A pair moves to a later version together, with a writer at the virtual IP; a version that is no good takes both back.

use super::super::failover::{Watched, row};
use super::super::formed::now;
use super::{kept, never_again, push, trust, wait_over, words};
use crate::harness::site::Side;
use crate::scenarios::{Context, Scenario};
use anyhow::{Context as _, ensure};
use std::path::Path;

/// In each test run that has the bundles.
pub const SCENARIO: Scenario = Scenario {
    name: "pair-update",
    shows: "a signed bundle pushed to one node moves both to the next version, each rebooting as the standby, the second \
            node fed by the first; a version that fails its health check takes both back by themselves and is refused from then \
            on; no acknowledged row is lost",
    run,
};

/// How often the datastore may have moved: once for the good version, once for the one that is given up, and back.
const MOVES: usize = 4;

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let folder = context.updates.context(
        "this scenario needs --updates with good.bundle, broken.bundle and release.pub\n  to do: `cargo xtask test update` makes them",
    )?;
    row(context, MOVES, |watched| {
        let lead = watched.lab.active;
        let good = folder.join("good.bundle");
        refused_without_a_key(watched, lead, &good)?;
        trust(watched, &folder.join("release.pub"))?;

        let begun = now();
        let said = push(watched, lead, &good)?;
        ensure!(said.status.success(), "the bundle was not taken: {}", words(&said));
        println!("  pushed in {:.0} s: {}", begun.elapsed().as_secs_f32(), words(&said));
        let version = wait_over(context, watched, lead, "decided")?;
        println!("  both nodes run {version} after {:.0} s", begun.elapsed().as_secs_f32());
        let active = watched.wait_whole(context)?;
        kept(context, watched, &version)?;
        fed_by_the_first(watched, lead)?;
        for side in Side::BOTH {
            watched.start_inner(side)?;
        }
        watched.writer.wait_for(20, context.seconds(30)).context("writes after the update")?;

        let begun = now();
        let broken = folder.join("broken.bundle");
        let said = push(watched, active, &broken)?;
        ensure!(said.status.success(), "the bundle was not taken: {}", words(&said));
        let tried = wait_over(context, watched, active, "refused")?;
        println!("  {tried} was given up, both on {version} after {:.0} s", begun.elapsed().as_secs_f32());
        watched.wait_whole(context)?;
        kept(context, watched, &version)?;
        never_again(watched, &broken)?;
        watched
            .writer
            .wait_for(20, context.seconds(30))
            .context("writes after the version that was given up")?;
        Ok(())
    })
}

/// The image under test trusts no key.
fn refused_without_a_key(watched: &mut Watched<'_>, side: Side, bundle: &Path) -> anyhow::Result<()> {
    let said = push(watched, side, bundle)?;
    ensure!(
        !said.status.success() && words(&said).contains("trusts no key"),
        "an image without a key takes an update: {}",
        words(&said)
    );
    println!("  without a trusted key: {}", words(&said).lines().next().unwrap_or_default());
    Ok(())
}

/// The node that did not get the bundle took it from the one that did.
fn fed_by_the_first(watched: &mut Watched<'_>, lead: Side) -> anyhow::Result<()> {
    for side in [lead, lead.other()] {
        let journal = watched.lab.pair.journal(side);
        let line = journal.lines().rfind(|line| line.contains("is in the other slot and was read back"));
        let line =
            line.with_context(|| format!("node {side} does not say what its slot was written from"))?;
        println!("  node {side}: {}", line.split_once("]: ").map_or(line, |(_, text)| text));
    }
    Ok(())
}
