//! `edgepair seed check`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use edgepair_seed::{Difference, Report, Seed};
use serde_json::json;

use super::FAILED;
use super::load::load;

/// `edgepair seed check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The seed, or the folder it is in.
    #[arg(default_value = edgepair_seed::SEED_FILE)]
    seed: PathBuf,
    /// Size of the smaller box's disk, for example 32GB; goes before storage.disk.
    #[arg(long, value_parser = edgepair_seed::parse_size)]
    disk: Option<u64>,
    /// An older seed: print what changes and what each change takes.
    #[arg(long, value_name = "SEED")]
    against: Option<PathBuf>,
    /// Print findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (seed, report) = load(&args.seed)?.check(args.disk);
    let difference = match (&args.against, &seed) {
        (Some(older), Some(seed)) => Some(Difference::between(&load(older)?.valid()?, seed)),
        _ => None,
    };
    if args.json {
        println!("{:#}", as_json(&report, seed.as_ref(), difference.as_ref()));
    } else {
        eprint!("{}", report.render(std::io::stderr().is_terminal()));
        if let Some(difference) = &difference {
            print!("{}", difference.render());
        }
        println!("{}", verdict(&args.seed.display().to_string(), &report, seed.as_ref()));
    }
    Ok(if seed.is_some() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn as_json(report: &Report, seed: Option<&Seed>, difference: Option<&Difference>) -> serde_json::Value {
    let mut out = report.to_json();
    out["ok"] = seed.is_some().into();
    out["hash"] = seed.map(Seed::hash).into();
    if let Some(difference) = difference {
        out["difference"] = json!({
            "changes": difference.to_json(),
            "takes": difference.hardest().map(edgepair_seed::table::Change::word),
        });
    }
    out
}

fn verdict(name: &str, report: &Report, seed: Option<&Seed>) -> String {
    let warnings = match report.warnings().count() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    match seed {
        Some(seed) => {
            format!("{name}: good{warnings}; pair {}, VRRP id {}", seed.pair.name, seed.pair.vrrp_id)
        }
        None => match report.errors().count() {
            1 => format!("{name}: 1 error{warnings}"),
            many => format!("{name}: {many} errors{warnings}"),
        },
    }
}
