//! `edgepair doctor`.

use crate::cli::Doctor;
use crate::doctor::{agreed, examine, mend};
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
/// When something cannot be installed.
pub fn run(args: &Doctor) -> anyhow::Result<ExitCode> {
    let mut lacks = examine(args.architecture.as_deref());
    if args.fix && !lacks.is_empty() && agreed(&lacks, args.yes) {
        mend(&lacks, |line| eprintln!("{line}"))?;
        lacks = examine(args.architecture.as_deref());
    }
    if args.json {
        println!("{}", serde_json::to_string(&lacks)?);
    } else if lacks.is_empty() {
        println!("nothing is missing");
    } else {
        for lack in &lacks {
            println!("missing: {}", lack.what);
        }
        println!("`edgepair doctor --fix` installs it");
    }
    Ok(if lacks.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
