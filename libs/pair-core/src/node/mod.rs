//! The failover machine of one node.
//!
//! [`Node::on`] takes one event and returns the effects, in order. What an event *means* is in the sibling modules;
//! what the state as a whole still *lacks* is settled after every event by `settle` (level-triggered: a lost
//! message or a refused command is made good by the next event or timer).
//!
//! - `link`: DRBD's events, timers, what a state lacks.
//! - `ask`: requests to the witness and what their answers mean.
//! - `fence`: handler questions and power devices.
//! - `peer`: messages of the other agent, cold start, leaving.
//! - `policy`: change of mode or witness as a transaction.
//! - `operator`: commands. `status`: the state in words.
mod ask;
mod fence;
mod link;
mod operator;
mod peer;
mod policy;
mod status;

use crate::{
    effect::{Alarm, Effect},
    event::{Event, QuestionId, RequestId, Timer},
    handler::{Facts, Handler},
    message::{Hello, Message, Policy},
    record::{DiskId, Epoch, Holder, Lineage, Record, Side},
    rules::{Broken, Rules},
    view::{Disk, Role, View},
};
use ask::Pending;
use serde::{Deserialize, Serialize};

/// What does not change while a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Which node of the seed.
    pub side: Side,
    /// The disk it carries.
    pub disk: DiskId,
    /// A hardware watchdog is armed on both nodes, so that time proves something.
    pub watchdog: bool,
    /// A power device can switch the peer off.
    pub power: bool,
}

/// What a node remembers over a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The newest record it believes.
    pub record: Option<Record>,
    /// The disk with which this node was current last, or that came empty since. Another disk in this box is not this
    /// node's: it must come empty.
    pub enrolled: Option<DiskId>,
    /// The agreed policy.
    pub policy: Policy,
    /// A policy that may come to hold: until that is known this node claims nothing.
    pub prepared: Option<(RequestId, Policy)>,
    /// The last transaction that this node has decided to carry out.
    pub committed: Option<RequestId>,
    /// `manual`: went on alone and has not met a current peer since.
    pub alone: bool,
}

impl Durable {
    /// A node that remembers nothing yet.
    pub fn new(policy: Policy) -> Durable {
        Durable { record: None, enrolled: None, policy, prepared: None, committed: None, alone: false }
    }
}

/// Which longer operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Plan {
    #[default]
    None,
    /// Stops the service, then demotes.
    HandOver,
    /// Demoted; the peer should promote itself.
    Yielded,
    /// Asked the peer to record that it stays alone.
    Leaving(RequestId),
    /// An operator's promotion: the record was set.
    Promoting,
}

/// What a node keeps of its peer's [`Hello`]s. The rest is news when it arrives and stale right after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The peer's disk.
    pub disk: DiskId,
    /// It reaches its clients' network.
    pub clients: bool,
    /// The wish to leave that it has withdrawn.
    pub stayed: Option<RequestId>,
    /// Its lineage.
    pub lineage: Option<Lineage>,
    /// Its epoch, when that is above the own one: another history that a new record must be above of.
    pub ahead: Option<Epoch>,
}

/// The failover machine of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub(crate) me: Identity,
    pub(crate) rules: Rules,
    pub(crate) durable: Durable,
    pub(crate) view: View,
    /// Both disks were current, connected, since this boot.
    pub(crate) met: bool,
    /// What the peer's agent said in this boot, as far as it stays true.
    pub(crate) peer: Option<Peer>,
    pub(crate) pending: Option<Pending>,
    /// Something was tried and failed: not again before [`Timer::Retry`] or a change of the link.
    pub(crate) tried: bool,
    /// `drbdadm primary` was ordered, and it may still be carried out.
    pub(crate) promoting: bool,
    pub(crate) question: Option<(QuestionId, Handler)>,
    /// The freeze that lasts, named by its first question.
    pub(crate) freeze: Option<QuestionId>,
    /// The peer outdated itself in this freeze.
    pub(crate) promised: bool,
    /// The frozen peer's freeze for which this node outdates itself.
    pub(crate) promising: Option<QuestionId>,
    /// An operator vouches that the peer is off.
    pub(crate) sworn: bool,
    pub(crate) service: bool,
    pub(crate) ready: bool,
    pub(crate) address: bool,
    pub(crate) taint: bool,
    pub(crate) plan: Plan,
    /// The peer's wish to leave that was granted or is being recorded: no pairing meanwhile.
    pub(crate) leaver: Option<RequestId>,
    /// Own withdrawn wish.
    pub(crate) stayed: Option<RequestId>,
    pub(crate) change: Option<policy::Change>,
    pub(crate) clients: bool,
    pub(crate) diverged: bool,
    /// The witness's record, while it says `unknown`.
    pub(crate) unknown: Option<Record>,
    pub(crate) foreign: bool,
    /// Asked the peer whether it too is connected, before a witness that forgot is told.
    pub(crate) consent: Option<RequestId>,
    pub(crate) same_disk: bool,
    pub(crate) stranger: bool,
    pub(crate) gone: bool,
    /// Who begins where both could become active.
    pub(crate) preferred: Side,
    armed: u8,
}

/// Collects effects; gives out the fresh id once.
pub(crate) struct Out {
    pub(crate) effects: Vec<Effect>,
    pub(crate) fresh: Option<RequestId>,
}

impl Out {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn tell(&mut self, message: Message) {
        self.push(Effect::Tell(message));
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        self.push(Effect::Alarm(alarm));
    }
}

impl Node {
    /// A node after power-on: the resource is not up, nothing is active, the virtual IP is in FAULT.
    pub fn new(me: Identity, durable: Durable, rules: Rules) -> Node {
        Node {
            me,
            rules,
            durable,
            view: View::DOWN,
            met: false,
            peer: None,
            pending: None,
            tried: false,
            promoting: false,
            question: None,
            freeze: None,
            promised: false,
            promising: None,
            sworn: false,
            service: false,
            ready: false,
            address: false,
            taint: false,
            plan: Plan::None,
            leaver: None,
            stayed: None,
            change: None,
            clients: true,
            diverged: false,
            unknown: None,
            foreign: false,
            consent: None,
            same_disk: false,
            stranger: false,
            gone: false,
            preferred: Side::A,
            armed: 0,
        }
    }

    /// Where both nodes could become active, this side begins: the one that was active last, as far as the shell
    /// remembers. Only a preference: when the nodes disagree both try or both wait for [`Timer::Retry`], and the
    /// kernel refuses a second Primary.
    pub fn prefer(&mut self, side: Side) {
        self.preferred = side;
    }

    /// Takes one event. `fresh` names the one request that it may cause; no request in flight may have it.
    pub fn on(&mut self, event: Event, fresh: RequestId) -> Vec<Effect> {
        let mut out = Out { effects: Vec::new(), fresh: Some(fresh) };
        if self.gone {
            return out.effects;
        }
        match event {
            Event::Drbd { old, new } => self.on_drbd(old, new, &mut out),
            Event::Question { id, asked } => self.on_question(id, asked, &mut out),
            Event::SplitBrain => {
                self.diverged = true;
                out.alarm(Alarm::Diverged);
            }
            Event::Witness { request, answer } => self.on_witness(request, answer, &mut out),
            Event::Power { request, power } => self.on_power(request, power, &mut out),
            Event::Peer(message) => self.on_peer(message, &mut out),
            Event::Timer(timer) => self.on_timer(timer, &mut out),
            Event::Operator(command) => self.on_command(command, &mut out),
            Event::Service(ready) => self.ready = ready,
            Event::Clients(reached) => {
                self.clients = reached;
                self.tell_hello(&mut out);
            }
        }
        if !self.gone {
            self.settle(&mut out);
        }
        out.effects
    }

    /// What this node tells its peer.
    pub fn hello(&self) -> Hello {
        // The freeze shows before the kernel's handler has asked, or was named to an agent that is gone. Until it has
        // a name the peer can promise nothing for it, and must not connect: it is to ask again.
        let unnamed = self.view.role == Role::Primary && self.view.frozen && self.freeze.is_none();
        Hello {
            disk: self.me.disk,
            record: self.durable.record,
            role: self.view.role,
            frozen: self.freeze.filter(|_| self.view.role == Role::Primary && self.view.frozen),
            connected: self.view.connected() || (unnamed && !self.rules.lacks(Broken::UnnamedFreeze)),
            clients: self.clients,
            revision: self.durable.policy.revision,
            prepared: self.durable.prepared.map(|(id, _)| id),
            stayed: self.stayed,
            // A node that waits for the permission to leave does not ask for more than it has.
            healthy: self.view.healthy() && !matches!(self.plan, Plan::Leaving(_)),
            usable: self.view.disk > Disk::Inconsistent,
            asks: None,
            answers: None,
        }
    }

    /// The last word of the peer's agent, if it spoke since this node's boot.
    pub fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// What it remembers.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// DRBD as it knows it.
    pub fn view(&self) -> View {
        self.view
    }

    /// Is this timer armed?
    pub fn armed(&self, timer: Timer) -> bool {
        self.armed & (1 << timer as u8) != 0
    }

    /// What the agent leaves on tmpfs for a handler that must run without it. What was promised or sworn for one
    /// freeze stays with the agent: a handler alone cannot tell whether this freeze is still that one.
    pub fn facts_alone(&self) -> Facts {
        Facts { promised: false, sworn: false, ..self.facts() }
    }

    /// What a handler knows.
    pub fn facts(&self) -> Facts {
        Facts {
            side: self.me.side,
            disk_id: self.me.disk,
            disk: self.view.disk,
            role: self.view.role,
            mode: self.durable.policy.mode,
            record: self.durable.record,
            barred: self.durable.prepared.is_some(),
            promised: self.promised,
            sworn: self.sworn,
            power: self.me.power,
        }
    }

    pub(crate) fn tell_hello(&self, out: &mut Out) {
        out.tell(Message::Hello(self.hello()));
    }

    pub(crate) fn arm(&mut self, timer: Timer, out: &mut Out) {
        if !self.armed(timer) {
            self.armed |= 1 << timer as u8;
            out.push(Effect::Arm(timer));
        }
    }

    pub(crate) fn disarm(&mut self, timer: Timer, out: &mut Out) {
        if self.armed(timer) {
            self.armed &= !(1 << timer as u8);
            out.push(Effect::Disarm(timer));
        }
    }

    pub(crate) fn fired(&mut self, timer: Timer) {
        self.armed &= !(1 << timer as u8);
    }

    pub(crate) fn promote(&mut self, force: bool, out: &mut Out) {
        self.promoting = true;
        out.push(Effect::Promote { force });
    }

    pub(crate) fn reset(&mut self, out: &mut Out) {
        if self.address {
            out.push(Effect::VirtualIp(false));
        }
        self.gone = true;
        out.push(Effect::Reset);
    }

    pub(crate) fn store(&mut self, durable: Durable, out: &mut Out) {
        if durable != self.durable {
            self.durable = durable;
            out.push(Effect::Store(durable));
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.durable.record.map(|record| record.epoch).unwrap_or_default()
    }

    /// The record gives this node the right to go on alone.
    pub(crate) fn owner(&self) -> bool {
        self.durable
            .record
            .is_some_and(|r| r.holder == Holder::Solo { side: self.me.side, disk: self.me.disk })
    }

    /// Visits every epoch, so that a model can rename them and keep its state space finite.
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn epochs(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        let change = self.change.as_mut().and_then(|change| change.record.as_mut());
        let records = [self.durable.record.as_mut(), self.unknown.as_mut(), change];
        records.into_iter().flatten().for_each(|record| visit(&mut record.epoch));
        if let Some(epoch) = self.peer.as_mut().and_then(|peer| peer.ahead.as_mut()) {
            visit(epoch);
        }
    }

    /// Visits every id, for the same reason.
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn ids(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        if let Some(pending) = &mut self.pending {
            visit(&mut pending.id.0);
            pending.purpose.ids(visit);
        }
        if let Some((id, handler)) = &mut self.question {
            visit(&mut id.0);
            handler.ids(visit);
        }
        [&mut self.freeze, &mut self.promising].into_iter().flatten().for_each(|id| visit(&mut id.0));
        let peer = self.peer.as_mut().and_then(|peer| peer.stayed.as_mut());
        let plan = match &mut self.plan {
            Plan::Leaving(id) => Some(id),
            Plan::None | Plan::HandOver | Plan::Yielded | Plan::Promoting => None,
        };
        let durable = [
            self.durable.committed.as_mut(),
            self.durable.prepared.as_mut().map(|(id, _)| id),
            self.leaver.as_mut(),
            self.stayed.as_mut(),
            self.consent.as_mut(),
            self.change.as_mut().map(|change| &mut change.id),
            peer,
            plan,
        ];
        durable.into_iter().flatten().for_each(|id| visit(&mut id.0));
    }

    /// Does it wait for the answer to this request?
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn awaits(&self, id: RequestId) -> bool {
        self.pending.is_some_and(|p| p.id == id) || self.question.is_some_and(|(_, h)| h.request() == id)
    }
}
