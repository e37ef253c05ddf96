//! A pair without a witness whose active node is dead: an operator promotes the other one, by its word and only by it.

use super::formed::now;
use super::{Context, Scenario};
use crate::harness::site::Side;
use crate::harness::writer::{Verdict, Writer};
use anyhow::{Context as _, ensure};
use edgepair_layout::path::NODE_INIT;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-promote",
    shows: "without a witness, an operator who types the dead node's name makes the other one active; a wrong name, or a \
            node that answers, is refused; the dead one returns and is synchronised",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_pair(|lab| {
        let dead = lab.active;
        let heir = dead.other();
        let writer = Writer::start(&lab.reach, 1, &lab.folder(Side::A).join("acknowledged.log"))?;
        writer.wait_for(20, context.seconds(20))?;
        let other = lab.pair.status(heir)?.peer.name;
        let promote = format!("{NODE_INIT} promote --other-is-off {other} 2>&1");

        let vm = lab.pair.node(heir)?;
        let answers = vm.guest.try_run(&promote, context.seconds(20))?;
        ensure!(answers.status != 0 && answers.text.contains("is not off"), "not refused: {}", answers.text);
        println!("  while the other one answers: {}", answers.text);

        lab.pair.kill(dead);
        let deadline = context.seconds(20);
        while lab.pair.status(heir)?.peer.reachable {
            ensure!(!deadline.passed(), "node {heir} does not notice that the other one is dead");
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        let vm = lab.pair.node(heir)?;
        let wrong = vm
            .guest
            .try_run(&format!("{NODE_INIT} promote --other-is-off nobody 2>&1"), context.seconds(20))?;
        ensure!(wrong.status != 0 && wrong.text.contains("nothing was done"), "not refused: {}", wrong.text);
        let unsworn =
            vm.guest.try_run(&format!("{NODE_INIT} promote 2>&1 </dev/null"), context.seconds(20))?;
        ensure!(unsworn.status != 0, "promoted without a word: {}", unsworn.text);

        let begun = now();
        let said = vm.guest.try_run(&promote, context.seconds(80))?;
        ensure!(said.status == 0, "`node-init promote` ended with {}: {}", said.status, said.text);
        writer.wait_for(10, context.seconds(30)).context("writes after the promotion")?;
        println!("  promoted by an operator: writes again after {:.1} s", begun.elapsed().as_secs_f32());

        lab.pair.start(dead)?;
        let active = lab.pair.wait_formed(context.seconds(120), &mut |_| {})?;
        ensure!(active == heir, "the node that came back is active");
        let verdict = Verdict::check(&lab.reach, &writer.stop()?)?;
        println!(
            "  the dead one is back as standby, both current; {} acknowledged, 0 lost, 0 twice",
            verdict.acknowledged
        );
        Ok(())
    })
}
