//! `edgepair bundle verify`.

use super::inspect::as_json;
use super::{open, refused};
use crate::definition::size::show;
use crate::engine::progress::Progress;
use crate::signing::minisign;
use clap::Args;
use edgepair_bundle::Unverified;
use edgepair_signature::TrustedKeys;
use std::path::PathBuf;
use std::process::ExitCode;

/// `edgepair bundle verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The bundle; `-` is standard input.
    bundle: PathBuf,
    /// A trusted public key; more than one may be given.
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let keys = args.key.iter().map(|key| minisign::public_key(key)).collect::<anyhow::Result<Vec<_>>>()?;
    let keys = TrustedKeys::new(keys)?;
    let progress = Progress::default();
    let running = progress.start("verify", &format!("Reading {}", args.bundle.display()), "asked for");
    let result =
        Unverified::open(open(&args.bundle)?).and_then(|bundle| bundle.verify(&keys)).and_then(|bundle| {
            let all: u64 = bundle.contents().manifest.payloads.iter().map(|payload| payload.part.size).sum();
            let mut told = 0;
            bundle.check_rest(|done| {
                if done * 100 / all.max(1) > told {
                    told = done * 100 / all.max(1);
                    running.at(&format!("{told} %"));
                }
            })
        });
    match result {
        Ok(contents) => {
            let size: u64 = contents.manifest.payloads.iter().map(|payload| payload.part.size).sum();
            running.finish(&show(size));
            let manifest = &contents.manifest;
            if args.json {
                let mut out = as_json(manifest, &[contents.signed_by.to_string()]);
                out["ok"] = true.into();
                out["comment"] = contents.comment.clone().into();
                println!("{out:#}");
            } else {
                println!(
                    "good     {} {} {} for {}, signed with key {} ({})",
                    args.bundle.display(),
                    manifest.name,
                    manifest.version,
                    manifest.boards.join(", "),
                    contents.signed_by,
                    contents.comment
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if args.json {
                println!(
                    "{:#}",
                    serde_json::json!({ "ok": false, "error": error.to_string(), "fix": error.advice() })
                );
            }
            Err(refused(&args.bundle, &error))
        }
    }
}
