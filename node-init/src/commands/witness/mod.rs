//! `node-init witness …`

mod ask;
mod operate;
mod serve;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use witness_protocol::PairKey;

/// Arguments of `node-init witness`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: WitnessCommand,
}

#[derive(Debug, Subcommand)]
enum WitnessCommand {
    /// Run the witness.
    #[command(
        after_help = "Example:\n  node-init witness serve --listen 192.0.2.9:8443 --metrics-listen 127.0.0.1:9464"
    )]
    Serve(serve::Arguments),
    /// Show what the witness knows and counts.
    #[command(after_help = "Example:\n  node-init witness status --json --pairs")]
    Status(operate::Status),
    /// Let a pair use this witness. Its record begins as unknown.
    #[command(
        after_help = "Example:\n  node-init witness pair-key --pair site-042 --secret-file pair.secret   (where the secret is)\n  node-init witness enrol --name site-042 --key ed25519:…                (on the witness)"
    )]
    Enrol(operate::Enrol),
    /// Remove a pair, and what the witness knows of it.
    #[command(after_help = "Example:\n  node-init witness forget --name site-042")]
    Forget(operate::Forget),
    /// Say that the database was, or may have been, restored: every pair becomes unknown.
    #[command(
        after_help = "Example:\n  node-init witness restored --yes\n\nNeeded only after the whole machine went back in time (a snapshot of it was restored);\na restored database alone is noticed at start."
    )]
    Restored(operate::Restored),
    /// Print the fingerprint that goes into the seed. Makes the key if there is none.
    #[command(after_help = "Example:\n  node-init witness fingerprint --data-dir /var/lib/edgepair-witness")]
    Fingerprint(operate::Fingerprint),
    /// Print a pair's public key, by which it is enrolled. The secret stays where it is.
    #[command(
        after_help = "Example:\n  node-init witness pair-key --pair site-042 --secret-file pair.secret"
    )]
    PairKey(ask::PairKeyArguments),
    /// Read a pair's record as a node would. It never grants anything.
    #[command(
        after_help = "Example:\n  node-init witness read --url https://192.0.2.9:8443 --fingerprint sha256:… --secret-file pair.secret --json"
    )]
    Read(ask::Read),
    /// Change a pair's record as a node would. For tests and repairs: the agent does this by itself.
    #[command(
        after_help = "Example:\n  node-init witness claim --url https://192.0.2.9:8443 --fingerprint sha256:… --secret-file pair.secret \\\n    --side a --disk 000102030405060708090a0b0c0d0e0f solo"
    )]
    Claim(ask::Claim),
}

/// Where a witness keeps its things.
#[derive(Debug, Args)]
struct Place {
    /// The database and the witness's key.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/edgepair-witness")]
    data_dir: PathBuf,
    /// The stamp by which a restored database is noticed; never in a backup. [default: DATA_DIR-stamp]
    #[arg(long, value_name = "DIR")]
    stamp_dir: Option<PathBuf>,
}

impl Place {
    fn stamp_dir(&self) -> PathBuf {
        self.stamp_dir.clone().unwrap_or_else(|| {
            let mut name = self.data_dir.as_os_str().to_owned();
            name.push("-stamp");
            name.into()
        })
    }

    /// Makes both directories, for their owner only.
    fn prepare(&self) -> anyhow::Result<PathBuf> {
        use std::os::unix::fs::DirBuilderExt;
        // Everything made from here on is for its owner only, the socket above all.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        let stamp_dir = self.stamp_dir();
        for dir in [&self.data_dir, &stamp_dir] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .with_context(|| format!("{} cannot be made", dir.display()))?;
        }
        Ok(stamp_dir)
    }
}

/// Runs the subcommand.
///
/// # Errors
/// In words for whoever typed it.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        WitnessCommand::Serve(a) => serve::run(&a),
        WitnessCommand::Status(a) => operate::status(&a),
        WitnessCommand::Enrol(a) => operate::enrol(&a),
        WitnessCommand::Forget(a) => operate::forget(a),
        WitnessCommand::Restored(a) => operate::restored(&a),
        WitnessCommand::Fingerprint(a) => operate::fingerprint(&a),
        WitnessCommand::PairKey(a) => ask::pair_key(&a),
        WitnessCommand::Read(a) => ask::read(&a),
        WitnessCommand::Claim(a) => ask::claim(&a),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")
}

/// The key that the nodes of this pair sign with: the same derivation, which has the pair's name in it.
fn key_of(secret_file: &Path, pair: &str) -> anyhow::Result<PairKey> {
    let text = std::fs::read_to_string(secret_file)
        .with_context(|| format!("the pair secret cannot be read from {}", secret_file.display()))?;
    let secret = edgepair_seed::Secret::new(text.trim_end().to_owned());
    // Too short a secret is refused here as it is in a seed.
    witness_protocol::PairSecret::new(secret.expose_secret().as_bytes())
        .with_context(|| secret_file.display().to_string())?;
    let secret = edgepair_seed::PairSecret::new(secret, pair);
    Ok(PairKey::from_seed(secret.key(edgepair_seed::Purpose::WitnessRequest).expose_secret())?)
}
