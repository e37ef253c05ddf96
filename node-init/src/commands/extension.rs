//! `node-init extension`: which versions of k3s are here, and which one the pair runs.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use crate::agent::control::{Reply, Request, ask};
use crate::extension::mount::{Host, InUse, choose};
use crate::extension::plan::Plan;
use crate::extension::shelf::Shelf;
use crate::extension::{architecture, install};
use crate::facts::Facts;
use crate::member::Place;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edgepair_extension::Version;
use edgepair_host_io::HostRunner;

/// An answer of the agent comes at once, or something is wrong.
const ANSWER: Duration = Duration::from_secs(5);

/// `node-init extension`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the versions of k3s that are here, the one in use and the one that the pair has chosen.
    #[command(after_help = "Example:\n  node-init extension list --json | jq -r .in_use")]
    List(List),
    /// Take an extension file onto this node. It must be signed with a key of the image.
    #[command(
        after_help = "Examples:\n  node-init extension install k3s_v1.34.1+k3s1_amd64.extension\n  ssh root@192.0.2.60 node-init extension install - < k3s_v1.34.1+k3s1_amd64.extension"
    )]
    Install(Install),
    /// Choose the version that the pair runs: both nodes change to it, one after the other. Run on either node.
    #[command(after_help = "Example:\n  node-init extension use v1.34.1+k3s1")]
    Use(Named),
    /// Remove a version from this node.
    #[command(after_help = "Example:\n  node-init extension remove v1.33.4+k3s1")]
    Remove(Named),
    /// Put the chosen version in use on this node. Run at boot and before a server starts; doing it again changes nothing.
    #[command(after_help = "Example:\n  systemctl start edgepair-extension")]
    Mount,
    /// Keep a copy of the version in use that outlives the image it came with. Run once the pair has chosen it.
    #[command(after_help = "Example:\n  systemctl start edgepair-extension-keep")]
    Keep,
}

#[derive(Debug, Args)]
struct List {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Install {
    /// The extension file; `-` is standard input.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Named {
    /// The version, as `list` shows it.
    version: String,
}

/// Runs it.
///
/// # Errors
/// What failed and what to do.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = Place::default();
    match &arguments.command {
        Command::List(list) => show(&place, list.json),
        Command::Install(file) => take(&place, file),
        Command::Use(named) => choose_for_pair(&version(&named.version)?),
        Command::Remove(named) => {
            let version = version(&named.version)?;
            let in_use = InUse::load(&Facts::default()).and_then(|in_use| in_use.version());
            install::remove(&place, &version, in_use.as_ref())?;
            tell_agent();
            println!("k3s {version} is removed");
            Ok(())
        }
        Command::Mount => mount(&place),
        Command::Keep => keep(&place),
    }
}

fn version(text: &str) -> anyhow::Result<Version> {
    Version::parse(text).with_context(|| format!("`{text}` is no version of k3s, for example v1.34.1+k3s1"))
}

fn show(place: &Place, json: bool) -> anyhow::Result<()> {
    let shelf = Shelf::look(place, architecture());
    let plan = Plan::load(place)?;
    let in_use = InUse::load(&Facts::default()).map(|in_use| in_use.version);
    if json {
        let usable: Vec<_> = shelf
            .usable
            .iter()
            .map(|usable| {
                serde_json::json!({
                    "version": usable.version().to_string(), "where": usable.origin().word(),
                    "size": usable.head().size, "images": usable.head().images,
                })
            })
            .collect();
        let refused: Vec<_> = shelf
            .refused
            .iter()
            .map(|refused| serde_json::json!({"version": refused.name, "why": refused.why}))
            .collect();
        let chosen = plan.version().map(|version| version.to_string());
        let all = serde_json::json!({
            "in_use": in_use, "chosen": chosen, "revision": plan.revision, "usable": usable, "refused": refused,
        });
        println!("{all:#}");
        return Ok(());
    }
    if shelf.usable.is_empty() {
        println!("no k3s is here: build the image with --k3s FILE, or `node-init extension install FILE`");
    }
    for usable in &shelf.usable {
        let text = usable.version().to_string();
        let mut words = vec![usable.origin().word().to_owned(), format!("{} MiB", usable.head().size >> 20)];
        if in_use.as_ref() == Some(&text) {
            words.push("in use".to_owned());
        }
        if plan.version().as_ref() == Some(usable.version()) {
            words.push("chosen by the pair".to_owned());
        }
        println!("{text:<20} {}", words.join(", "));
    }
    for refused in &shelf.refused {
        println!("{:<20} may not be used: {}", refused.name, refused.why);
    }
    if let Some(version) = plan.version().filter(|version| shelf.get(version).is_none()) {
        println!("{version:<20} chosen by the pair, and not here");
    }
    Ok(())
}

fn take(place: &Place, install: &Install) -> anyhow::Result<()> {
    let reader: Box<dyn Read> = if install.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(&install.file).with_context(|| install.file.display().to_string())?)
    };
    let head = install::install(place, std::io::BufReader::with_capacity(1 << 16, reader), architecture())?;
    tell_agent();
    println!(
        "k3s {} is here; when the other node has it too: node-init extension use {}",
        head.version, head.version
    );
    Ok(())
}

/// The agent looks by itself every few seconds: one that does not answer is no reason to fail.
fn tell_agent() {
    let _ = ask(Request::ExtensionsChanged, ANSWER);
}

fn choose_for_pair(version: &Version) -> anyhow::Result<()> {
    match ask(Request::ExtensionUse(version.to_string()), ANSWER)? {
        Reply::Accepted => {
            println!("chosen; node-init status shows how both nodes change to it");
            Ok(())
        }
        Reply::Refused(why) => bail!("k3s stays as it is: {why}"),
        other => bail!("the agent answered {other:?}"),
    }
}

/// What cannot be used is a problem for a person and no failure of the unit: the pair stores without Kubernetes too.
fn mount(place: &Place) -> anyhow::Result<()> {
    let facts = Facts::default();
    let shelf = Shelf::look(place, architecture());
    let plan = Plan::load(place)?;
    let done = match choose(&plan, &shelf) {
        Ok(None) => {
            println!("this image brought no k3s");
            Ok(())
        }
        Ok(Some(usable)) => {
            let host = Host { place, runner: &HostRunner, facts: &facts };
            let mounted = host.mount(usable).map_err(|error| format!("k3s {}: {error:#}", usable.version()));
            mounted.map(|()| println!("k3s {} is in use, {}", usable.version(), usable.origin().word()))
        }
        Err(why) => {
            // Another version than the pair's is not to be started either.
            Host { place, runner: &HostRunner, facts: &facts }.out_of_use()?;
            Err(why)
        }
    };
    match done {
        Ok(()) => Ok(facts.clear("extension")?),
        Err(why) => Ok(facts.problem(
            "extension",
            format!("no k3s on this node: {why}"),
            "`node-init extension list` shows what is here; `node-init extension install FILE` brings what is missing",
        )?),
    }
}

fn keep(place: &Place) -> anyhow::Result<()> {
    let shelf = Shelf::look(place, architecture());
    let Some(version) = Plan::load(place)?.version() else { return Ok(()) };
    let Some(usable) = shelf.get(&version) else { return Ok(()) };
    if install::keep(place, usable, architecture())? {
        println!("k3s {version} stays here, whatever image boots");
    } else {
        println!("k3s {version} is not signed, so it is only here as long as this image boots");
    }
    Ok(())
}
