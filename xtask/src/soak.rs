//! `cargo xtask soak [NAME…]`: what takes too long for every test run.

use crate::run::{command, phase, root};
use std::fs::File;

/// Runs all entries, or those named.
pub fn run(names: &[String]) -> Result<(), String> {
    let entries: [(&str, fn() -> Result<(), String>); 1] = [("arm64", arm64)];
    let known: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no soak entry {unknown}; there is: {}", known.join(", ")));
    }
    for (name, entry) in entries {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            entry()?;
        }
    }
    Ok(())
}

/// The arm64 image, built on this machine and booted to ready on QEMU's `virt` board.
fn arm64() -> Result<(), String> {
    phase(
        "compile",
        &["cargo", "build", "--release", "--quiet", "--package", "edgepair", "--package", "qemu-tests"],
    )?;
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
