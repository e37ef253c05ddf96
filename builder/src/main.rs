//! `edgepair`: builds immutable images for pairs of edge nodes, and runs such a pair in a lab.
//!
//! [`cli`] → [`definition`] (what the user wrote) → [`plan`] (checked, pure) → [`stages`] (one file per step) run by
//! [`engine`] (cache, tools tree, progress). [`lock`] compares packages with what was accepted, [`signing`] has keys and
//! signatures, [`payloads`] takes a build's output apart for a bundle. [`commands`] has one file per subcommand.

mod cli;
mod commands;
mod definition;
mod doctor;
mod engine;
mod lock;
mod payloads;
mod plan;
mod signing;
mod stages;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("edgepair: {error:#}");
            ExitCode::from(1)
        }
    }
}
