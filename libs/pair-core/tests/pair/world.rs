//! Two nodes, their kernels, the network, the witnesses: one state of the model.

use crate::drbd::{Kernel, Later, Meta};
use crate::flight::{doomed, flight_epochs, mail_ids};
use pair_core::{
    effect::Query,
    event::Answer,
    event::{Asked, Power as PowerAnswer, QuestionId, RequestId},
    handler::{Facts, Handler},
    message::{Message, Mode, Policy, WitnessId},
    node::{Durable, Identity, Node},
    record::{DiskId, Epoch, Holder, Lineage, Record, Side},
    rules::Rules,
    view::{Disk, Link, Role},
};

pub const SIDES: [Side; 2] = [Side::A, Side::B];

/// Is the box running?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    Off,
    On,
    /// Suspended: nothing runs, and it may wake late.
    Asleep,
}

/// A request to a witness or power device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Going(WitnessId, Query),
    Back(Answer),
    Shot,
    ShotDone(PowerAnswer),
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flight {
    pub id: RequestId,
    pub stage: Stage,
    /// Its sender has given it up (silence was reported to it, or it crashed).
    pub orphan: bool,
}

/// A command to the kernel, or the kernel's question, that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    Question(QuestionId, Asked),
    Promote(bool),
    Demote,
    Connect,
    Disconnect,
    AskAgain,
    Outdate,
}

/// One box.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    pub power: Power,
    pub agent: Option<Node>,
    /// The handler that runs without its agent.
    pub lone: Option<Handler>,
    /// What the agent left on tmpfs before it died.
    pub facts: Option<Facts>,
    pub kernel: Kernel,
    pub md: Meta,
    /// The orderly disconnect's "outdated" is not on disk yet.
    pub unflushed: bool,
    /// Goes down in order as soon as its disk is written.
    pub halting: bool,
    /// Writes on this disk.
    pub data: u8,
    /// Writes on this disk that a power cut drops.
    pub cached: u8,
    /// Writes that wait: on this disk, not acknowledged.
    pub waiting: u8,
    pub store: Durable,
    pub disk: DiskId,
    /// Who was active last, as far as this box remembers.
    pub last: Side,
    pub ready: bool,
    pub address: bool,
    pub taint: bool,
    pub flights: Vec<Flight>,
    /// The message on its way to this box.
    pub mail: Option<Message>,
    /// Gone for good.
    pub scrapped: bool,
    /// The next command or question is held up.
    pub slow: bool,
    /// What is held up, in order.
    pub held: Vec<Held>,
}

/// A witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Witness {
    pub up: bool,
    pub record: Record,
    /// What an old backup of its database says.
    pub backup: Record,
}

/// How many faults and acts are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    pub crash: u8,
    pub link: u8,
    pub outage: u8,
    pub sleep: u8,
    pub write: u8,
    pub loss: u8,
    pub delay: u8,
    pub fence: u8,
    pub agent: u8,
    pub disk: u8,
    pub restore: u8,
    pub replace: u8,
    pub clone: u8,
    pub leave: u8,
    pub switchover: u8,
    pub policy: u8,
    pub promote: u8,
    pub clients: u8,
    /// A command or question is held up.
    pub lag: u8,
    /// A dead agent is started again instead of the box.
    pub restart: u8,
    /// The witness loses history without noticing.
    pub rollback: u8,
}

/// What a run of the model is about.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub rules: Rules,
    pub mode: Mode,
    /// Answers that nobody waits for are delivered too.
    pub late: bool,
    /// A change of policy goes to this mode and witness.
    pub next: (Mode, u32),
    /// A power device stands beside.
    pub power: bool,
    /// Taints are modelled.
    pub taint: bool,
    pub left: Left,
    /// Liveness is judged too.
    pub alive: bool,
    pub twist: Twist,
}

/// A rule broken outside the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Twist {
    #[default]
    None,
    /// A restored witness says what its backup says.
    RestoreBelieved,
    /// A cloned disk keeps its id.
    CloneKeepsId,
    /// Commits are empty flushes.
    EmptyFlush,
    /// The handler is asked again by an orderly disconnect.
    OrderlyAskAgain,
}

/// One state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub hosts: [Host; 2],
    pub later: Later,
    pub wire: bool,
    pub witnesses: [Witness; 2],
    pub acked: u8,
    pub left: Left,
    /// An act that broke a law by itself.
    pub broken: Option<&'static str>,
}

pub fn lineage(n: u8) -> Lineage {
    Lineage([n; 16])
}

pub fn disk_id(n: u8) -> DiskId {
    DiskId([n; 16])
}

impl World {
    /// A formed pair: a is active, connected, both current.
    pub fn formed(scenario: &Scenario) -> World {
        let paired = Holder::Paired { a: disk_id(0xa), b: disk_id(0xb) };
        let record = Record { lineage: lineage(1), epoch: Epoch(2), holder: paired };
        let unknown = Record { lineage: lineage(7), epoch: Epoch(0), holder: Holder::Unknown };
        let policy = Policy { revision: 1, mode: scenario.mode, witness: WitnessId(0) };
        let known = (scenario.mode == Mode::Witness).then_some(record);
        let md = Meta { consistent: true, was_up_to_date: true, primary: false, peer_outdated: false };
        let host = |side: Side| Host {
            power: Power::On,
            agent: None,
            lone: None,
            facts: None,
            kernel: Kernel { disk: Disk::Consistent, link: Link::Connecting, ..Kernel::DOWN },
            md,
            unflushed: false,
            halting: false,
            data: 0,
            cached: 0,
            waiting: 0,
            store: Durable { record: known, ..Durable::new(policy) },
            disk: disk_id(if side == Side::A { 0xa } else { 0xb }),
            last: Side::A,
            ready: false,
            address: false,
            taint: false,
            flights: Vec::new(),
            mail: None,
            scrapped: false,
            slow: false,
            held: Vec::new(),
        };
        let mut world = World {
            hosts: SIDES.map(host),
            later: Later::Same,
            wire: true,
            witnesses: [
                Witness { up: true, record, backup: record },
                Witness { up: true, record: unknown, backup: unknown },
            ],
            acked: 0,
            left: scenario.left,
            broken: None,
        };
        for at in 0..2 {
            world.start_agent(at, scenario);
        }
        world.begin(scenario);
        world
    }

    pub fn start_agent(&mut self, at: usize, scenario: &Scenario) {
        let host = &mut self.hosts[at];
        let me = Identity {
            side: SIDES[at],
            disk: host.disk,
            watchdog: scenario.taint,
            power: scenario.power || scenario.mode == Mode::Fence,
        };
        let mut agent = Node::new(me, host.store, scenario.rules);
        agent.prefer(host.last);
        host.agent = Some(agent);
    }

    /// The replication link carries data right now.
    pub fn live(&self) -> bool {
        let up = |host: &Host| host.power == Power::On && host.kernel.link >= Link::Connected;
        self.wire && self.hosts.iter().all(up)
    }

    /// The two agents reach each other.
    pub fn reachable(&self, to: usize) -> bool {
        self.wire && self.hosts[to].power != Power::Off
    }

    /// Acknowledges writes without a current peer.
    pub fn alone(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        host.power != Power::Off
            && host.kernel.role == Role::Primary
            && !host.kernel.frozen
            && host.kernel.link < Link::Connected
    }

    /// An id that nothing in this state has: ids are renamed to 1, 2, 3… after every move.
    pub fn fresh(&mut self) -> RequestId {
        let mut last = 0;
        self.ids(&mut |id| last = last.max(*id));
        RequestId(last + 1)
    }

    fn ids(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        for host in &mut self.hosts {
            if let Some(agent) = &mut host.agent {
                agent.ids(visit);
            }
            if let Some(lone) = &mut host.lone {
                lone.ids(visit);
            }
            if let Some(question) = &mut host.kernel.question {
                visit(&mut question.id.0);
            }
            host.flights.iter_mut().for_each(|flight| visit(&mut flight.id.0));
            for held in &mut host.held {
                if let Held::Question(id, _) = held {
                    visit(&mut id.0);
                }
            }
            let store = [host.store.prepared.as_mut().map(|p| &mut p.0), host.store.committed.as_mut()];
            store.into_iter().flatten().for_each(|id| visit(&mut id.0));
            if let Some(mail) = &mut host.mail {
                mail_ids(mail, visit);
            }
        }
    }

    /// Renames epochs by their order, so that a pair that does the same again is in the same state again.
    pub fn normalise(&mut self, late_answers: bool) {
        let witness = self.witnesses;
        let mut left = self.left;
        for host in &mut self.hosts {
            for flight in &mut host.flights {
                let awaited = host.agent.as_ref().is_some_and(|agent| agent.awaits(flight.id))
                    || host.lone.is_some_and(|lone| lone.request() == flight.id);
                if !awaited && !flight.orphan {
                    // Its sender has moved on. Whether it still arrives later is one of the delays.
                    flight.orphan = true;
                    doomed(&mut left.delay, flight);
                }
            }
            // What nobody waits for matters only as long as it can still change something.
            host.flights.retain(|flight| match flight.stage {
                Stage::Going(to, Query::Swap(swap)) if flight.orphan => {
                    let record = witness[to.0 as usize].record;
                    let early = left.rollback == 0 && record.epoch > swap.expect;
                    record.lineage == swap.lineage && !early
                }
                Stage::Going(_, Query::Read) => !flight.orphan,
                Stage::Lost => false,
                Stage::Back(_) | Stage::ShotDone(_) => !flight.orphan || late_answers,
                Stage::Going(..) | Stage::Shot => true,
            });
        }
        for host in &mut self.hosts {
            // Of two equal swaps only one can succeed: the second finds a later epoch.
            let mut known: Vec<Stage> = Vec::new();
            host.flights.retain(|flight| {
                let again = flight.orphan && known.contains(&flight.stage);
                known.extend(flight.orphan.then_some(flight.stage));
                !again
            });
        }
        self.left = left;
        self.forget_writes();
        let mut names: Vec<u64> = Vec::new();
        self.ids(&mut |id| {
            let at = names.iter().position(|name| name == id).unwrap_or_else(|| {
                names.push(*id);
                names.len() - 1
            });
            *id = 1 + at as u64;
        });
        let mut seen: Vec<Epoch> = Vec::new();
        self.epochs(&mut |epoch| seen.push(*epoch));
        seen.sort_unstable();
        seen.dedup();
        self.epochs(&mut |epoch| {
            // Twice the rank: two epochs that were not neighbours do not become equal by a step of one.
            let rank = seen.binary_search(epoch).unwrap_or(0);
            *epoch = Epoch(2 * rank as u64);
        });
    }

    /// Two writes that are in the same places will always be: one stands for both. One that was never
    /// acknowledged and waits for nothing promises nothing. One that is everywhere is safe, unless a disk can
    /// vanish or forget.
    fn forget_writes(&mut self) {
        let [a, b] = &self.hosts;
        let total = self.left.replace + self.left.clone == 0 && (a.cached | b.cached) == 0;
        let fixed = a.disk == disk_id(0xa) && b.disk == disk_id(0xb);
        let places = |bit: u8| {
            [self.acked, a.data, b.data, a.waiting, b.waiting, a.cached, b.cached].map(|set| set & bit != 0)
        };
        let mut kept: Vec<[bool; 7]> = (0..8).map(|n| places(1 << n)).collect();
        kept.retain(|place| {
            let waits = place[0] || place[3] || place[4];
            let safe = place[0] && place[1] && place[2];
            waits && !(safe && total && fixed)
        });
        kept.sort_unstable();
        kept.dedup();
        let mut sets = [0_u8; 7];
        for (n, place) in kept.iter().enumerate() {
            for (set, there) in sets.iter_mut().zip(place) {
                *set |= u8::from(*there) << n;
            }
        }
        let [acked, a_data, b_data, a_waiting, b_waiting, a_cached, b_cached] = sets;
        self.acked = acked;
        let [a, b] = &mut self.hosts;
        (a.data, a.waiting, a.cached) = (a_data, a_waiting, a_cached);
        (b.data, b.waiting, b.cached) = (b_data, b_waiting, b_cached);
    }

    fn epochs(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        for witness in &mut self.witnesses {
            visit(&mut witness.record.epoch);
            visit(&mut witness.backup.epoch);
        }
        for host in &mut self.hosts {
            if let Some(record) = &mut host.store.record {
                visit(&mut record.epoch);
            }
            if let Some(agent) = &mut host.agent {
                agent.epochs(visit);
            }
            if let Some(record) = host.facts.as_mut().and_then(|facts| facts.record.as_mut()) {
                visit(&mut record.epoch);
            }
            if let Some(Message::Hello(hello)) = &mut host.mail {
                if let Some(record) = &mut hello.record {
                    visit(&mut record.epoch);
                }
            }
            for flight in &mut host.flights {
                flight_epochs(flight, visit);
            }
        }
    }
}
