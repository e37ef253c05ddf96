//! `edgepair update`: brings a bundle to a pair, over SSH.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edgepair_bundle::Unverified;
use edgepair_host_io::Invocation;
use edgepair_layout::path::NODE_INIT;
use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `edgepair update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// What to do.
    #[command(subcommand)]
    command: UpdateCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum UpdateCommand {
    /// Send a bundle to one node of a pair; both are updated, or neither.
    #[command(
        after_help = "Examples:\n  edgepair update push out/edgepair_0.2.0_amd64.bundle 192.0.2.60\n  edgepair update push out/edgepair_0.2.0_amd64.bundle site-042-a -- -i ~/.ssh/site -J bastion.example\n\nThe bundle goes straight into the other slot of that node, and from there to the second node. How it goes on:\n  ssh root@192.0.2.60 /usr/lib/edgepair/node-init update status\nExit status: 0 the bundle is there and the update is under way, 1 refused or failed, 2 wrong use."
    )]
    Push(PushArgs),
}

/// `edgepair update push`.
#[derive(Debug, Args)]
struct PushArgs {
    /// The signed bundle.
    bundle: PathBuf,
    /// The node, as ssh knows it; the user is root unless it says otherwise (USER@HOST).
    host: String,
    /// The other node is away: go on without it. It follows when it comes back.
    #[arg(long)]
    solo: bool,
    /// Confirm that nothing goes back from this version, which it says of itself.
    #[arg(long, value_name = "VERSION", value_parser = super::bundle::create::version)]
    one_way: Option<edgepair_bundle::Version>,
    /// Give up when the pair was not healthy for the next step within so many hours.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=720))]
    limit_hours: Option<u64>,
    /// Options for ssh.
    #[arg(last = true, value_name = "SSH OPTION")]
    ssh: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When the file is no signed bundle, or there is no ssh.
pub fn run(args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let UpdateCommand::Push(args) = args.command;
    let bundle = signed(&args.bundle)?;
    let call = call(&args)?;
    match call.to_command().stdin(bundle).status() {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        // The node has said why on the same terminal; 255 is ssh's own.
        Ok(status) if status.code() == Some(255) => bail!("ssh did not reach {}", args.host),
        Ok(_) => bail!("{} did not take the bundle", args.host),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "there is no ssh on this computer\n  to do: install it (Debian: apt install openssh-client)"
            )
        }
        Err(error) => Err(error).context("ssh"),
    }
}

/// A bundle that can be sent, at its beginning. What no node takes need not travel.
///
/// # Errors
/// When it is no signed bundle.
pub fn signed(path: &Path) -> anyhow::Result<File> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bundle = Unverified::open(&file).map_err(|error| super::bundle::refused(path, &error))?;
    if bundle.signatures().is_empty() {
        bail!(
            "{} is not signed, and no node takes it\n  to do: `edgepair bundle sign {} --key KEY`",
            path.display(),
            path.display()
        );
    }
    file.rewind()?;
    Ok(file)
}

fn call(args: &PushArgs) -> anyhow::Result<Invocation> {
    // It would be read as an option, by ssh.
    if args.host.starts_with('-') || args.host.is_empty() {
        bail!("`{}` is not the name of a host", args.host);
    }
    let host = if args.host.contains('@') { args.host.clone() } else { format!("root@{}", args.host) };
    let mut call = Invocation::new("ssh").args(args.ssh.iter().cloned()).args([&host, NODE_INIT]);
    call = call.args(["update", "start", "-"]);
    if args.solo {
        call = call.arg("--solo");
    }
    if let Some(version) = &args.one_way {
        call = call.args(["--one-way", version.as_str()]);
    }
    Ok(match args.limit_hours {
        Some(hours) => call.args(["--limit-hours".to_owned(), hours.to_string()]),
        None => call,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(host: &str) -> PushArgs {
        PushArgs {
            bundle: "x.bundle".into(),
            host: host.into(),
            solo: true,
            one_way: edgepair_bundle::Version::parse("0.2.0"),
            limit_hours: Some(8),
            ssh: vec!["-p".into(), "2222".into()],
        }
    }

    #[test]
    fn the_node_reads_the_bundle_from_its_standard_input() {
        let line = call(&args("192.0.2.60")).expect("a call").shell_line();
        let want = "ssh -p 2222 root@192.0.2.60 /usr/lib/edgepair/node-init update start - --solo --one-way 0.2.0 --limit-hours 8";
        assert_eq!(line, want);
        assert!(call(&args("me@box")).expect("a call").shell_line().contains(" me@box "));
        for wrong in ["-oProxyCommand=x", ""] {
            assert!(call(&args(wrong)).is_err(), "{wrong}");
        }
    }
}
