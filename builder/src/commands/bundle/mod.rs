//! `edgepair bundle`: make, show, check and sign update bundles.
//!
//! Format and checks are the node's own (`edgepair-bundle`); here are only files and printing.

pub mod create;
mod inspect;
mod sign;
mod verify;

use anyhow::Context;
use clap::{Args, Subcommand};
use edgepair_host_io::atomic;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// `edgepair bundle`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// What to do.
    #[command(subcommand)]
    command: BundleCommand,
}

/// What to do with a bundle.
#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Make a bundle of what a build wrote.
    #[command(
        after_help = "Examples:\n  edgepair bundle create out --sign release.key\n  edgepair bundle create out --floor 0.1.0 --expires 2027-06-30T00:00:00Z --wave 5@2027-01-10T06:00:00Z --wave 100@2027-01-12T06:00:00Z\n\nExit status: 0 made, 1 failed, 2 wrong use."
    )]
    Create(Box<create::CreateArgs>),
    /// Show what a bundle says of itself, signed or not.
    #[command(
        after_help = "Examples:\n  edgepair bundle inspect out/edgepair_0.2.0_amd64.bundle\n  edgepair bundle inspect out/edgepair_0.2.0_amd64.bundle --json\n\nNothing is checked: `edgepair bundle verify` does that.\nExit status: 0 shown, 1 failed, 2 wrong use."
    )]
    Inspect(inspect::InspectArgs),
    /// Check a bundle as a node does, to its last byte.
    #[command(
        after_help = "Examples:\n  edgepair bundle verify out/edgepair_0.2.0_amd64.bundle --key release.pub\n  curl -s https://example.com/edgepair.bundle | edgepair bundle verify - --key release.pub\n\nExit status: 0 all of it is good, 1 something is not, 2 wrong use."
    )]
    Verify(verify::VerifyArgs),
    /// Sign a bundle, here or where the key is.
    #[command(
        after_help = "Examples:\n  edgepair bundle sign out/x.bundle --key release.key\n\nWith a key that stays on another machine:\n  edgepair bundle sign out/x.bundle --emit manifest.toml                  here: the bytes to sign\n  edgepair sign manifest.toml --key release.key                          there; or minisign -S -m manifest.toml\n  edgepair bundle sign out/x.bundle --attach manifest.toml.minisig --public release.pub    here again\n\nA bundle may have up to four signatures, so that nodes which know only an old or only a new key take it.\nExit status: 0 done, 1 failed, 2 wrong use."
    )]
    Sign(sign::SignArgs),
}

/// Runs `edgepair bundle`.
///
/// # Errors
/// Whatever failed, with what to do.
pub fn run(args: BundleArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        BundleCommand::Create(args) => create::run(&args),
        BundleCommand::Inspect(args) => inspect::run(&args),
        BundleCommand::Verify(args) => verify::run(&args),
        BundleCommand::Sign(args) => sign::run(&args),
    }
}

/// Opens a bundle; `-` is standard input.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

/// A library's refusal, with what to do about it.
pub fn refused(path: &Path, error: &edgepair_bundle::Error) -> anyhow::Error {
    anyhow::anyhow!("{}: {error}\n  to do: {}", path.display(), error.advice())
}

/// Writes a file under its final name only when it is whole.
fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let temporary = atomic::temporary_name(path);
    let result = (|| -> anyhow::Result<T> {
        let file = File::create(&temporary)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let done = write(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        atomic::publish(&temporary, path)?;
        Ok(done)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result.with_context(|| format!("{} was not written", path.display()))
}
