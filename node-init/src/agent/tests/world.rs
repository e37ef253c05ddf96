//! A scripted world for two agents in one process: a double of DRBD, systemd and the programs, with one replicated
//! file system. It knows only what forming and planned changes need; the real ones are tested in virtual machines.

use crate::agent::ports::{Kernel, Ports, Task, Units};
use crate::member::Place;
use edgepair_host_io::{CommandError, Invocation, Output, Runner};
use edgepair_render::names::{DATA, DATA_MOUNT, FAULT_FILE, POSTGRES_DATA, POSTGRES_UNIT};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    Empty,
    Half,
    Whole,
}

#[derive(Debug)]
pub struct Host {
    pub root: PathBuf,
    pub primary: bool,
    disk: &'static str,
    just_created: bool,
    wants: bool,
    mounted: bool,
    units: BTreeMap<String, &'static str>,
    lines: Option<mpsc::Sender<Option<String>>>,
}

#[derive(Debug)]
pub struct Inner {
    pub hosts: [Host; 2],
    pub file_system: FileSystem,
    shared: PathBuf,
    pub calls: Vec<String>,
    /// The power goes at this call: before it, or half-way in it.
    pub fuse: Option<(usize, bool)>,
    pub cut: bool,
    pub violations: Vec<String>,
    /// On these nodes the database ends as soon as it is started.
    pub sick: [bool; 2],
    /// The program that asks for the owner of an address is there.
    pub arping: bool,
    /// Bytes free on the replicated file system.
    pub free: u64,
    /// How often somebody asked for that.
    pub spaces: usize,
}

#[derive(Debug, Clone)]
pub struct World(Arc<Mutex<Inner>>);

impl World {
    pub fn new(folder: &Path) -> Self {
        let host = |name: &str| {
            let root = folder.join(name);
            for sub in ["var/lib/edgepair", "run/edgepair"] {
                std::fs::create_dir_all(root.join(sub)).unwrap();
            }
            Host {
                root,
                primary: false,
                disk: "Inconsistent",
                just_created: true,
                wants: false,
                mounted: false,
                units: BTreeMap::new(),
                lines: None,
            }
        };
        let shared = folder.join("replicated");
        std::fs::create_dir_all(&shared).unwrap();
        Self(Arc::new(Mutex::new(Inner {
            hosts: [host("a"), host("b")],
            file_system: FileSystem::Empty,
            shared,
            calls: Vec::new(),
            fuse: None,
            cut: false,
            violations: Vec::new(),
            sick: [false; 2],
            arping: true,
            free: 1 << 29,
            spaces: 0,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Power off and on again on both: what is in memory is gone.
    pub fn boot(&self) {
        let mut inner = self.lock();
        inner.cut = false;
        for at in 0..2 {
            inner.unmount(at);
            let host = &mut inner.hosts[at];
            host.primary = false;
            host.wants = false;
            host.units.clear();
            host.lines = None;
            host.disk = if host.just_created { "Inconsistent" } else { "Consistent" };
            let _ = std::fs::remove_file(host.root.join(FAULT_FILE.trim_start_matches('/')));
        }
    }

    /// From now on the database of this node ends as soon as it is started, and the running one ends.
    pub fn sicken(&self, at: usize, sick: bool) {
        let mut inner = self.lock();
        inner.sick[at] = sick;
        if sick {
            inner.hosts[at].units.insert(POSTGRES_UNIT.to_owned(), "failed");
        }
    }

    pub fn ports(&self, at: usize) -> Ports {
        let place = Place::at(&self.lock().hosts[at].root);
        let end = || End { world: self.clone(), at };
        let hands = Rc::new(super::hands::Idle);
        Ports::new(place, Arc::new(end()), Rc::new(end()), Rc::new(end())).with_update(hands)
    }

    pub fn count(&self, words: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.contains(words)).count()
    }
}

impl Inner {
    fn connected(&self) -> bool {
        self.hosts.iter().all(|host| host.wants)
    }

    fn unmount(&mut self, at: usize) {
        if std::mem::take(&mut self.hosts[at].mounted) {
            let place = self.hosts[at].root.join(DATA.trim_start_matches('/'));
            std::fs::remove_file(place).unwrap();
        }
    }

    fn table(&self, at: usize) -> String {
        let (own, other) = (&self.hosts[at], &self.hosts[1 - at]);
        let role = |primary| if primary { "Primary" } else { "Secondary" };
        // An orderly disconnect is a change of state of both.
        let left = if other.disk == "Outdated" { "Outdated" } else { "DUnknown" };
        let (state, peer, peer_disk) = match (self.connected(), own.wants) {
            (true, _) => ("Connected", role(other.primary), other.disk),
            (false, true) => ("WFConnection", "Unknown", left),
            (false, false) => ("StandAlone", "Unknown", "DUnknown"),
        };
        format!(
            "version: 8.4.11 (api:1/proto:86-101)\n 0: cs:{state} ro:{}/{peer} ds:{}/{peer_disk} C r-----\n    ns:0\n",
            role(own.primary),
            own.disk
        )
    }

    fn tell(&self) {
        for host in &self.hosts {
            if let Some(lines) = &host.lines {
                let _ = lines
                    .try_send(Some("change resource name:edgepair role:Unknown suspended:no".to_owned()));
            }
        }
    }

    fn run(&mut self, at: usize, call: &Invocation) -> Result<String, String> {
        let line = call.shell_line();
        let words: Vec<&str> = line.split(' ').collect();
        if self.cut {
            return Err("no power".to_owned());
        }
        self.calls.push(format!("{}: {line}", ["a", "b"][at]));
        let half = match self.fuse {
            Some((0, half)) => {
                self.cut = true;
                self.fuse = None;
                if !half {
                    return Err("no power".to_owned());
                }
                true
            }
            Some((left, half)) => {
                self.fuse = Some((left - 1, half));
                false
            }
            None => false,
        };
        let result = self.act(at, &words, call, half);
        self.tell();
        if self.cut { Err("no power".to_owned()) } else { result }
    }

    fn act(&mut self, at: usize, words: &[&str], call: &Invocation, half: bool) -> Result<String, String> {
        let connected = self.connected();
        match words {
            ["drbdadm", "connect", _] => {
                self.hosts[at].wants = true;
                if self.connected() && self.hosts.iter().any(|host| !host.just_created) {
                    for host in &mut self.hosts {
                        host.disk = "UpToDate";
                        host.just_created = false;
                    }
                }
            }
            ["drbdadm", "disconnect", _] => {
                self.hosts[at].wants = false;
                if connected && self.hosts[1 - at].primary {
                    self.hosts[at].disk = "Outdated";
                }
            }
            ["drbdadm", "new-current-uuid", "--clear-bitmap", "edgepair/0"] => {
                if !connected || self.hosts.iter().any(|host| !host.just_created) {
                    self.violations.push("a synchronisation was skipped that was needed".to_owned());
                    return Err("refused".to_owned());
                }
                // Half-way: this node has it on disk, the other one does not.
                let hosts = if half { &mut self.hosts[at..=at] } else { &mut self.hosts[..] };
                for host in hosts {
                    host.just_created = false;
                    host.disk = "UpToDate";
                }
            }
            ["drbdadm", "primary", _] => {
                let other = self.hosts[1 - at].primary;
                if !connected || self.hosts[at].disk != "UpToDate" || other {
                    return Err("State change failed".to_owned());
                }
                self.hosts[at].primary = true;
            }
            ["drbdadm", "secondary", _] => {
                if self.hosts[at].mounted {
                    return Err("Device is held open by someone".to_owned());
                }
                self.hosts[at].primary = false;
            }
            ["drbdsetup", "get-gi", "0"] => {
                let current =
                    if self.hosts[at].just_created { "0000000000000004" } else { "A3B7C1D2E4F50618" };
                return Ok(format!("{current}:0000000000000000:0000000000000000:0000000000000000:0:0\n"));
            }
            ["wipefs", "--no-act", ..] => {
                let list = if self.file_system == FileSystem::Whole { "{\"type\":\"ext4\"}" } else { "" };
                return Ok(format!("{{\"signatures\":[{list}]}}"));
            }
            ["wipefs", "--all", ..] => self.file_system = FileSystem::Half,
            ["mkfs.ext4", ..] => {
                if !self.hosts[at].primary {
                    self.violations.push("mkfs on a node that is not active".to_owned());
                }
                if self.shared.join("edgepair.json").exists() {
                    self.violations.push("a data set in use was formatted".to_owned());
                }
                std::fs::remove_dir_all(&self.shared).unwrap();
                std::fs::create_dir_all(&self.shared).unwrap();
                self.file_system = if half { FileSystem::Half } else { FileSystem::Whole };
            }
            ["fsck.ext4", ..] if self.file_system != FileSystem::Whole => {
                return Err("bad superblock".to_owned());
            }
            ["install", .., folder] => std::fs::create_dir_all(folder).unwrap(),
            ["setpriv", .., "-D", folder] => {
                let file = Path::new(folder).join("PG_VERSION");
                edgepair_host_io::atomic::write(&file, b"17", 0o600).unwrap();
            }
            ["setpriv", ..] => {
                let sql = String::from_utf8_lossy(call.stdin.as_deref().unwrap_or_default()).into_owned();
                self.calls.push(format!("{}: sql {}", ["a", "b"][at], sql.trim()));
            }
            _ => {}
        }
        Ok(String::new())
    }

    fn start(&mut self, at: usize, unit: &str) -> Result<(), String> {
        if self.cut {
            return Err("no power".to_owned());
        }
        let place = self.hosts[at].root.join(DATA.trim_start_matches('/'));
        match unit {
            DATA_MOUNT if !self.hosts[at].mounted => {
                if !self.hosts[at].primary || self.file_system != FileSystem::Whole {
                    return Err("mount failed".to_owned());
                }
                std::os::unix::fs::symlink(&self.shared, place).unwrap();
                self.hosts[at].mounted = true;
            }
            POSTGRES_UNIT if self.sick[at] => return Err("the database ended at once".to_owned()),
            POSTGRES_UNIT => {
                let data = self.hosts[at].root.join(POSTGRES_DATA.trim_start_matches('/'));
                if !data.join("PG_VERSION").exists() {
                    return Err("no cluster".to_owned());
                }
                if self.hosts[1 - at].units.get(unit) == Some(&"active") {
                    self.violations.push("two datastores".to_owned());
                }
            }
            _ => {}
        }
        self.hosts[at].units.insert(unit.to_owned(), "active");
        Ok(())
    }
}

#[derive(Debug)]
struct End {
    world: World,
    at: usize,
}

impl Runner for End {
    fn run(&self, call: &Invocation) -> Result<Output, CommandError> {
        if call.program == "arping" {
            // Nobody else is in this world; at what moment the question is asked must not count.
            return match self.world.lock().arping {
                true => Ok(Output::default()),
                false => Err(CommandError::Start {
                    argv: call.shell_line(),
                    source: io::ErrorKind::NotFound.into(),
                }),
            };
        }
        let result = self.world.lock().run(self.at, call);
        match result {
            Ok(text) => Ok(Output { stdout: text.into_bytes(), stderr: Vec::new() }),
            Err(why) => Err(CommandError::Start { argv: call.shell_line(), source: io::Error::other(why) }),
        }
    }
}

impl Units for End {
    fn start<'a>(&'a self, unit: &'a str) -> Task<'a, ()> {
        Box::pin(async move { self.world.lock().start(self.at, unit).map_err(anyhow::Error::msg) })
    }

    fn begin<'a>(&'a self, unit: &'a str) -> Task<'a, ()> {
        self.start(unit)
    }

    fn stop<'a>(&'a self, unit: &'a str) -> Task<'a, ()> {
        Box::pin(async move {
            let mut world = self.world.lock();
            if unit == DATA_MOUNT {
                world.unmount(self.at);
            }
            world.hosts[self.at].units.insert(unit.to_owned(), "inactive");
            Ok(())
        })
    }

    fn state<'a>(&'a self, unit: &'a str) -> Task<'a, String> {
        Box::pin(async move {
            let world = self.world.lock();
            Ok((*world.hosts[self.at].units.get(unit).unwrap_or(&"inactive")).to_owned())
        })
    }

    fn ended<'a>(&'a self, _unit: &'a str) -> Task<'a, (u32, String)> {
        Box::pin(async { Ok((0, "success".to_owned())) })
    }

    fn left_active<'a>(&'a self, unit: &'a str) -> Task<'a, String> {
        Box::pin(async move {
            loop {
                let state = self.state(unit).await?;
                if state != "active" {
                    return Ok(state);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }
}

impl Kernel for End {
    fn drbd(&self) -> io::Result<String> {
        Ok(self.world.lock().table(self.at))
    }

    fn drbd_events(&self, lines: mpsc::Sender<Option<String>>) -> io::Result<Box<dyn std::any::Any>> {
        self.world.lock().hosts[self.at].lines = Some(lines);
        Ok(Box::new(()))
    }

    fn reset(&self) {
        self.world.lock().violations.push("a reset".to_owned());
    }

    fn carrier(&self, _interface: &str) -> Option<bool> {
        Some(true)
    }

    fn holds(&self, _address: IpAddr) -> bool {
        let root = self.world.lock().hosts[self.at].root.clone();
        let file = root.join(FAULT_FILE.trim_start_matches('/'));
        std::fs::read_to_string(file).is_ok_and(|text| text == "0\n")
    }

    fn ipv6_addresses(&self) -> String {
        String::new()
    }

    fn space(&self, path: &Path) -> Option<(u64, u64)> {
        // The nodes' own disks are not in this world.
        if !path.ends_with(DATA.trim_start_matches('/')) {
            return None;
        }
        let mut inner = self.world.lock();
        inner.spaces += 1;
        inner.hosts[self.at].mounted.then_some((inner.free, 1 << 30))
    }

    fn ends_are_zero(&self, _device: &str) -> io::Result<bool> {
        Ok(self.world.lock().file_system == FileSystem::Empty)
    }

    fn watchdog(&self) -> bool {
        false
    }
}
