//! Requests to the witness, and what their answers mean.

use super::{Node, Out, Plan};
use crate::{
    effect::{Alarm, Code, Effect, Query},
    event::{Answer, QuestionId, RequestId},
    handler::Step,
    message::Message,
    record::{Claim, DiskId, Holder, Record, Refusal, Swap},
    rules::Broken,
    view::{Disk, Role},
};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// To become active alone.
    Claim,
    /// To have the record say what a promise of the peer already allowed.
    Confirm,
    /// Back to paired.
    Pair(DiskId),
    /// Tell a witness that forgot.
    Adopt(DiskId),
    /// Only to look.
    Reread,
    /// A frozen peer shall go on.
    GiveAway(QuestionId),
    /// The own disk failed.
    DiskFailed(QuestionId),
    /// The peer wants to leave.
    Depart(RequestId),
    /// An operator's promotion.
    Appoint,
    /// A step of a change of policy.
    Change,
    /// Not the witness but the power device.
    Power,
}

#[cfg(any(test, feature = "broken-variants"))]
impl Purpose {
    pub(super) fn ids(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        match self {
            Purpose::GiveAway(id) | Purpose::DiskFailed(id) => visit(&mut id.0),
            Purpose::Depart(id) => visit(&mut id.0),
            _ => {}
        }
    }
}

/// A request that waits for its answer. There is at most one beside the handler's; a newer one replaces it, and
/// then the older one's answer means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    pub(crate) purpose: Purpose,
}

impl Node {
    /// Sends the request that `purpose` needs; a read first where no record is known.
    pub(super) fn ask(&mut self, purpose: Purpose, out: &mut Out) {
        // One request per event: the next try is the retry timer's.
        let Some(id) = out.fresh.take() else {
            self.tried = true;
            return;
        };
        self.pending = Some(Pending { id, purpose });
        if purpose == Purpose::Power {
            out.push(Effect::PowerOff { request: id });
            return;
        }
        let query = match (self.base(purpose), self.wish(purpose)) {
            (Some(record), Some(claim)) => Query::Swap(Swap {
                lineage: record.lineage,
                expect: record.epoch,
                side: self.me.side,
                disk: self.me.disk,
                claim,
            }),
            _ => Query::Read,
        };
        let witness = match purpose {
            Purpose::Change => self.change_witness(),
            _ => self.durable.policy.witness,
        };
        out.push(Effect::Ask { request: id, witness, query });
    }

    /// The record that a swap starts from.
    fn base(&self, purpose: Purpose) -> Option<Record> {
        match purpose {
            Purpose::Adopt(_) => self.unknown,
            Purpose::Appoint => self.unknown.or(self.durable.record),
            Purpose::Change => self.change_base(),
            _ => self.durable.record,
        }
    }

    fn wish(&self, purpose: Purpose) -> Option<Claim> {
        match purpose {
            Purpose::Claim | Purpose::Confirm | Purpose::Depart(_) => {
                Some(if self.rules.lacks(Broken::ClaimWithoutCompare) {
                    Claim::Appoint { floor: self.epoch() }
                } else {
                    Claim::Solo
                })
            }
            Purpose::Pair(peer) => Some(Claim::Pair { peer }),
            Purpose::Adopt(peer) => Some(Claim::Adopt { peer, floor: self.floor() }),
            Purpose::GiveAway(_) | Purpose::DiskFailed(_) => Some(Claim::GiveAway),
            Purpose::Appoint => Some(Claim::Appoint { floor: self.floor() }),
            Purpose::Change => self.change_wish(),
            Purpose::Reread | Purpose::Power => None,
        }
    }

    /// The highest epoch that either node remembers.
    pub(super) fn floor(&self) -> crate::record::Epoch {
        self.epoch().max(self.peer.and_then(|peer| peer.ahead).unwrap_or_default())
    }

    pub(super) fn on_witness(&mut self, request: RequestId, answer: Answer, out: &mut Out) {
        let mine = self.pending.filter(|pending| pending.id == request);
        if let (Some((id, mut handler)), None) = (self.question, mine) {
            let waits = handler.request() == request || self.rules.lacks(Broken::AnyAnswer);
            if waits {
                self.learn_from(answer, out);
            }
            let Some(fresh) = out.fresh else { return };
            if let Some(step) = handler.witness(&self.facts(), self.rules, request, answer, fresh) {
                self.question = Some((id, handler));
                self.handler_step(id, handler, step, out);
            }
            return;
        }
        let Some(pending) = mine else { return };
        self.pending = None;
        // A new lineage is believed where this node's own act began or ended it.
        match (pending.purpose, answer) {
            (Purpose::Adopt(_) | Purpose::Appoint, Answer::Won(record)) => self.believe(record, out),
            (Purpose::Change, _) => {}
            _ => self.learn_from(answer, out),
        }
        self.on_answer(pending.purpose, answer, out);
    }

    fn on_answer(&mut self, purpose: Purpose, answer: Answer, out: &mut Out) {
        // A change that this node knows to be undone was won at a witness that has lost history since: no grant.
        let won = matches!(answer, Answer::Won(record) if purpose == Purpose::Change || self.durable.record == Some(record));
        // The first request of a node without memory was a read: now it can ask for what it wants.
        let again = matches!(answer, Answer::Is(_)) && self.wish(purpose).is_some();
        let useful = self.unknown.is_none() || purpose == Purpose::Appoint;
        if again && useful && purpose != Purpose::Change {
            self.ask(purpose, out);
            return;
        }
        match purpose {
            Purpose::Claim => {
                if won && self.stranded() {
                    self.promote(false, out);
                }
            }
            Purpose::Confirm | Purpose::Reread => {
                self.tried |= !won && (purpose == Purpose::Confirm || answer == Answer::Silence);
                self.check_own(out);
            }
            Purpose::Pair(_) => self.tried |= !won,
            Purpose::Adopt(_) => {
                self.tried |= !won;
                if won {
                    // The peer believes the new lineage only from here.
                    self.tell_hello(out);
                }
            }
            Purpose::GiveAway(freeze) => {
                // An older claim of this node won meanwhile: then the right is here, not there.
                if !self.owner() && self.view.role == Role::Secondary && !self.view.connected() {
                    self.promising = Some(freeze);
                    self.outdate(out);
                }
            }
            Purpose::DiskFailed(id) => self.disk_failed(id, won, out),
            Purpose::Depart(id) => {
                if self.leaver == Some(id) {
                    if won {
                        out.tell(Message::MayLeave { id });
                    } else {
                        self.leaver = None;
                    }
                }
            }
            Purpose::Appoint => {
                if won && self.plan == Plan::Promoting && !self.view.connected() {
                    self.promote(self.view.disk < Disk::Consistent, out);
                } else {
                    self.plan = Plan::None;
                    self.sworn = false;
                    out.push(Effect::Refuse(crate::reason::Reason::WaitsForWitness));
                }
            }
            Purpose::Change => self.on_change(answer, out),
            Purpose::Power => {}
        }
    }

    /// A lone active node whose record is not its own any more has no right to write.
    pub(super) fn check_own(&mut self, out: &mut Out) {
        let lost = self.durable.record.is_some_and(|record| match record.holder {
            Holder::Solo { .. } => !self.owner(),
            Holder::Paired { .. } | Holder::Unknown => false,
        });
        if lost && self.view.role == Role::Primary && !self.view.connected() {
            out.alarm(Alarm::Superseded);
            self.reset(out);
        }
    }

    pub(super) fn outdate(&mut self, out: &mut Out) {
        match (self.promising, self.view.disk) {
            (Some(freeze), Disk::Outdated | Disk::Inconsistent) => {
                self.promising = None;
                out.tell(Message::Outdated { freeze });
            }
            _ => out.push(Effect::Outdate),
        }
    }

    fn learn_from(&mut self, answer: Answer, out: &mut Out) {
        match answer {
            Answer::Is(record) | Answer::Won(record) => self.learn(record, out),
            Answer::Refused(refusal) => {
                if matches!(refusal, Refusal::WitnessBehind { .. }) {
                    out.alarm(Alarm::WitnessBehind);
                }
                self.learn(refusal.current(), out);
            }
            Answer::Silence => {}
        }
    }

    /// Takes a record into account: never a lower epoch, never a foreign lineage.
    fn learn(&mut self, record: Record, out: &mut Out) {
        let forgot = record.holder == Holder::Unknown;
        match self.durable.record {
            Some(seen) if seen.lineage != record.lineage => {
                if !self.foreign && self.unknown.is_none() {
                    out.alarm(Alarm::ForeignLineage);
                }
                self.unknown = forgot.then_some(record);
                self.foreign = !forgot;
            }
            // An answer that was overtaken by a newer one.
            Some(seen) if record.epoch < seen.epoch => {}
            Some(_) | None => self.believe(record, out),
        }
    }

    /// The record as the witness has it now.
    pub(super) fn believe(&mut self, record: Record, out: &mut Out) {
        self.foreign = false;
        self.unknown = (record.holder == Holder::Unknown).then_some(record);
        self.store(super::Durable { record: Some(record), ..self.durable }, out);
    }

    pub(super) fn handler_step(
        &mut self,
        id: QuestionId,
        handler: crate::handler::Handler,
        step: Step,
        out: &mut Out,
    ) {
        let request = handler.request();
        match step {
            Step::Ask(query) => {
                out.fresh = None;
                out.push(Effect::Ask { request, witness: self.durable.policy.witness, query });
            }
            Step::PowerOff => {
                out.fresh = None;
                out.push(Effect::PowerOff { request });
            }
            Step::Exit(code) => self.finish_question(id, code, out),
        }
    }

    pub(super) fn finish_question(&mut self, id: QuestionId, code: Code, out: &mut Out) {
        self.question = None;
        if self.durable.policy.mode == crate::message::Mode::Manual
            && code == Code::PeerOutdated
            && !self.promised
        {
            self.store(super::Durable { alone: true, ..self.durable }, out);
        }
        out.push(Effect::Answer { id, code });
        if code == Code::PeerFenced {
            self.peer_is_off(out);
        }
        if code == Code::PeerActive && self.view.role == Role::Primary {
            out.alarm(Alarm::Superseded);
            self.reset(out);
        }
    }
}
