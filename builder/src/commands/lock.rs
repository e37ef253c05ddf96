//! `edgepair lock`.

use super::build::{load_lock, lock_of};
use crate::cli::LockArgs;
use crate::doctor;
use crate::engine::cache::Cache;
use crate::engine::clean_up;
use crate::engine::progress::Progress;
use crate::lock::{self, Drift};
use crate::plan::Plan;
use crate::stages::packages;
use crate::stages::tools::Wish;
use edgepair_host_io::atomic;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    file: PathBuf,
    written: bool,
    #[serde(flatten)]
    drift: Drift,
}

/// Runs the subcommand.
///
/// # Errors
/// When the archive cannot be asked, or the lock file not be read or written.
pub fn run(args: &LockArgs) -> anyhow::Result<ExitCode> {
    let progress = Progress::default();
    let plan = Plan::load(&args.definition)?;
    // With --update a damaged lock file is what shall be replaced.
    let lock = match load_lock(&args.definition) {
        Err(error) if args.update => {
            progress.say(&format!("{error:#}"));
            None
        }
        lock => lock?,
    };
    doctor::require(&plan.board, &progress)?;
    let cache = Cache::open()?;
    let _in_use = cache.in_use()?;
    let wish = Wish::Like(lock.as_ref().map(|lock| &lock.tools));
    let mut tools = plan.tools.ensure(&cache, &progress, wish)?;
    clean_up(&cache, &tools.sandbox)?;
    if plan.tools.outdated(&cache, &tools)? {
        tools = plan.tools.ensure(&cache, &progress, Wish::New)?;
    }
    let (resolved, _) = packages::resolve(&plan.definition, &plan.board, &cache, &tools.sandbox, true)?;
    let now = lock_of(&plan, &resolved, &tools);
    let file = lock::path_of(&args.definition);
    let drift = lock.as_ref().map_or_else(Drift::default, |lock| Drift::between(lock, &now.root, &now.tools));
    // A lock file that differs only in what is asked for, or in the suite, is out of date as well.
    let same = lock.as_ref() == Some(&now);
    let write = lock.is_none() || (args.update && !same);
    if write {
        atomic::write(&file, now.render().as_bytes(), 0o644)?;
    }
    let fine = write || same;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Report { file, written: write, drift })?);
        return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    if !drift.is_empty() {
        print!("{}", drift.table());
    }
    let (root, count) = (now.root.len(), now.tools.len());
    if write {
        println!("{}: {root} packages of the image, {count} of the tools", file.display());
    } else if same {
        println!("{}: the archive has nothing else", file.display());
    } else {
        for line in lock.iter().flat_map(|lock| lock.unwanted(&now.wanted)) {
            println!("{line}");
        }
        println!(
            "{} is out of date; `edgepair lock {} --update` writes it anew",
            file.display(),
            args.definition.display()
        );
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
