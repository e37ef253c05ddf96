//! `cargo xtask bench boot [--rounds 3] [--image images/x86-64.toml]`
//!
//! Power-on to ready, beside a stock Debian image with the same packages; `qemu-tests/examples/boot_time.rs` has what is
//! measured and how the stock image is made.

use crate::run::{command, phase, root};
use std::fs::File;

/// Builds the image and runs the measurement.
pub fn run(words: &[String]) -> Result<(), String> {
    let (mut rounds, mut image) = ("3".to_owned(), "images/x86-64.toml".to_owned());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--rounds" => rounds.clone_from(value),
            "--image" => image.clone_from(value),
            other => return Err(format!("unknown option {other}; there is --rounds, --image")),
        }
    }
    let what = ["--package", "edgepair", "--package", "qemu-tests", "--bins", "--example", "boot_time"];
    phase("compile", &[&["cargo", "build", "--release", "--quiet"], &what[..]].concat())?;
    let json = root().join("target/image-bench.json");
    let file = File::create(&json).map_err(|error| format!("{}: {error}", json.display()))?;
    println!("== image: edgepair build {image}");
    let build = ["target/release/edgepair", "build", &image, "--out", "target/image", "--json"];
    let status = command(&build).stdout(file).status().map_err(|error| format!("edgepair: {error}"))?;
    if !status.success() {
        return Err("the image cannot be built".into());
    }
    let plan = command(&["target/release/edgepair", "build", &image, "--dry-run"])
        .output()
        .map_err(|error| format!("edgepair: {error}"))?;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    let packages =
        plan.lines().find_map(|row| row.strip_prefix("packages ")).ok_or("the plan has no packages")?;
    let packages = packages.trim().replace(' ', ",");
    let run = [
        "target/release/examples/boot_time",
        "--image",
        "target/image-bench.json",
        "--work",
        "target/bench-boot",
    ];
    phase("boot", &[&run[..], &["--packages", &packages, "--rounds", &rounds]].concat())
}
