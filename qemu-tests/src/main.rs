//! Runs scenarios: `qemu-tests --image image.json [--keep DIR] [NAME…]`, where `image.json` is what
//! `edgepair build --json` printed.

use anyhow::Context as _;
use clap::Parser;
use qemu_tests::harness::{Image, accel};
use qemu_tests::scenarios::{ALL, BY_NAME, Context, Scenario};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Boots the image under test in virtual machines and checks what must hold.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  edgepair build images/x86-64.toml --json > image.json\n  qemu-tests --image image.json boot"
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
    /// List the scenarios and what each shows.
    #[arg(long)]
    list: bool,
    /// Only those whose name contains one of these.
    names: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in ALL.iter().chain(BY_NAME) {
            println!("{:<16} {}", scenario.name, scenario.shows);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let text =
        std::fs::read_to_string(&arguments.image).with_context(|| arguments.image.display().to_string())?;
    let image: Image =
        serde_json::from_str(&text).context("this is not what `edgepair build --json` prints")?;
    let accel = accel::probe(&image);
    let (mut passed, mut failed) = (0, 0);
    let named =
        |scenario: &&Scenario| arguments.names.iter().any(|name| scenario.name.contains(name.as_str()));
    let chosen = ALL.iter().filter(|scenario| arguments.names.is_empty() || named(scenario));
    for scenario in chosen.chain(BY_NAME.iter().filter(named)) {
        println!("scenario {}: {}", scenario.name, scenario.shows);
        // A short path: a Unix socket's name has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("edgepair-").tempdir()?;
        let started = now();
        let result = (scenario.run)(&Context {
            image: &image,
            dir: dir.path(),
            accel,
            secure_boot: arguments.secure_boot.as_deref(),
        });
        let took = started.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                passed += 1;
                println!("ok   {} ({took:.1} s)", scenario.name);
            }
            Err(error) => {
                failed += 1;
                let kept = arguments.keep.join(scenario.name);
                let _ = std::fs::remove_dir_all(&kept);
                keep_logs(dir.path(), &kept)?;
                println!("FAIL {} ({took:.1} s): {error:#}\n     logs: {}", scenario.name, kept.display());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[expect(clippy::disallowed_methods, reason = "how long a scenario took, for the report")]
fn now() -> Instant {
    Instant::now()
}

/// Copies logs, not disks.
fn keep_logs(from: &std::path::Path, to: &std::path::Path) -> anyhow::Result<()> {
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
