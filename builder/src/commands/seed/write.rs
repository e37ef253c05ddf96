//! `edgepair seed write`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use edgepair_seed::{Member, NODE_FILE, SEED_FILE, Seed};
use edgepair_seed_place::{self as place, Payload};

use super::load::{Loaded, load};

/// `edgepair seed write`.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The seed.
    seed: PathBuf,
    /// Where to: a folder (a mounted card or stick), a disk image, a device or partition.
    target: PathBuf,
    /// Say which box this card or stick is for: a, b or the name of a worker.
    #[arg(long)]
    node: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &WriteArgs) -> anyhow::Result<ExitCode> {
    let loaded = load(&args.seed)?;
    let seed = loaded.valid()?;
    let payload = payload(&loaded, &seed, args.node.as_deref())?;
    let place = place::put(&args.target, &payload)?;
    let names: Vec<&str> = payload.names().collect();
    if args.json {
        println!(
            "{:#}",
            serde_json::json!({"target": args.target, "place": place, "files": names, "hash": seed.hash()})
        );
    } else {
        println!("{} written to {place}: {}", seed.pair.name, names.join(", "));
        if args.node.is_none() && seed.a.macs.is_empty() && seed.a.serial.is_none() {
            bail!(
                "the boxes have neither MAC addresses nor serial numbers in this seed: write again with --node a or b"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of a seed for a partition or stick; with `node`, also the file that says which box it is for.
///
/// # Errors
/// When the seed has no such box.
pub fn payload(loaded: &Loaded, seed: &Seed, node: Option<&str>) -> anyhow::Result<Payload> {
    let mut payload = Payload::default();
    for (name, content) in loaded.companions.iter() {
        payload.secret(name, content.expose_secret().as_bytes());
    }
    match node {
        Some(name) => {
            let member = Member::parse(name)
                .filter(|member| match member {
                    Member::Node(_) => true,
                    Member::Worker(worker) => seed.workers.contains_key(worker),
                })
                .with_context(|| format!("the seed has no box \"{name}\"; it has a, b and its workers"))?;
            payload.file(NODE_FILE, format!("{member}\n").as_bytes());
        }
        // One from an earlier seed would make this box take itself for what it is not any more.
        None => payload.remove(NODE_FILE),
    }
    payload.file(SEED_FILE, loaded.text.as_bytes());
    Ok(payload)
}
