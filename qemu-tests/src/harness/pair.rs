//! Two nodes from one image and one seed on one switch, with this computer and a witness beside them.
//!
//! [`Pair::flash`] makes the disks, [`Pair::open`] brings up switch, ports and witness, [`Pair::start`] a node. Nothing
//! of it outlives the thread that opened it.

use super::accel::Accel;
use super::host_port::{Backward, Forward, HostPort, Leads};
use super::lan::{Port, Switch};
use super::site::{self, Side, Site};
use super::vm::{Begin, Card, Config, Vm};
use super::witness::Witness;
use super::{Deadline, Image};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::Mount;
use edgepair_layout::path::NODE_INIT;
use edgepair_status::{Role, Status};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

    fn port(self) -> usize {
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
    /// Where the witness listens.
    pub witness: u16,
}

impl Doors {
    /// Free ones.
    ///
    /// # Errors
    /// The kernel's.
    pub fn free() -> anyhow::Result<Self> {
        match super::host_port::free_ports(4)?[..] {
            [a, b, postgres, witness] => Ok(Self { ssh: [a, b], postgres, witness }),
            _ => bail!("there are no four free ports"),
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
        super::vm::layer(&self.image, &self.node(side), &below, "second.qcow2", DISK)?;
        let arguments = [
            "-blockdev",
            "driver=qcow2,node-name=disk1,file.driver=file,file.filename=/build/second.qcow2",
            "-device",
            "virtio-blk-pci,drive=disk1,bootindex=9,serial=edgepair-disk1",
        ];
        Ok(Extra { arguments: arguments.map(str::to_owned).into(), mounts: vec![below], mac: None })
    }

    fn lan(&self) -> PathBuf {
        self.dir.join("lan")
    }

    /// A node's folder: its disk, its sockets, its serial line, its journal.
    pub fn node(&self, side: Side) -> PathBuf {
        self.dir.join(side.letter())
    }

    fn ports(&self) -> Vec<Port> {
        let port = |place: Place| Port {
            switch: self.lan().join(format!("switch-{}", place.word())),
            machine: self.lan().join(format!("machine-{}", place.word())),
        };
        Place::ALL.into_iter().map(port).collect()
    }

    fn config(&self, side: Side, more: &Extra) -> Config {
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

/// The pair.
#[derive(Debug)]
pub struct Pair {
    /// What it is made of.
    pub spec: Spec,
    /// What the nodes have beyond the usual, from their next start on.
    pub extra: [Extra; 2],
    /// The witness, in modes that have one.
    pub witness: Option<Witness>,
    switch: Switch,
    nodes: [Option<Vm>; 2],
    host_ports: Vec<HostPort>,
}

impl Pair {
    /// Writes the image and a seed to a node's disk, over whatever was there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flash(spec: &Spec, side: Side, site: &Site) -> anyhow::Result<()> {
        for folder in [spec.lan(), spec.node(side)] {
            fs::create_dir_all(folder)?;
        }
        site.flash(&spec.image.disk, &spec.flashed(side)).context("flashing")?;
        Vm::prepare(&spec.image, &spec.config(side, &Extra::default()), &spec.node(side))
    }

    /// Brings up everything but the nodes.
    ///
    /// # Errors
    /// When a socket or port is taken, or QEMU does not start.
    pub fn open(spec: &Spec) -> anyhow::Result<Self> {
        fs::create_dir_all(spec.lan())?;
        let switch = Switch::start(&spec.ports()).context("the switch")?;
        let mut witness = None;
        if spec.witness {
            let it =
                witness.insert(Witness::new(&spec.image, &spec.dir.join("witness"), spec.doors.witness)?);
            it.start()?;
        }
        let mut pair = Self {
            spec: spec.clone(),
            extra: Default::default(),
            witness,
            switch,
            nodes: [None, None],
            host_ports: Vec::new(),
        };
        pair.plug_in()?;
        Ok(pair)
    }

    /// Starts this computer's ports, which forget what they have learned of the network.
    fn plug_in(&mut self) -> anyhow::Result<()> {
        self.host_ports.clear();
        let doors = &self.spec.doors;
        let ssh = |side: Side, here| Forward { here, address: side.address().into(), port: 22 };
        let host = Leads {
            own: "192.0.2.254".into(),
            forward: vec![
                ssh(Side::A, doors.ssh[0]),
                ssh(Side::B, doors.ssh[1]),
                Forward { here: doors.postgres, address: site::VIRTUAL_IP.into(), port: 5432 },
            ],
            backward: Vec::new(),
        };
        let (address, port) = site::WITNESS;
        let witness = Leads {
            own: "192.0.2.253".into(),
            forward: Vec::new(),
            backward: vec![Backward { address: address.into(), port, here: doors.witness }],
        };
        let ports = self.spec.ports();
        let mut start = |place: Place, leads: &Leads| -> anyhow::Result<()> {
            let dir = self.spec.dir.join(format!("port-{}", place.word()));
            let port = &ports[place.port()];
            self.host_ports.push(HostPort::start(&self.spec.image, &dir, &self.spec.lan(), port, leads)?);
            Ok(())
        };
        start(Place::Host, &host)?;
        if self.spec.witness {
            start(Place::Witness, &witness)?;
        }
        Ok(())
    }

    /// Switches a node on, from its disk.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start(&mut self, side: Side) -> anyhow::Result<()> {
        self.power(side, Begin::Running)
    }

    fn power(&mut self, side: Side, begin: Begin) -> anyhow::Result<()> {
        if self.runs(side) {
            bail!("node {side} runs already");
        }
        let config = self.spec.config(side, &self.extra[side as usize]);
        let vm = Vm::start(&self.spec.image, &config, &self.spec.node(side), self.spec.accel(), begin)
            .with_context(|| format!("node {side}"))?;
        self.nodes[side as usize] = Some(vm);
        Ok(())
    }

    /// Switches a node on with its network cable out; [`Pair::carrier`] puts it in.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start_unplugged(&mut self, side: Side) -> anyhow::Result<()> {
        self.power(side, Begin::Stopped)?;
        self.carrier(side, false)?;
        self.node(side)?.pause(false)
    }

    /// Pulls a node's plug.
    pub fn kill(&mut self, side: Side) {
        if let Some(mut vm) = self.nodes[side as usize].take() {
            vm.kill();
        }
    }

    /// Whether a node is on.
    pub fn runs(&mut self, side: Side) -> bool {
        self.nodes[side as usize].as_mut().is_some_and(Vm::runs)
    }

    /// A node that is on.
    ///
    /// # Errors
    /// When it is off.
    pub fn node(&mut self, side: Side) -> anyhow::Result<&mut Vm> {
        self.nodes[side as usize].as_mut().with_context(|| format!("node {side} is off"))
    }

    /// Cuts two places from each other, without either seeing a lost carrier, or joins them.
    pub fn cut(&self, one: Place, other: Place, cut: bool) {
        self.switch.cut(one.port(), other.port(), cut);
    }

    /// Cuts a place from all others, or joins it.
    pub fn isolate(&self, place: Place, cut: bool) {
        for other in Place::ALL.into_iter().filter(|other| *other != place) {
            self.cut(place, other, cut);
        }
    }

    /// Joins everything.
    ///
    /// # Errors
    /// QEMU's.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        for (one, other) in self.switch.cuts() {
            self.switch.cut(one, other, false);
        }
        for side in Side::BOTH {
            if self.runs(side) {
                self.carrier(side, true)?;
            }
        }
        Ok(())
    }

    /// The places that are cut from each other.
    pub fn cuts(&self) -> Vec<(Place, Place)> {
        self.switch.cuts().into_iter().map(|(one, other)| (Place::ALL[one], Place::ALL[other])).collect()
    }

    /// Plugs a node's network cable in or out; the node sees it.
    ///
    /// # Errors
    /// QEMU's.
    pub fn carrier(&mut self, side: Side, up: bool) -> anyhow::Result<()> {
        self.node(side)?.set_link("net0", up)
    }

    /// The socket of a third machine on the switch, for raw frames; and where it sends them.
    pub fn stranger_port(&self) -> Port {
        self.spec.ports()[Place::Stranger.port()].clone()
    }

    /// What a node says about itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&mut self, side: Side) -> anyhow::Result<Status> {
        let deadline = self.spec.seconds(5);
        status(&mut self.node(side)?.guest, deadline)
    }

    /// What a node has written to its journal since its disk was made, over all boots.
    pub fn journal(&self, side: Side) -> String {
        let bytes = fs::read(self.spec.node(side).join("journal.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The node that holds storage, datastore and virtual IP, if one says so.
    ///
    /// # Errors
    /// When both say so.
    pub fn active(&mut self) -> anyhow::Result<Option<Side>> {
        let mut active = Vec::new();
        for side in Side::BOTH {
            if self.runs(side) && self.status(side).is_ok_and(|status| status.role == Role::Active) {
                active.push(side);
            }
        }
        match active[..] {
            [] => Ok(None),
            [side] => Ok(Some(side)),
            _ => bail!("both nodes say that they are active"),
        }
    }

    /// Waits until both nodes say that they are halves of a pair that works, one of them active; returns that one.
    ///
    /// # Errors
    /// When they are not in time; with what each said last.
    pub fn wait_formed(&mut self, deadline: Deadline, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Side> {
        loop {
            let said = Side::BOTH.map(|side| self.status(side));
            if let [Ok(a), Ok(b)] = &said {
                if a.role == Role::Active && b.role == Role::Active {
                    bail!("both nodes say that they are active");
                }
                let active =
                    Side::BOTH.into_iter().zip([a, b]).find(|(_, status)| status.role == Role::Active);
                if let (Some((side, _)), true) = (active, a.formed() && b.formed()) {
                    return Ok(side);
                }
            }
            let words = Side::BOTH.map(|side| match &said[side as usize] {
                Ok(status) => format!("{side}: {}, {}", status.role, status.why),
                Err(error) => format!("{side}: {}", error.to_string().lines().next().unwrap_or_default()),
            });
            tell(&words.join(" · "));
            for side in Side::BOTH {
                if !self.runs(side) {
                    bail!("node {side} went off while the pair was forming");
                }
            }
            if deadline.passed() {
                bail!("the pair did not form in time\n  {}", words.join("\n  "));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Saves both machines and the witness under a name; they go on afterwards.
    ///
    /// # Errors
    /// QEMU's.
    pub fn save(&mut self, name: &str) -> anyhow::Result<()> {
        self.quiet();
        for side in Side::BOTH {
            self.node(side)?.pause(true)?;
        }
        if let Some(witness) = &mut self.witness {
            witness.kill();
            witness.keep(name, false)?;
            witness.start()?;
        }
        for side in Side::BOTH {
            self.node(side)?.save(name).with_context(|| format!("saving node {side}"))?;
        }
        self.go_on()
    }

    /// Takes both machines and the witness back to a saved state, whatever they are doing; they run afterwards.
    ///
    /// # Errors
    /// QEMU's.
    pub fn load(&mut self, name: &str) -> anyhow::Result<()> {
        self.quiet();
        self.heal()?;
        for side in Side::BOTH {
            if !self.runs(side) {
                self.kill(side);
                self.power(side, Begin::Stopped)?;
            }
            self.node(side)?.load(name).with_context(|| format!("loading node {side}"))?;
        }
        if let Some(witness) = &mut self.witness {
            witness.kill();
            witness.keep(name, true)?;
            witness.start()?;
        }
        self.plug_in()?;
        self.go_on()
    }

    /// Nothing is carried any more, and what was under way has arrived: a frame from a time that did not happen would
    /// confuse a machine that was taken back.
    fn quiet(&self) {
        self.switch.silence(true);
        std::thread::sleep(Duration::from_millis(300));
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        self.switch.silence(false);
        for side in Side::BOTH {
            self.node(side)?.pause(false)?;
        }
        Ok(())
    }

    /// Asks both nodes what is the matter and leaves the answers beside their logs, for somebody to read.
    pub fn autopsy(&mut self) {
        const QUESTIONS: &str = "systemctl --failed --no-legend --plain; drbdsetup status --verbose --statistics 2>&1; ip address; \
                                 cat /proc/drbd; systemctl list-jobs --no-pager; losetup --list; findmnt --real; \
                                 journalctl --boot --priority=warning --no-pager | tail -n 60";
        for side in Side::BOTH {
            let deadline = self.spec.seconds(5);
            let text = match self.node(side) {
                Err(error) => format!("{error:#}\n"),
                Ok(vm) => [
                    format!("{NODE_INIT} status"),
                    format!("{NODE_INIT} status --json"),
                    QUESTIONS.to_owned(),
                ]
                .iter()
                .map(|question| match vm.guest.try_run(question, deadline) {
                    Ok(answer) => format!("# {question}\n{}\n\n", answer.text),
                    Err(error) => format!("# {question}\n{error:#}\n\n"),
                })
                .collect(),
            };
            let path = self.spec.node(side).join("autopsy.log");
            if let Err(error) = edgepair_host_io::atomic::write(&path, text.as_bytes(), 0o644) {
                eprintln!("lab: {}: {error}", path.display());
            }
        }
    }
}

/// What a node says about itself, by the shell inside.
///
/// # Errors
/// When it does not answer.
pub fn status(guest: &mut super::guest::Guest, deadline: Deadline) -> anyhow::Result<Status> {
    let answer = guest.try_run(&format!("{NODE_INIT} status --json 2>&1"), deadline)?;
    if answer.status != 0 {
        bail!("{}", answer.text);
    }
    serde_json::from_str(&answer.text).with_context(|| format!("`status --json` said {}", answer.text))
}
