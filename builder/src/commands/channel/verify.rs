//! `edgepair channel verify`.

use super::inspect::as_json;
use super::{keys, open, refused};
use clap::Args;
use edgepair_bundle::Time;
use edgepair_bundle::channel::Signed;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `edgepair channel verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The channel file; `-` is standard input.
    file: PathBuf,
    /// A trusted public key; more than one may be given.
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// The channel that it must be of; by the file's name when absent.
    #[arg(long)]
    name: Option<String>,
    /// The moment at which it must be acted on; now when absent.
    #[arg(long, value_name = "TIME", value_parser = crate::commands::bundle::create::time)]
    at: Option<Time>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let keys = keys(&args.key)?;
    let by_file = || if args.file == Path::new("-") { Ok(None) } else { super::name(&args.file).map(Some) };
    let name = args.name.clone().map_or_else(by_file, |name| Ok(Some(name)))?;
    let checked = open(&args.file).and_then(|file| {
        let signed = file.verify(&keys, name.as_deref()).map_err(|error| refused(&args.file, &error))?;
        in_time(&args.file, &signed, args.at.unwrap_or_else(super::create::now))?;
        Ok(signed)
    });
    match checked {
        Ok(signed) if args.json => {
            let mut out = as_json(signed.channel(), &[signed.signed_by().to_string()]);
            out["ok"] = true.into();
            println!("{out:#}");
        }
        Ok(signed) => {
            let channel = signed.channel();
            println!(
                "good     {} channel {} no. {}, version {}, until {}, signed with key {}",
                args.file.display(),
                channel.name,
                channel.serial,
                channel.bundle.version,
                channel.expires,
                signed.signed_by()
            );
        }
        Err(error) => {
            if args.json {
                println!("{:#}", serde_json::json!({ "ok": false, "error": format!("{error:#}") }));
            }
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether nodes act on it at that moment.
fn in_time(path: &Path, signed: &Signed, at: Time) -> anyhow::Result<()> {
    let channel = signed.channel();
    let wrong = if at < channel.issued {
        format!("it was made at {}, later than {at}\n  to do: look at the clock", channel.issued)
    } else if at >= channel.expires {
        format!(
            "it expired at {}\n  to do: make the next one with `edgepair channel create`",
            channel.expires
        )
    } else {
        return Ok(());
    };
    anyhow::bail!("{}: {wrong}", path.display())
}
