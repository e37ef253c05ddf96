//! `cargo xtask soak NAME [--list] [--only WORD] [--cycles N]`: what takes too long for every test run.
//!
//! Scenarios with many cases keep a journal in `target/soak`: what passed on the same image is not run again, a run
//! that was interrupted goes on where it was.

use crate::run::{command, phase, root};
use std::fs::File;

/// Builds what is needed and runs it.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let Some((name, rest)) = arguments.split_first().filter(|(name, _)| !name.starts_with('-')) else {
        return Err(
            "which? There is: power-cuts, faults, cycles [--cycles N], updates, arm64. `cargo xtask soak power-cuts --list` \
             prints its cases"
                .into(),
        );
    };
    phase(
        "compile",
        &["cargo", "build", "--release", "--quiet", "--package", "edgepair", "--package", "qemu-tests"],
    )?;
    if name == "arm64" {
        return arm64();
    }
    let (cycles, rest) = cycles(rest)?;
    let cycles = cycles.map(|count| format!("EDGEPAIR_CYCLES={count}"));
    // Both disks are compared at the end of each row: it takes minutes, and a long run has them.
    let mut call = vec!["env", "EDGEPAIR_VERIFY=1"];
    call.extend(cycles.as_deref());
    call.extend(["target/release/qemu-tests", "--soak", name, "--image"]);
    if name == "updates" {
        // An image that trusts the key of the later versions.
        crate::test::updates(crate::test::LATER)?;
        let json = "target/image-updates.json";
        let out = ["--out", "target/image-updates"];
        crate::test::build("image", "qemu-tests/updates/base.toml", json, &out)?;
        call.extend([json, "--updates", crate::test::UPDATES]);
    } else {
        crate::test::image()?;
        call.push("target/image.json");
    }
    call.extend(rest.iter().map(String::as_str));
    phase("soak", &call)
}

/// Takes `--cycles N` out of the arguments.
fn cycles(rest: &[String]) -> Result<(Option<u32>, Vec<String>), String> {
    let Some(at) = rest.iter().position(|word| word == "--cycles") else { return Ok((None, rest.to_vec())) };
    let count = rest.get(at + 1).and_then(|word| word.parse().ok()).ok_or("--cycles needs a number")?;
    Ok((
        Some(count),
        rest.iter()
            .enumerate()
            .filter(|(index, _)| !(at..at + 2).contains(index))
            .map(|(_, word)| word.clone())
            .collect(),
    ))
}

/// The arm64 image, built on this machine and booted to ready on QEMU's `virt` board.
fn arm64() -> Result<(), String> {
    println!("== image: edgepair build images/arm64.toml");
    let json = root().join("target/image-arm64.json");
    let file = File::create(&json).map_err(|error| format!("{}: {error}", json.display()))?;
    let out = ["--out", "target/image-arm64", "--json"];
    let build = [&["target/release/edgepair", "build", "images/arm64.toml"], &out[..]].concat();
    let status = command(&build).stdout(file).status().map_err(|error| format!("edgepair: {error}"))?;
    if !status.success() {
        return Err("the arm64 image cannot be built".into());
    }
    phase("boot", &["target/release/qemu-tests", "--image", "target/image-arm64.json", "boot"])
}
