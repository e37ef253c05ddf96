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
    record::{DiskId, Epoch, Holder, Record, Side},
    rules::Rules,
    view::{Role, View},
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
        Durable { record: None, policy, prepared: None, committed: None, alone: false }
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

/// The failover machine of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub(crate) me: Identity,
    pub(crate) rules: Rules,
    pub(crate) durable: Durable,
    pub(crate) view: View,
    /// Both disks were current, connected, since this boot.
    pub(crate) met: bool,
    /// The last word of the peer's agent in this boot.
    pub(crate) peer: Option<Hello>,
    pub(crate) pending: Option<Pending>,
    /// Something was tried and failed: not again before [`Timer::Retry`] or a change of the link.
    pub(crate) tried: bool,
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
    pub(crate) same_disk: bool,
    pub(crate) gone: bool,
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
            same_disk: false,
            gone: false,
            armed: 0,
        }
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
                self.tell_hello(false, &mut out);
            }
        }
        if !self.gone {
            self.settle(&mut out);
        }
        out.effects
    }

    /// What this node tells its peer.
    pub fn hello(&self, reply: bool) -> Hello {
        Hello {
            disk: self.me.disk,
            record: self.durable.record,
            role: self.view.role,
            frozen: self.freeze.filter(|_| self.view.role == Role::Primary && self.view.frozen),
            clients: self.clients,
            revision: self.durable.policy.revision,
            prepared: self.durable.prepared.map(|(id, _)| id),
            stayed: self.stayed,
            reply,
        }
    }

    /// The last word of the peer's agent, if it spoke since this node's boot.
    pub fn peer(&self) -> Option<Hello> {
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

    /// What a handler knows; also what the agent leaves on tmpfs for a handler that must run without it.
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

    pub(crate) fn tell_hello(&self, reply: bool, out: &mut Out) {
        out.tell(Message::Hello(self.hello(reply)));
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

    /// Renames epochs and ids, which a model does to keep its state space finite.
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn rename(&mut self, records: &mut dyn FnMut(&mut Record)) {
        if let Some(record) = &mut self.durable.record {
            records(record);
        }
        if let Some(record) = self.peer.as_mut().and_then(|peer| peer.record.as_mut()) {
            records(record);
        }
        if let Some(record) = &mut self.unknown {
            records(record);
        }
        if let Some(record) = self.change.as_mut().and_then(|change| change.record.as_mut()) {
            records(record);
        }
    }

    /// The ids that this node still waits for.
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = Vec::new();
        ids.extend(self.pending.map(|p| p.id.0));
        ids.extend(self.question.map(|(id, h)| [id.0, h.request().0]).into_iter().flatten());
        ids.extend(self.freeze.map(|q| q.0));
        ids.extend(self.promising.map(|q| q.0));
        ids.extend([self.leaver, self.stayed, self.durable.committed].into_iter().flatten().map(|r| r.0));
        ids.extend(self.durable.prepared.map(|(r, _)| r.0));
        ids.extend(self.change.map(|c| c.id.0));
        if let Plan::Leaving(id) = self.plan {
            ids.push(id.0);
        }
        if let Some(peer) = self.peer {
            ids.extend(peer.frozen.map(|q| q.0));
            ids.extend([peer.prepared, peer.stayed].into_iter().flatten().map(|r| r.0));
        }
        ids
    }
}
