//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Builds immutable images for pairs of edge nodes, and runs such a pair in a lab.
#[derive(Debug, Parser)]
#[command(name = "edgepair", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Example:\n  edgepair build images/x86-64.toml      makes the disk image for PCs in out/\n  edgepair lab up                        runs a pair of it in virtual machines"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a definition.
    #[command(
        after_help = "Examples:\n  edgepair build images/x86-64.toml\n  edgepair build images/arm64.toml --dry-run\n\nExit status: 0 built, 1 failed, 2 wrong use."
    )]
    Build(Build),
    /// Say what this machine lacks, and install it.
    #[command(
        after_help = "Example:\n  edgepair doctor --fix\n\nExit status: 0 nothing is missing, 1 something is."
    )]
    Doctor(Doctor),
    /// Show or shrink the build cache.
    #[command(after_help = "Example:\n  edgepair cache\n  edgepair cache prune")]
    Cache(CacheArgs),
    /// Make, check, show and place the file that says what a pair of boxes is to be.
    #[command(after_help = "Example:\n  edgepair seed check seed.toml")]
    Seed(crate::commands::seed::SeedArgs),
    /// Run a pair in virtual machines on this computer.
    #[command(
        after_help = "Example:\n  edgepair lab up\n  edgepair lab kill a\n  edgepair lab status\n  edgepair lab down"
    )]
    Lab(crate::commands::lab::LabArgs),
}

/// `edgepair build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The definition, for example images/x86-64.toml.
    pub definition: PathBuf,
    /// Print the resolved plan and the exact commands, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Folder for the results.
    #[arg(long, default_value = "out")]
    pub out: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `edgepair doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Install what is missing (asks once on a terminal).
    #[arg(long)]
    pub fix: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `edgepair cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to do; shows the cache when absent.
    #[command(subcommand)]
    pub command: Option<CacheCommand>,
}

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Remove all but the newest result of each step.
    Prune {
        /// Remove the tools trees as well.
        #[arg(long)]
        tools: bool,
    },
    /// Read everything again and compare digests; what is damaged is removed.
    Verify,
}
