//! `edgepair lab`.

use clap::Args;
use std::process::ExitCode;

/// `edgepair lab`.
#[derive(Debug, Args)]
pub struct Lab {}

/// Runs the subcommand.
///
/// # Errors
/// None yet.
pub fn run(_args: Lab) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
