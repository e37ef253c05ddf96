//! The flow of `node-init provision`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use edgepair_host_io::{HostRunner, Invocation, Runner};
use edgepair_layout::path;
use edgepair_render::{Rendered, render};
use nix::fcntl::{Flock, FlockArg};

use super::configure::{self, Wanted};
use super::report::Report;
use super::seed::cards::{self, Arguments};
use super::seed::source::{self, Found, Search};
use super::seed::{Choice, Force, Knows, choose};
use super::storage;
use super::storage::apply::{Disk, apply};
use super::storage::host::Host as StorageHost;
use super::storage::plan::{Next, next};
use crate::facts::{Booted, Facts, Problem};
use crate::member::{self, Confirmed, DiskFile, Kept, Own, OwnDisk, Place};
use crate::units::Manager;

/// A part of provisioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Seed, files, units.
    Configure,
    /// What lies below the replicated storage.
    Storage,
}

/// Which seed is to be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apply {
    /// The kept one; without one, whatever is found.
    Kept,
    /// Whatever is found now.
    Search,
    /// This file, named by an operator.
    File(PathBuf),
    /// What is on this stick, when there is no seed in force.
    Stick(PathBuf),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which seed.
    pub apply: Apply,
    /// Only one part.
    pub only: Option<Phase>,
    /// Print the steps and take none.
    pub dry_run: bool,
    /// Print the result as JSON.
    pub json: bool,
    /// Called by the boot: what a person has to solve is shown on the screen and is no failure of the unit; units are
    /// not waited for.
    pub boot: bool,
}

/// Another run may take as long as a device needs to settle, in quarters of a second.
const LOCK_PATIENCE: u32 = 4 * 120;
/// How long a card that the seed names is waited for at boot, in quarters of a second.
const CARD_PATIENCE: u32 = 4 * 15;

/// Runs it. Says whether nothing is left that a person has to solve.
///
/// # Errors
/// When a step fails; running it again goes on where it stopped.
pub fn run(request: &Request) -> anyhow::Result<bool> {
    let start = clock()?;
    let facts = Facts::default();
    let mut report = Report::default();
    let result = phases(request, &facts, &mut report);
    if !request.dry_run {
        report.note(&facts, request)?;
    }
    report.print(request, clock()? - start, result.is_ok());
    result?;
    Ok(request.boot || report.problems.is_empty())
}

fn phases(request: &Request, facts: &Facts, report: &mut Report) -> anyhow::Result<()> {
    let own = if request.only == Some(Phase::Storage) {
        let own = Own::load()?;
        own.map(|own| (own.seed, own.member))
    } else {
        let start = clock()?;
        let _lock = lock(request, "configure", Some(LOCK_PATIENCE))?;
        report.waited += clock()? - start;
        configure_phase(request, facts, report)?
    };
    let Some((seed, member)) = own.filter(|_| request.only != Some(Phase::Configure)) else { return Ok(()) };
    if let Some(wanted) = storage::wanted(&seed, &member) {
        // Who writes a large file does it for minutes, and is waited for.
        let start = clock()?;
        let _lock = lock(request, "storage", None)?;
        report.waited += clock()? - start;
        storage_phase(request, facts, report, &wanted)?;
    }
    Ok(())
}

/// Monotonic time.
///
/// # Errors
/// The kernel's.
pub fn clock() -> anyhow::Result<Duration> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?.into())
}

/// One run of a phase at a time. `patience`: how long another one is waited for, in quarters of a second.
fn lock(request: &Request, phase: &str, patience: Option<u32>) -> anyhow::Result<Option<Flock<fs::File>>> {
    if request.dry_run {
        return Ok(None);
    }
    fs::create_dir_all(path::RUN_DIR)?;
    let path = Path::new(path::RUN_DIR).join(format!("{phase}.lock"));
    let mut file = fs::File::options().create(true).append(true).open(&path)?;
    for attempt in 0.. {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
            Err((_, error)) => return Err(error).with_context(|| path.display().to_string()),
        }
        if patience.is_some_and(|patience| attempt >= patience) {
            bail!(
                "another provisioning has been running for minutes; `journalctl -u 'edgepair-*'` says what it does. Try again \
                 when it is done"
            );
        }
        if attempt == 8 {
            println!("another provisioning is running; waiting for it");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(None)
}

fn knows(facts: &Facts, place: &Place, kept: Option<&Kept>) -> anyhow::Result<Knows> {
    let arguments = Arguments::observe(place);
    let kept = kept.and_then(|kept| Some((kept.check().ok()?, edgepair_seed::Member::parse(&kept.member)?)));
    let booted: Option<Booted> = facts.get("booted");
    let disk = booted.and_then(|booted| booted.disk).and_then(|disk| {
        let sectors = fs::read_to_string(place.path("/sys/block").join(disk).join("size")).ok()?;
        sectors.trim().parse::<u64>().ok()?.checked_mul(512)
    });
    Ok(Knows {
        kept_cards: member::cards(place).ok().flatten(),
        serial: cards::serial(place),
        kernel_argument: arguments.node,
        disk,
        membership: Some(storage::membership(place, kept.as_ref().map(|(seed, member)| (seed, member)))?),
        storage_of: DiskFile::load(place)?.map(|file| file.pair),
        cards: cards::observe(&HostRunner, place)?,
    })
}

/// A card on a slow bus may be late; a box that ran before knows how many there were.
fn wait_for_cards(knows: &mut Knows, place: &Place) -> anyhow::Result<()> {
    for _ in 0..CARD_PATIENCE {
        let known = knows.kept_cards.as_ref().is_none_or(|kept| *kept == knows.cards);
        // A card that udev has not dealt with is still called eth0 and will have another name in a moment.
        if known && !knows.cards.cards.is_empty() && cards::named(place, &knows.cards) {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
        knows.cards = cards::observe(&HostRunner, place)?;
    }
    Ok(())
}

fn find(request: &Request, place: &Place, kept: bool) -> anyhow::Result<Search> {
    let arguments = Arguments::observe(place);
    let only = |found: Option<Found>| Search { found, notes: Vec::new() };
    Ok(match &request.apply {
        Apply::File(path) => {
            let found = source::file(path, &path.display().to_string())?;
            only(Some(found.with_context(|| format!("there is no file {}", path.display()))?))
        }
        Apply::Stick(_) if kept => Search::default(),
        Apply::Stick(device) => only(source::stick(device)?),
        Apply::Kept if kept && !request.boot => Search::default(),
        Apply::Search | Apply::Kept => source::search(&HostRunner, &arguments),
    })
}

fn configure_phase(
    request: &Request,
    facts: &Facts,
    report: &mut Report,
) -> anyhow::Result<Option<(edgepair_seed::Seed, edgepair_seed::Member)>> {
    let place = Place::default();
    if request.boot {
        // Names of cards and labels of sticks are udev's; what takes longer than this is not waited for.
        let start = clock()?;
        let _ = HostRunner.run(&Invocation::new("udevadm").args(["settle", "--timeout=60"]));
        report.waited += clock()? - start;
    }
    let kept = Kept::load(&place).map_err(|error| error.to_string());
    let has_kept = matches!(kept, Ok(Some(_)));
    let mut knows = knows(facts, &place, kept.as_ref().ok().and_then(Option::as_ref))?;
    if request.boot {
        let start = clock()?;
        wait_for_cards(&mut knows, &place)?;
        report.waited += clock()? - start;
    }
    let search = find(request, &place, has_kept)?;
    search.notes.iter().for_each(|note| println!("no seed from {note}"));
    let by_hand = matches!(request.apply, Apply::File(_));
    let choice = choose(kept, search.found.as_ref(), &knows, by_hand);
    say_choice(request, facts, report, &choice, search.found.as_ref(), &search.notes)?;
    let wanted = wanted(choice.force.as_ref(), &place)?;
    let manager = Manager::private()?;
    let host = configure::Host { place, manager: &manager, wait: !request.boot };
    configure_steps(request, report, &host, &wanted)?;
    report.pair = choice.force.as_ref().map(|force| format!("{} of {}", force.member, force.seed.pair.name));
    Ok(choice.force.map(|force| (force.seed, force.member)))
}

/// Prints and notes what was chosen, and why not something else.
fn say_choice(
    request: &Request,
    facts: &Facts,
    report: &mut Report,
    choice: &Choice,
    found: Option<&Found>,
    notes: &[String],
) -> anyhow::Result<()> {
    for (key, problem) in [("seed", &choice.refused), ("kept-seed", &choice.unusable)] {
        match problem {
            Some(problem) if request.dry_run => {
                println!("{}", problem.what);
                problem.lines.iter().for_each(|line| println!("  {line}"));
            }
            Some(problem) => facts.put_problem(key, problem)?,
            // A look at the kept seed alone says nothing about one that was refused before.
            None if !request.dry_run && (key != "seed" || found.is_some()) => facts.solved(key),
            None => {}
        }
        report.problems.extend(problem.clone());
    }
    if let (Some(force), Some(difference)) = (&choice.force, &choice.taken) {
        println!("seed of {}: taken", force.kept.found);
        if let Some(difference) = difference {
            print!("{}", difference.render());
        }
        report.difference.clone_from(difference);
    }
    if let Some(force) = &choice.force {
        force.notes.iter().for_each(|note| println!("{note}"));
    } else if choice.refused.is_none() && choice.unusable.is_none() {
        report.waiting.push(
            "a seed: put seed.toml on the partition SEED of this disk and start the node, put in a USB stick labelled \
             SEED, or `node-init provision --apply FILE`"
                .to_owned(),
        );
        report.waiting.extend(notes.iter().map(|note| format!("a seed, but none came from {note}")));
    } else {
        report.waiting.push("a seed that this box can use: see below".to_owned());
    }
    Ok(())
}

fn wanted(force: Option<&Force>, place: &Place) -> anyhow::Result<Wanted> {
    let Some(force) = force else {
        let id = fs::read_to_string(place.path("/etc/machine-id")).unwrap_or_default();
        let host_name = crate::early::host_name(id.trim());
        return Ok(Wanted { rendered: Rendered::default(), host_name, own: None });
    };
    let rendered = render(&force.seed, &force.member, &force.cards)?;
    let host_name =
        edgepair_render::Context::new(&force.seed, &force.member, &force.cards)?.hostname().to_owned();
    let confirmed = Confirmed {
        member: force.member.to_string(),
        pair: force.seed.pair.name.clone(),
        hash: force.seed.hash(),
    };
    Ok(Wanted { rendered, host_name, own: Some((force.kept.clone(), force.cards.clone(), confirmed)) })
}

fn configure_steps(
    request: &Request,
    report: &mut Report,
    host: &configure::Host<'_>,
    wanted: &Wanted,
) -> anyhow::Result<()> {
    let mut confirmed = false;
    loop {
        let seen = host.observe(wanted)?;
        let steps = configure::plan(wanted, &seen);
        if request.dry_run {
            for step in steps.iter().filter(|step| **step != configure::Step::Confirm) {
                report.say(step.id(), &step.to_string(), "would");
            }
            return Ok(());
        }
        let Some(step) = steps.first() else { return Ok(()) };
        if *step == configure::Step::Confirm && !confirmed {
            // Once in every boot, and nothing of the box changes by it.
            host.apply(wanted, step).with_context(|| format!("cannot {step}"))?;
            confirmed = true;
            continue;
        }
        report.begin(step.id(), &step.to_string(), false)?;
        host.apply(wanted, step).with_context(|| format!("cannot {step}"))?;
        println!("step {} done", step.id());
    }
}

fn storage_phase(
    request: &Request,
    facts: &Facts,
    report: &mut Report,
    wanted: &storage::plan::Wanted,
) -> anyhow::Result<()> {
    let mut host =
        StorageHost { place: Place::default(), facts: facts.clone(), manager: Manager::private()? };
    loop {
        let seen = host.observe(wanted)?;
        match next(wanted, &seen) {
            Next::Done => break,
            Next::Blocked(blocked) => {
                let problem = Problem { what: blocked.what, fix: blocked.fix, lines: Vec::new() };
                if request.dry_run {
                    println!("{}\n  to do: {}", problem.what, problem.fix);
                } else {
                    facts.put_problem("storage", &problem)?;
                }
                report.problems.push(problem);
                return Ok(());
            }
            Next::Step(step) if request.dry_run => {
                report.say(step.id(), &step.to_string(), "would");
                println!("and then look again: what comes after depends on what is there");
                return Ok(());
            }
            Next::Step(step) => {
                let (id, what) = (step.id(), step.to_string());
                let word = if step.is_of_this_boot() { "up" } else { "step" };
                report.begin(id, &what, step.is_of_this_boot())?;
                apply(&mut host, wanted, &seen, step).with_context(|| format!("cannot {what}"))?;
                println!("{word} {id} done");
            }
        }
    }
    if request.dry_run {
        return Ok(());
    }
    facts.solved("storage");
    if wanted.watchdog_ms.is_some() && !Path::new("/dev/watchdog0").exists() {
        facts.problem(
            "watchdog",
            "the seed has a hardware watchdog, and this box has none that its kernel knows",
            "name another box, or `watchdog.enabled = false`: a lost node is then never taken for silent by time alone",
        )?;
    }
    // A copy, or a disk that was moved: the pair's record does not know it, and the agent will not use it.
    match OwnDisk::load()?.and_then(|disk| disk.moved) {
        Some(moved) => facts.problem(
            "disk-moved",
            format!("the disk below the replicated storage is not where it was: {moved}"),
            "if it is a copy, empty it (docs/adr/0022); if box or disk was exchanged on purpose, empty it too: it is then \
             synchronised in full",
        )?,
        None => facts.solved("disk-moved"),
    }
    Ok(())
}
