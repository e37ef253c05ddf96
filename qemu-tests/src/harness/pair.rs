//! Two nodes from one image and one seed on one switch, with this computer and a witness beside them.
//!
//! [`Pair::flash`] makes the disks, [`Pair::open`] brings up switch, ports and witness, [`Pair::start`] a node. Nothing
//! of it outlives the thread that opened it.

mod look;
mod spec;

pub use look::status;
pub use spec::{Doors, Extra, Place, Spec};

use super::bmc::{Bmc, Login, Machine};
use super::host_port::{Backward, Forward, HostPort, Leads};
use super::lan::{Port, Switch};
use super::site::{self, Side, Site};
use super::vm::{Begin, Vm};
use super::witness::Witness;
use anyhow::{Context, bail};
use std::fs;
use std::time::Duration;

/// The pair.
#[derive(Debug)]
pub struct Pair {
    /// What it is made of.
    pub spec: Spec,
    /// What the nodes have beyond the usual, from their next start on.
    pub extra: [Extra; 2],
    /// The witness, in modes that have one.
    pub witness: Option<Witness>,
    /// The nodes' management boards, where they have some and these live.
    pub boards: [Option<Bmc>; 2],
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

    /// Writes the image to a node's disk as it is, without a seed: a machine that is no node.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flash_plain(spec: &Spec, side: Side) -> anyhow::Result<()> {
        for folder in [spec.lan(), spec.node(side)] {
            fs::create_dir_all(folder)?;
        }
        site::copy_sparse(&spec.image.disk, &spec.flashed(side)).context("flashing")?;
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
        let far = site::BOARDS
            .iter()
            .filter(|_| spec.boards)
            .chain([site::WITNESS.0].iter().filter(|_| spec.witness));
        for address in far {
            // libslirp's own addresses: 52:55 and the four bytes of the address it answers for (its slirp.c, if_encap).
            let [a, b, c, d] = address.parse::<std::net::Ipv4Addr>()?.octets();
            switch.know([0x52, 0x55, a, b, c, d], Place::Witness.port());
        }
        if spec.witness {
            let it =
                witness.insert(Witness::new(&spec.image, &spec.dir.join("witness"), spec.doors.witness)?);
            it.start()?;
        }
        let mut pair = Self {
            spec: spec.clone(),
            extra: Default::default(),
            witness,
            boards: [None, None],
            switch,
            nodes: [None, None],
            host_ports: Vec::new(),
        };
        for side in Side::BOTH.into_iter().filter(|_| spec.boards) {
            pair.start_board(side)?;
        }
        pair.plug_in()?;
        Ok(pair)
    }

    /// Gives a node's management board power.
    ///
    /// # Errors
    /// When its port is taken.
    pub fn start_board(&mut self, side: Side) -> anyhow::Result<()> {
        let machine = Machine::new(&self.spec.node(side).join("bmc.sock"));
        let login = Login {
            user: site::BOARD_USER.into(),
            password: Site::board_password(&self.spec.dir.join("seed"))?,
        };
        let port = self.spec.doors.boards[side as usize];
        let names = [site::BOARDS[side as usize].to_owned()];
        self.boards[side as usize] = Some(Bmc::start(port, &names, login, Box::new(machine))?);
        Ok(())
    }

    /// A node's management board.
    ///
    /// # Errors
    /// When there is none, or it is dead.
    pub fn board(&self, side: Side) -> anyhow::Result<&Bmc> {
        self.boards[side as usize].as_ref().with_context(|| format!("node {side} has no management board"))
    }

    /// Starts this computer's ports, which forget what they have learned of the network.
    fn plug_in(&mut self) -> anyhow::Result<()> {
        self.host_ports.clear();
        let doors = &self.spec.doors;
        let ssh = |side: Side, here| Forward { here, address: side.address().into(), port: 22 };
        let served = |here, port| Forward { here, address: site::VIRTUAL_IP.into(), port };
        let mut forward =
            vec![ssh(Side::A, doors.ssh[0]), ssh(Side::B, doors.ssh[1]), served(doors.postgres, 5432)];
        // A lab that was made before there were these has no such ports.
        let more = [(doors.kubernetes, site::API_PORT), (doors.balancer, site::BALANCER_PORT)];
        forward
            .extend(more.into_iter().filter(|(here, _)| *here != 0).map(|(here, port)| served(here, port)));
        let host = Leads { own: "192.0.2.254".into(), forward, backward: Vec::new() };
        let (address, port) = site::WITNESS;
        let at_witness =
            self.spec.witness.then(|| Backward { address: address.into(), port, here: doors.witness });
        let boards = site::BOARDS.iter().zip(doors.boards).filter(|_| self.spec.boards);
        let boards = boards.map(|(address, here)| Backward { address: (*address).into(), port: 443, here });
        let (address, port) = site::DATABASE;
        let database =
            self.spec.database.then(|| Backward { address: address.into(), port, here: doors.database });
        let witness = Leads {
            own: "192.0.2.253".into(),
            forward: Vec::new(),
            backward: boards.chain(at_witness).chain(database).collect(),
        };
        let ports = self.spec.ports();
        let mut start = |place: Place, leads: &Leads| -> anyhow::Result<()> {
            let dir = self.spec.dir.join(format!("port-{}", place.word()));
            let port = &ports[place.port()];
            self.host_ports.push(HostPort::start(&self.spec.image, &dir, &self.spec.lan(), port, leads)?);
            Ok(())
        };
        start(Place::Host, &host)?;
        if self.spec.witness || self.spec.boards || self.spec.database {
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

    /// Saves both machines and the witness under a name; they go on afterwards.
    ///
    /// # Errors
    /// QEMU's.
    pub fn save(&mut self, name: &str) -> anyhow::Result<()> {
        // Stopped in one moment: what either has under way then is lost for the saved machines, as on a real line, and
        // must be no more than what TCP sends again at once.
        for side in Side::BOTH {
            self.node(side)?.pause(true)?;
        }
        self.quiet();
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
        if self.spec.boards {
            for side in Side::BOTH {
                // Its port has to be free before.
                self.boards[side as usize] = None;
                self.start_board(side)?;
            }
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
}
