//! Before the root is switched to: find the disk that was really booted, make or mount the state partition, put a
//! writable `/etc` over the image's, give the node its identity.
//!
//! Nothing here may keep a node from booting: what cannot be done becomes a [`crate::facts::Problem`] on the screen,
//! and `/var` falls back to memory.

pub mod disk;
mod identity;
mod state;

pub use identity::host_name;

use crate::facts::{Booted, Facts, State};
use anyhow::Context;
use disk::BootDisk;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Runs the stage on a root that is mounted at `root`.
///
/// # Errors
/// Only when not even `/etc` can be made writable: then nothing of a node would work.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let facts = Facts::default();
    let found = fs::metadata(root)
        .map_err(anyhow::Error::from)
        .and_then(|data| disk::find(Path::new("/sys"), data.dev()));
    let mut first_boot = false;
    let mut state = State::Memory;
    match &found {
        Err(error) => facts.problem(
            "disk",
            format!("the disk behind the root is not known: {error:#}"),
            "nothing is kept over a reboot until this is solved; the journal has the details",
        )?,
        Ok(disk) => match state::prepare(disk, root) {
            Ok(made) => {
                first_boot = made;
                state = State::Disk;
            }
            Err(error) => facts.problem(
                "state",
                format!("the state partition of {} cannot be used: {error:#}", disk.name),
                "this boot keeps everything in memory; the disk needs at least 512 MiB beside the slots, and must be writable",
            )?,
        },
    }
    if state == State::Memory {
        let options = Some("mode=755,size=50%");
        mount(Some("state"), &root.join("var"), Some("tmpfs"), MsFlags::empty(), options)
            .context("memory for /var")?;
    }
    writable_etc(root)?;
    if let Err(error) = identity::write(root) {
        facts.problem(
            "identity",
            format!("host name and machine id: {error:#}"),
            "the node has a random one for this boot",
        )?;
    }
    match crate::provision::render_before_boot(root) {
        Ok(Some(who)) => println!("/etc is rendered for {who}"),
        Ok(None) => {}
        // Provisioning comes before the network, tries again, and has more to go on.
        Err(error) => eprintln!("/etc is not rendered yet: {error:#}"),
    }
    let disk = found.ok();
    if let Some(disk) = &disk {
        link_devices(disk)?;
    }
    let slot = disk.as_ref().and_then(|disk| disk.slot).map(|slot| slot.to_string());
    facts.put("booted", &Booted { slot, disk: disk.map(|disk| disk.name), state, first_boot })?;
    Ok(())
}

/// The image's `/etc` with a layer in memory over it: what is rendered from the seed goes there, and a rollback of
/// the slot has nothing to undo.
fn writable_etc(root: &Path) -> anyhow::Result<()> {
    let layer = Path::new(edgepair_layout::path::RUN_DIR).join("etc");
    for sub in ["upper", "work"] {
        fs::create_dir_all(layer.join(sub))?;
    }
    let etc = root.join("etc");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        etc.display(),
        layer.join("upper").display(),
        layer.join("work").display()
    );
    mount(Some("etc"), &etc, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .context("a writable /etc")?;
    Ok(())
}

/// `/run/edgepair/device/NAME` for each partition of the booted disk: labels and UUIDs may stand on a second disk too.
fn link_devices(disk: &BootDisk) -> anyhow::Result<()> {
    let dir = Path::new(edgepair_layout::path::RUN_DIR).join("device");
    fs::create_dir_all(&dir)?;
    for part in &disk.partitions {
        let link = dir.join(part.label.to_lowercase());
        let _ = fs::remove_file(&link);
        symlink(part.device(), link)?;
    }
    Ok(())
}
