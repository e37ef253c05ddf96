//! The stages of a boot: `early` in the initrd, `provision` before the network, `ready` at the end, and `console`.

use crate::provision::{Apply, Phase, Request};
use crate::{boot, early as early_stage, provision as provision_stage, screen};
use clap::Args;
use std::path::PathBuf;

/// `node-init early`.
#[derive(Debug, Args)]
pub struct Early {
    /// Where the root that will be switched to is mounted.
    #[arg(long, default_value = "/sysroot")]
    pub root: PathBuf,
}

/// `node-init provision`.
#[derive(Debug, Args)]
pub struct Provision {
    /// Put this seed in force now; without FILE, the one that is found on the places a boot looks at.
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["stick", "only"])]
    pub apply: Option<Option<PathBuf>>,
    /// Print the steps and take none.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
    /// Only this part.
    #[arg(long)]
    pub only: Option<Phase>,
    /// Take the seed on this USB stick when the node has none yet.
    #[arg(long, hide = true, value_name = "DEVICE")]
    pub stick: Option<PathBuf>,
    /// Called by the boot: what a person has to solve is no failure.
    #[arg(long, hide = true)]
    pub boot: bool,
}

/// `node-init console`.
#[derive(Debug, Args)]
pub struct Console {
    /// Print the screen once and end.
    #[arg(long)]
    pub once: bool,
}

pub(super) fn early(arguments: &Early) -> anyhow::Result<()> {
    early_stage::run(&arguments.root)
}

pub(super) fn provision(arguments: &Provision) -> anyhow::Result<()> {
    let apply = match (&arguments.apply, &arguments.stick) {
        (Some(Some(file)), _) => Apply::File(file.clone()),
        (Some(None), _) => Apply::Search,
        (None, Some(device)) => Apply::Stick(device.clone()),
        (None, None) => Apply::Kept,
    };
    let request = Request {
        apply,
        only: arguments.only,
        dry_run: arguments.dry_run,
        json: arguments.json,
        boot: arguments.boot,
    };
    if !provision_stage::run(&request)? {
        anyhow::bail!("something is left that a person has to solve; see above");
    }
    Ok(())
}

pub(super) fn console(arguments: &Console) -> anyhow::Result<()> {
    screen::run(arguments.once)
}

pub(super) fn ready() -> anyhow::Result<()> {
    boot::ready()
}
