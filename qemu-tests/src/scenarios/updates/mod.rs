//! Updates of a pair in virtual machines: bundles pushed over SSH, with a writer at the virtual IP.
//!
//! - [`pair`]: in each test run, a version that is well and one that is not.
//! - [`soak`]: versions that fail in other ways, and power cuts in the middle, in a long run.

pub mod pair;
mod soak;

pub use soak::SOAK;

use super::Context;
use super::failover::Watched;
use crate::harness::Deadline;
use crate::harness::site::Side;
use crate::harness::ssh::{self, words};
use anyhow::{Context as _, bail, ensure};
use edgepair_layout::path::NODE_INIT;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Output};

/// Puts a key where an image has its own, until the next boot: the later versions bring it.
pub(super) fn trust(watched: &mut Watched<'_>, key: &Path) -> anyhow::Result<()> {
    ssh::trust(&mut watched.lab.pair, key)
}

/// What an operator does: the bundle through SSH.
pub(super) fn push(watched: &mut Watched<'_>, side: Side, bundle: &Path) -> anyhow::Result<Output> {
    begin_push(watched, side, bundle)?.wait_with_output().context("ssh")
}

/// The same, without waiting until it is taken.
pub(super) fn begin_push(watched: &mut Watched<'_>, side: Side, bundle: &Path) -> anyhow::Result<Child> {
    ssh::begin(&mut watched.lab.pair, side, &format!("{NODE_INIT} update start -"), bundle)
}

/// A version that failed is refused on both nodes.
pub(super) fn never_again(watched: &mut Watched<'_>, bundle: &Path) -> anyhow::Result<()> {
    for side in Side::BOTH {
        let said = push(watched, side, bundle)?;
        ensure!(
            !said.status.success() && words(&said).contains("failed here before"),
            "on node {side} it is taken again: {}",
            words(&said)
        );
    }
    Ok(())
}

pub(super) fn status(watched: &mut Watched<'_>, side: Side) -> anyhow::Result<Value> {
    let ask = format!("{NODE_INIT} update status --json");
    let answer = watched.lab.pair.node(side)?.guest.try_run(&ask, Deadline::seconds(20))?;
    ensure!(answer.status == 0, "{}", answer.text);
    serde_json::from_str(&answer.text).with_context(|| answer.text)
}

/// Waits until the plan ended so on both nodes, and each has done what follows from it; returns the plan's version.
pub(super) fn wait_over(
    context: &Context<'_>,
    watched: &mut Watched<'_>,
    lead: Side,
    outcome: &str,
) -> anyhow::Result<String> {
    let deadline = context.seconds(300);
    // The other node may still show the plan before this one.
    let serial = status(watched, lead)?["plan"]["serial"].clone();
    ensure!(serial.is_u64(), "node {lead} has no plan");
    let mut told = [String::new(), String::new()];
    loop {
        let mut over = Vec::new();
        for side in Side::BOTH {
            // A node that reboots does not answer.
            let Ok(status) = status(watched, side) else { continue };
            let plan = &status["plan"];
            if plan["serial"] != serial {
                continue;
            }
            let (why, version) = (status["why"].as_str().unwrap_or_default(), plan["version"].as_str());
            let line = format!("{} runs {}: {why}", side, status["running"].as_str().unwrap_or_default());
            if told[side as usize] != line {
                println!("    {line}");
                told[side as usize] = line;
            }
            let at_end = plan["outcome"].as_str().unwrap_or_default();
            ensure!(
                at_end == outcome || at_end == "open",
                "the plan ended as {at_end}, not {outcome}; node {side} says {status:#}"
            );
            let settled = match outcome {
                "decided" => status["running"].as_str() == version && why == "updated",
                _ => status["running"].as_str() != version,
            };
            if at_end == outcome && settled {
                over.push(version.unwrap_or_default().to_owned());
            }
        }
        if over.len() == 2 {
            return Ok(over.swap_remove(0));
        }
        if deadline.passed() {
            let said = Side::BOTH.map(|side| status(watched, side));
            bail!("the update does not end: {said:#?}");
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// Both nodes run this version, and the boot loader keeps it: told by the names on the boot partition.
pub(super) fn kept(context: &Context<'_>, watched: &mut Watched<'_>, version: &str) -> anyhow::Result<()> {
    let deadline = context.seconds(20);
    for side in Side::BOTH {
        let guest = &mut watched.lab.pair.node(side)?.guest;
        let running = guest.run("sed -n s/^IMAGE_VERSION=//p /usr/lib/edgepair/image")?;
        ensure!(running == version, "node {side} runs {running}, not {version}");
        let whole = format!("edgepair_{version}.efi");
        loop {
            // The node says that it is updated a moment before the name on the boot partition is changed.
            let names = guest.run("ls /efi/EFI/Linux")?;
            if names.lines().any(|name| name == whole) {
                break;
            }
            ensure!(!deadline.passed(), "on node {side}, {whole} is not kept:\n{names}");
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    }
    println!("  both nodes run {version}, and their boot loaders keep it");
    Ok(())
}
