//! One virtual machine: the user's image on a copy-on-write layer, firmware variables of its own, a control socket, a
//! serial log, a shell port.
//!
//! QEMU runs inside the tools tree, so its version does not depend on the host. It dies with whoever started it.

mod arguments;
mod stuck;

use super::accel::Accel;
use super::guest::Guest;
use super::qmp::Qmp;
use super::serial::Serial;
use super::{Deadline, Image};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Invocation, Runner};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// What a machine is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name, also of its folder.
    pub name: String,
    /// Disk image that the copy-on-write layer lies on, raw.
    pub disk: PathBuf,
    /// Size of its disk, bytes.
    pub disk_size: u64,
    /// Memory, MiB.
    pub memory: u32,
    /// Its network cards, `net0`, `net1`, ….
    pub networks: Vec<Card>,
    /// Whether it has a hardware watchdog (Intel 6300ESB) that resets it.
    pub watchdog: bool,
    /// Whether every write and flush of the disk is recorded in `writes.blocks` (QEMU's blklogwrites).
    pub write_log: bool,
    /// What else of the host it sees, in the tools tree.
    pub mounts: Vec<Mount>,
    /// More QEMU arguments; paths are inside the tools tree, the machine's folder is `/build`.
    pub extra: Vec<String>,
}

impl Config {
    /// A machine without network, watchdog or anything special.
    pub fn plain(name: &str, disk: &Path, disk_size: u64) -> Self {
        Self {
            name: name.to_owned(),
            disk: disk.to_owned(),
            disk_size,
            memory: 1024,
            networks: Vec::new(),
            watchdog: false,
            write_log: false,
            mounts: Vec::new(),
            extra: Vec::new(),
        }
    }
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// `-netdev` value without its id.
    pub netdev: String,
    /// Address; one is made from the machine's name when absent.
    pub mac: Option<String>,
}

impl From<&str> for Card {
    fn from(netdev: &str) -> Self {
        Self { netdev: netdev.to_owned(), mac: None }
    }
}

/// A machine and its folder. QEMU ends with the thread that started it, however that ends.
#[derive(Debug)]
pub struct Vm {
    /// Its folder on the host.
    pub dir: PathBuf,
    /// What it prints.
    pub serial: Serial,
    /// A shell inside.
    pub guest: Guest,
    child: Option<Child>,
    /// QEMU itself; `child` is the program that made its namespaces.
    qemu: Option<Pid>,
    qmp: Option<Qmp>,
    stuck: stuck::Watch,
}

/// How a machine begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It runs.
    Running,
    /// It is stopped before its first instruction, for a saved state to be loaded.
    Stopped,
}

impl Vm {
    /// Makes the folder, the disk layer and the firmware variables. Nothing runs yet.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn prepare(image: &Image, config: &Config, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let below = Mount { source: config.disk.clone(), target: "/in/disk.img".into(), writable: false };
        layer(image, dir, &below, "disk.qcow2", config.disk_size)
            .context("the disk's copy-on-write layer")?;
        let sandbox = Sandbox { tools: image.tools.clone() };
        let mounts = mounts(config, dir);
        // As qcow2, so that a saved state can hold them.
        let vars = [
            "qemu-img",
            "convert",
            "-q",
            "-f",
            "raw",
            "-O",
            "qcow2",
            &image.qemu.firmware_vars,
            "/build/vars.qcow2",
        ];
        HostRunner
            .run(&sandbox.wrap(&vars.map(str::to_owned), &[], &mounts, false))
            .context("the firmware's variables")?;
        Ok(())
    }

    /// Starts a prepared machine.
    ///
    /// # Errors
    /// When QEMU does not come up.
    pub fn start(
        image: &Image,
        config: &Config,
        dir: &Path,
        accel: Accel,
        begin: Begin,
    ) -> anyhow::Result<Self> {
        for socket in ["qmp.sock", "bmc.sock", "guest.sock", "serial.sock"] {
            let _ = fs::remove_file(dir.join(socket));
        }
        if config.write_log {
            File::create(dir.join("writes.blocks"))?;
        }
        let sandbox = Sandbox { tools: image.tools.clone() };
        let argv = arguments::of(image, config, accel, begin == Begin::Stopped);
        let child = spawn(&sandbox.wrap(&argv, &[], &mounts(config, dir), true), &dir.join("qemu.log"))?;
        let mut vm = Self {
            dir: dir.to_owned(),
            serial: Serial::new(&dir.join("serial.log")),
            guest: Guest::new(&dir.join("guest.sock")),
            child: Some(child),
            qemu: None,
            qmp: None,
            stuck: stuck::Watch::default(),
        };
        let (qemu, qmp) = answers(&mut vm.child, dir)?;
        vm.qemu = Some(qemu);
        vm.qmp = Some(qmp);
        Ok(vm)
    }

    /// The control socket.
    ///
    /// # Errors
    /// When the machine does not run.
    pub fn qmp(&mut self) -> anyhow::Result<&mut Qmp> {
        self.qmp.as_mut().context("the machine does not run")
    }

    /// QEMU's process.
    pub fn pid(&self) -> Option<Pid> {
        self.qemu
    }

    /// Pulls the plug: nothing of the machine runs any more when this returns.
    pub fn kill(&mut self) {
        self.qmp = None;
        end(&mut self.child, self.qemu.take());
    }

    /// Resets the machine when it stands still before its first program. Says whether it did.
    ///
    /// # Errors
    /// QEMU's.
    pub fn unstick(&mut self) -> anyhow::Result<bool> {
        if !self.stuck.stands_still(&self.serial.text(), self.qemu) {
            return Ok(false);
        }
        println!("  {} stands still before its first program: reset", self.dir.display());
        self.qmp()?.command("system_reset", &json!({}))?;
        self.was_reset();
        Ok(true)
    }

    /// Something else has reset the machine: what was said on its port before belongs to a boot that is over.
    pub fn was_reset(&mut self) {
        self.serial.begin_anew();
        self.guest.hang_up();
    }

    /// Waits until the shell inside answers.
    ///
    /// # Errors
    /// When it does not by the deadline.
    pub fn wait_shell(&mut self, deadline: Deadline) -> anyhow::Result<()> {
        loop {
            let patience = Deadline::seconds(10);
            match self.guest.wait(if deadline.left() < patience.left() { deadline } else { patience }) {
                Err(error) if deadline.passed() => return Err(error),
                Err(_) => self.unstick()?,
                Ok(()) => return Ok(()),
            };
        }
    }

    /// Whether QEMU still runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Presses the power button and waits until the machine is off.
    ///
    /// # Errors
    /// When it does not go off in time.
    pub fn power_off(&mut self, deadline: Deadline) -> anyhow::Result<()> {
        self.qmp()?.command("system_powerdown", &json!({}))?;
        while let Some(child) = &mut self.child {
            if child.try_wait()?.is_some() {
                self.child = None;
                self.qmp = None;
                return Ok(());
            }
            if deadline.passed() {
                bail!("{} does not power off", self.dir.display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Saves memory and disks under a name, over an older state of that name. Two machines that talk must both be
    /// stopped first.
    ///
    /// # Errors
    /// QEMU's.
    pub fn save(&mut self, name: &str) -> anyhow::Result<()> {
        let devices = json!([arguments::DISK, arguments::VARS]);
        let qmp = self.qmp()?;
        // There may be none of that name: then there is nothing to delete.
        let _ = qmp.job("snapshot-delete", json!({ "tag": name, "devices": devices }));
        // HMP's savevm would put the memory into the first writable image, which is the firmware's variables.
        qmp.job("snapshot-save", json!({ "tag": name, "vmstate": arguments::DISK, "devices": devices }))
    }

    /// Returns to a saved state; the machine is stopped afterwards (`pause(false)` runs it).
    ///
    /// # Errors
    /// QEMU's.
    pub fn load(&mut self, name: &str) -> anyhow::Result<()> {
        self.pause(true)?;
        let devices = json!([arguments::DISK, arguments::VARS]);
        let arguments = json!({ "tag": name, "vmstate": arguments::DISK, "devices": devices });
        self.qmp()?.job("snapshot-load", arguments)?;
        // What was said on the port before belongs to a past that did not happen.
        self.guest.hang_up();
        Ok(())
    }

    /// Bounds the operations on the disk, each second; 0 for as many as it can.
    ///
    /// # Errors
    /// QEMU's.
    pub fn throttle(&mut self, operations: u32) -> anyhow::Result<()> {
        let qmp = self.qmp()?;
        let blocks = qmp.command("query-block", &json!({}))?;
        let disk = blocks.as_array().into_iter().flatten().find(|block| {
            block["inserted"]["node-name"].as_str().is_some_and(|name| name.starts_with(arguments::DISK))
        });
        let id = disk.and_then(|disk| disk["qdev"].as_str()).context("the disk")?;
        let mut limits = json!({ "id": id, "iops": operations });
        for other in ["bps", "bps_rd", "bps_wr", "iops_rd", "iops_wr"] {
            limits[other] = json!(0);
        }
        qmp.command("block_set_io_throttle", &limits)?;
        Ok(())
    }

    /// Stops or continues the processors.
    ///
    /// # Errors
    /// QEMU's.
    pub fn pause(&mut self, paused: bool) -> anyhow::Result<()> {
        self.qmp()?.command(if paused { "stop" } else { "cont" }, &json!({})).map(|_| ())
    }

    /// Plugs a network cable (`net0`, `net1`, …) in or out.
    ///
    /// # Errors
    /// QEMU's.
    pub fn set_link(&mut self, network: &str, up: bool) -> anyhow::Result<()> {
        self.qmp()?.command("set_link", &json!({ "name": network, "up": up })).map(|_| ())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes a copy-on-write layer in a machine's folder, over a raw image that the machine sees at the same place.
pub(super) fn layer(image: &Image, dir: &Path, below: &Mount, name: &str, size: u64) -> anyhow::Result<()> {
    let sandbox = Sandbox { tools: image.tools.clone() };
    let build = Mount { source: dir.to_owned(), target: "/build".into(), writable: true };
    let (path, size) = (format!("/build/{name}"), size.to_string());
    let argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", &below.target, "-F", "raw", &path, &size]
        .map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&argv, &[], &[build, below.clone()], false))?;
    Ok(())
}

/// Makes a machine's disk from a raw image, as a whole and without a layer below.
pub(super) fn whole_disk(image: &Image, dir: &Path, raw: &Path, name: &str) -> anyhow::Result<()> {
    let sandbox = Sandbox { tools: image.tools.clone() };
    let mounts = [
        Mount { source: dir.to_owned(), target: "/build".into(), writable: true },
        Mount { source: raw.to_owned(), target: "/in/raw.img".into(), writable: false },
    ];
    let target = format!("/build/{name}");
    let argv =
        ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "/in/raw.img", &target].map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false))?;
    Ok(())
}

/// Starts a program that ends with the thread that started it; what it says goes into a file.
pub(super) fn spawn(call: &Invocation, log: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    Invocation::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(call.program.clone())
        .args(call.args.iter().cloned())
        .to_command()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{} cannot be started", call.program))
}

/// Waits until QEMU listens on the control socket in its folder.
pub(super) fn answers(child: &mut Option<Child>, dir: &Path) -> anyhow::Result<(Pid, Qmp)> {
    let deadline = Deadline::seconds(60);
    let path = dir.join("qmp.sock");
    while !path.exists() {
        let ended = child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if ended || deadline.passed() {
            let said = fs::read_to_string(dir.join("qemu.log")).unwrap_or_default();
            bail!("QEMU did not start: {}", said.trim());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let qmp = Qmp::connect(&path, deadline)?;
    Ok((qmp.peer()?, qmp))
}

/// Ends QEMU and waits until it is gone.
pub(super) fn end(child: &mut Option<Child>, qemu: Option<Pid>) {
    if let Some(mut child) = child.take() {
        // The program around it ends when QEMU has ended, not before.
        if qemu.is_none_or(|pid| kill(pid, Signal::SIGKILL).is_err()) {
            let _ = child.kill();
        }
        let _ = child.wait();
    }
}

fn mounts(config: &Config, dir: &Path) -> Vec<Mount> {
    let own = [
        Mount { source: dir.to_owned(), target: "/build".into(), writable: true },
        Mount { source: config.disk.clone(), target: "/in/disk.img".into(), writable: false },
    ];
    own.into_iter().chain(config.mounts.iter().cloned()).collect()
}
