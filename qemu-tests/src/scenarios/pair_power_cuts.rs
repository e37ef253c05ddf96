//! The plug is pulled while a pair is made for the first time: at each step's beginning and end on either node, and at
//! random instants. The next boot finishes the job, and nothing is made twice.
//!
//! The points are not a list in this file: they are read from what both nodes said when the shared pair was formed, so
//! a new step is a new point.

use super::formed::{Kind, Lab, now};
use super::soak::Soak;
use super::{Context, Scenario};
use crate::harness::Deadline;
use crate::harness::site::Side;
use anyhow::{Context as _, bail, ensure};
use edgepair_layout::path::NODE_INIT;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-power-cuts",
    shows: "the plug is pulled on each node at steps of the first provisioning: the next boot finishes the job and makes \
            nothing twice (a few points; `cargo xtask soak power-cuts` takes them all)",
    run,
};

pub const SOAK: Soak = Soak {
    name: "power-cuts",
    shows: "a power cut at the beginning and the end of every step of the first provisioning, on either node, and at 20 \
            random instants",
    cases,
    run: soak,
};

/// Between two cuts of one case.
const AND: &str = " and ";
/// From here on what a node does depends on the other one.
const TOGETHER: &str = "forming ";

/// Random instants in the soak run.
const RANDOM: u32 = 20;

/// Where the plug is pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cut {
    /// When this node's journal has this line.
    Step { side: Side, line: String },
    /// So long after power-on, in thousandths of the time that forming takes.
    Instant { side: Side, thousandth: u32 },
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { side, line } => write!(f, "{side}: {line}"),
            Self::Instant { side, thousandth } => write!(f, "{side}: at {thousandth}/1000"),
        }
    }
}

impl Cut {
    fn parse(text: &str) -> Option<Self> {
        let (side, rest) = text.split_once(": ")?;
        let side = Side::parse(side)?;
        match rest.strip_prefix("at ").and_then(|rest| rest.strip_suffix("/1000")) {
            Some(number) => Some(Self::Instant { side, thousandth: number.parse().ok()? }),
            None => Some(Self::Step { side, line: rest.to_owned() }),
        }
    }

    fn side(&self) -> Side {
        match self {
            Self::Step { side, .. } | Self::Instant { side, .. } => *side,
        }
    }
}

/// The lines by which a journal says that a step begins (`step ID: what`) or is done (`step ID done`), the same for what is
/// of one boot only (`up ID: what`), and how far the
/// forming of the pair is (`forming of the pair: WORD`), shortened to `step ID begins`, `step ID done` and `forming
/// WORD`; each once, in order.
fn steps(journal: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in journal.lines() {
        let Some((_, said)) = line.split_once("node-init[") else { continue };
        let Some((_, said)) = said.split_once("]: ") else { continue };
        if let Some(word) = said.strip_prefix("forming of the pair: ") {
            all.push(format!("forming {word}"));
        }
        let Some((word, words)) = said.split_once(' ').filter(|(word, _)| ["step", "up"].contains(word))
        else {
            continue;
        };
        let point = match (words.strip_suffix(" done"), words.split_once(": ")) {
            (Some(id), _) if !id.contains(' ') => format!("{word} {id} done"),
            (_, Some((id, _))) if !id.contains(' ') => format!("{word} {id} begins"),
            _ => continue,
        };
        all.push(point);
    }
    let mut seen = BTreeSet::new();
    all.retain(|point| seen.insert(point.clone()));
    all
}

/// All points of the first provisioning, of both nodes.
fn points(context: &Context<'_>) -> anyhow::Result<Vec<Cut>> {
    let journals = context.forming_journals()?;
    let cuts: Vec<Cut> = Side::BOTH
        .into_iter()
        .flat_map(|side| {
            steps(&journals[side as usize]).into_iter().map(move |line| Cut::Step { side, line })
        })
        .collect();
    for side in Side::BOTH {
        let count = cuts.iter().filter(|cut| cut.side() == side).count();
        ensure!(count >= 8, "node {side} named only {count} points: {cuts:?}");
    }
    Ok(cuts)
}

fn cases(context: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let all = points(context)?;
    println!("{} points, from what the nodes said when they formed the shared pair:", all.len());
    for cut in &all {
        println!("  {cut}");
    }
    let mut random = [0_u8; 64];
    getrandom::fill(&mut random).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
    let instants = (0..RANDOM as usize).map(|index| Cut::Instant {
        side: Side::BOTH[index % 2],
        thousandth: u32::from(u16::from_le_bytes([random[index * 2], random[index * 2 + 1]])) % 1000,
    });
    let mut cases = pairs(&all);
    cases.extend(instants.map(|cut| cut.to_string()));
    Ok(cases)
}

/// The cases of a long run: what each node does for itself is cut on both nodes in one case, since neither knows of the
/// other yet; what they do together, alone.
fn pairs(all: &[Cut]) -> Vec<String> {
    let mut own: [Vec<&Cut>; 2] = Default::default();
    let mut together = Vec::new();
    for side in Side::BOTH {
        let mut of = all.iter().filter(|cut| cut.side() == side).peekable();
        let alone = |cut: &&Cut| !matches!(cut, Cut::Step { line, .. } if line.starts_with(TOGETHER));
        while let Some(cut) = of.next_if(alone) {
            own[side as usize].push(cut);
        }
        together.extend(of.map(Cut::to_string));
    }
    let [a, b] = own;
    let mut cases: Vec<String> = (0..a.len().max(b.len()))
        .map(|at| {
            let both: Vec<String> =
                [a.get(at), b.get(at)].into_iter().flatten().map(|cut| cut.to_string()).collect();
            both.join(AND)
        })
        .collect();
    cases.extend(together);
    cases
}

fn soak(context: &Context<'_>, case: &str) -> anyhow::Result<String> {
    let cuts: Option<Vec<Cut>> = case.split(AND).map(Cut::parse).collect();
    let cuts = cuts.with_context(|| format!("`{case}` is no point"))?;
    form_with(context, &context.dir.join("pair"), &cuts)
}

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let all = points(context)?;
    println!("  points, from what the nodes said when they formed the shared pair:");
    for cut in &all {
        println!("    {cut}");
    }
    // The steps that write over something are the ones worth a cut in each test run; one on each node, other nodes'
    // and other steps' are the soak run's.
    let wanted = [
        "step metadata begins",
        "step backing-file begins",
        "step file-system begins",
        "step cluster begins",
    ];
    let of = |side: Side, skip: usize| {
        let mut found = wanted.iter().filter_map(|line| {
            all.iter()
                .find(|cut| matches!(cut, Cut::Step { side: at, line: said } if *at == side && said == line))
        });
        found.nth(skip).or(found.next()).cloned()
    };
    for (number, pair) in
        [[of(Side::A, 2), of(Side::B, 0)], [of(Side::A, 3), of(Side::B, 1)]].iter().enumerate()
    {
        let cuts: Vec<Cut> = pair.iter().flatten().cloned().collect();
        ensure!(cuts.len() == 2, "the points that write over something are not among those seen");
        let said = form_with(context, &context.dir.join(format!("pair-{number}")), &cuts)?;
        println!("  {said}");
    }
    Ok(())
}

/// Forms a pair and pulls plugs on the way.
fn form_with(context: &Context<'_>, dir: &Path, cuts: &[Cut]) -> anyhow::Result<String> {
    // Known before anything runs: the shared pair may have to be formed for it.
    let instants = cuts.iter().any(|cut| matches!(cut, Cut::Instant { .. }));
    let forming = if instants { context.forming_took()? } else { Duration::ZERO };
    let mut lab = context.two_boxes(dir, Kind::Manual)?;
    lab.look(|lab| {
        let begun = now();
        for side in Side::BOTH {
            lab.pair.start(side)?;
        }
        let mut said = Vec::new();
        let deadline = context.seconds(200);
        let mut waiting: Vec<&Cut> = cuts.iter().collect();
        let (mut turns, mut sizes) = (0_u32, [0; 2]);
        while !waiting.is_empty() {
            turns += 1;
            if turns % 100 == 0 {
                for side in Side::BOTH {
                    lab.pair.node(side)?.unstick()?;
                }
            }
            let grown = Side::BOTH.map(|side| journal_size(lab, side));
            let news = Side::BOTH.map(|side| grown[side as usize] != sizes[side as usize]);
            sizes = grown;
            let mut left = Vec::new();
            for cut in waiting {
                if is_due(lab, cut, news[cut.side() as usize], begun.elapsed(), forming) {
                    lab.pair.kill(cut.side());
                    said.push(format!("{cut} (cut at {:.1} s)", begun.elapsed().as_secs_f32()));
                    lab.pair.start(cut.side())?;
                } else {
                    left.push(cut);
                }
            }
            if deadline.passed() {
                bail!(
                    "the point never came: {}",
                    left.iter().map(|cut| cut.to_string()).collect::<Vec<_>>().join(", ")
                );
            }
            waiting = left;
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.pair.wait_formed(context.seconds(200), &mut |_| {}).with_context(|| said.join(" and "))?;
        lab.reach.wait(context.seconds(20))?;
        made_once(lab)?;
        nothing_left(context, lab)?;
        Ok(format!("{}: formed after {:.0} s", said.join(" and "), begun.elapsed().as_secs_f32()))
    })
}

fn journal_size(lab: &Lab, side: Side) -> u64 {
    std::fs::metadata(lab.folder(side).join("journal.log")).map_or(0, |meta| meta.len())
}

/// `news`: the journal has grown. To read it again and again would take from the processors that the nodes run on.
fn is_due(lab: &Lab, cut: &Cut, news: bool, since: Duration, forming: Duration) -> bool {
    match cut {
        Cut::Step { side, line } => news && steps(&lab.pair.journal(*side)).contains(line),
        Cut::Instant { thousandth, .. } => since >= forming * *thousandth / 1000,
    }
}

/// What destroys was done once on each node, and what makes the pair's data once in all.
fn made_once(lab: &Lab) -> anyhow::Result<()> {
    let mut both: BTreeMap<String, usize> = BTreeMap::new();
    for side in Side::BOTH {
        let mut own: BTreeMap<String, usize> = BTreeMap::new();
        for id in ["backing-file", "metadata", "skip-sync", "file-system", "cluster"] {
            let done = format!("]: step {id} done");
            let count = lab.pair.journal(side).lines().filter(|line| line.ends_with(&done)).count();
            *own.entry(id.to_owned()).or_default() += count;
            *both.entry(id.to_owned()).or_default() += count;
        }
        let twice: Vec<_> = own.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(twice.is_empty(), "node {side} did these more than once: {twice:?}");
    }
    for id in ["skip-sync", "file-system", "cluster"] {
        ensure!(both[id] <= 1, "`{id}` was done on both nodes");
    }
    Ok(())
}

fn nothing_left(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<()> {
    for side in Side::BOTH {
        let vm = lab.pair.node(side)?;
        let deadline: Deadline = context.seconds(20);
        let report = vm.guest.try_run(&format!("{NODE_INIT} provision --json"), deadline)?;
        let report: serde_json::Value =
            serde_json::from_str(&report.text).with_context(|| report.text.clone())?;
        ensure!(
            report["steps"].as_array().is_some_and(Vec::is_empty),
            "node {side} has steps left after a power cut: {}",
            report["steps"]
        );
        let failed = vm.guest.run("systemctl --failed --no-legend --plain")?;
        ensure!(failed.is_empty(), "failed units on node {side} after a power cut:\n{failed}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_from_a_journal() {
        let journal = "[ 61.1] node-init[357]: step seed: keep the checked seed\n[ 61.2] node-init[357]: step seed done\n\
                       [ 61.2] systemd[1]: Starting step one\n[ 61.3] node-init[357]: no step is missing (0.10 s)\n\
                       [ 62.0] node-init[401]: step seed: again\n[ 62.0] node-init[9]: step by step: no id\n\
                       [ 63.0] node-init[9]: forming of the pair: Begun\n";
        assert_eq!(steps(journal), ["step seed begins", "step seed done", "forming Begun"]);
    }

    #[test]
    fn a_point_is_read_back() {
        for cut in [
            Cut::Step { side: Side::B, line: "step backing-file begins".into() },
            Cut::Instant { side: Side::A, thousandth: 7 },
        ] {
            assert_eq!(Cut::parse(&cut.to_string()), Some(cut));
        }
        assert_eq!(Cut::parse("c: step x done"), None);
    }

    #[test]
    fn every_point_is_in_one_case_and_two_only_before_they_meet() {
        let cut = |side, line: &str| Cut::Step { side, line: line.to_owned() };
        let lines = ["step seed begins", "step seed done", "forming Begun", "step skip-sync begins"];
        let mut all: Vec<Cut> = lines.iter().map(|line| cut(Side::A, line)).collect();
        all.extend(lines[..3].iter().map(|line| cut(Side::B, line)));
        let cases = pairs(&all);
        assert_eq!(
            cases,
            [
                "a: step seed begins and b: step seed begins",
                "a: step seed done and b: step seed done",
                "a: forming Begun",
                "a: step skip-sync begins",
                "b: forming Begun",
            ]
        );
        let parsed: Vec<Cut> =
            cases.iter().flat_map(|case| case.split(AND).map(|cut| Cut::parse(cut).unwrap())).collect();
        assert!(parsed.len() == all.len() && all.iter().all(|cut| parsed.contains(cut)));
    }
}
