//! `edgepair build`.

use crate::cli::{Build, K3sArgs};
use crate::commands::bundle::create;
use crate::doctor;
use crate::engine::cache::Cache;
use crate::engine::progress::Progress;
use crate::engine::{Engine, clean_up};
use crate::lock::{self, Drift, Lock};
use crate::payloads::Output;
use crate::plan::{Extras, Plan, show};
use crate::signing::minisign::{Passphrase, Signer};
use crate::signing::secure_boot::SecureBoot;
use crate::stages::extension;
use crate::stages::node_init;
use crate::stages::output::{self, Parts};
use crate::stages::packages::{self, Resolved};
use crate::stages::tools::{Tools, Wish, host_architecture};
use anyhow::{Context, bail};
use qemu_tests::harness::{Image, Qemu};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The output files.
    pub written: output::Written,
    /// Where everything is, for whoever runs the image.
    pub image: Image,
}

/// How an image is to be built.
#[derive(Debug, Default)]
pub struct Options {
    /// Only the packages of the lock file.
    pub locked: bool,
    /// The package index is fetched, however young the present one is.
    pub refresh: bool,
    /// What manifest, bundle and extension are signed with.
    pub signer: Option<Arc<Signer>>,
    /// What the boot files are signed with.
    pub secure_boot: Option<SecureBoot>,
    /// What the command line says of k3s.
    pub k3s: K3sArgs,
}

impl Options {
    fn of(args: &Build) -> anyhow::Result<Self> {
        let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
        let signer = args.sign.as_deref().map(|key| Signer::open(key, words)).transpose()?.map(Arc::new);
        let secure_boot = match (&args.secure_boot, &args.signed_boot) {
            (Some(keys), _) => Some(SecureBoot::from_keys(keys)?),
            (None, Some(signed)) => Some(SecureBoot::from_signed(signed)?),
            (None, None) => None,
        };
        let k3s = args.k3s.clone();
        Ok(Self { locked: args.locked, refresh: args.refresh, signer, secure_boot, k3s })
    }
}

/// Runs the subcommand.
///
/// # Errors
/// What failed and what to do.
pub fn run(args: &Build) -> anyhow::Result<ExitCode> {
    let options = Options::of(args)?;
    if args.dry_run {
        return dry_run(args, &options);
    }
    let progress = Progress::default();
    let built = build_with(&args.definition, &args.out, &progress, &options)?;
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

fn dry_run(args: &Build, options: &Options) -> anyhow::Result<ExitCode> {
    let plan = Plan::load(&args.definition)?;
    let cache = Cache::open()?;
    let k3s = extension::resolve(&plan.definition, &plan.board, options.k3s.given())?;
    let extras = Extras {
        secure_boot: options.secure_boot.as_ref(),
        k3s: k3s.as_ref(),
        signer: options.signer.as_ref(),
    };
    let steps = plan.steps(&cache, None, &extras)?;
    let lock = load_lock(&args.definition)?;
    let wish = Wish::Like(lock.as_ref().map(|lock| &lock.tools));
    let verdicts = plan.tools.existing(&cache, wish).map(|tools| {
        let progress = Progress::default();
        let steps = plan.steps(&cache, None, &extras).unwrap_or_default();
        Engine::new(&cache, tools.sandbox, &tools.identity, steps, &progress).verdicts()
    });
    print!("{}", show(&plan, &steps, verdicts.as_deref()));
    Ok(ExitCode::SUCCESS)
}

/// Reads the lock file beside a definition; absent is fine.
///
/// # Errors
/// When it is there and cannot be used.
pub fn load_lock(definition: &Path) -> anyhow::Result<Option<Lock>> {
    let path = lock::path_of(definition);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    match Lock::parse(&text) {
        Ok(lock) => Ok(Some(lock)),
        Err(wrong) => bail!(
            "the lock file {} cannot be used: {wrong}\n  to do: take it from version control again, or write it anew with \
             `edgepair lock {} --update`",
            path.display(),
            definition.display()
        ),
    }
}

/// The lock that these packages amount to.
pub fn lock_of(plan: &Plan, resolved: &Resolved, tools: &Tools) -> Lock {
    let architecture = plan.board.architecture.debian.clone();
    Lock {
        schema: 1,
        suite: plan.definition.suite.value.clone(),
        host: host_architecture().to_owned(),
        wanted: packages::wanted(&plan.definition, &plan.board),
        root: packages::by_name(&resolved.packages, &architecture),
        tools: tools.packages.clone(),
        architecture,
    }
}

/// Builds a definition, unsigned, from what the archive has.
///
/// # Errors
/// What failed and what to do.
pub fn build(definition: &Path, out: &Path, progress: &Progress) -> anyhow::Result<Built> {
    build_with(definition, out, progress, &Options::default())
}

/// Builds a definition.
///
/// # Errors
/// What failed and what to do.
pub fn build_with(
    definition: &Path,
    out: &Path,
    progress: &Progress,
    options: &Options,
) -> anyhow::Result<Built> {
    let plan = Plan::load(definition)?;
    let lock = load_lock(definition)?;
    if options.locked {
        fits(&plan, lock.as_ref(), definition)?;
    }
    let k3s = extension::resolve(&plan.definition, &plan.board, options.k3s.given())?;
    doctor::require(&plan.board, progress)?;
    let cache = Cache::open()?;
    let _in_use = cache.in_use()?;
    let wish = match &lock {
        Some(lock) if options.locked => Wish::Exactly(&lock.tools),
        lock => Wish::Like(lock.as_ref().map(|lock| &lock.tools)),
    };
    let tools = plan.tools.ensure(&cache, progress, wish)?;
    clean_up(&cache, &tools.sandbox)?;
    // The archive and the crate registry are asked at the same time.
    let (resolved, fetched) = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| node_init::fetch(&plan.workspace, &plan.board));
        let (image, board) = (&plan.definition, &plan.board);
        let resolved = match &lock {
            Some(lock) if options.locked => {
                packages::resolve_locked(image, board, &cache, &tools.sandbox, lock).map(|all| (all, None))
            }
            _ => packages::resolve(image, board, &cache, &tools.sandbox, options.refresh),
        };
        (resolved, fetch.join().unwrap_or_else(|_| Err(anyhow::anyhow!("cargo fetch broke off"))))
    });
    let (resolved, age) = resolved?;
    fetched?;
    let from = match (options.locked, age) {
        (true, _) => "the lock file".to_owned(),
        (false, None) => "the archive".to_owned(),
        (false, Some(age)) => {
            format!("the archive's index of {} minutes ago (`--refresh` asks anew)", age.as_secs() / 60)
        }
    };
    progress.say(&format!("{:<10} {} packages from {from}", "packages", resolved.packages.len()));
    if let Some(lock) = &lock {
        report_drift(&plan, lock, &resolved, &tools, definition, progress);
    }
    progress.say(&match &k3s {
        Some(k3s) => format!("{:<10} {}", "k3s", k3s.version),
        None => format!(
            "{:<10} none: this image carries no Kubernetes. `--k3s FILE` puts it in, or `[k3s]` with url and sha256 in the \
             definition",
            "k3s"
        ),
    });
    let extras = Extras {
        secure_boot: options.secure_boot.as_ref(),
        k3s: k3s.as_ref(),
        signer: options.signer.as_ref(),
    };
    let steps = plan.steps(&cache, Some(&resolved), &extras)?;
    let tree = tools.sandbox.tools.clone();
    let engine = Engine::new(&cache, tools.sandbox, &tools.identity, steps, progress);
    let (disk, sbom) = std::thread::scope(|scope| {
        let sbom = scope.spawn(|| engine.ensure("sbom"));
        let disk = engine.ensure("disk");
        (disk, sbom.join().unwrap_or_else(|_| Err(anyhow::anyhow!("step sbom broke off"))))
    });
    let (disk, sbom) = (disk?, sbom?);
    let parts = Parts {
        disk: &disk,
        boot: &engine.ensure("boot-files")?,
        erofs: &engine.ensure("erofs")?,
        sbom: &sbom,
        secure_boot: options.secure_boot.as_ref(),
        signer: options.signer.as_deref(),
    };
    let mut written = output::write(&plan.definition, &plan.board, &resolved, &parts, out, progress)?;
    bundle(&plan, out, options.signer.as_deref(), k3s.as_ref(), &mut written, progress)?;
    let step = |name: &str, file: &str| engine.ensure(name).map(|done| done.dir.join(file));
    let qemu = &plan.board.architecture.qemu;
    let image = Image {
        image: std::path::absolute(&written.image)?,
        bmap: std::path::absolute(&written.files[1])?,
        disk: step("disk", "disk.img")?,
        root: step("erofs", "root.erofs")?,
        node_init: step("node-init", "node-init")?,
        kernel: step("root", "vmlinuz")?,
        tools: tree,
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

/// The update bundle beside a signed image: made anew when anything else was. Without a key there is none, since no node
/// would take it.
fn bundle(
    plan: &Plan,
    out: &Path,
    signer: Option<&Signer>,
    k3s: Option<&extension::K3s>,
    written: &mut output::Written,
    progress: &Progress,
) -> anyhow::Result<()> {
    let folder = Output::open(out)?;
    let path = create::usual_place(out, &folder.stem());
    if signer.is_none() {
        if !written.unchanged && path.exists() {
            let said = format!(
                "{:<10} {} is of an earlier build: `edgepair bundle create`",
                "bundle",
                path.display()
            );
            progress.say(&said);
        }
        return Ok(());
    }
    if plan.definition.update_keys.is_empty() {
        progress.say(&format!(
            "{:<10} this image trusts no key and takes no update itself: name one in its definition (`[update] keys`)",
            "bundle"
        ));
    }
    if !written.unchanged || !path.exists() {
        let terms = create::Terms::usual(k3s.map(|k3s| k3s.version.to_string()))?;
        create::make(&folder, &terms, &path, signer, progress)?;
        written.unchanged = false;
    }
    written.files.push(path);
    Ok(())
}

/// With `--locked`: whether the lock file is there and was made for this very definition.
fn fits(plan: &Plan, lock: Option<&Lock>, definition: &Path) -> anyhow::Result<()> {
    let path = lock::path_of(definition);
    let Some(lock) = lock else {
        bail!(
            "--locked: there is no lock file {}\n  to do: `edgepair lock {}` writes it",
            path.display(),
            definition.display()
        );
    };
    let mut wrong = lock.unwanted(&packages::wanted(&plan.definition, &plan.board));
    for (what, locked, now) in [
        ("the suite", lock.suite.as_str(), plan.definition.suite.value.as_str()),
        ("the architecture", lock.architecture.as_str(), plan.board.architecture.debian.as_str()),
        ("the building machine's architecture", lock.host.as_str(), host_architecture()),
    ] {
        if locked != now {
            wrong.push(format!("{what} is {now}, locked is {locked}"));
        }
    }
    if !wrong.is_empty() {
        bail!(
            "--locked: {} was not made for this definition:\n  {}\n  to do: `edgepair lock {} --update`",
            path.display(),
            wrong.join("\n  "),
            definition.display()
        );
    }
    Ok(())
}

fn report_drift(
    plan: &Plan,
    lock: &Lock,
    resolved: &Resolved,
    tools: &Tools,
    definition: &Path,
    progress: &Progress,
) {
    let now = lock_of(plan, resolved, tools);
    let drift = Drift::between(lock, &now.root, &now.tools);
    let path = lock::path_of(definition);
    if drift.is_empty() {
        progress.say(&format!("{:<10} as in {}", "lock", path.display()));
        return;
    }
    progress.say(&format!(
        "{:<10} {} packages are not as in {}:",
        "lock",
        drift.changes.len(),
        path.display()
    ));
    for line in drift.table().lines() {
        progress.say(&format!("           {line}"));
    }
    progress.say(&format!(
        "           `--locked` builds what is locked; `edgepair lock {} --update` takes these over",
        definition.display()
    ));
}
