//! Runs scenarios: `qemu-tests --image image.json [--keep DIR] [NAME…]`, where `image.json` is what
//! `edgepair build --json` printed. With `--soak NAME` it runs all cases of a long run instead, with a journal.

use anyhow::Context as _;
use clap::Parser;
use qemu_tests::harness::accel::Accel;
use qemu_tests::harness::{Image, accel};
use qemu_tests::scenarios::{Context, Scenario, Shared, all, by_name, needs, soak};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Boots the image under test in virtual machines and checks what must hold.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  edgepair build images/x86-64.toml --json > image.json\n  qemu-tests --image image.json boot\n  qemu-tests --image image.json --soak power-cuts --only metadata"
)]
struct Arguments {
    /// What `edgepair build --json` printed.
    #[arg(long)]
    image: PathBuf,
    /// Where logs of failed scenarios stay.
    #[arg(long, default_value = "target/scenarios")]
    keep: PathBuf,
    /// The folder of Secure Boot keys that the image was built with.
    #[arg(long)]
    secure_boot: Option<PathBuf>,
    /// Folder with bundles of later versions and the key that they are signed with (`cargo xtask test update`).
    #[arg(long)]
    updates: Option<PathBuf>,
    /// Folder with extensions of later versions of k3s and the key that they are signed with (`cargo xtask test kubernetes`).
    #[arg(long)]
    extensions: Option<PathBuf>,
    /// List the scenarios and what each shows; with --soak, its cases and what became of them.
    #[arg(long)]
    list: bool,
    /// Run all cases of this long run; what passed before on the same image is not run again.
    #[arg(long)]
    soak: Option<String>,
    /// Of a long run, only cases whose name contains this. May be given several times.
    #[arg(long, requires = "soak")]
    only: Vec<String>,
    /// Where the journals of long runs are.
    #[arg(long, default_value = "target/soak")]
    journal: PathBuf,
    /// Begin no scenario after so many seconds: what is left out is named and counted as skipped.
    #[arg(long, conflicts_with = "soak")]
    within: Option<u64>,
    /// Only those of these names, or whose name contains one of these.
    #[arg(conflicts_with = "soak")]
    names: Vec<String>,
}

/// What all scenarios of a run share.
struct Run<'a> {
    image: &'a Image,
    secure_boot: Option<&'a Path>,
    updates: Option<&'a Path>,
    extensions: Option<&'a Path>,
    accel: Accel,
    common: tempfile::TempDir,
    shared: Shared,
    keep: &'a Path,
}

impl<'a> Run<'a> {
    fn new(image: &'a Image, arguments: &'a Arguments) -> anyhow::Result<Self> {
        let keep = &arguments.keep;
        let secure_boot = arguments.secure_boot.as_deref();
        Ok(Self {
            image,
            secure_boot,
            updates: arguments.updates.as_deref(),
            extensions: arguments.extensions.as_deref(),
            accel: accel::probe(image),
            common: short_dir()?,
            shared: Shared::default(),
            keep,
        })
    }

    /// Gives a scenario its folder; its logs are kept when it fails.
    fn of<T>(&self, name: &str, run: impl FnOnce(&Context<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let dir = short_dir()?;
        let context = Context {
            image: self.image,
            dir: dir.path(),
            common: self.common.path(),
            shared: &self.shared,
            accel: self.accel,
            secure_boot: self.secure_boot,
            updates: self.updates,
            extensions: self.extensions,
        };
        run(&context).map_err(|error| {
            let kept = self.keep.join(name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_"));
            let _ = std::fs::remove_dir_all(&kept);
            let copied = keep_logs(dir.path(), &kept)
                .and_then(|()| keep_logs(self.common.path(), &kept.join("common")));
            match copied {
                Ok(()) => error.context(format!("logs: {}", kept.display())),
                Err(why) => error.context(format!("no logs: {why:#}")),
            }
        })
    }
}

/// A short path: a Unix socket's name has at most 107 bytes.
fn short_dir() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("edgepair-").tempdir()
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list && arguments.soak.is_none() {
        for scenario in all(false).chain(by_name()) {
            println!("{:<16} {}", scenario.name, scenario.shows);
        }
        for soak in soak::ALL {
            println!("{:<16} --soak: {}", soak.name, soak.shows);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let text =
        std::fs::read_to_string(&arguments.image).with_context(|| arguments.image.display().to_string())?;
    let image: Image =
        serde_json::from_str(&text).context("this is not what `edgepair build --json` prints")?;
    let run = Run::new(&image, &arguments)?;
    match &arguments.soak {
        Some(name) => long_run(&run, name, &arguments),
        None => Ok(scenarios(&run, &arguments)),
    }
}

fn scenarios(run: &Run<'_>, arguments: &Arguments) -> ExitCode {
    let names = &arguments.names;
    let begun = now();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    // A whole name means that one only: `boot` is no `pair-reboots`.
    let every = || all(false).chain(by_name());
    let whole = |name: &str| every().any(|scenario| scenario.name == name);
    let meant =
        |name: &str, scenario: &str| if whole(name) { scenario == name } else { scenario.contains(name) };
    let chosen: Vec<&Scenario> = if names.is_empty() {
        all(arguments.updates.is_some()).collect()
    } else {
        every().filter(|scenario| names.iter().any(|name| meant(name, scenario.name))).collect()
    };
    for scenario in chosen {
        let over = begun.elapsed().as_secs() + needs(scenario);
        if arguments.within.is_some_and(|within| over >= within) {
            println!("SKIPPED {}: no time is left for it", scenario.name);
            skipped += 1;
            continue;
        }
        println!("scenario {}: {}", scenario.name, scenario.shows);
        let started = now();
        let result = run.of(scenario.name, |context| (scenario.run)(context));
        let took = started.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok   {} ({took:.1} s)", scenario.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {} ({took:.1} s): {error:#}", scenario.name);
            }
        }
    }
    let left_out = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, {failed} failed{left_out}");
    // Where none ran nothing was shown: that is no success, whatever the reason.
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn long_run(run: &Run<'_>, name: &str, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let soak = soak::ALL.iter().find(|soak| soak.name == name).with_context(|| {
        format!(
            "there is no long run `{name}`; there is {}",
            soak::ALL.iter().map(|soak| soak.name).collect::<Vec<_>>().join(", ")
        )
    })?;
    let mut journal = run.of(name, |context| soak::Journal::open(context, soak, &arguments.journal))?;
    if arguments.list {
        for case in &journal.cases {
            println!("{:<8} {case}", journal.word(case));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (passed, failed) = soak::run(soak, &mut journal, &arguments.only, |case, what| {
        run.of(&format!("{name}-{case}"), |context| what(context))
    })?;
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[expect(clippy::disallowed_methods, reason = "how long a scenario took, for the report")]
fn now() -> Instant {
    Instant::now()
}

/// Copies logs, not disks.
fn keep_logs(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut open = vec![from.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                let target = to.join(path.strip_prefix(from)?);
                std::fs::create_dir_all(target.parent().unwrap_or(to))?;
                std::fs::copy(&path, target)?;
            }
        }
    }
    Ok(())
}
