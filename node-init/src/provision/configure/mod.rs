//! First half of provisioning: seed kept, host key, host name, files, units. Nothing here touches the replicated data.
//!
//! [`plan`] is pure; [`Host`] observes and applies.

pub mod effects;
pub mod files;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use edgepair_host_io::{HostRunner, Invocation, Runner, atomic};
use edgepair_layout::path;
use edgepair_render::names::SSH_HOST_KEY;
use edgepair_render::{Facts, Rendered, Start};

use crate::member::{self, Confirmed, Kept, Place};
use crate::units::Manager;
use effects::Effect;
use files::{Manifest, Stale};

/// Effects that are still to come, on a file system that goes with the boot.
const PENDING: &str = "/run/edgepair/pending.json";
/// How long jobs are waited for when a seed is applied by hand, in quarters of a second.
const PATIENCE: u32 = 4 * 120;
/// Units of the image that run without a seed as well.
const ALWAYS: [&str; 2] = ["nftables.service", "systemd-networkd.service"];

/// What the box is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Files and units; none without a seed.
    pub rendered: Rendered,
    /// Host name.
    pub host_name: String,
    /// The seed in force, its cards, and which box this is; absent without a seed.
    pub own: Option<(Kept, Facts, Confirmed)>,
}

/// What was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The kept seed is the wanted one.
    pub seed_is_kept: bool,
    /// The kept cards are the present ones.
    pub cards_are_kept: bool,
    /// There is a host key.
    pub host_key: bool,
    /// Of the running kernel.
    pub host_name: String,
    /// What in `/etc` is not as rendered.
    pub stale: Stale,
    /// Files were changed, and who reads them does not know yet.
    pub pending: BTreeSet<Effect>,
    /// This boot's note of which box this is, is right.
    pub confirmed: bool,
    /// Units that run and should not.
    pub stop: Vec<String>,
    /// Units that do not run and should.
    pub start: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give the running kernel its host name.
    HostName(String),
    /// Keep the seed.
    Seed,
    /// Keep the cards.
    Cards,
    /// Make the SSH host key.
    HostKey,
    /// Write, link, remove.
    Files(Stale),
    /// Tell who reads changed files.
    Effects(BTreeSet<Effect>),
    /// Note which box this is, or that it is none.
    Confirm,
    /// Stop units.
    Stop(Vec<String>),
    /// Start units.
    Start(Vec<String>),
}

impl Step {
    /// Short stable name, as `edgepair seed show` lists it.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::HostName(_) => "host-name",
            Self::Seed => "seed",
            Self::Cards => "cards",
            Self::HostKey => "host-key",
            Self::Files(_) => "files",
            Self::Effects(_) => "reload",
            Self::Confirm => "member",
            Self::Stop(_) | Self::Start(_) => "units",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HostName(name) => write!(f, "set the host name to {name}"),
            Self::Seed => f.write_str("keep the checked seed on the state partition"),
            Self::Cards => f.write_str("keep the names of the network cards on the state partition"),
            Self::HostKey => write!(f, "make the SSH host key {SSH_HOST_KEY}"),
            Self::Files(stale) => {
                let mut parts = Vec::new();
                for (verb, list) in
                    [("write", &stale.write), ("link", &stale.link), ("remove", &stale.remove)]
                {
                    if !list.is_empty() {
                        parts.push(format!("{verb} {}", files::shown(list)));
                    }
                }
                f.write_str(&parts.join("; "))
            }
            Self::Effects(list) => {
                f.write_str(&list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Confirm => f.write_str("note which box this is in this boot"),
            Self::Stop(units) => write!(f, "stop {}", units.join(", ")),
            Self::Start(units) => write!(f, "start {}", units.join(", ")),
        }
    }
}

/// Pure: the steps that are missing, in order.
pub fn plan(wanted: &Wanted, seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut missing = |yes: bool, step: Step| {
        if yes {
            steps.push(step);
        }
    };
    let with_seed = wanted.own.is_some();
    missing(with_seed && !seen.seed_is_kept, Step::Seed);
    missing(with_seed && !seen.cards_are_kept, Step::Cards);
    missing(with_seed && !seen.host_key, Step::HostKey);
    // Before drbdadm, which finds its own section by it.
    missing(wanted.host_name != seen.host_name, Step::HostName(wanted.host_name.clone()));
    missing(!seen.stale.is_empty(), Step::Files(seen.stale.clone()));
    missing(!seen.pending.is_empty(), Step::Effects(seen.pending.clone()));
    // Before the units: some of them ask which box this is.
    missing(!seen.confirmed, Step::Confirm);
    missing(!seen.stop.is_empty(), Step::Stop(seen.stop.clone()));
    missing(!seen.start.is_empty(), Step::Start(seen.start.clone()));
    steps
}

/// The box itself.
#[derive(Debug)]
pub struct Host<'a> {
    /// Where things lie.
    pub place: Place,
    /// The service manager.
    pub manager: &'a Manager,
    /// Whether to wait for units: not while the machine boots, when they wait for this very program.
    pub wait: bool,
}

impl Host<'_> {
    /// Observes.
    ///
    /// # Errors
    /// When the service manager or `/etc` cannot be read.
    pub fn observe(&self, wanted: &Wanted) -> anyhow::Result<Seen> {
        let place = &self.place;
        let before = Manifest::load(place);
        let now = Manifest::of(&wanted.rendered);
        let mut stop = Vec::new();
        for unit in before.boot.difference(&now.boot).filter(|unit| !ALWAYS.contains(&unit.as_str())) {
            let state = self.manager.state(unit)?;
            if state.job || !["inactive", "failed"].contains(&state.active.as_str()) {
                stop.push(unit.clone());
            }
        }
        let mut start = Vec::new();
        for unit in wanted.rendered.units.iter().filter(|unit| unit.start == Start::Boot) {
            if !self.manager.state(&unit.name)?.is_started() {
                start.push(unit.name.clone());
            }
        }
        let confirmed = place.read::<Confirmed>(path::MEMBER).ok().flatten();
        let host_name = nix::unistd::gethostname().context("the kernel's host name")?;
        Ok(Seen {
            seed_is_kept: wanted.own.as_ref().is_some_and(|(kept, ..)| kept.is_stored(place)),
            cards_are_kept: wanted
                .own
                .as_ref()
                .is_some_and(|(_, facts, _)| member::cards(place).ok().flatten().as_ref() == Some(facts)),
            host_key: fs::metadata(place.path(SSH_HOST_KEY)).is_ok_and(|data| data.len() > 0),
            host_name: host_name.to_string_lossy().into_owned(),
            stale: files::compare(place, &wanted.rendered, &before)?,
            pending: place.read(PENDING).ok().flatten().unwrap_or_default(),
            confirmed: confirmed.as_ref() == wanted.own.as_ref().map(|(.., confirmed)| confirmed),
            stop,
            start,
        })
    }

    /// Takes a step.
    ///
    /// # Errors
    /// Why it could not be taken.
    pub fn apply(&self, wanted: &Wanted, step: &Step) -> anyhow::Result<()> {
        let place = &self.place;
        match (step, &wanted.own) {
            (Step::HostName(name), _) => Ok(nix::unistd::sethostname(name)?),
            (Step::Seed, Some((kept, ..))) => Ok(kept.store(place)?),
            (Step::Cards, Some((_, facts, _))) => Ok(member::keep_cards(place, facts)?),
            (Step::HostKey, _) => host_key(place),
            (Step::Files(stale), _) => {
                // Noted first: if this program dies in between, the next run still tells everybody.
                let mut pending: BTreeSet<Effect> = place.read(PENDING)?.unwrap_or_default();
                pending.extend(effects::all(stale.paths()));
                place.write(PENDING, &pending)?;
                files::install(place, &wanted.rendered, &Manifest::load(place), stale)
            }
            (Step::Effects(list), _) => {
                for effect in list {
                    self.take_effect(effect)?;
                }
                fs::remove_file(place.path(PENDING)).context(PENDING)
            }
            (Step::Confirm, Some((.., confirmed))) => Ok(place.write(path::MEMBER, confirmed)?),
            (Step::Confirm, None) => fs::remove_file(place.path(path::MEMBER)).context(path::MEMBER),
            (Step::Stop(units), _) => {
                units.iter().try_for_each(|unit| self.manager.queue("Stop", unit))?;
                self.settle(units)
            }
            (Step::Start(units), _) => {
                units.iter().try_for_each(|unit| self.manager.queue("Start", unit))?;
                self.settle(units)
            }
            (Step::Seed | Step::Cards, None) => Ok(()),
        }
    }

    fn take_effect(&self, effect: &Effect) -> anyhow::Result<()> {
        let (verb, unit) = match effect {
            Effect::ReloadManager => return self.manager.reload(),
            Effect::ReloadUdev => {
                HostRunner.run(&Invocation::new("udevadm").args(["control", "--reload"]))?;
                return Ok(());
            }
            Effect::Reload(unit) => ("ReloadOrTryRestart", unit),
            Effect::Restart(unit) => ("TryRestart", unit),
        };
        if self.manager.state(unit)?.load == "loaded" { self.manager.queue(verb, unit) } else { Ok(()) }
    }

    /// Waits until the units' jobs are done, where that can be waited for.
    fn settle(&self, units: &[String]) -> anyhow::Result<()> {
        for _ in 0..PATIENCE {
            let mut busy = false;
            // The storage unit may write for minutes, and says so itself.
            for unit in units.iter().filter(|unit| *unit != edgepair_render::names::STORAGE_UNIT) {
                busy |= self.manager.state(unit)?.job;
            }
            if !self.wait || !busy {
                break;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(())
    }
}

/// Makes the host key under another name first: half a key would keep the daemon from starting for ever.
fn host_key(place: &Place) -> anyhow::Result<()> {
    let key = place.path(SSH_HOST_KEY);
    files::folder_of(&key, 0o700)?;
    let temporary = atomic::temporary_name(&key);
    let public = |path: &std::path::Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        std::path::PathBuf::from(name)
    };
    for old in [&temporary, &public(&temporary)] {
        // ssh-keygen asks before it writes over something.
        let _ = fs::remove_file(old);
    }
    let call = Invocation::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]);
    HostRunner.run(&call.arg(temporary.to_string_lossy()))?;
    for file in [&temporary, &public(&temporary)] {
        fs::File::open(file)?.sync_all()?;
    }
    atomic::publish(&public(&temporary), &public(&key))?;
    atomic::publish(&temporary, &key)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::tests_support::kept_minimal;

    fn wanted() -> Wanted {
        let kept = kept_minimal();
        let confirmed = Confirmed { member: "b".into(), pair: "site-042".into(), hash: "h".into() };
        let own = Some((kept, Facts::default(), confirmed));
        Wanted { rendered: Rendered::default(), host_name: "site-042-b".into(), own }
    }

    fn done() -> Seen {
        Seen {
            seed_is_kept: true,
            cards_are_kept: true,
            host_key: true,
            host_name: "site-042-b".into(),
            confirmed: true,
            ..Seen::default()
        }
    }

    #[test]
    fn a_box_that_is_as_it_should_be_has_no_step() {
        assert_eq!(plan(&wanted(), &done()), []);
        let without = Wanted { own: None, ..wanted() };
        let seen = Seen { host_name: "site-042-b".into(), confirmed: true, ..Seen::default() };
        assert_eq!(plan(&without, &seen), [], "without a seed nothing is kept and no key is made");
    }

    #[test]
    fn each_thing_that_is_missing_is_its_own_step_and_the_order_holds() {
        let stale = Stale { write: vec!["/etc/x".into()], ..Stale::default() };
        let nothing = Seen {
            stale,
            pending: [Effect::ReloadManager].into(),
            stop: vec!["old.service".into()],
            start: vec!["new.service".into()],
            ..Seen::default()
        };
        let ids: Vec<&str> = plan(&wanted(), &nothing).iter().map(Step::id).collect();
        let order = ["seed", "cards", "host-key", "host-name", "files", "reload", "member", "units", "units"];
        assert_eq!(ids, order);
        for (change, id) in [
            (Seen { seed_is_kept: false, ..done() }, "seed"),
            (Seen { cards_are_kept: false, ..done() }, "cards"),
            (Seen { host_key: false, ..done() }, "host-key"),
            (Seen { host_name: "localhost".into(), ..done() }, "host-name"),
            (Seen { confirmed: false, ..done() }, "member"),
        ] {
            let ids: Vec<&str> = plan(&wanted(), &change).iter().map(Step::id).collect();
            assert_eq!(ids, [id]);
        }
    }

    #[test]
    fn a_host_key_is_made_whole_and_only_by_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path());
        if HostRunner.run(&Invocation::new("ssh-keygen").arg("-?")).is_err_and(|error| error.code().is_none())
        {
            // Without the program there is nothing to see; in the image it is part of what boots.
            return;
        }
        host_key(&place).unwrap();
        let key = place.path(SSH_HOST_KEY);
        let names: BTreeSet<String> = fs::read_dir(key.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        let want: BTreeSet<String> =
            ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"].map(str::to_owned).into();
        assert_eq!(names, want);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
