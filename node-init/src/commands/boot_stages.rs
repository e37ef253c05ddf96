//! The stages of a boot: `early` in the initrd, `provision` before the network, `ready` at the end, and `console`.

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
    /// Print the steps and take none.
    #[arg(long)]
    pub dry_run: bool,
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
    provision_stage::run(arguments.dry_run)
}

pub(super) fn console(arguments: &Console) -> anyhow::Result<()> {
    screen::run(arguments.once)
}

pub(super) fn ready() -> anyhow::Result<()> {
    boot::ready()
}
