//! `edgepair channel inspect`.

use super::{content, open};
use crate::definition::size::show;
use clap::Args;
use edgepair_bundle::channel::{Channel, Local, decide};
use edgepair_bundle::{Time, Version};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// `edgepair channel inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The channel file; `-` is standard input.
    file: PathBuf,
    /// Say as well what a pair of this name does about it, when its seed has no windows and the pair is healthy.
    #[arg(long, value_name = "NAME")]
    pair: Option<String>,
    /// The moment that --pair is asked about; now when absent.
    #[arg(long, value_name = "TIME", requires = "pair", value_parser = crate::commands::bundle::create::time)]
    at: Option<Time>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Print the text as it is: the bytes that are signed.
    #[arg(long, conflicts_with_all = ["json", "pair"])]
    text: bool,
}

/// Runs it.
pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let file = open(&args.file)?;
    if args.text {
        print!("{}", file.text());
        return Ok(ExitCode::SUCCESS);
    }
    let channel = content(&args.file, &file)?;
    let keys: Vec<String> =
        file.signatures().iter().map(|signature| signature.key_id().to_string()).collect();
    let pair =
        args.pair.as_ref().map(|pair| does(&channel, pair, args.at.unwrap_or_else(super::create::now)));
    if args.json {
        let mut out = as_json(&channel, &keys);
        if let Some(pair) = pair {
            out["pair"] = pair.into();
        }
        println!("{out:#}");
    } else {
        print!("{}", table(&channel, &keys));
        if let Some(pair) = pair {
            println!("{:<10} {pair}", "pair");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a pair that runs an older version does.
fn does(channel: &Channel, pair: &str, at: Time) -> String {
    // Nothing is older than this (UAPI Version Format Specification: `~` sorts before the end).
    let Some(running) = Version::parse("0~") else { return String::new() };
    let local = Local {
        pair,
        running: &running,
        failed: &[],
        now: Some(at),
        offset: 0,
        windows: &[],
        automatic: true,
        whole: true,
        busy: false,
        again: None,
    };
    decide(channel, &local).words(&channel.bundle.version)
}

/// For scripts.
pub fn as_json(channel: &Channel, keys: &[String]) -> serde_json::Value {
    json!({
        "name": channel.name,
        "serial": channel.serial,
        "issued": channel.issued.to_string(),
        "expires": channel.expires.to_string(),
        "windows": channel.windows.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "jitter_seconds": channel.jitter,
        "bundle": {
            "url": channel.bundle.url, "version": channel.bundle.version.as_str(), "size": channel.bundle.size,
            "head": channel.bundle.head.to_string(),
        },
        "waves": channel.waves.iter().map(|wave| json!({ "percent": wave.percent, "from": wave.from.to_string() })).collect::<Vec<_>>(),
        "signed_by": keys,
    })
}

/// For people.
pub fn table(channel: &Channel, keys: &[String]) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<10} {value}");
    };
    line("channel", format!("{}, no. {}", channel.name, channel.serial));
    line("issued", channel.issued.to_string());
    line("expires", channel.expires.to_string());
    line("version", channel.bundle.version.to_string());
    line("bundle", format!("{}, {}", channel.bundle.url, show(channel.bundle.size)));
    for window in &channel.windows {
        line("window", window.to_string());
    }
    if channel.jitter > 0 {
        line("spread", format!("{} s", channel.jitter));
    }
    for wave in &channel.waves {
        line("wave", format!("{} % from {}", wave.percent, wave.from));
    }
    line(
        "signed by",
        if keys.is_empty() { "nobody".to_owned() } else { format!("{} (not checked)", keys.join(", ")) },
    );
    out
}
