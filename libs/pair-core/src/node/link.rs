//! DRBD's events, the timers, and what a state as a whole still lacks.

use super::{Node, Out, Plan, ask::Purpose};
use crate::{
    effect::{Alarm, Effect},
    event::Timer,
    message::{Message, Mode},
    record::Holder,
    rules::Broken,
    view::{Disk, Link, Role, View},
};

impl Node {
    pub(super) fn on_drbd(&mut self, old: View, new: View, out: &mut Out) {
        let (old, new) = (old.safe(), new.safe());
        if old != self.view {
            out.alarm(Alarm::MissedEvent);
        }
        let before = core::mem::replace(&mut self.view, new);
        if new.link != before.link {
            self.tried = false;
        }
        if new.connected() != before.connected() {
            // A granted wish to leave, a turn, a promise: all of them belong to one state of the link.
            self.leaver = None;
            self.promising = None;
            self.consent = None;
            // Giving up for a freeze that is over would only cost a current copy.
            if matches!(self.pending.map(|pending| pending.purpose), Some(Purpose::GiveAway(_))) {
                self.pending = None;
            }
            self.sworn &= !new.connected();
            if let Plan::Leaving(id) = self.plan {
                self.stayed = Some(id);
            }
            self.plan = Plan::None;
            self.stop_change(out);
        }
        self.promoting &= new.role == Role::Secondary;
        if !new.frozen {
            self.freeze = None;
            if !self.rules.lacks(Broken::PromiseForever) {
                self.promised = false;
            }
        }
        if new.healthy() {
            self.met = true;
            self.diverged = false;
            self.store(super::Durable { alone: false, enrolled: Some(self.me.disk), ..self.durable }, out);
        }
        self.check_own_disk(out);
        if let (Plan::Leaving(id), Role::Primary) = (self.plan, new.role) {
            self.plan = Plan::None;
            self.stayed = Some(id);
        }
        if new.peer == Some(Role::Primary) && self.plan == Plan::Yielded {
            self.plan = Plan::None;
        }
        if new.role == Role::Primary && self.plan == Plan::Promoting {
            self.plan = Plan::None;
        }
        if let (Some(freeze), true) = (self.promising, new.disk <= Disk::Outdated) {
            self.promising = None;
            out.tell(Message::Outdated { freeze });
        }
    }

    pub(super) fn on_timer(&mut self, timer: Timer, out: &mut Out) {
        self.fired(timer);
        match timer {
            Timer::Claim => self.go_on_alone(out),
            Timer::Retry => self.retry(out),
            Timer::SelfFence if self.view.frozen => {
                out.alarm(Alarm::SelfFenced);
                self.reset(out);
            }
            Timer::SelfFence => {}
            Timer::Reread => self.ask(Purpose::Reread, out),
            Timer::PeerGone => {
                if self.view.writes_alone() && !self.view.connected() && self.me.watchdog {
                    self.set_taint(true, out);
                }
            }
            Timer::Hello => self.ask_hello(out),
        }
    }

    fn retry(&mut self, out: &mut Out) {
        self.tried = false;
        self.promoting = false;
        self.consent = None;
        match self.plan {
            Plan::Leaving(id) => {
                self.plan = Plan::None;
                self.stayed = Some(id);
                out.push(Effect::Refuse(crate::reason::Reason::PeerSilent));
                self.tell_hello(out);
            }
            Plan::Yielded | Plan::Promoting => self.plan = Plan::None,
            Plan::None | Plan::HandOver => {}
        }
        self.stop_change(out);
        if self.view.frozen && !self.view.connected() && self.question.is_none() {
            out.push(Effect::AskAgain);
        }
        if self.view.link == Link::StandAlone && self.peer.is_some() && !self.diverged {
            // The kernel gives a link up; it is taken up again with backoff, and the peer is asked first.
            self.ask_hello(out);
        }
        let waits = self.me.side != self.preferred && self.plan == Plan::None;
        if waits && self.may_take_over() {
            self.promote(false, out);
        }
    }

    /// A node that is neither active nor connected tries for the record.
    fn go_on_alone(&mut self, out: &mut Out) {
        if !self.stranded() {
            return;
        }
        match self.durable.policy.mode {
            Mode::Witness if self.rules.lacks(Broken::TrustConsistent) && !self.met => {
                self.promote(false, out);
            }
            Mode::Witness => self.ask(Purpose::Claim, out),
            Mode::Fence if self.met && self.view.disk == Disk::UpToDate => self.ask(Purpose::Power, out),
            Mode::Fence | Mode::Manual => {}
            Mode::AvailabilityFirst => self.promote(false, out),
        }
    }

    /// Not active, without a current peer, with a usable disk, and nothing else under way.
    pub(super) fn stranded(&self) -> bool {
        // Connected to a peer that cannot become active: its disk failed, or is being synchronised from here.
        let leads = self.view.disk == Disk::UpToDate
            && self.view.peer == Some(Role::Secondary)
            && self.view.link != Link::SyncTarget
            && !self.view.healthy();
        self.view.role == Role::Secondary
            && (leads || !self.view.connected())
            && self.view.disk >= Disk::Consistent
            && self.durable.prepared.is_none()
            && self.promising.is_none()
            && !self.stranger
            && self.plan == Plan::None
            && !self.diverged
            && self.question.is_none()
    }

    /// Connected with a current, equally inactive peer: may this node become active without a claim?
    fn may_take_over(&self) -> bool {
        let known = match self.durable.policy.mode {
            Mode::Witness => self.paired(),
            Mode::Fence | Mode::Manual | Mode::AvailabilityFirst => true,
        };
        self.view.healthy()
            && self.view.role == Role::Secondary
            && self.view.peer == Some(Role::Secondary)
            && known
            && self.durable.prepared.is_none()
    }

    /// The record says paired, and means these two disks.
    pub(super) fn paired(&self) -> bool {
        self.durable.record.is_some_and(|record| match record.holder {
            Holder::Paired { .. } => {
                record.holder.disk_of(self.me.side) == Some(self.me.disk)
                    && self.peer.is_none_or(|peer| record.holder.disk_of(!self.me.side) == Some(peer.disk))
            }
            Holder::Solo { .. } | Holder::Unknown => false,
        })
    }

    /// Brings about what the state as a whole lacks.
    pub(super) fn settle(&mut self, out: &mut Out) {
        let view = self.view;
        self.arm(Timer::Hello, out);
        if view.role == Role::Primary && view.frozen {
            self.arm(Timer::SelfFence, out);
        } else {
            self.disarm(Timer::SelfFence, out);
        }
        if view.healthy() {
            self.keep_record(out);
            self.keep_active(out);
        }
        if view.connected() {
            self.set_taint(false, out);
        }
        if self.stranded() {
            self.arm(Timer::Claim, out);
        } else {
            self.disarm(Timer::Claim, out);
        }
        if view.writes() && !view.connected() {
            self.keep_alone(out);
        } else {
            self.disarm(Timer::PeerGone, out);
        }
        // While it writes it looks at its record: lost when alone, forgotten by a restored witness when paired.
        if view.writes() && self.durable.policy.mode == Mode::Witness {
            self.arm(Timer::Reread, out);
        } else {
            self.disarm(Timer::Reread, out);
        }
        self.keep_retry(out);
        self.keep_service(out);
    }

    /// Is there anything that is worth another try?
    fn keep_retry(&mut self, out: &mut Out) {
        let view = self.view;
        let needed = view.frozen
            || self.tried
            || self.promoting
            || self.consent.is_some()
            || self.change.is_some()
            || self.plan != Plan::None
            || (view.link == Link::StandAlone && self.peer.is_some() && !self.diverged)
            || (self.plan == Plan::None && self.may_take_over());
        if needed {
            self.arm(Timer::Retry, out);
        } else {
            self.disarm(Timer::Retry, out);
        }
    }

    /// Datastore and address follow the storage.
    fn keep_service(&mut self, out: &mut Out) {
        let active = self.view.role == Role::Primary && self.view.disk == Disk::UpToDate;
        let stay = self.plan != Plan::HandOver;
        let address = active && stay && self.ready && !self.view.frozen;
        if address != self.address {
            self.address = address;
            out.push(Effect::VirtualIp(address));
        }
        // A frozen node keeps its datastore: it may go on. Stopping it would hang on the frozen disk anyway.
        let service = active && stay;
        if service != self.service {
            self.service = service;
            out.push(Effect::Service(service));
        }
        let idle = self.plan == Plan::HandOver && !self.ready && !self.tried;
        if idle && self.view.role == Role::Primary && self.view.healthy() {
            self.tried = true;
            self.arm(Timer::Retry, out);
            out.push(Effect::Demote);
        }
    }

    /// A healthy pair whose record does not say so.
    fn keep_record(&mut self, out: &mut Out) {
        if self.durable.policy.mode != Mode::Witness || self.tried || self.durable.prepared.is_some() {
            return;
        }
        let Some(peer) = self.peer else { return };
        if peer.disk == self.me.disk {
            if !self.same_disk {
                self.same_disk = true;
                out.alarm(Alarm::SameDisk);
            }
            return;
        }
        self.same_disk = false;
        if !self.may_pair() {
            return;
        }
        match self.durable.record.map(|record| record.holder) {
            _ if self.unknown.is_some() => self.ask_consent(out),
            Some(Holder::Solo { .. }) if self.owner() => self.ask_consent(out),
            None | Some(Holder::Unknown) => self.ask(Purpose::Reread, out),
            // The other node pairs; or the owner's disk was replaced, and nothing automatic takes its record over.
            Some(Holder::Solo { .. } | Holder::Paired { .. }) => {}
        }
    }

    /// Healthy, and nothing is under way that the record must not be widened under.
    pub(super) fn may_pair(&self) -> bool {
        self.view.healthy() && self.leaver.is_none() && self.change.is_none() && self.pending.is_none()
    }

    /// A healthy pair without an active node.
    fn keep_active(&mut self, out: &mut Out) {
        // One begins, the other steps in when the first does not: the kernel refuses a second Primary.
        let begins = self.me.side == self.preferred && !self.tried;
        if self.plan == Plan::None && begins && self.may_take_over() {
            self.tried = true;
            self.promote(false, out);
        }
        if let (Some(peer), Plan::None) = (self.peer, self.plan) {
            let moves = self.view.role == Role::Primary && !self.clients && peer.clients;
            if moves && self.may_hand_over() {
                self.tried = false;
                self.plan = Plan::HandOver;
            }
        }
        if self.plan == Plan::HandOver && self.view.role == Role::Secondary {
            self.plan = Plan::Yielded;
            out.tell(Message::YourTurn);
        }
    }

    pub(super) fn may_hand_over(&self) -> bool {
        let known = self.durable.policy.mode != Mode::Witness || self.paired();
        self.view.healthy()
            && known
            && self.pending.is_none()
            && self.change.is_none()
            && self.leaver.is_none()
    }

    /// Active without the peer: keep the right to it.
    fn keep_alone(&mut self, out: &mut Out) {
        self.arm(Timer::PeerGone, out);
        if self.durable.policy.mode != Mode::Witness {
            return;
        }
        // It went on by the peer's promise: make the record say so as soon as the witness answers.
        if !self.owner() && self.pending.is_none() && !self.tried && self.unknown.is_none() && !self.foreign {
            self.ask(Purpose::Confirm, out);
        }
    }

    fn set_taint(&mut self, on: bool, out: &mut Out) {
        if self.taint != on {
            self.taint = on;
            out.push(Effect::Taint(on));
        }
    }

    /// The peer is proven off.
    pub(super) fn peer_is_off(&mut self, out: &mut Out) {
        self.set_taint(true, out);
        out.push(Effect::PowerOn);
    }
}
