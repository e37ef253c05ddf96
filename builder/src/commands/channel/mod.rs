//! `edgepair channel`: make, show, check and sign channel files.
//!
//! Format and checks are the node's own (`edgepair_bundle::channel`); here are only files and printing.

mod create;
mod inspect;
mod sign;
mod verify;

use anyhow::Context;
use clap::{Args, Subcommand};
use edgepair_bundle::channel::{CHANNEL_MAX, Channel, ChannelError, Unverified};
use edgepair_findings::Report;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `edgepair channel`.
#[derive(Debug, Args)]
pub struct ChannelArgs {
    /// What to do.
    #[command(subcommand)]
    command: ChannelCommand,
}

/// What to do with a channel file.
#[derive(Debug, Subcommand)]
enum ChannelCommand {
    /// Make a channel file that names a bundle, or the next one of a channel.
    #[command(
        after_help = "Examples:\n  edgepair channel create stable.channel --bundle out/edgepair_0.2.0_amd64.bundle --key release.pub --days 90 --sign release.key\n  edgepair channel create stable.channel --bundle out/x.bundle --key release.pub --days 30 --wave 5@2027-01-10T06:00:00Z --wave 100@2027-01-12T06:00:00Z --window 'Mon-Fri 22:00-04:00' --jitter-seconds 7200 --sign release.key\n\nThe name of the channel is the file's. A file that is there is the one before: the number of the new one is higher by one.\nPut it on the web server after the bundle that it names.\nExit status: 0 made, 1 failed, 2 wrong use."
    )]
    Create(Box<create::CreateArgs>),
    /// Show what a channel file says, signed or not.
    #[command(
        after_help = "Examples:\n  edgepair channel inspect stable.channel\n  curl -s https://updates.example/stable.channel | edgepair channel inspect - --json\n  edgepair channel inspect stable.channel --pair site-042\n\nNothing is checked: `edgepair channel verify` does that.\nExit status: 0 shown, 1 failed, 2 wrong use."
    )]
    Inspect(inspect::InspectArgs),
    /// Check a channel file as a node does.
    #[command(
        after_help = "Examples:\n  edgepair channel verify stable.channel --key release.pub\n  curl -s https://updates.example/stable.channel | edgepair channel verify - --key release.pub --name stable --at 2027-01-12T06:00:00Z\n\nExit status: 0 good, 1 not good, or not acted on at that time, 2 wrong use."
    )]
    Verify(verify::VerifyArgs),
    /// Sign a channel file, here or where the key is.
    #[command(
        after_help = "Examples:\n  edgepair channel sign stable.channel --key release.key\n\nWith a key that stays on another machine:\n  edgepair channel sign stable.channel --emit channel.toml               here: the bytes to sign\n  edgepair sign channel.toml --key release.key                          there; or minisign -S -m channel.toml\n  edgepair channel sign stable.channel --attach channel.toml.minisig --public release.pub    here again\n\nExit status: 0 done, 1 failed, 2 wrong use."
    )]
    Sign(sign::SignArgs),
}

/// Runs `edgepair channel`.
///
/// # Errors
/// Whatever failed, with what to do.
pub fn run(args: ChannelArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ChannelCommand::Create(args) => create::run(&args),
        ChannelCommand::Inspect(args) => inspect::run(&args),
        ChannelCommand::Verify(args) => verify::run(&args),
        ChannelCommand::Sign(args) => sign::run(&args),
    }
}

/// Reads a channel file; `-` is standard input.
fn open(path: &Path) -> anyhow::Result<Unverified> {
    let mut bytes = Vec::new();
    super::bundle::open(path)?
        .take(CHANNEL_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Unverified::read(&bytes).map_err(|error| refused(path, &error))
}

/// The content, not checked.
fn content(path: &Path, file: &Unverified) -> anyhow::Result<Channel> {
    file.channel().map_err(|report| wrong(path, &report))
}

fn refused(path: &Path, error: &ChannelError) -> anyhow::Error {
    anyhow::anyhow!("{}: {error}\n  to do: {}", path.display(), error.advice())
}

fn wrong(path: &Path, report: &Report) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is wrong:\n{}  to do: make it again with `edgepair channel create`",
        path.display(),
        report.render_short()
    )
}

/// The name that a channel has by its file.
fn name(path: &Path) -> anyhow::Result<String> {
    let text = path.to_string_lossy();
    edgepair_bundle::channel::name_of(&text).map(str::to_owned).with_context(|| {
        format!(
            "{} is not the name of a channel's file\n  to do: call it NAME.channel, with letters, digits, dots, underscores and hyphens in NAME",
            path.display()
        )
    })
}

/// Trusted public keys.
fn keys(paths: &[PathBuf]) -> anyhow::Result<edgepair_signature::TrustedKeys> {
    let keys = paths
        .iter()
        .map(|key| crate::signing::minisign::public_key(key))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(edgepair_signature::TrustedKeys::new(keys)?)
}
