//! `edgepair seed`: make, check, show and place the file that says what a pair of boxes is to be.
//!
//! The checks and the renderers are the node's own (`edgepair-seed`, `edgepair-render`); here are only questions,
//! files and printing. [`load`] and [`write::payload`] also serve whoever else places seeds.

mod ask;
mod check;
pub mod load;
mod new;
mod show;
pub mod write;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Exit code for a seed with errors.
const FAILED: u8 = 1;
/// Exit code for wrong use.
const WRONG_USE: u8 = 2;

/// `edgepair seed`.
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// What to do.
    #[command(subcommand)]
    command: SeedCommand,
}

/// What to do with a seed.
#[derive(Debug, Subcommand)]
enum SeedCommand {
    /// Make a seed and its secret; asks for what no option gives.
    #[command(
        after_help = "Example:\n  edgepair seed new --name site-042 --virtual-ip 192.0.2.50/24 \\\n    --mac-a 52:54:00:00:00:01 --address-a 192.0.2.60/24 \\\n    --mac-b 52:54:00:00:00:02 --address-b 192.0.2.61/24 \\\n    --size 8GiB --mode manual --ssh-key ~/.ssh/id_ed25519.pub\n\nExit status: 0 written, 1 failed, 2 wrong use."
    )]
    New(Box<new::NewArgs>),
    /// Check a seed, without the boxes and without a network.
    #[command(
        after_help = "Examples:\n  edgepair seed check seed.toml\n  edgepair seed check seed.toml --json\n  edgepair seed check new.toml --against old.toml\n\nExit status: 0 good (there may be warnings), 1 errors, 2 wrong use."
    )]
    Check(check::CheckArgs),
    /// Show every file a node would have, and every step it would take on an empty box.
    #[command(
        after_help = "Examples:\n  edgepair seed show seed.toml --node a\n  edgepair seed show seed.toml --node b --file /etc/nftables.conf\n\nExit status: 0 shown, 1 the seed has errors, 2 wrong use."
    )]
    Show(show::ShowArgs),
    /// Put a seed into a folder, a disk image, a memory card or a USB stick.
    #[command(
        after_help = "Examples:\n  edgepair seed write seed.toml /media/SEED\n  edgepair seed write seed.toml out/appliance.img --node a\n  edgepair seed write seed.toml /dev/sdb --node b\n\nExit status: 0 written, 1 failed, 2 wrong use."
    )]
    Write(write::WriteArgs),
    /// Print the JSON schema of a seed, for editors.
    #[command(after_help = "Example:\n  edgepair seed schema > seed.schema.json")]
    Schema {
        /// Print the table of all keys as Markdown instead.
        #[arg(long)]
        markdown: bool,
    },
}

/// Runs `edgepair seed`.
///
/// # Errors
/// Whatever failed, with what to do.
pub fn run(args: SeedArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        SeedCommand::New(args) => new::run(&args),
        SeedCommand::Check(args) => check::run(&args),
        SeedCommand::Show(args) => show::run(&args),
        SeedCommand::Write(args) => write::run(&args),
        SeedCommand::Schema { markdown: true } => {
            print!("{}", edgepair_seed::markdown_table());
            Ok(ExitCode::SUCCESS)
        }
        SeedCommand::Schema { markdown: false } => {
            println!("{:#}", edgepair_seed::json_schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}
