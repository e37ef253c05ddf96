//! `edgepair lab up`.

use super::control::Order;
use super::show;
use super::state::{Lab, Made};
use crate::commands::build;
use crate::engine::progress::Progress;
use anyhow::{Context, bail};
use clap::Args;
use edgepair_host_io::digest;
use edgepair_status::Role;
use edgepair_status::table::{Column, render};
use qemu_tests::harness::pair::{Pair, Spec};
use qemu_tests::harness::site::{Side, Site, Wishes};
use qemu_tests::harness::witness::Witness;
use qemu_tests::harness::{Image, accel};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// `edgepair lab up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The definition to build.
    #[arg(long, default_value = "images/x86-64.toml")]
    definition: PathBuf,
    /// Failover mode of the pair: witness or manual.
    #[arg(long, default_value = "witness", value_parser = ["witness", "manual"])]
    mode: String,
    /// Form the pair anew, even if a saved one would do.
    #[arg(long)]
    fresh: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// What failed and what to do.
pub fn run(lab: &Lab, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let progress = Progress::default();
    let image = build::build(&args.definition, Path::new("out"), &progress)?.image;
    let key = key(&image, &args.mode)?;
    let same = lab.made().filter(|made| made.key == key && !args.fresh);
    if lab.runs() {
        let Some(made) = same else {
            bail!(
                "the lab `{}` is up, with another image or seed\n  to do: `edgepair lab down`, or give this one another --name",
                lab.name
            );
        };
        return finish(lab, made, &progress);
    }
    if let Some(made) = same.filter(|made| made.saved) {
        let step = progress.start("lab", "Two nodes", "from their saved state");
        lab.start()?;
        lab.order(&Order::Load)?;
        step.finish("both run");
        return finish(lab, made, &progress);
    }
    let made = prepare(lab, &image, key, &args.mode, &progress)?;
    lab.start()?;
    for side in Side::BOTH {
        lab.order(&Order::Power { machine: side.letter().into(), on: true })?;
    }
    finish(lab, made, &progress)
}

/// What makes one lab another: its disk image, the failover mode, the program that made its seed.
fn key(image: &Image, mode: &str) -> anyhow::Result<String> {
    let disk = digest::of_file(&image.disk)?;
    Ok(digest::of_bytes(format!("1 {disk} {mode} {}", env!("CARGO_PKG_VERSION")).as_bytes()))
}

/// Makes everything that a lab consists of; nothing runs yet.
fn prepare(lab: &Lab, image: &Image, key: String, mode: &str, progress: &Progress) -> anyhow::Result<Made> {
    let how = accel::probe(image);
    let step = progress.start("lab", "Seed, secret and two disks", "made anew");
    lab.delete()?;
    fs::create_dir_all(&lab.dir)?;
    let with_witness = mode == "witness";
    let spec = Spec::new(&lab.dir, image, how, with_witness)?;
    let mut wishes = Wishes::manual(&format!("lab-{}", lab.name.to_lowercase()), how);
    let mut witness = None;
    if with_witness {
        let it = witness.insert(Witness::new(image, &lab.dir.join("witness"), spec.doors.witness)?);
        wishes.mode = "witness".into();
        wishes.fingerprint = Some(it.fingerprint()?);
    }
    let site = Site::make(&lab.site(), &wishes)?;
    if let Some(witness) = &mut witness {
        witness.start()?;
        witness.enrol(&wishes.name, &lab.site().join(qemu_tests::harness::site::SECRET_FILE))?;
        witness.kill();
    }
    for side in Side::BOTH {
        Pair::flash(&spec, side, &site)?;
    }
    let made = Made { key, mode: mode.to_owned(), spec, saved: false };
    lab.put(&made)?;
    step.finish("two boxes are flashed");
    Ok(made)
}

/// Waits until the pair is formed, saves it the first time, and says how to get in.
fn finish(lab: &Lab, mut made: Made, progress: &Progress) -> anyhow::Result<ExitCode> {
    let step = progress.start("lab", "The pair", "waiting until both nodes say that it works");
    let deadline = made.spec.seconds(200);
    let mut last = String::new();
    let columns = loop {
        let columns = show::columns(lab, &made);
        if formed(&columns) {
            break columns;
        }
        let words: Vec<String> = columns.iter().map(in_words).collect();
        let line = words.join(" · ");
        step.at(&line);
        if line != last {
            if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                progress.say(&format!("{:<10} {line}", "lab"));
            }
            last = line;
        }
        if !lab.runs() {
            bail!("the lab was taken down while its pair was forming");
        }
        if deadline.passed() {
            print!("{}", render(&columns));
            bail!(
                "the pair did not form in time; it is left running for a look\n  to do: `edgepair lab shell a`, and \
                 serial.log and journal.log in {}",
                lab.dir.join("a").display()
            );
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    step.finish("formed");
    if !made.saved {
        let step = progress.start("lab", "Saving the formed pair", "for the next start");
        lab.order(&Order::Save).context("the formed pair cannot be saved")?;
        made.saved = true;
        lab.put(&made)?;
        step.finish("saved");
    }
    print!("{}", render(&columns));
    ways_in(lab, &made);
    Ok(ExitCode::SUCCESS)
}

fn formed(columns: &[Column]) -> bool {
    let said = columns.iter().filter_map(|column| match column {
        Column::Says(status) => Some(status),
        Column::Silent { .. } => None,
    });
    let (all, active) = said.fold((0, 0), |(all, active), status| {
        (all + usize::from(status.formed()), active + usize::from(status.role == Role::Active))
    });
    all == columns.len() && active == 1
}

fn in_words(column: &Column) -> String {
    match column {
        Column::Says(status) => {
            let why = if status.why.is_empty() { String::new() } else { format!(", {}", status.why) };
            format!("{} {}{why}", status.side, status.role)
        }
        Column::Silent { node, why } => format!("{node} {why}"),
    }
}

fn ways_in(lab: &Lab, made: &Made) {
    let name = if lab.name == "default" { String::new() } else { format!(" --name {}", lab.name) };
    let doors = &made.spec.doors;
    let line =
        |command: &str, what: &str| println!("  {:<34} {what}", format!("edgepair lab{name} {command}"));
    println!("\nhow to get in");
    line("ssh a", &format!("log in to a node (127.0.0.1, ports {} and {})", doors.ssh[0], doors.ssh[1]));
    line("psql", &format!("the datastore at the virtual IP (127.0.0.1, port {})", doors.postgres));
    line("shell a", "commands as root, also without network");
    println!("what to try");
    line("kill a", "pull the plug; `start a` puts it in again");
    line("cut", "cut the nodes from each other; `heal` joins them");
    line("status", "what both say about themselves");
    line("down", "stop it all");
    println!("logs are in {}", lab.dir.display());
}
