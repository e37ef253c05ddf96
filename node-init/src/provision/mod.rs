//! What this node is to be: observe → plan → take one step → observe again.
//!
//! [`plan`] is pure: from what was observed it says which steps are missing and what the node waits for. Running the
//! stage twice changes nothing; a power cut anywhere is answered by running it again.

use crate::facts::{Facts, Provisioned};
use anyhow::Context;
use edgepair_layout::path;
use nix::mount::{MsFlags, mount, umount};
use std::fs;
use std::path::Path;

/// What matters for the steps, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Host name of the running kernel.
    pub host_name: String,
    /// Host name in `/etc/hostname`, rendered by `early` or from the seed.
    pub wanted_host_name: Option<String>,
    /// What is on the seed partition.
    pub seed: SeedPlace,
}

/// What is on the seed partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedPlace {
    /// The disk has no such partition, or it cannot be read, for this reason.
    Unreadable(String),
    /// No `seed.toml` on it.
    Empty,
    /// There is a `seed.toml` of this many bytes.
    Present(u64),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give the running kernel the host name from `/etc/hostname`.
    SetHostName(String),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SetHostName(name) => write!(f, "set the host name to {name}"),
        }
    }
}

/// The steps that are missing and what the node waits for, in words.
pub fn plan(observed: &Observed) -> (Vec<Step>, Vec<String>) {
    let mut steps = Vec::new();
    if let Some(wanted) = observed.wanted_host_name.as_ref().filter(|name| **name != observed.host_name) {
        steps.push(Step::SetHostName(wanted.clone()));
    }
    let waiting = match &observed.seed {
        SeedPlace::Empty => vec![
            "a seed: put seed.toml on the partition SEED of this disk and start the node again".to_owned(),
        ],
        SeedPlace::Unreadable(why) => vec![format!("a seed, but the partition SEED cannot be read: {why}")],
        SeedPlace::Present(size) => vec![format!(
            "a version of edgepair that applies seeds: this one found seed.toml ({size} bytes) and left it alone"
        )],
    };
    (steps, waiting)
}

/// Runs the stage.
///
/// # Errors
/// When a step fails; running it again goes on where it stopped.
pub fn run(dry_run: bool) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    loop {
        let (steps, waiting) = plan(&observe());
        if dry_run || steps.is_empty() {
            for step in &steps {
                println!("would {step}");
            }
            if steps.is_empty() && taken.is_empty() {
                println!("no step is missing");
            }
            for what in &waiting {
                println!("waiting for {what}");
            }
            if !dry_run {
                Facts::default().put("provisioned", &Provisioned { waiting, steps: taken })?;
            }
            return Ok(());
        }
        let Some(step) = steps.first() else { return Ok(()) };
        apply(step).with_context(|| format!("cannot {step}"))?;
        println!("{step}");
        // A step that changes nothing would be planned for ever.
        anyhow::ensure!(!taken.contains(&step.to_string()), "`{step}` was taken and is still missing");
        taken.push(step.to_string());
    }
}

fn observe() -> Observed {
    let host_name =
        nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted_host_name = fs::read_to_string("/etc/hostname")
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|name| !name.is_empty());
    Observed { host_name, wanted_host_name, seed: look_at_seed() }
}

/// Mounts the seed partition of the booted disk for a look: read-only, and only for as long as it takes.
fn look_at_seed() -> SeedPlace {
    let device = Path::new(path::RUN_DIR).join("device/seed");
    let place = Path::new(path::SEED);
    let look = || -> anyhow::Result<SeedPlace> {
        let device = fs::canonicalize(&device).context("the booted disk has none")?;
        fs::create_dir_all(place)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(&device), place, Some("vfat"), flags, None::<&str>)
            .with_context(|| format!("mount {}", device.display()))?;
        let size = fs::metadata(place.join("seed.toml")).map(|data| data.len());
        umount(place)?;
        Ok(size.map_or(SeedPlace::Empty, SeedPlace::Present))
    };
    look().unwrap_or_else(|error| SeedPlace::Unreadable(format!("{error:#}")))
}

fn apply(step: &Step) -> anyhow::Result<()> {
    match step {
        Step::SetHostName(name) => Ok(nix::unistd::sethostname(name)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_as_it_should_be_has_no_step_and_waits_for_a_seed() {
        let observed =
            Observed { host_name: "a".into(), wanted_host_name: Some("a".into()), seed: SeedPlace::Empty };
        let (steps, waiting) = plan(&observed);
        assert_eq!(steps, []);
        assert!(waiting[0].contains("seed.toml"));
        let (steps, _) = plan(&Observed { host_name: "localhost".into(), ..observed.clone() });
        assert_eq!(steps, [Step::SetHostName("a".into())]);
        let (steps, _) = plan(&Observed { wanted_host_name: None, ..observed });
        assert_eq!(steps, []);
    }
}
