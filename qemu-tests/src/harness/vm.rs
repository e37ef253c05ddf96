//! One virtual machine: the user's image on a copy-on-write layer, firmware variables of its own, a control socket, a
//! serial log, a shell port.
//!
//! QEMU runs inside the tools tree, so its version does not depend on the host. It dies with whoever started it,
//! except in a lab, where it is to outlive the command.

use super::accel::Accel;
use super::guest::{self, Guest};
use super::qmp::Qmp;
use super::serial::Serial;
use super::{Deadline, Image};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Invocation, Runner};
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

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
    /// `-netdev` values, each with a network card.
    pub networks: Vec<String>,
    /// More QEMU arguments; paths are inside the tools tree, the machine's folder is `/build`.
    pub extra: Vec<String>,
}

/// A machine and its folder.
#[derive(Debug)]
pub struct Vm {
    /// Its folder on the host.
    pub dir: PathBuf,
    /// What it prints.
    pub serial: Serial,
    /// A shell inside.
    pub guest: Guest,
    child: Option<Child>,
    qmp: Option<Qmp>,
}

/// Whether QEMU ends with the thread that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It does: for tests.
    WithThread,
    /// It goes on: for a lab.
    OfItsOwn,
}

impl Vm {
    /// Makes the folder, the disk layer and the firmware variables. Nothing runs yet.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn prepare(image: &Image, config: &Config, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let sandbox = Sandbox { tools: image.tools.clone() };
        let mounts = mounts(config, dir);
        let size = config.disk_size.to_string();
        let create = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "/in/disk.img",
            "-F",
            "raw",
            "/build/disk.qcow2",
            &size,
        ];
        HostRunner
            .run(&sandbox.wrap(&create.map(str::to_owned), &[], &mounts, false))
            .context("the disk's copy-on-write layer")?;
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
        life: Life,
    ) -> anyhow::Result<Self> {
        for socket in ["qmp.sock", "guest.sock", "serial.sock"] {
            let _ = fs::remove_file(dir.join(socket));
        }
        let sandbox = Sandbox { tools: image.tools.clone() };
        let call = sandbox.wrap(&arguments(image, config, accel), &[], &mounts(config, dir), true);
        let call = match life {
            Life::WithThread => Invocation::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(call.program.clone())
                .args(call.args),
            Life::OfItsOwn => Invocation::new("setsid").arg(call.program.clone()).args(call.args),
        };
        let log = File::create(dir.join("qemu.log"))?;
        let child = call
            .to_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("QEMU")?;
        edgepair_host_io::atomic::write(&dir.join("pid"), child.id().to_string().as_bytes(), 0o644)?;
        let mut vm = Self {
            dir: dir.to_owned(),
            serial: Serial::new(&dir.join("serial.log")),
            guest: Guest::new(&dir.join("guest.sock")),
            child: Some(child),
            qmp: None,
        };
        let deadline = Deadline::seconds(20);
        while !dir.join("qmp.sock").exists() {
            let ended = vm.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if ended || deadline.passed() {
                bail!(
                    "QEMU did not start: {}",
                    fs::read_to_string(dir.join("qemu.log")).unwrap_or_default().trim()
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        vm.qmp = Some(Qmp::connect(&dir.join("qmp.sock"), deadline)?);
        Ok(vm)
    }

    /// The control socket.
    ///
    /// # Errors
    /// When the machine does not run.
    pub fn qmp(&mut self) -> anyhow::Result<&mut Qmp> {
        self.qmp.as_mut().context("the machine does not run")
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        self.qmp = None;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets the machine run on after this value is gone.
    pub fn leave_running(mut self) {
        self.child = None;
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
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(())
    }

    /// Saves memory and disks under a name. Two machines that talk must both be stopped (`stop`) first.
    ///
    /// # Errors
    /// QEMU's.
    pub fn save(&mut self, name: &str) -> anyhow::Result<()> {
        self.qmp()?.human(&format!("savevm {name}")).map(|_| ())
    }

    /// Returns to a saved state; the machine is stopped afterwards (`cont` runs it).
    ///
    /// # Errors
    /// QEMU's.
    pub fn load(&mut self, name: &str) -> anyhow::Result<()> {
        self.qmp()?.human(&format!("loadvm {name}")).map(|_| ())
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

fn mounts(config: &Config, dir: &Path) -> Vec<Mount> {
    vec![
        Mount { source: dir.to_owned(), target: "/build".into(), writable: true },
        Mount { source: config.disk.clone(), target: "/in/disk.img".into(), writable: false },
    ]
}

/// The whole argv.
fn arguments(image: &Image, config: &Config, accel: Accel) -> Vec<String> {
    let qemu = &image.qemu;
    let mut argv: Vec<String> = vec![qemu.program.clone()];
    let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["-name", &config.name, "-machine", &qemu.machine]);
    add(&accel.arguments());
    add(&[
        "-smp",
        "2",
        "-m",
        &config.memory.to_string(),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-vga",
        "std",
    ]);
    add(&["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={}", qemu.firmware_code)]);
    add(&["-drive", "if=pflash,format=qcow2,unit=1,file=/build/vars.qcow2"]);
    add(&[
        "-blockdev",
        "driver=qcow2,node-name=disk0,file.driver=file,file.filename=/build/disk.qcow2,discard=unmap",
    ]);
    add(&["-device", "virtio-blk-pci,drive=disk0,bootindex=0,serial=edgepair-disk0"]);
    add(&[
        "-chardev",
        "socket,id=serial0,path=/build/serial.sock,server=on,wait=off,logfile=/build/serial.log",
        "-serial",
        "chardev:serial0",
    ]);
    add(&["-qmp", "unix:/build/qmp.sock,server=on,wait=off", "-monitor", "none"]);
    add(&[
        "-device",
        "virtio-serial-pci",
        "-chardev",
        "socket,id=guest0,path=/build/guest.sock,server=on,wait=off",
    ]);
    add(&["-device", &format!("virtserialport,chardev=guest0,name={}", guest::PORT)]);
    add(&["-device", "virtio-rng-pci"]);
    for credential in guest::credentials() {
        // A comma separates QEMU's options; a doubled one is a comma.
        add(&["-smbios", &format!("type=11,value={}", credential.replace(',', ",,"))]);
    }
    for (index, network) in config.networks.iter().enumerate() {
        add(&["-netdev", &format!("{network},id=net{index}")]);
        let mac = format!(
            "52:54:00:{:02x}:00:{:02x}",
            config.name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)),
            index + 1
        );
        add(&["-device", &format!("virtio-net-pci,netdev=net{index},mac={mac},romfile=")]);
    }
    add(&config.extra.iter().map(String::as_str).collect::<Vec<_>>());
    argv
}
