//! One file per subcommand.

pub mod build;
pub mod bundle;
mod cache;
pub mod channel;
mod doctor;
pub mod extension;
mod key;
pub mod lab;
mod lock;
pub mod seed;
pub mod update;

use crate::cli::Command;
use std::process::ExitCode;

/// Runs a subcommand.
///
/// # Errors
/// Whatever failed, with what to do.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Build(args) => build::run(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Key(args) => key::new(args.command),
        Command::Sign(args) => key::sign(&args),
        Command::Verify(args) => key::verify(&args),
        Command::Bundle(args) => bundle::run(args),
        Command::Channel(args) => channel::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Cache(args) => cache::run(args.command),
        Command::Lab(args) => lab::run(args),
        Command::Seed(args) => seed::run(args),
        Command::Extension(args) => extension::run(args),
        Command::Update(args) => update::run(args),
    }
}
