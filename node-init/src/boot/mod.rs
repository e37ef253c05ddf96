//! The end of a boot: is everything up, and may this version stay?
//!
//! A version's kernel image counts its attempts in its file name until somebody calls it good. With two slots that is
//! the pair's decision; a freshly flashed disk has nothing to go back to, and here the node decides alone.

use crate::facts::{Booted, Facts, Ready, State};
use crate::units::Manager;
use crate::update::boot::entry::{Entry, Label};
use anyhow::{Context, bail};
use edgepair_host_io::{HostRunner, Invocation, Runner};
use edgepair_layout::{boot, path};
use nix::mount::{MsFlags, mount};
use std::path::Path;
use std::time::Duration;

/// systemd's tool that renames a kernel image to say that it is good (systemd-bless-boot.service(8)).
const BLESS: &str = "/usr/lib/systemd/systemd-bless-boot";

/// How long the rest of the boot may take before it is judged as it is.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits for the end of the boot and judges it.
///
/// # Errors
/// When the service manager cannot be asked.
pub fn ready() -> anyhow::Result<()> {
    let facts = Facts::default();
    let manager = Manager::connect()?;
    let mut waited = Duration::ZERO;
    // The manager has a signal for finished jobs, but none for "no job is left"; the list is short.
    let pause = Duration::from_millis(250);
    while !manager.jobs("edgepair-ready.service")?.is_empty() && waited < PATIENCE {
        std::thread::sleep(pause);
        waited += pause;
    }
    let failed_units = manager.failed()?;
    for unit in &failed_units {
        facts.problem(
            &format!("unit-{unit}"),
            format!("{unit} failed"),
            format!("`journalctl -u {unit}` says why"),
        )?;
    }
    let verdict = match judge(&facts, &failed_units) {
        Ok(verdict) => verdict,
        Err(error) => {
            facts.problem(
                "boot",
                format!("this version cannot be called good: {error:#}"),
                "the boot loader goes on counting attempts",
            )?;
            "undecided".to_owned()
        }
    };
    let seconds = seconds_since_boot()?;
    println!("ready after {seconds:.1} s, {} failed units; {verdict}", failed_units.len());
    facts.put("ready", &Ready { failed_units, seconds, verdict })?;
    Ok(())
}

/// Kernel images of this system in a folder, by name.
fn read(dir: &Path) -> anyhow::Result<Vec<Entry>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("the boot partition: {}", dir.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let images = names.iter().filter_map(|name| Entry::parse(name, Label::default()));
    Ok(images.filter(|entry| entry.version().is_some()).collect())
}

fn judge(facts: &Facts, failed: &[String]) -> anyhow::Result<String> {
    let booted: Booted = facts.get("booted").context("no record of what was booted")?;
    if booted.disk.is_none() {
        return Ok("booted from no disk, nothing to count".to_owned());
    }
    let version = crate::facts::image_info(Path::new("/"), "IMAGE_VERSION")
        .context("the image does not say its version")?;
    let entries = read(Path::new(path::ESP).join(boot::UKI_DIR).as_path())?;
    match decide(&entries, &version, failed, booted.state) {
        Decision::Keep(why) => Ok(why),
        Decision::Bless => {
            bless()?;
            let after = read(Path::new(path::ESP).join(boot::UKI_DIR).as_path())?;
            if after.iter().any(|entry| entry.version() == Some(version.as_str()) && entry.counter.is_none())
            {
                Ok(format!("version {version} is good"))
            } else {
                bail!("{BLESS} said yes, but the boot partition still counts attempts")
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Bless,
    Keep(String),
}

/// Pure: whether this node, alone, may call its version good.
fn decide(entries: &[Entry], version: &str, failed: &[String], state: State) -> Decision {
    let Some(own) = entries.iter().find(|entry| entry.version() == Some(version)) else {
        return Decision::Keep(format!("version {version} was not booted from this boot partition"));
    };
    if own.counter.is_none() {
        return Decision::Keep(format!("version {version} is good"));
    }
    if entries.len() > 1 {
        return Decision::Keep(format!("version {version} is on trial"));
    }
    if !failed.is_empty() {
        return Decision::Keep("not called good: units failed".to_owned());
    }
    if state == State::Memory {
        return Decision::Keep("not called good: nothing is kept on disk".to_owned());
    }
    Decision::Bless
}

fn bless() -> anyhow::Result<()> {
    let esp = Path::new(path::ESP);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(None::<&str>, esp, None::<&str>, flags, None::<&str>)
        .context("the boot partition cannot be written")?;
    let result = HostRunner.run(&Invocation::new(BLESS).args(["--path", path::ESP, "good"]));
    // Read-only again whatever happened: a power cut finds nothing half-written.
    let back = mount(None::<&str>, esp, None::<&str>, flags | MsFlags::MS_RDONLY, None::<&str>);
    result?;
    back.context("the boot partition stays writable")
}

fn seconds_since_boot() -> anyhow::Result<f64> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(Duration::from(time).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: &str, tries: Option<u32>) -> Entry {
        let counter = tries.map(|left| format!("+{left}")).unwrap_or_default();
        Entry::parse(&format!("edgepair_{version}{counter}.efi"), Label::default()).unwrap()
    }

    #[test]
    fn alone_a_node_blesses_only_the_one_and_healthy_version() {
        let fresh = [entry("1.0", Some(2))];
        assert_eq!(decide(&fresh, "1.0", &[], State::Disk), Decision::Bless);
        for kept in [
            decide(&fresh, "1.0", &["ssh.service".into()], State::Disk),
            decide(&fresh, "1.0", &[], State::Memory),
            decide(&fresh, "2.0", &[], State::Disk),
            decide(&[entry("1.0", None)], "1.0", &[], State::Disk),
            decide(&[entry("1.0", None), entry("2.0", Some(2))], "2.0", &[], State::Disk),
        ] {
            assert!(matches!(kept, Decision::Keep(_)), "{kept:?}");
        }
    }
}
