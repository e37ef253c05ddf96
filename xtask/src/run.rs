//! Running programs with their output where the user sees it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// A program call in the workspace's root.
#[expect(
    clippy::disallowed_methods,
    reason = "tasks show programs' output as it comes, which the runner of host-io does not"
)]
pub fn command(argv: &[&str]) -> Command {
    let mut command = Command::new(argv.first().copied().unwrap_or("false"));
    command.args(argv.iter().skip(1)).current_dir(root());
    command
}

/// Runs a call to its end and prints how long it took.
pub fn phase(name: &str, argv: &[&str]) -> Result<(), String> {
    println!("== {name}: {}", argv.join(" "));
    let started = now();
    let status =
        command(argv).status().map_err(|error| format!("{name}: {} cannot be started: {error}", argv[0]))?;
    println!(
        "== {name}: {} after {:.0} s",
        if status.success() { "passed" } else { "FAILED" },
        started.elapsed().as_secs_f32()
    );
    if status.success() { Ok(()) } else { Err(format!("{name} failed")) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a phase took, for people, and whether the next one is begun"
)]
pub fn now() -> Instant {
    Instant::now()
}
