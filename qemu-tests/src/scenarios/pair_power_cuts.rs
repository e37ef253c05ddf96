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
use anyhow::{Context as _, ensure};
use edgepair_layout::path::NODE_INIT;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

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
/// Most cuts of one node in one case.
const CHAIN: usize = 7;

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
    let mut cases = chains(&all);
    cases.extend(chains(&instants.collect::<Vec<_>>()));
    Ok(cases)
}

/// The cases of a long run: in each, the plugs of both nodes are pulled up to [`CHAIN`] times, and what a boot finishes is
/// what the one before was cut in. A node's points are dealt out in turn, so that two of one case are far apart: between
/// a line that is seen and the pull of the plug the node goes on.
fn chains(all: &[Cut]) -> Vec<String> {
    let of = Side::BOTH.map(|side| all.iter().filter(|cut| cut.side() == side).collect::<Vec<_>>());
    let count = of.iter().map(|cuts| cuts.len().div_ceil(CHAIN)).max().unwrap_or(0);
    (0..count)
        .map(|at| {
            let cuts = of.iter().flat_map(|cuts| cuts.iter().skip(at).step_by(count));
            cuts.map(|cut| cut.to_string()).collect::<Vec<_>>().join(AND)
        })
        .filter(|case| !case.is_empty())
        .collect()
}

fn soak(context: &Context<'_>, case: &str) -> anyhow::Result<String> {
    let cuts: Option<Vec<Cut>> = case.split(AND).map(Cut::parse).collect();
    let cuts = cuts.with_context(|| format!("`{case}` is no list of points"))?;
    form_cutting_all(context, &context.dir.join("pair"), cuts)
}

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let all = points(context)?;
    println!("  points, from what the nodes said when they formed the shared pair:");
    for cut in &all {
        println!("    {cut}");
    }
    // The steps that write over something are the ones worth a cut in each test run; the soak run has all. None of b's
    // once both have met: a would be left with a full synchronisation before it goes on, minutes under emulation.
    let wanted = [
        (Side::A, ["step backing-file begins", "step cluster begins"]),
        (Side::B, ["step backing-file begins", "step metadata begins"]),
    ];
    let is_wanted = |cut: &&Cut| match cut {
        Cut::Step { side, line } => wanted.iter().any(|(of, lines)| of == side && lines.contains(&&**line)),
        Cut::Instant { .. } => false,
    };
    let cuts: Vec<Cut> = all.iter().filter(is_wanted).cloned().collect();
    ensure!(cuts.len() == 4, "the points {wanted:?} are not all among those seen");
    let said = form_cutting_all(context, &context.dir.join("pair"), cuts)?;
    println!("  {said}");
    Ok(())
}

/// Forms pairs until the plug was pulled at every point: a node can be past one before the plug of the point before is
/// out. Then it is the first of its node in the next pair.
fn form_cutting_all(context: &Context<'_>, dir: &Path, cuts: Vec<Cut>) -> anyhow::Result<String> {
    let (mut said, mut left) = (Vec::new(), cuts);
    while !left.is_empty() {
        let (text, missed) = form_with(context, dir, &left)?;
        ensure!(missed.len() < left.len(), "no plug was pulled");
        said.push(text);
        left = missed;
        if !left.is_empty() {
            std::fs::remove_dir_all(dir)?;
        }
    }
    Ok(said.join("; then "))
}

/// Where one node is in its cuts.
struct Plug<'a> {
    side: Side,
    /// Still to come, in order.
    cuts: VecDeque<&'a Cut>,
    /// The points that the journal had when the plug was pulled last.
    past: Vec<String>,
    on_since: Instant,
    /// So long its next point is waited for.
    patience: Deadline,
    /// Bytes of the journal when it was read last.
    read: u64,
}

impl Plug<'_> {
    fn is_due(&mut self, lab: &Lab, forming: Duration) -> bool {
        match self.cuts.front() {
            None => false,
            Some(Cut::Instant { thousandth, .. }) => self.on_since.elapsed() >= forming * *thousandth / 1000,
            Some(Cut::Step { side, line }) => {
                // To read it again and again would take from the processors that the nodes run on.
                let size = journal_size(lab, *side);
                let news = size != std::mem::replace(&mut self.read, size);
                news && steps(&lab.pair.journal(*side)).contains(line)
            }
        }
    }

    /// Drops the next points that the node was past before the plug was out.
    fn miss(&mut self, missed: &mut Vec<Cut>) {
        while let Some(Cut::Step { line, .. }) = self.cuts.front() {
            if !self.past.contains(line) {
                return;
            }
            missed.extend(self.cuts.pop_front().cloned());
        }
    }
}

/// Forms a pair and pulls plugs on the way; returns the points that were missed.
fn form_with(context: &Context<'_>, dir: &Path, cuts: &[Cut]) -> anyhow::Result<(String, Vec<Cut>)> {
    // Known before anything runs: the shared pair may have to be formed for it.
    let instants = cuts.iter().any(|cut| matches!(cut, Cut::Instant { .. }));
    let forming = if instants { context.forming_took()? } else { Duration::ZERO };
    let mut lab = context.two_boxes(dir, Kind::Manual)?;
    lab.look(|lab| {
        let begun = now();
        for side in Side::BOTH {
            lab.pair.start(side)?;
        }
        let (mut said, mut missed) = (Vec::new(), Vec::new());
        let mut plugs = Side::BOTH.map(|side| Plug {
            side,
            cuts: cuts.iter().filter(|cut| cut.side() == side).collect(),
            past: Vec::new(),
            on_since: begun,
            patience: context.seconds(50),
            read: 0,
        });
        let mut turns = 0_u32;
        while plugs.iter().any(|plug| !plug.cuts.is_empty()) {
            turns += 1;
            for plug in &mut plugs {
                if turns.is_multiple_of(100) {
                    lab.pair.node(plug.side)?.unstick()?;
                }
                if !plug.is_due(lab, forming) {
                    // The plug may have been pulled between a step and the line that says it is done. Whether the node
                    // went on is seen below.
                    if plug.patience.passed() {
                        missed.extend(plug.cuts.drain(..).cloned());
                    }
                    continue;
                }
                lab.pair.kill(plug.side);
                if let Some(cut) = plug.cuts.pop_front() {
                    said.push(format!("{cut} (cut at {:.1} s)", begun.elapsed().as_secs_f32()));
                }
                plug.past = steps(&lab.pair.journal(plug.side));
                plug.miss(&mut missed);
                lab.pair.start(plug.side)?;
                plug.on_since = now();
                plug.patience = context.seconds(50);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        lab.pair.wait_formed(context.seconds(200), &mut |_| {}).with_context(|| said.join(AND))?;
        lab.reach.wait(context.seconds(20))?;
        made_once(lab)?;
        nothing_left(context, lab)?;
        let text = format!("{}: formed after {:.0} s", said.join(AND), begun.elapsed().as_secs_f32());
        Ok((text, missed))
    })
}

fn journal_size(lab: &Lab, side: Side) -> u64 {
    std::fs::metadata(lab.folder(side).join("journal.log")).map_or(0, |meta| meta.len())
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
    fn every_point_is_in_one_case_and_those_of_a_case_are_in_order_and_apart() {
        let cut = |side, at: usize| Cut::Step { side, line: format!("step {at} begins") };
        let mut all: Vec<Cut> = (0..10).map(|at| cut(Side::A, at)).collect();
        all.extend((0..3).map(|at| cut(Side::B, at)));
        let cases = chains(&all);
        assert_eq!(cases.len(), 10_usize.div_ceil(CHAIN));
        let mut seen = Vec::new();
        for case in &cases {
            let cuts: Vec<Cut> = case.split(AND).map(|cut| Cut::parse(cut).unwrap()).collect();
            let of_a: Vec<usize> =
                cuts.iter().filter_map(|cut| all[..10].iter().position(|c| c == cut)).collect();
            assert!(of_a.len() <= CHAIN && of_a.is_sorted_by(|one, two| two - one == cases.len()), "{case}");
            seen.extend(cuts);
        }
        assert!(seen.len() == all.len() && all.iter().all(|cut| seen.contains(cut)));
        assert!(chains(&[]).is_empty());
    }

    #[test]
    fn a_point_that_the_node_was_past_is_missed_and_not_cut() {
        let cuts: Vec<Cut> =
            ["x", "y", "z"].map(|line| Cut::Step { side: Side::A, line: line.into() }).to_vec();
        let mut plug = Plug {
            side: Side::A,
            cuts: cuts.iter().skip(1).collect(),
            past: vec!["x".into(), "y".into()],
            on_since: now(),
            patience: Deadline::seconds(1),
            read: 0,
        };
        let mut missed = Vec::new();
        plug.miss(&mut missed);
        assert_eq!((missed.as_slice(), plug.cuts.len()), (&cuts[1..2], 1));
    }
}
