//! `node-init pods`: the pods of this node, where the pair has to end them.

use crate::agent::kubernetes::volumes;
use crate::member::Place;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edgepair_host_io::{HostRunner, Invocation, Runner};
use edgepair_render::names::{K3S_AGENT_UNIT, K3S_SERVER_UNIT};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Where all pods are in the tree of control groups: without and with systemd as their driver.
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/kubepods", "/sys/fs/cgroup/kubepods.slice"];
/// Between two looks whether they are gone, and how many.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 200;

/// `node-init pods`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End all pods of this node at once, and let go of their volumes. Run by systemd; k3s starts them again when it starts.
    #[command(
        after_help = "Example:\n  systemctl start edgepair-pods-end && journalctl -u edgepair-pods-end"
    )]
    End,
}

/// Runs it.
///
/// # Errors
/// What could not be ended.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::End => end(&Place::default(), &HostRunner),
    }
}

fn end(place: &Place, runner: &dyn Runner) -> anyhow::Result<()> {
    // k3s first: it would start again whatever ends. A unit that does not run has nothing to be killed.
    let words = ["kill", "--kill-whom=main", "--signal=SIGKILL"];
    for unit in [K3S_SERVER_UNIT, K3S_AGENT_UNIT] {
        if runner.run(&Invocation::new("systemctl").args(["is-active", "--quiet", unit])).is_ok() {
            runner.run(&Invocation::new("systemctl").args(words).arg(unit))?;
        }
    }
    for group in GROUPS {
        let group = place.path(group);
        if group.join("cgroup.kill").exists() {
            kill(&group).with_context(|| group.display().to_string())?;
            println!("the pods in {} have ended", group.display());
        }
    }
    // The innermost first.
    for target in volumes::mounted(place).iter().rev() {
        runner.run(&Invocation::new("umount").arg(target))?;
        println!("{target} is not in use any more");
    }
    Ok(())
}

/// Ends everything in a control group (cgroups(7), `cgroup.kill`), and waits until it is gone.
fn kill(group: &Path) -> anyhow::Result<()> {
    OpenOptions::new().write(true).open(group.join("cgroup.kill"))?.write_all(b"1")?;
    for _ in 0..LOOKS {
        let events = fs::read_to_string(group.join("cgroup.events"))?;
        if events.lines().any(|line| line.trim() == "populated 0") {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    bail!("its processes do not end")
}
