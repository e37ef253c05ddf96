//! What a pair is made of: places on the switch, ports of this computer, disks.

use super::super::accel::Accel;
use super::super::lan::Port;
use super::super::site::{self, Side};
use super::super::vm::{self, Card, Config};
use super::super::write_log::{self, Replayed};
use super::super::{Deadline, Image, host_port};
use anyhow::bail;
use edgepair_host_io::sandbox::Mount;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What is on the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A node.
    Node(Side),
    /// This computer: where clients come from.
    Host,
    /// The witness.
    Witness,
    /// A third machine.
    Stranger,
}

impl Place {
    /// All of them; the index is the switch's port.
    pub const ALL: [Self; 5] =
        [Self::Node(Side::A), Self::Node(Side::B), Self::Host, Self::Witness, Self::Stranger];

    /// Its name in commands.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node(side) => side.letter(),
            Self::Host => "host",
            Self::Witness => "witness",
            Self::Stranger => "stranger",
        }
    }

    /// The place of that name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.word() == word)
    }

    pub(super) fn port(self) -> usize {
        Self::ALL.iter().position(|place| *place == self).unwrap_or(0)
    }
}

/// TCP ports of this computer that lead into the lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Doors {
    /// SSH of node a and b.
    pub ssh: [u16; 2],
    /// PostgreSQL at the virtual IP.
    pub postgres: u16,
    /// The Kubernetes API at the virtual IP.
    #[serde(default)]
    pub kubernetes: u16,
    /// Its balancer at the virtual IP.
    #[serde(default)]
    pub balancer: u16,
    /// Where the witness listens.
    pub witness: u16,
    /// Where the management boards of node a and b listen.
    #[serde(default)]
    pub boards: [u16; 2],
    /// Where a database outside the pair listens.
    #[serde(default)]
    pub database: u16,
}

impl Doors {
    /// Free ones.
    ///
    /// # Errors
    /// The kernel's.
    pub fn free() -> anyhow::Result<Self> {
        match host_port::free_ports(9)?[..] {
            [a, b, postgres, kubernetes, balancer, witness, one, two, database] => {
                let boards = [one, two];
                Ok(Self { ssh: [a, b], postgres, kubernetes, balancer, witness, boards, database })
            }
            _ => bail!("there are no nine free ports"),
        }
    }
}

/// What a pair is made of; enough to open it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Its folder. The path is short: a Unix socket's name has at most 107 bytes.
    pub dir: PathBuf,
    /// The image.
    pub image: Image,
    /// Whether KVM is used.
    pub kvm: bool,
    /// Ways in.
    pub doors: Doors,
    /// Whether there is a witness.
    pub witness: bool,
    /// Whether the nodes have management boards.
    #[serde(default)]
    pub boards: bool,
    /// Whether there is a database outside the pair, at the witness's end of the network.
    #[serde(default)]
    pub database: bool,
    /// Whether every write and flush of the disks is recorded.
    pub write_log: bool,
}

/// Longest path of the pair's folder, bytes: the longest name of a socket in it has to fit as well.
const LONGEST: usize = 107 - "/lan/machine-stranger".len();

impl Spec {
    /// A pair in a folder.
    ///
    /// # Errors
    /// When the folder's path is too long, or there are no free ports.
    pub fn new(dir: &Path, image: &Image, accel: Accel, witness: bool) -> anyhow::Result<Self> {
        let length = dir.as_os_str().len();
        if length > LONGEST {
            bail!(
                "the path {} has {length} bytes, and sockets below it may have {LONGEST} at most\n  to do: choose a \
                 shorter folder (EDGEPAIR_CACHE, or TMPDIR for tests)",
                dir.display()
            );
        }
        Ok(Self {
            dir: dir.to_owned(),
            image: image.clone(),
            kvm: accel == Accel::Kvm,
            doors: Doors::free()?,
            witness,
            boards: false,
            database: false,
            write_log: false,
        })
    }

    /// A copy of a pair that is off, with its saved states, in another folder and with other ports of this computer.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(&self, dir: &Path) -> anyhow::Result<Self> {
        let mut copy = Self::new(dir, &self.image, self.accel(), self.witness)?;
        copy.write_log = self.write_log;
        copy.boards = self.boards;
        copy.database = self.database;
        for side in Side::BOTH {
            fs::create_dir_all(copy.node(side))?;
            site::copy_sparse(&self.flashed(side), &copy.flashed(side))?;
            for file in ["disk.qcow2", "vars.qcow2"] {
                site::copy_sparse(&self.node(side).join(file), &copy.node(side).join(file))?;
            }
        }
        Ok(copy)
    }

    /// How its guests run.
    pub fn accel(&self) -> Accel {
        if self.kvm { Accel::Kvm } else { Accel::Tcg }
    }

    /// A time limit that suits how guests run, given what a real machine needs.
    pub fn seconds(&self, on_real_hardware: u64) -> Deadline {
        Deadline::seconds(on_real_hardware * self.accel().patience())
    }

    /// The disk as a node's box was flashed: what its copy-on-write layer lies on.
    pub fn flashed(&self, side: Side) -> PathBuf {
        self.dir.join(format!("flashed-{side}.img"))
    }

    /// Makes a second disk for a node, `second.qcow2` in its folder, over a file that it sees as `/in/second.img`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn second_disk(&self, side: Side, image: &Path) -> anyhow::Result<Extra> {
        let below = Mount { source: image.to_owned(), target: "/in/second.img".into(), writable: false };
        vm::layer(&self.image, &self.node(side), &below, "second.qcow2", DISK)?;
        let arguments = [
            "-blockdev",
            "driver=qcow2,node-name=disk1,file.driver=file,file.filename=/build/second.qcow2",
            "-device",
            "virtio-blk-pci,drive=disk1,bootindex=9,serial=edgepair-disk1",
        ];
        Ok(Extra { arguments: arguments.map(str::to_owned).into(), mounts: vec![below], mac: None })
    }

    /// Makes a node's disk anew as a power cut may leave it, from what was recorded since it was flashed: without what was
    /// written after a flush, the last one for `back` 0. The node is off, and has been on once since.
    ///
    /// # Errors
    /// When nothing was recorded, or it cannot be made.
    pub fn drop_unflushed(&self, side: Side, back: usize) -> anyhow::Result<Replayed> {
        let dir = self.node(side);
        let raw = self.dir.join(format!("replayed-{side}.img"));
        let seen = write_log::replay(&dir.join("writes.blocks"), &self.flashed(side), &raw, DISK, back)?;
        fs::remove_file(dir.join("disk.qcow2"))?;
        vm::whole_disk(&self.image, &dir, &raw, "disk.qcow2")?;
        fs::remove_file(raw)?;
        Ok(seen)
    }

    pub(super) fn lan(&self) -> PathBuf {
        self.dir.join("lan")
    }

    /// A node's folder: its disk, its sockets, its serial line, its journal.
    pub fn node(&self, side: Side) -> PathBuf {
        self.dir.join(side.letter())
    }

    pub(super) fn ports(&self) -> Vec<Port> {
        let port = |place: Place| Port {
            switch: self.lan().join(format!("switch-{}", place.word())),
            machine: self.lan().join(format!("machine-{}", place.word())),
        };
        Place::ALL.into_iter().map(port).collect()
    }

    /// A third machine on the switch, at the stranger's port: a worker of the pair, from this flashed disk.
    pub fn third(&self, mac: &str, disk: &Path) -> Config {
        let netdev = self.ports()[Place::Stranger.port()].netdev("/in/lan");
        let lan = Mount { source: self.lan(), target: "/in/lan".into(), writable: true };
        Config {
            networks: vec![Card { netdev, mac: Some(mac.to_owned()) }],
            watchdog: true,
            mounts: vec![lan],
            ..Config::plain("worker", disk, DISK)
        }
    }

    pub(super) fn config(&self, side: Side, more: &Extra) -> Config {
        let netdev = self.ports()[Place::Node(side).port()].netdev("/in/lan");
        let lan = Mount { source: self.lan(), target: "/in/lan".into(), writable: true };
        Config {
            networks: vec![Card {
                netdev,
                mac: Some(more.mac.clone().unwrap_or_else(|| side.mac().to_owned())),
            }],
            watchdog: true,
            write_log: self.write_log,
            mounts: [vec![lan], more.mounts.clone()].concat(),
            extra: more.arguments.clone(),
            ..Config::plain(side.letter(), &self.flashed(side), DISK)
        }
    }
}

/// Size of a node's disk: the system, the lab's replicated storage and room for the rest.
const DISK: u64 = 6 << 30;

/// What a node of one scenario has beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// QEMU arguments.
    pub arguments: Vec<String>,
    /// Files of this computer that they name.
    pub mounts: Vec<Mount>,
    /// Another network card than the one in the seed.
    pub mac: Option<String>,
}
