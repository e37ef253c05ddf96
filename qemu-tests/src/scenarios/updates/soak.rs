//! The long run of updates: versions that fail in ways of their own, and plugs pulled in the middle of whole updates.
//!
//! The image under test trusts the key (`qemu-tests/updates/base.toml`), so that what was cut off can be pushed again after
//! any reboot.

use super::{begin_push, kept, never_again, push, status, wait_over, words};
use crate::harness::site::Side;
use crate::scenarios::Context;
use crate::scenarios::failover::{Watched, row};
use crate::scenarios::formed::now;
use crate::scenarios::soak::Soak;
use anyhow::{Context as _, bail, ensure};
use pair_core::update::UpdateReason;
use serde_json::Value;
use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The long run.
pub const SOAK: Soak = Soak {
    name: "updates",
    shows: "versions that panic, hang, are cut off or fill the disk take both nodes back; a plug pulled at any moment of an \
            update, of either node or both, ends with both on one version",
    cases,
    run,
};

/// Later versions that are no good, and how their plan must end: a version is refused for good when it is to blame.
const BAD: &[(&str, &str)] = &[
    ("panics", "refused"),
    ("hangs", "refused"),
    ("hangs-early", "refused"),
    ("full", "refused"),
    // Nobody can tell from within whether the network or the version is to blame.
    ("mute", "abandoned"),
];

/// Live power cuts.
const CUTS: u32 = 20;
/// The plug is pulled at most so long after the moment that was waited for, in milliseconds.
const LATEST: u32 = 12_000;
/// How often the datastore may have moved in one case: every plug pulled and every planned step may move it.
const MOVES: usize = 8;

/// What a node is seen doing before a plug is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Writes,
    Waits,
    Reboots,
    OnTrial,
    Updated,
}

impl Moment {
    const ALL: [Self; 5] = [Self::Writes, Self::Waits, Self::Reboots, Self::OnTrial, Self::Updated];

    fn word(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Waits => "waits",
            Self::Reboots => "reboots",
            Self::OnTrial => "is on trial",
            Self::Updated => "is updated",
        }
    }

    /// What a node's answer shows, if it is one of the moments; no answer is a reboot.
    fn of(status: Option<&Value>) -> Option<Self> {
        let Some(status) = status else { return Some(Self::Reboots) };
        let why = status["why"].as_str().unwrap_or_default();
        let says = |reason: UpdateReason| why == reason.to_string();
        [
            (Self::Writes, says(UpdateReason::Writing)),
            (Self::Waits, says(UpdateReason::WaitsForPeer)),
            (Self::OnTrial, says(UpdateReason::OnTrial)),
            (Self::Updated, says(UpdateReason::Done)),
        ]
        .into_iter()
        .find_map(|(moment, is)| is.then_some(moment))
    }
}

/// Whose plug is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Victims(&'static [Side], &'static str);

const VICTIMS: [Victims; 3] =
    [Victims(&[Side::A], "a"), Victims(&[Side::B], "b"), Victims(&[Side::A, Side::B], "both")];

/// One pulled plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    victims: Victims,
    delay: u32,
    watched: Side,
    moment: Moment,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut {} {} ms after {} {}", self.victims.1, self.delay, self.watched, self.moment.word())
    }
}

impl Cut {
    fn parse(text: &str) -> Option<Self> {
        let (victims, rest) = text.strip_prefix("cut ")?.split_once(' ')?;
        let (delay, rest) = rest.split_once(" ms after ")?;
        let (watched, moment) = rest.split_once(' ')?;
        Some(Self {
            victims: *VICTIMS.iter().find(|one| one.1 == victims)?,
            delay: delay.parse().ok()?,
            watched: Side::parse(watched)?,
            moment: Moment::ALL.into_iter().find(|one| one.word() == moment)?,
        })
    }

    /// Every moment of either node in turn, with chance for the rest.
    fn random(number: u32) -> anyhow::Result<Self> {
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
        let random = u32::from_le_bytes(random);
        let at = number as usize;
        Ok(Self {
            victims: VICTIMS[random as usize % VICTIMS.len()],
            delay: (random >> 8) % LATEST,
            watched: Side::BOTH[at % 2],
            moment: Moment::ALL[at / 2 % Moment::ALL.len()],
        })
    }
}

fn cases(_: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let mut all: Vec<String> = BAD.iter().map(|(name, _)| (*name).to_owned()).collect();
    for number in 0..CUTS {
        all.push(Cut::random(number)?.to_string());
    }
    Ok(all)
}

fn run(context: &Context<'_>, case: &str) -> anyhow::Result<String> {
    let folder = context.updates.context(
        "this long run needs --updates with bundles of later versions\n  to do: `cargo xtask soak updates` makes them",
    )?;
    let said = RefCell::new(String::new());
    row(context, MOVES, |watched| {
        let text = match BAD.iter().find(|(name, _)| *name == case) {
            Some((name, ending)) => bad(context, watched, &folder.join(format!("{name}.bundle")), ending),
            None => {
                let cut = Cut::parse(case).with_context(|| format!("there is no case `{case}`"))?;
                cut_off(context, watched, &folder.join("good.bundle"), cut)
            }
        };
        said.replace(text?);
        Ok(())
    })?;
    Ok(said.into_inner())
}

fn bad(
    context: &Context<'_>,
    watched: &mut Watched<'_>,
    bundle: &Path,
    ending: &str,
) -> anyhow::Result<String> {
    let (lead, begun) = (watched.lab.active, now());
    let old = running(watched, lead)?;
    let said = push(watched, lead, bundle)?;
    ensure!(said.status.success(), "the bundle was not taken: {}", words(&said));
    let tried = wait_over(context, watched, lead, ending)?;
    let took = begun.elapsed().as_secs_f32();
    watched.wait_whole(context)?;
    kept(context, watched, &old)?;
    if ending == "refused" {
        never_again(watched, bundle)?;
    }
    watched.writer.wait_for(20, context.seconds(30)).context("writes afterwards")?;
    Ok(format!("{tried} ended {ending}, both on {old} after {took:.0} s"))
}

fn running(watched: &mut Watched<'_>, side: Side) -> anyhow::Result<String> {
    Ok(status(watched, side)?["running"].as_str().context("it does not say what runs")?.to_owned())
}

fn cut_off(
    context: &Context<'_>,
    watched: &mut Watched<'_>,
    bundle: &Path,
    cut: Cut,
) -> anyhow::Result<String> {
    let lead = watched.lab.active;
    let begun = now();
    let old = running(watched, lead)?;
    let mut pushing = begin_push(watched, lead, bundle)?;
    wait_moment(context, watched, cut)?;
    std::thread::sleep(Duration::from_millis(cut.delay.into()));
    let at = begun.elapsed().as_secs_f32();
    for side in cut.victims.0 {
        watched.lab.pair.kill(*side);
    }
    for side in cut.victims.0 {
        watched.start(context, *side)?;
    }
    // An operator's connection ends with the node, or when the bundle is read.
    let deadline = context.seconds(60);
    while pushing.try_wait().context("ssh")?.is_none() {
        if deadline.passed() {
            pushing.kill().context("ssh")?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let version = wait_agreed(context, watched)?;
    let took = begun.elapsed().as_secs_f32();
    watched.wait_whole(context)?;
    kept(context, watched, &version)?;
    watched.writer.wait_for(20, context.seconds(30)).context("writes afterwards")?;
    let word = if version == old { "old" } else { "new" };
    Ok(format!("cut at {at:.0} s, both on the {word} version after {took:.0} s"))
}

/// Waits until the node that is watched is where the plug is to be pulled.
fn wait_moment(context: &Context<'_>, watched: &mut Watched<'_>, cut: Cut) -> anyhow::Result<()> {
    let deadline = context.seconds(300);
    // A moment of an earlier plan is none of this one.
    let mut begun = false;
    loop {
        let status = status(watched, cut.watched).ok();
        let moment = Moment::of(status.as_ref());
        begun |= moment == Some(Moment::Writes);
        if begun && moment == Some(cut.moment) {
            return Ok(());
        }
        ensure!(!deadline.passed(), "node {} never {}", cut.watched, cut.moment.word());
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits until no plan is open on either node, and both run one version; returns it.
fn wait_agreed(context: &Context<'_>, watched: &mut Watched<'_>) -> anyhow::Result<String> {
    let deadline = context.seconds(300);
    loop {
        let said = Side::BOTH.map(|side| status(watched, side).ok());
        if let [Some(a), Some(b)] = &said {
            let rests = |status: &Value| {
                let why = status["why"].as_str().unwrap_or_default();
                [UpdateReason::Done, UpdateReason::Abandoned, UpdateReason::Refused, UpdateReason::Idle]
                    .iter()
                    .any(|reason| reason.to_string() == why)
            };
            if rests(a) && rests(b) && a["running"] == b["running"] {
                return Ok(a["running"].as_str().unwrap_or_default().to_owned());
            }
        }
        if deadline.passed() {
            bail!("the pair does not come to rest on one version: {said:#?}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cut_is_read_back() {
        for number in 0..20 {
            let cut = Cut::random(number).unwrap();
            assert_eq!(Cut::parse(&cut.to_string()), Some(cut));
        }
        assert_eq!(Cut::parse("panics"), None);
        assert_eq!(Cut::parse("cut c 5 ms after a waits"), None);
    }

    #[test]
    fn every_moment_of_either_node_has_cuts() {
        let cuts: Vec<Cut> = (0..CUTS).map(|number| Cut::random(number).unwrap()).collect();
        for side in Side::BOTH {
            for moment in Moment::ALL {
                let count = cuts.iter().filter(|cut| cut.watched == side && cut.moment == moment).count();
                assert_eq!(count, 2, "{side} {moment:?}");
            }
        }
    }

    #[test]
    fn moments_are_told_by_what_a_node_says() {
        let says = |reason: UpdateReason| Moment::of(Some(&json!({"why": reason.to_string()})));
        assert_eq!(says(UpdateReason::OnTrial), Some(Moment::OnTrial));
        assert_eq!(says(UpdateReason::WaitsToBless), None);
        assert_eq!(Moment::of(None), Some(Moment::Reboots));
    }
}
