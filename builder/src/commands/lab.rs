//! `edgepair lab`: the image in a virtual machine on this computer, without root.
//!
//! A lab is a folder: the machine's files and `lab.json`. Machines outlive the command that started them.

use super::build;
use crate::engine::cache::Cache;
use crate::engine::progress::Progress;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qemu_tests::harness::guest::Guest;
use qemu_tests::harness::vm::{Config, Life, Vm};
use qemu_tests::harness::{Deadline, Image, accel};
use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `edgepair lab`.
#[derive(Debug, Args)]
pub struct Lab {
    /// Name of the lab; several can run side by side.
    #[arg(long, default_value = "default", global = true)]
    name: String,
    /// What to do.
    #[command(subcommand)]
    command: LabCommand,
}

/// What to do with a lab.
#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Build the image, start it and wait until it is ready.
    #[command(after_help = "Example:\n  edgepair lab up --definition images/x86-64.toml")]
    Up {
        /// The definition to build.
        #[arg(long, default_value = "images/x86-64.toml")]
        definition: PathBuf,
    },
    /// Show the node's screen.
    #[command(after_help = "Example:\n  edgepair lab status")]
    Status,
    /// Run a command in the node as root, or a shell that reads commands from standard input.
    #[command(after_help = "Example:\n  edgepair lab shell systemctl --failed")]
    Shell {
        /// The command; without one, lines are read from standard input.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Stop the machines and remove their disks.
    #[command(after_help = "Example:\n  edgepair lab down")]
    Down,
}

/// Size of the node's disk.
const DISK: u64 = 8 << 30;

/// Runs the subcommand.
///
/// # Errors
/// What failed and what to do.
pub fn run(args: Lab) -> anyhow::Result<ExitCode> {
    let plain = args.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !args.name.is_empty()
        && args.name.len() <= 20;
    if !plain {
        bail!("`{}` cannot be a lab's name: use up to 20 letters, digits and `-`", args.name);
    }
    let dir = folder(&args.name)?;
    match args.command {
        LabCommand::Up { definition } => up(&args.name, &dir, &definition),
        LabCommand::Status => {
            print!("{}", guest(&dir)?.run("/usr/lib/edgepair/node-init console --once")?);
            println!();
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Shell { command } => shell(&dir, &command),
        LabCommand::Down => down(&args.name, &dir),
    }
}

/// The lab's folder. Its path is short because Unix socket names are (unix(7): 107 bytes).
fn folder(name: &str) -> anyhow::Result<PathBuf> {
    Ok(Cache::open()?.path("lab").join(name))
}

fn up(name: &str, dir: &Path, definition: &Path) -> anyhow::Result<ExitCode> {
    let node = dir.join("a");
    if running(&node) {
        bail!(
            "the lab `{name}` is up already\n  to do: `edgepair lab down`, or give this one another --name"
        );
    }
    let progress = Progress::default();
    let built = build::build(definition, Path::new("out"), &progress)?;
    let image: &Image = &built.image;
    let config = Config {
        name: "a".into(),
        disk: image.disk.clone(),
        disk_size: DISK,
        memory: 1024,
        networks: vec!["user,restrict=on".into()],
        extra: Vec::new(),
    };
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("an old lab in {}", dir.display()))?;
    }
    let step = progress.start("lab", "Node a", "starting");
    Vm::prepare(image, &config, &node)?;
    let how = accel::probe(image);
    let mut vm = Vm::start(image, &config, &node, how, Life::OfItsOwn)?;
    let deadline = Deadline::seconds(40 * how.patience());
    let ready = vm
        .serial
        .wait_for(&["ready after", "NOT WELL", "Kernel panic", "emergency mode"], deadline)
        .and_then(|_| vm.guest.wait(deadline));
    let screen = vm.guest.run("/usr/lib/edgepair/node-init console --once");
    vm.leave_running();
    ready.context("the node did not come up; it is left running for a look")?;
    step.finish("up");
    print!("{}", screen?);
    println!();
    println!("how to get in:");
    println!(
        "  edgepair lab shell                     commands as root in the node, through a port of the virtual machine"
    );
    println!("  edgepair lab status                    its screen");
    println!("  {}", node.join("serial.log").display());
    println!("                                         everything it printed on its serial line");
    println!("  edgepair lab down                      stop it and remove its disk");
    Ok(ExitCode::SUCCESS)
}

fn guest(dir: &Path) -> anyhow::Result<Guest> {
    let node = dir.join("a");
    if !running(&node) {
        bail!("no lab is up here\n  to do: `edgepair lab up`");
    }
    Ok(Guest::new(&node.join("guest.sock")))
}

fn shell(dir: &Path, command: &[String]) -> anyhow::Result<ExitCode> {
    let mut guest = guest(dir)?;
    let mut run = |line: &str| -> anyhow::Result<i32> {
        let answer = guest.try_run(line, Deadline::seconds(600))?;
        if !answer.text.is_empty() {
            println!("{}", answer.text);
        }
        Ok(answer.status)
    };
    if !command.is_empty() {
        let status = run(&command.join(" "))?;
        return Ok(ExitCode::from(u8::try_from(status.clamp(0, 255)).unwrap_or(1)));
    }
    let terminal = std::io::stdin().is_terminal();
    let prompt = || {
        if terminal {
            eprint!("node a # ");
            let _ = std::io::stderr().flush();
        }
    };
    prompt();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim() == "exit" {
            break;
        }
        if !line.trim().is_empty() {
            run(&line)?;
        }
        prompt();
    }
    Ok(ExitCode::SUCCESS)
}

fn down(name: &str, dir: &Path) -> anyhow::Result<ExitCode> {
    if !dir.exists() {
        println!("there is no lab `{name}`");
        return Ok(ExitCode::SUCCESS);
    }
    let node = dir.join("a");
    if let Some(pid) = pid(&node).filter(|_| running(&node)) {
        // The process is unshare, told to take QEMU with it.
        kill(pid, Signal::SIGTERM).context("the machine cannot be stopped")?;
        let deadline = Deadline::seconds(10);
        while running(&node) && !deadline.passed() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if running(&node) {
            kill(pid, Signal::SIGKILL).context("the machine cannot be stopped")?;
        }
    }
    fs::remove_dir_all(dir)?;
    println!("the lab `{name}` is down, its disk is removed");
    Ok(ExitCode::SUCCESS)
}

fn pid(node: &Path) -> Option<Pid> {
    Some(Pid::from_raw(fs::read_to_string(node.join("pid")).ok()?.trim().parse().ok()?))
}

/// Whether the machine of this folder runs: its process exists and is ours, not a later one with the same number.
fn running(node: &Path) -> bool {
    let Some(pid) = pid(node) else { return false };
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&*node.to_string_lossy())
}
