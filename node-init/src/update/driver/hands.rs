//! What the driver has done for it, behind a trait: boot loader, slot, health, reboot.

use super::said::{Progress, Start};
use crate::agent::log;
use crate::update::boot::{BootControl, BootError, Refusal, Standing, SystemdBoot, esp::HostEsp};
use crate::update::bundle::{Body, Bundles};
use crate::update::channel::{Answer, Question, fetch};
use crate::update::health::{Finding, Seen, host, judge};
use crate::update::slot::{Image, Place, Slots, Source};
use edgepair_bundle::Time;
use edgepair_host_io::{Invocation, Runner};
use edgepair_layout::path;
use edgepair_render::names::K3S;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// Work that goes on beside the agent's loop.
pub type Work<T> = Pin<Box<dyn Future<Output = Result<T, Trouble>>>>;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// In words.
    pub text: String,
    /// It may go well later: a source that does not answer, for example.
    pub again: bool,
}

impl Trouble {
    /// Something that will not change by itself.
    pub fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: false }
    }
}

/// How this boot began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Versions that the loader knows.
    pub versions: Vec<(String, Standing)>,
    /// The kernel's name for this boot (random(4), `boot_id`).
    pub boot: String,
    /// Names of records of crashes: pstore's, and the watchdog's when it has fired.
    pub crashes: Vec<String>,
}

/// A bundle that was opened and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its version.
    pub version: String,
    /// How the other node and a later boot ask for it.
    pub bundle: String,
    /// Seconds that a trial may take.
    pub trial_limit: u64,
}

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Version.
    pub version: String,
    /// [`Offer::bundle`].
    pub bundle: String,
    /// This node gets it from outside: the other one waits until this one has it.
    pub first: bool,
}

/// The driver's hands. Everything can be asked again.
pub trait Hands {
    /// How this boot began.
    fn look(&self) -> Work<Look>;
    /// Opens a bundle, which an operator hands in as `body`, and checks that this node may have it.
    fn open(&self, start: &Start, body: Option<Body>) -> Work<Offer>;
    /// Writes the inactive slot.
    fn write(&self, job: Job) -> Work<()>;
    /// Arms a trial; installs the version anew when its boot entry was lost.
    fn arm(&self, job: Job) -> Work<()>;
    /// Proves that the trial is armed and goes back.
    fn prove(&self, version: String) -> Work<()>;
    /// Keeps a version.
    fn keep(&self, version: String) -> Work<()>;
    /// Takes a version's attempts.
    fn reject(&self, version: String) -> Work<()>;
    /// Makes the other kept version boot; says which.
    fn roll_back(&self) -> Work<String>;
    /// Looks at this node's health.
    fn observe(&self, seen: Seen, solo: bool) -> Work<Vec<Finding>>;
    /// Reboots in order. The power may go before it has.
    fn reboot(&self) -> Work<()>;
    /// Seconds since 1970 by this node's clock, for people to read.
    fn now(&self) -> u64;
    /// Whether an operator may have the other version back.
    ///
    /// # Errors
    /// Why not.
    fn may_go_back(&self) -> Result<(), Trouble> {
        Ok(())
    }
    /// The time, unless the clock has not been set.
    fn known_time(&self) -> Option<Time> {
        Some(Time(self.now()))
    }
    /// Asks for a channel's file.
    fn channel(&self, question: Question) -> Work<Answer> {
        let why = format!("nobody asks {} here", question.address);
        Box::pin(async { Err(Trouble::lasting(why)) })
    }
    /// How far the slot that is being written is.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

/// This machine's.
#[derive(Clone)]
pub struct HostHands {
    runner: Arc<dyn Runner + Send + Sync>,
    running: String,
    kubernetes: bool,
    bundles: Bundles,
    progress: Arc<Mutex<Option<Progress>>>,
}

impl std::fmt::Debug for HostHands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostHands(running {})", self.running)
    }
}

impl HostHands {
    /// For a node that runs this version. `kubernetes`: an API server is to be ready on it.
    pub fn new(
        runner: Arc<dyn Runner + Send + Sync>,
        running: &str,
        kubernetes: bool,
        bundles: Bundles,
    ) -> Self {
        Self { runner, running: running.to_owned(), kubernetes, bundles, progress: Arc::default() }
    }

    fn boot(&self) -> SystemdBoot<HostEsp> {
        // The link that `early` made to the booted disk's own partition.
        let device = Path::new(path::RUN_DIR).join("device/esp");
        SystemdBoot::new(HostEsp::new(Path::new(path::ESP), &device, Arc::clone(&self.runner)))
    }

    /// Runs beside the loop.
    fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Trouble> + Send + 'static,
    ) -> Work<T> {
        let hands = self.clone();
        let task = tokio::task::spawn_blocking(move || work(&hands));
        Box::pin(async move {
            task.await.unwrap_or_else(|_| {
                Err(Trouble { text: "the work's thread ended early".to_owned(), again: true })
            })
        })
    }
}

impl From<BootError> for Trouble {
    fn from(error: BootError) -> Self {
        Self { again: matches!(error, BootError::Io { .. }), text: error.to_string() }
    }
}

impl HostHands {
    /// Writes the inactive slot of this machine.
    fn fill(&self, job: &Job) -> Result<(), Trouble> {
        let boot = self.boot();
        let tell = |progress| *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        let mut install = |image: &Image, source: &mut dyn Source| {
            let place = Place::find()?;
            let mut slots = Slots::of_host(&place, &self.runner, &boot, &self.running)?;
            slots.install(image, source, &mut |done, all| tell(Some(Progress { done, all })))
        };
        let written = self.bundles.write(job, &mut install);
        tell(None);
        let report = written?;
        log::info(&format!(
            "version {} is in the other slot and was read back: {} blocks were there, {} came from the running slot, {} from outside it",
            job.version, report.kept, report.copied, report.fetched
        ));
        Ok(())
    }
}

impl Hands for HostHands {
    fn look(&self) -> Work<Look> {
        self.beside(|hands| {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let boot = boot.trim().to_owned();
            let crashes = crashes(Path::new("/"), &boot);
            Ok(Look { versions: hands.boot().versions()?, boot, crashes })
        })
    }

    fn open(&self, start: &Start, body: Option<Body>) -> Work<Offer> {
        let (origin, terms) = (start.origin(), start.terms());
        self.beside(move |hands| hands.bundles.open_on(body, origin, known_time(hands.now()), &terms))
    }

    fn write(&self, job: Job) -> Work<()> {
        self.beside(move |hands| hands.fill(&job))
    }

    fn arm(&self, job: Job) -> Work<()> {
        let (boot, running) = (self.clone(), self.running.clone());
        let version = job.version.clone();
        let armed = self.beside(move |_| match boot.boot().arm_trial(&running, &version) {
            Ok(()) => Ok(true),
            Err(BootError::Refused(Refusal::NotInstalled(_))) => Ok(false),
            Err(error) => Err(error.into()),
        });
        let hands = self.clone();
        Box::pin(async move {
            if armed.await? {
                return Ok(());
            }
            hands.write(job.clone()).await?;
            hands.beside(move |hands| Ok(hands.boot().arm_trial(&hands.running, &job.version)?)).await
        })
    }

    fn prove(&self, version: String) -> Work<()> {
        self.beside(move |hands| Ok(hands.boot().prove(&hands.running, &version).map(drop)?))
    }

    fn keep(&self, version: String) -> Work<()> {
        self.beside(move |hands| {
            hands.bundles.kept(&version)?;
            Ok(hands.boot().commit(&version)?)
        })
    }

    fn reject(&self, version: String) -> Work<()> {
        self.beside(move |hands| Ok(hands.boot().reject(&version)?))
    }

    fn roll_back(&self) -> Work<String> {
        self.beside(|hands| Ok(hands.boot().roll_back(&hands.running)?))
    }

    fn observe(&self, seen: Seen, solo: bool) -> Work<Vec<Finding>> {
        self.beside(move |hands| {
            // A pair without k3s in its image is well without an API server.
            let kubernetes = hands.kubernetes && Path::new(K3S).exists();
            Ok(judge(&host::observe(&*hands.runner, seen, solo, kubernetes)))
        })
    }

    fn reboot(&self) -> Work<()> {
        self.beside(|hands| {
            let call = Invocation::new("systemctl").args(["--no-block", "reboot"]);
            let trouble =
                |error: edgepair_host_io::CommandError| Trouble { text: error.to_string(), again: true };
            hands.runner.run(&call).map(drop).map_err(trouble)
        })
    }

    fn now(&self) -> u64 {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).ok();
        now.and_then(|now| u64::try_from(now.tv_sec()).ok()).unwrap_or_default()
    }

    fn channel(&self, question: Question) -> Work<Answer> {
        self.beside(move |hands| Ok(fetch::ask(&question, hands.bundles.place(), &*hands.runner)))
    }

    fn may_go_back(&self) -> Result<(), Trouble> {
        self.bundles.may_go_back(&self.running)
    }

    fn known_time(&self) -> Option<Time> {
        known_time(self.now())
    }

    fn progress(&self) -> Option<Progress> {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time, unless the clock says less than when the image was made: then it has not been set.
fn known_time(now: u64) -> Option<Time> {
    (now >= host::built()).then_some(Time(now))
}

/// Records of crashes: the kernel's last words (pstore, also where systemd-pstore.service(8) has moved them to), and a
/// watchdog that says that it reset the machine (`WDIOF_CARDRESET`, kernel `Documentation/watchdog/watchdog-api.rst`).
fn crashes(root: &Path, boot: &str) -> Vec<String> {
    const CARD_RESET: u32 = 0x20;
    let mut found = Vec::new();
    for folder in ["sys/fs/pstore", "var/lib/systemd/pstore"] {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy())));
    }
    let fired = std::fs::read_to_string(root.join("sys/class/watchdog/watchdog0/bootstatus"))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .is_some_and(|status| status & CARD_RESET != 0);
    // About this boot only: a record of its own for each.
    found.extend(fired.then(|| format!("watchdog before boot {boot}")));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_crashes_are_found() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(crashes(root.path(), "x"), [""; 0]);
        let put = |name: &str, text: &[u8]| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            edgepair_host_io::atomic::write(&path, text, 0o600).unwrap();
        };
        put("sys/class/watchdog/watchdog0/bootstatus", b"0\n");
        put("var/lib/systemd/pstore/1700000000/dmesg.txt", b"Oops");
        assert_eq!(crashes(root.path(), "x"), ["var/lib/systemd/pstore/1700000000"]);
        put("sys/class/watchdog/watchdog0/bootstatus", b"32\n");
        assert_eq!(crashes(root.path(), "x").len(), 2);
    }
}
