//! `cargo xtask bench witness [--pairs 10000,20000] [--seconds 15] [--runs 3]`
//!
//! Builds the witness and its load generator (`node-init/examples/witness_load`) for release and runs them.
//! Needs `taskset`; compares with `etcd` (Debian: `etcd-server`) where that is installed.

use std::process::Command;

/// Builds and runs.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let build = ["build", "--release", "-p", "node-init", "--bin", "node-init", "--example", "witness_load"];
    call(&cargo, &build.map(String::from))?;
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    let mut all = vec!["--node-init".to_owned(), format!("{target}/release/node-init")];
    all.extend_from_slice(arguments);
    // The witness takes the first core; the load must not.
    let load = format!("{target}/release/examples/witness_load");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return call(&load, &all);
    }
    let mut pinned = vec!["-c".to_owned(), format!("1-{}", cores - 1), load];
    pinned.extend(all);
    call("taskset", &pinned)
}

#[expect(clippy::disallowed_methods, reason = "a developer's task that only starts cargo and what it built")]
fn call(program: &str, arguments: &[String]) -> Result<(), String> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|e| format!("{program} could not be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} {}: {status}", arguments.join(" "))) }
}
