//! `edgepair bundle inspect`.

use super::{open, refused};
use crate::definition::size::show;
use clap::Args;
use edgepair_bundle::{Manifest, Unverified};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// `edgepair bundle inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The bundle; `-` is standard input.
    bundle: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Print manifest.toml as it is: the bytes that are signed.
    #[arg(long, conflicts_with = "json")]
    manifest: bool,
}

/// Runs it.
pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let bundle = Unverified::open(open(&args.bundle)?).map_err(|error| refused(&args.bundle, &error))?;
    if args.manifest {
        print!("{}", bundle.text());
        return Ok(ExitCode::SUCCESS);
    }
    let manifest = match bundle.manifest() {
        Ok(manifest) => manifest,
        Err(report) => {
            eprint!("{}", report.render(false));
            anyhow::bail!("{}: its manifest is wrong\n  to do: make the bundle again", args.bundle.display());
        }
    };
    let keys: Vec<String> =
        bundle.signatures().iter().map(|signature| signature.key_id().to_string()).collect();
    if args.json {
        println!("{:#}", as_json(&manifest, &keys));
    } else {
        print!("{}", table(&manifest, &keys));
    }
    Ok(ExitCode::SUCCESS)
}

/// For scripts.
pub fn as_json(manifest: &Manifest, keys: &[String]) -> serde_json::Value {
    let compatible = &manifest.compatible;
    let span = |span: edgepair_bundle::manifest::Span| json!([span.min, span.max]);
    json!({
        "name": manifest.name,
        "version": manifest.version.as_str(),
        "architecture": manifest.architecture,
        "boards": manifest.boards,
        "root_hash": manifest.root_hash.to_string(),
        "build": manifest.build.map(|build| build.to_string()),
        "floor": manifest.floor.as_str(),
        "expires": manifest.expires.map(|time| time.to_string()),
        "trial_seconds": manifest.trial_seconds,
        "extension": manifest.extension,
        "compatible": {
            "pair_protocol": span(compatible.pair_protocol),
            "datastore": span(compatible.datastore),
            "state": span(compatible.state),
        },
        "leaves": { "datastore": manifest.leaves.datastore, "state": manifest.leaves.state },
        "one_way": manifest.one_way,
        "waves": manifest.waves.iter().map(|wave| json!({ "percent": wave.percent, "from": wave.from.to_string() })).collect::<Vec<_>>(),
        "index": { "size": manifest.index.size, "sha256": manifest.index.sha256.to_string() },
        "payloads": manifest.payloads.iter().map(|payload| json!({
            "name": payload.name.word(), "size": payload.part.size, "stored": payload.stored,
            "blocks": payload.blocks(), "sha256": payload.part.sha256.to_string(),
        })).collect::<Vec<_>>(),
        "signed_by": keys,
    })
}

fn table(manifest: &Manifest, keys: &[String]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<14} {value}");
    };
    let compatible = &manifest.compatible;
    line("image", format!("{} {} ({})", manifest.name, manifest.version, manifest.architecture));
    line("boards", manifest.boards.join(", "));
    line("floor", manifest.floor.to_string());
    line("expires", manifest.expires.map_or("never".to_owned(), |time| time.to_string()));
    line("trial", format!("{} s", manifest.trial_seconds));
    line("pair protocol", compatible.pair_protocol.to_string());
    line("datastore", compatible.datastore.to_string());
    line("state", compatible.state.to_string());
    line("leaves", format!("datastore {}, state {}", manifest.leaves.datastore, manifest.leaves.state));
    if manifest.one_way {
        line("one way", "nothing goes back from it".to_owned());
    }
    if let Some(extension) = &manifest.extension {
        line("extension", extension.clone());
    }
    for wave in &manifest.waves {
        line("wave", format!("{} % from {}", wave.percent, wave.from));
    }
    line("root hash", manifest.root_hash.to_string());
    line("index", show(manifest.index.size));
    for payload in &manifest.payloads {
        let (size, stored) = (show(payload.part.size), show(payload.stored));
        line(payload.name.word(), format!("{size}, {} blocks, {stored} in the bundle", payload.blocks()));
    }
    line(
        "signed by",
        if keys.is_empty() { "nobody".to_owned() } else { format!("{} (not checked)", keys.join(", ")) },
    );
    out
}
