//! `cargo xtask mutants [FILE …]`: breaks the decision core in one place at a time and looks whether a test notices.
//!
//! Needs `cargo-mutants` (`cargo install cargo-mutants --locked`). What survives is listed in `target/mutants/`.
//! FILE is part of a path under `libs/pair-core/src`.

use crate::run::{command, root};
use std::fs;

/// Files, and the tests that look at them. Configuration for all of them: `.cargo/mutants.toml`.
const PARTS: &[(&[&str], &[&str])] = &[
    (&["update/"], &["--test", "update", "--test", "words"]),
    (
        &["handler.rs", "record", "view.rs", "node/"],
        &["--lib", "--test", "by_hand", "--test", "pair", "--test", "words"],
    ),
];

/// What takes too long to be run for each mutant.
const SKIP: &[&str] = &[
    "--",
    "--skip",
    "the_pair_keeps_its_laws",
    "--skip",
    "all_faults_together",
    "--skip",
    "a_broken_rule_does_not_live_long",
];

/// Runs all, or only the files named.
pub fn run(only: &[String]) -> Result<(), String> {
    let mut found = 0;
    for (files, tests) in PARTS {
        for file in sources(files, only) {
            found += 1;
            let out = format!("target/mutants/{}", file.replace('/', "-"));
            let path = format!("libs/pair-core/src/{file}");
            fs::create_dir_all(root().join(&out)).map_err(|error| format!("{out}: {error}"))?;
            let fixed = ["cargo", "mutants", "--package", "pair-core", "--file", &path, "--output", &out];
            let call = [&fixed[..], &["--no-times", "--"], tests, SKIP].concat();
            println!("== mutants of {file}");
            // Survivors are no failure of this task: they are what it is for.
            let status = command(&call).env("PROPTEST_CASES", "24").status();
            status.map_err(|error| format!("cargo mutants cannot be started: {error}"))?;
        }
    }
    if found == 0 { Err(format!("no file of libs/pair-core/src matches {}", only.join(" "))) } else { Ok(()) }
}

fn sources(kinds: &[&str], only: &[String]) -> Vec<String> {
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
                if wanted && kinds.iter().any(|kind| file.starts_with(kind)) && !file.ends_with("tests.rs") {
                    all.push(file);
                }
            }
        }
    }
    all.sort();
    all
}
