//! `cargo xtask mutants [FILE …]`: breaks the decision core in one place at a time and looks whether a test notices.
//!
//! Needs `cargo-mutants` (`cargo install cargo-mutants --locked`). Two passes: all mutants against the fast tests, then
//! what they missed against the models. What survives both is listed in `target/mutants/mutants.out/missed.txt`, and
//! `docs/mutants.md` says of each why it may. FILE is part of a path under `libs/pair-core/src`.

use crate::run::{command, root};
use std::fs;

/// Event by event, seconds for each mutant. Targets are named as arguments of cargo, not of the test run, so that nothing
/// else is built.
const FAST: &[&str] = &["--profile=dev", "-C=--lib", "-C=--test=by_hand", "-C=--test=words"];

/// The models, in the profile of `.cargo/mutants.toml`: about a minute for each mutant.
const MODELS: &[&str] = &[
    "--iterate",
    "-C=--test=pair",
    "-C=--test=update",
    "--",
    "--",
    // What takes too long to be run for each mutant.
    "--skip=the_pair_keeps_its_laws",
    "--skip=all_faults_together",
    "--skip=a_broken_rule_does_not_live_long",
];

/// Runs all, or only the files named.
pub fn run(only: &[String]) -> Result<(), String> {
    let files = sources(only);
    if files.is_empty() {
        return Err(format!("no file of libs/pair-core/src matches {}", only.join(" ")));
    }
    fs::create_dir_all(root().join("target/mutants")).map_err(|error| format!("target/mutants: {error}"))?;
    for (name, pass) in [("fast tests", FAST), ("models, for what was missed", MODELS)] {
        println!("== {name}");
        let fixed = ["cargo", "mutants", "--package=pair-core", "--output=target/mutants", "--no-times"];
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let call = [&fixed[..], &files, pass].concat();
        let mut task = command(&call);
        // Nobody debugs a mutant: without debug information it is linked in half the time.
        task.env("PROPTEST_CASES", "24").env("CARGO_PROFILE_DEV_DEBUG", "0");
        // Survivors are no failure of this task: they are what it is for.
        task.status().map_err(|error| format!("cargo mutants cannot be started: {error}"))?;
    }
    Ok(())
}

/// One `--file` for each source that is meant.
fn sources(only: &[String]) -> Vec<String> {
    let base = root().join("libs/pair-core/src");
    let mut all = Vec::new();
    let mut open = vec![base.clone()];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if let Ok(file) = path.strip_prefix(&base) {
                let file = file.display().to_string();
                let wanted = only.is_empty() || only.iter().any(|part| file.contains(part.as_str()));
                if wanted && !file.ends_with("tests.rs") {
                    all.push(format!("--file=libs/pair-core/src/{file}"));
                }
            }
        }
    }
    all.sort();
    all
}
