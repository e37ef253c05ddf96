//! `cargo xtask bench failover [--runs 5] [--only ours|pacemaker|repmgr]`
//!
//! Power cut of the active node to the first acknowledged write, beside a Pacemaker pair and a repmgr pair in the same virtual
//! machines; `qemu-tests/examples/failover_time` measures, `qemu-tests/peers` has the peers' images and settings with their
//! sources. It keeps a journal in `target/bench-failover`: what is measured is not measured again.

use crate::run::{command, phase, root};
use std::fs::File;

/// Builds the images that are wanted and runs the measurement.
pub fn run(words: &[String]) -> Result<(), String> {
    let (mut runs, mut only) = ("5".to_owned(), None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--runs" => runs.clone_from(value),
            "--only" => only = Some(value.as_str()),
            other => return Err(format!("unknown option {other}; there is --runs, --only")),
        }
    }
    let what = ["--package", "edgepair", "--package", "qemu-tests", "--bins", "--example", "failover_time"];
    phase("compile", &[&["cargo", "build", "--release", "--quiet"], &what[..]].concat())?;
    image("images/x86-64.toml", "image-bench")?;
    let mut run =
        vec!["target/release/examples/failover_time", "--image", "target/image-bench.json", "--runs", &runs];
    for (peer, option, json) in [
        ("pacemaker", "--pacemaker", "target/image-pacemaker.json"),
        ("repmgr", "--repmgr", "target/image-repmgr.json"),
    ] {
        if only.is_none_or(|only| only == peer) {
            image(&format!("qemu-tests/peers/{peer}.toml"), &format!("image-{peer}"))?;
            run.extend([option, json]);
        }
    }
    run.extend(only.iter().flat_map(|only| ["--only", only]));
    phase("failover", &run)
}

fn image(definition: &str, name: &str) -> Result<(), String> {
    println!("== image: edgepair build {definition}");
    let json = root().join(format!("target/{name}.json"));
    let file = File::create(&json).map_err(|error| format!("{}: {error}", json.display()))?;
    let out = format!("target/{name}");
    let build = ["target/release/edgepair", "build", definition, "--out", &out, "--json"];
    let status = command(&build).stdout(file).status().map_err(|error| format!("edgepair: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{definition} cannot be built")) }
}
