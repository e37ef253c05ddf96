//! `edgepair build`.

use crate::cli::Build;
use crate::doctor;
use crate::engine::cache::Cache;
use crate::engine::progress::Progress;
use crate::engine::{Engine, clean_up};
use crate::plan::{Plan, show};
use crate::stages::output::{self, Parts};
use crate::stages::{node_init, packages};
use qemu_tests::harness::{Image, Qemu};
use std::path::Path;
use std::process::ExitCode;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The output files.
    pub written: output::Written,
    /// Where everything is, for whoever runs the image.
    pub image: Image,
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
        println!("{}", serde_json::to_string_pretty(&built.image)?);
    } else {
        if built.written.unchanged {
            println!("nothing has changed since the last build");
        }
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
    let step = |name: &str, file: &str| engine.ensure(name).map(|done| done.dir.join(file));
    let qemu = &plan.board.architecture.qemu;
    let image = Image {
        image: std::path::absolute(&written.image)?,
        bmap: std::path::absolute(&written.files[1])?,
        disk: step("disk", "disk.img")?,
        root: step("erofs", "root.erofs")?,
        node_init: step("node-init", "node-init")?,
        kernel: step("root", "vmlinuz")?,
        tools,
        qemu: Qemu {
            program: qemu.program.clone(),
            machine: qemu.machine.clone(),
            firmware_code: qemu.firmware_code.clone(),
            firmware_vars: qemu.firmware_vars.clone(),
            serial: qemu.serial.clone(),
        },
        version: plan.definition.version.value.clone(),
        board: plan.board.name.clone(),
    };
    Ok(Built { written, image })
}
