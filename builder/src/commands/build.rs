//! `edgepair build`.

use crate::cli::Build;
use crate::doctor;
use crate::engine::cache::Cache;
use crate::engine::progress::Progress;
use crate::engine::{Engine, clean_up};
use crate::plan::{Plan, show};
use crate::stages::output::{self, Parts};
use crate::stages::{node_init, packages};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// Uncompressed disk image, in the cache.
    pub disk: PathBuf,
    /// The output files.
    pub written: output::Written,
    /// The plan it was built from.
    pub plan: Plan,
    /// The tools tree, for whoever runs the image.
    pub tools: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// What failed and what to do.
pub fn run(args: &Build) -> anyhow::Result<ExitCode> {
    if args.dry_run {
        let plan = Plan::load(&args.definition)?;
        let cache = Cache::open()?;
        let steps = plan.steps(&cache, None)?;
        let verdicts = plan.tools.existing(&cache).map(|sandbox| {
            let progress = Progress::default();
            Engine::new(&cache, sandbox, plan.steps(&cache, None).unwrap_or_default(), &progress).verdicts()
        });
        print!("{}", show(&plan, &steps, verdicts.as_deref()));
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::default();
    let built = build(&args.definition, &args.out, &progress)?;
    if args.json {
        let files: Vec<_> = built.written.files.iter().map(|file| file.display().to_string()).collect();
        println!(
            "{}",
            serde_json::json!({ "image": built.written.image, "files": files, "unchanged": built.written.unchanged })
        );
    } else {
        for file in &built.written.files {
            let size = std::fs::metadata(file).map_or(0, |data| data.len());
            println!("{:>10}  {}", crate::definition::size::show(size), file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds a definition.
///
/// # Errors
/// What failed and what to do.
pub fn build(definition: &Path, out: &Path, progress: &Progress) -> anyhow::Result<Built> {
    let plan = Plan::load(definition)?;
    doctor::require(&plan.board, progress)?;
    let cache = Cache::open()?;
    let sandbox = plan.tools.ensure(&cache, progress)?;
    clean_up(&cache, &sandbox)?;
    // The archive and the crate registry are asked at the same time.
    let (resolved, fetched) = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| node_init::fetch(&plan.workspace, &plan.board));
        let resolved = packages::resolve(&plan.definition, &plan.board, &cache, &sandbox);
        (resolved, fetch.join().unwrap_or_else(|_| Err(anyhow::anyhow!("cargo fetch broke off"))))
    });
    let resolved = resolved?;
    fetched?;
    progress.say(&format!("{:<10} {} packages from the archive", "packages", resolved.packages.len()));
    let tools = sandbox.tools.clone();
    let engine = Engine::new(&cache, sandbox, plan.steps(&cache, Some(&resolved))?, progress);
    let disk = engine.ensure("disk")?;
    let parts = Parts { disk: &disk, uki: &engine.ensure("uki")?, erofs: &engine.ensure("erofs")? };
    let written = output::write(&plan.definition, &plan.board, &resolved, &parts, out, progress)?;
    Ok(Built { disk: disk.dir.join("disk.img"), written, plan, tools })
}
