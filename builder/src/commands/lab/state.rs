//! A lab's folder and its supervisor's process.

use super::control::{self, Now, Order};
use anyhow::{Context, bail};
use edgepair_host_io::{Invocation, atomic};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qemu_tests::harness::Deadline;
use qemu_tests::harness::guest::Guest;
use qemu_tests::harness::pair::Spec;
use qemu_tests::harness::site::Side;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A lab by its name; there may be nothing of it yet.
#[derive(Debug)]
pub struct Lab {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
}

/// What is known of a lab that was made (`lab.json`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Made {
    /// Image and wishes it was made from; another key is another lab.
    pub key: String,
    /// Failover mode of its pair.
    pub mode: String,
    /// What the pair is made of.
    pub spec: Spec,
    /// Whether the formed pair was saved.
    pub saved: bool,
}

/// Which process the supervisor is: a number alone may belong to a later process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Clock ticks between boot and the process's start (proc_pid_stat(5), field 22).
    started: u64,
}

impl Lab {
    /// The lab of that name.
    ///
    /// # Errors
    /// When the cache has no place.
    pub fn of(name: &str) -> anyhow::Result<Self> {
        Ok(Self { name: name.to_owned(), dir: super::folder(name)? })
    }

    /// Seed, secret and SSH key.
    pub fn site(&self) -> PathBuf {
        self.dir.join("seed")
    }

    /// The supervisor's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// What the supervisor said.
    pub fn log(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }

    /// What it was made from, if it was.
    pub fn made(&self) -> Option<Made> {
        serde_json::from_str(&fs::read_to_string(self.dir.join("lab.json")).ok()?).ok()
    }

    /// Writes down what it is made from.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, made: &Made) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(made)?;
        Ok(atomic::write(&self.dir.join("lab.json"), text.as_bytes(), 0o600)?)
    }

    /// Whether its supervisor runs.
    pub fn runs(&self) -> bool {
        self.process().is_some()
    }

    /// What it was made from, of a lab that runs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn running(&self) -> anyhow::Result<Made> {
        match self.made() {
            Some(made) if self.runs() => Ok(made),
            _ => bail!("no lab `{}` is up\n  to do: `edgepair lab up`", self.name),
        }
    }

    /// Gives the supervisor an order.
    ///
    /// # Errors
    /// When it does not run, and when the order failed.
    pub fn order(&self, order: &Order) -> anyhow::Result<Now> {
        self.running()?;
        control::give(&self.socket(), order)
    }

    /// The shell in a node.
    ///
    /// # Errors
    /// When the lab does not run or the node is off.
    pub fn guest(&self, side: Side) -> anyhow::Result<Guest> {
        let made = self.running()?;
        let now = self.order(&Order::Look)?;
        if !now.on.iter().any(|word| word == side.letter()) {
            bail!("node {side} is off\n  to do: `edgepair lab start {side}`");
        }
        Ok(Guest::new(&made.spec.node(side).join("guest.sock")))
    }

    /// Starts the supervisor and waits until it listens.
    ///
    /// # Errors
    /// What it said when it did not come up.
    pub fn start(&self) -> anyhow::Result<()> {
        let _ = fs::remove_file(self.socket());
        let own = std::env::current_exe().context("the path of this program")?;
        let log = File::create(self.log())?;
        // In a session of its own: the terminal's Ctrl-C is not meant for it.
        let mut child = Invocation::new("setsid")
            .arg(own.to_string_lossy())
            .args(["lab", "switch", "--name", &self.name])
            .to_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the lab's supervisor cannot be started")?;
        let deadline = Deadline::seconds(60);
        while !self.socket().exists() {
            if child.try_wait()?.is_some() || deadline.passed() {
                let said = fs::read_to_string(self.log()).unwrap_or_default();
                bail!("the lab's supervisor did not start: {}", said.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Writes down that this process is the supervisor.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn enlist(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(std::process::id())?;
        let started = started(Path::new("/proc"), pid).context("/proc does not know this process")?;
        let text = serde_json::to_string(&Process { pid, started })?;
        Ok(atomic::write(&self.dir.join("supervisor.json"), text.as_bytes(), 0o644)?)
    }

    fn process(&self) -> Option<Process> {
        let text = fs::read_to_string(self.dir.join("supervisor.json")).ok()?;
        let process: Process = serde_json::from_str(&text).ok()?;
        (started(Path::new("/proc"), process.pid)? == process.started).then_some(process)
    }

    /// Ends the supervisor, and with it everything of the lab that runs.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> anyhow::Result<()> {
        let Some(process) = self.process() else { return Ok(()) };
        // Asked first, so that the machines are gone when it is; what does not answer is ended.
        let asked = control::give(&self.socket(), &Order::Stop).is_ok();
        for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGKILL)] {
            if signal.is_none() && !asked {
                continue;
            }
            if let Some(signal) = signal
                && self.process() == Some(process)
            {
                kill(Pid::from_raw(process.pid), signal).context("the lab's supervisor cannot be ended")?;
            }
            let deadline = Deadline::seconds(15);
            while !deadline.passed() {
                if self.process() != Some(process) {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        bail!("the lab's supervisor, process {}, does not end", process.pid)
    }

    /// Removes the folder of a lab that does not run.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn delete(&self) -> anyhow::Result<()> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))?;
        }
        Ok(())
    }
}

/// When a process was started, and `None` when there is none of that number, or it has ended and only its number is
/// left (a zombie).
fn started(proc: &Path, pid: i32) -> Option<u64> {
    let line = fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?;
    // The name, in parentheses, may hold anything, also parentheses.
    let mut fields = line.get(line.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    // The state is field 3, the start field 22.
    (state != "Z").then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_read_behind_a_strange_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        let put = |line: &str| {
            atomic::write(&dir.path().join("7/stat"), line.as_bytes(), 0o644).unwrap();
            started(dir.path(), 7)
        };
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(put(&format!("7 (a) b (c)) S {rest}")), Some(4711));
        assert_eq!(put(&format!("7 (gone) Z {rest}")), None);
        assert_eq!(put("7 (short) S 1"), None);
        assert_eq!(put("nonsense"), None);
        assert_eq!(started(dir.path(), 8), None);
        assert!(started(Path::new("/proc"), i32::try_from(std::process::id()).unwrap()).is_some());
    }
}
