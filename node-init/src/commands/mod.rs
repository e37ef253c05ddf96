//! The command line: one file per subcommand, one line here for each.
//!
//! Exit codes: 0 done, 1 failed, 2 used wrongly (clap's own).

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
    /// The small third party that keeps one record per pair: run it, enrol pairs, ask it.
    Witness(witness::Arguments),
}

/// Reads the arguments, runs, reports.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
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
