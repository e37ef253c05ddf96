//! Messages of the other agent: cold start, the promise to a frozen peer, leaving in order.

use super::{Node, Out, Plan, ask::Purpose};
use crate::{
    effect::{Alarm, Effect},
    event::{QuestionId, RequestId},
    message::{Hello, Message, Mode},
    record::{DiskId, Holder},
    rules::Broken,
    view::{Disk, Link, Role},
};

impl Node {
    pub(super) fn on_peer(&mut self, message: Message, out: &mut Out) {
        match message {
            Message::Hello(hello) => self.on_hello(hello, out),
            Message::Outdated { freeze } => {
                let now = self.freeze == Some(freeze) || self.rules.lacks(Broken::PromiseForever);
                if now && self.view.frozen && !self.view.connected() {
                    self.promised = true;
                    if self.question.is_none() {
                        out.push(Effect::AskAgain);
                    }
                }
            }
            Message::Leave { id } => self.on_leave(id, out),
            Message::MayLeave { id } => {
                let free = self.view.role == Role::Secondary && self.question.is_none();
                if self.plan == Plan::Leaving(id) && self.view.connected() && free {
                    self.plan = Plan::None;
                    out.push(Effect::Disconnect);
                    out.push(Effect::Halt);
                }
            }
            Message::YourTurn => {
                let known = self.durable.policy.mode != Mode::Witness || self.paired();
                let free = self.view.healthy() && self.view.peer == Some(Role::Secondary);
                let idle = self.plan == Plan::None && self.durable.prepared.is_none();
                if known && free && idle && self.view.role == Role::Secondary {
                    self.promote(false, out);
                }
            }
            Message::Prepare { id, policy } => self.on_prepare(id, policy, out),
            Message::Prepared { id } => self.on_prepared(id, out),
            Message::Commit { id } => self.on_commit(id, out),
            Message::Abort { id } => self.on_abort(id, out),
        }
    }

    fn on_hello(&mut self, hello: Hello, out: &mut Out) {
        if hello.stayed.is_some() && hello.stayed == self.leaver {
            self.leaver = None;
        }
        self.learn_from_peer(hello, out);
        self.peer = Some(super::Peer {
            disk: hello.disk,
            clients: hello.clients,
            stayed: hello.stayed,
            lineage: hello.record.map(|record| record.lineage),
            ahead: hello.record.map(|record| record.epoch).filter(|epoch| *epoch > self.epoch()),
        });
        // The peer writes alone, so it was granted, under whatever record: this node cannot be any more.
        let granted = hello.role == Role::Primary && hello.frozen.is_none() && !hello.connected;
        if granted && self.view.role == Role::Primary && self.view.frozen && !self.view.connected() {
            out.alarm(Alarm::Superseded);
            self.reset(out);
        }
        if self.gone {
            return;
        }
        if let Some(id) = hello.prepared {
            self.settle_change(id, out);
        }
        if hello.answers.is_some() && hello.answers == self.consent {
            self.consent = None;
            self.tried |= !hello.healthy;
            let wanted = self.unknown.is_some() || self.owner();
            if hello.healthy && wanted && self.may_pair() {
                self.widen(hello.disk, out);
            }
        }
        let cold = self.view.link == Link::StandAlone && !self.diverged && self.view.disk != Disk::Diskless;
        if cold && self.question.is_none() && !self.stranger {
            match hello.frozen {
                // A replaced disk cannot promise for the one that the record names.
                Some(_) if self.named_other(hello) => {}
                Some(freeze) if !self.rules.lacks(Broken::ConnectAtOnce) => self.yield_to(freeze, out),
                // Connecting now could meet a Primary that freezes in between: ask again later.
                _ if hello.connected && !self.rules.lacks(Broken::ConnectAtOnce) => {}
                _ => out.push(Effect::Connect),
            }
        }
        if hello.asks.is_some() {
            out.tell(Message::Hello(Hello { answers: hello.asks, ..self.hello() }));
        }
    }

    /// The peer's record names another disk for this side.
    fn named_other(&self, hello: Hello) -> bool {
        let named = hello.record.and_then(|record| record.holder.disk_of(self.me.side));
        named.is_some_and(|disk| disk != self.me.disk)
    }

    /// Asks the peer how it is.
    pub(super) fn ask_hello(&mut self, out: &mut Out) {
        if let Some(id) = out.fresh.take() {
            out.tell(Message::Hello(Hello { asks: Some(id), ..self.hello() }));
        }
    }

    /// The record is to say paired. Before that the peer must say, after this question, that it is connected too:
    /// this kernel may not have noticed yet that the peer is gone, that it came back with another disk, or that it
    /// went on alone under a record that the witness has forgotten.
    pub(super) fn ask_consent(&mut self, out: &mut Out) {
        if let (true, Some(peer)) = (self.rules.lacks(Broken::PairAtOnce), self.peer) {
            self.widen(peer.disk, out);
        } else if self.consent.is_none() {
            self.tried |= out.fresh.is_none();
            self.consent = out.fresh;
            self.ask_hello(out);
        }
    }

    fn widen(&mut self, disk: DiskId, out: &mut Out) {
        let purpose = if self.unknown.is_some() { Purpose::Adopt(disk) } else { Purpose::Pair(disk) };
        self.ask(purpose, out);
    }

    /// A disk that this node was never current with must come empty. A clone would look equal to DRBD while its
    /// blocks are old, because generations do not change while a pair is connected.
    pub(super) fn check_own_disk(&mut self, out: &mut Out) {
        // It did come empty: what it will hold comes from the peer. Noted now, because the power may go between the
        // kernel's "current" and the moment this node hears of it, and then the disk would be a stranger for ever.
        if self.view.disk == Disk::Inconsistent {
            self.store(super::Durable { enrolled: Some(self.me.disk), ..self.durable }, out);
        }
        let known = self.durable.enrolled == Some(self.me.disk);
        let strange = self.view.disk > Disk::Inconsistent && !known && !self.view.connected();
        if strange && !self.stranger && !self.rules.lacks(Broken::TrustStrangers) {
            out.alarm(Alarm::StrangeDisk);
        }
        self.stranger = strange && !self.rules.lacks(Broken::TrustStrangers);
    }

    /// The newest record is believed from the peer too; another lineage only from a healthy peer that went into
    /// it with both disks and above everything this node remembers.
    fn learn_from_peer(&mut self, hello: Hello, out: &mut Out) {
        let (Some(theirs), Some(ours)) = (hello.record, self.durable.record) else { return };
        let both = match theirs.holder {
            Holder::Paired { .. } => {
                theirs.holder.disk_of(self.me.side) == Some(self.me.disk)
                    && theirs.holder.disk_of(!self.me.side) == Some(hello.disk)
            }
            Holder::Solo { .. } | Holder::Unknown => false,
        };
        let newer = theirs.epoch > ours.epoch && hello.revision == self.durable.policy.revision;
        let same = theirs.lineage == ours.lineage;
        if newer && (same || (both && self.view.healthy())) {
            self.believe(theirs, out);
        }
        // A frozen node that hears from the owner itself need not wait for the witness to say so.
        if same && theirs.epoch >= ours.epoch {
            self.check_own(out);
        }
    }

    /// The peer is a frozen Primary and this node has just started: whatever it held is worth less than the
    /// peer's unfreezing. It gives up its claims, then outdates its disk for good, and says so.
    fn yield_to(&mut self, freeze: QuestionId, out: &mut Out) {
        if self.promising.is_some() {
            return;
        }
        if self.view.role == Role::Primary || matches!(self.plan, Plan::Promoting) {
            return;
        }
        if self.view.disk <= Disk::Outdated {
            self.promising = Some(freeze);
            self.outdate(out);
            return;
        }
        match self.durable.policy.mode {
            Mode::Witness => {
                if !matches!(self.pending.map(|p| p.purpose), Some(Purpose::GiveAway(_))) {
                    self.ask(Purpose::GiveAway(freeze), out);
                }
            }
            Mode::Fence | Mode::Manual | Mode::AvailabilityFirst => {
                self.promising = Some(freeze);
                self.outdate(out);
            }
        }
    }

    /// The peer wants to go down in order. Its orderly disconnect lets this kernel go on without a question, so
    /// the record must say so first.
    fn on_leave(&mut self, id: RequestId, out: &mut Out) {
        let withdrawn = self.peer.is_some_and(|peer| peer.stayed == Some(id));
        if withdrawn || !self.view.healthy() || self.change.is_some() || self.plan != Plan::None {
            return;
        }
        if self.durable.policy.mode == Mode::Witness && !self.rules.lacks(Broken::LeaveWithoutClaim) {
            self.leaver = Some(id);
            self.ask(Purpose::Depart(id), out);
        } else {
            self.leaver = Some(id);
            out.tell(Message::MayLeave { id });
        }
    }
}
