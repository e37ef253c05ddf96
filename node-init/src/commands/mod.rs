//! The command line: one file per subcommand, one line here for each.
//!
//! Exit codes: 0 done, 1 failed, 2 used wrongly (clap's own).

pub mod boot_stages;
pub mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Provisions a node from its seed, runs the pair's failover and updates.
#[derive(Debug, Parser)]
#[command(name = "node-init", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Before the root is switched to: state partition, /etc. Run by the initrd.
    #[command(after_help = "Example:\n  node-init early --root /sysroot")]
    Early(boot_stages::Early),
    /// Make this node what its seed says. Run at every boot; running it again changes nothing.
    #[command(
        after_help = "Examples:\n  node-init provision --dry-run\n  node-init provision --apply /root/seed.toml\n\nExit status: 0 done, 1 failed or something is left for a person, 2 wrong use."
    )]
    Provision(boot_stages::Provision),
    /// Show the status screen on standard output, which is a terminal, until stopped.
    #[command(after_help = "Example:\n  node-init console --once")]
    Console(boot_stages::Console),
    /// Wait for the end of the boot and judge it.
    #[command(after_help = "Example:\n  node-init ready")]
    Ready,
    /// The small third party that keeps one record per pair: run it, enrol pairs, ask it.
    Witness(witness::Arguments),
}

/// Reads the arguments, runs, reports.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Early(arguments) => boot_stages::early(&arguments),
        Command::Provision(arguments) => boot_stages::provision(&arguments),
        Command::Console(arguments) => boot_stages::console(&arguments),
        Command::Ready => boot_stages::ready(),
        Command::Witness(arguments) => witness::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-init: {error:#}");
            ExitCode::FAILURE
        }
    }
}
