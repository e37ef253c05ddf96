//! Change of mode or witness: one transaction of a healthy pair, led by the active node.
//!
//! ```text
//!  active                                          standby
//!  claim solo(me) at the old witness
//!  appoint solo(me) at the new witness
//!  Prepare ───────────────────────────────────────▶ store: barred, new policy in reserve
//!  store: new policy, decided ◀──────────── Prepared
//!  Commit ────────────────────────────────────────▶ store: new policy, bar lifted
//! ```
//! At no instant can the standby be granted: by the old witness it is refused, then it is barred, then it is refused
//! by the new one until the owner pairs. The active node keeps its right throughout. A barred node asks (its
//! [`crate::message::Hello`]) how the transaction ended; a leader that does not run it and has not decided it
//! never will, and says so.

use super::{Durable, Node, Out, ask::Purpose};
use crate::{
    effect::Effect,
    event::{Answer, RequestId},
    message::{Message, Mode, Policy, WitnessId},
    reason::Reason,
    record::{Claim, Record},
    view::Role,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Claim at the old witness.
    Lock,
    /// Read the new witness.
    Look,
    /// Appoint at the new witness.
    Seed,
    /// The peer is asked to bar itself.
    Prepare,
}

/// A change of policy that this node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) id: RequestId,
    pub(crate) policy: Policy,
    pub(crate) stage: Stage,
    /// The new witness's record.
    pub(crate) record: Option<Record>,
}

impl Node {
    pub(super) fn start_change(&mut self, policy: Policy, out: &mut Out) {
        // A name that was used already would end the old transaction once more instead of this one.
        let Some(id) = out.fresh.filter(|id| self.durable.committed != Some(*id)) else { return };
        let stage = match (self.durable.policy.mode, policy.mode) {
            (Mode::Witness, _) => Stage::Lock,
            (_, Mode::Witness) => Stage::Look,
            _ => Stage::Prepare,
        };
        self.change = Some(Change { id, policy, stage, record: None });
        self.change_step(out);
    }

    fn change_step(&mut self, out: &mut Out) {
        let Some(change) = self.change else { return };
        match change.stage {
            Stage::Lock | Stage::Look | Stage::Seed => self.ask(Purpose::Change, out),
            Stage::Prepare => out.tell(Message::Prepare { id: change.id, policy: change.policy }),
        }
    }

    pub(super) fn change_witness(&self) -> WitnessId {
        match self.change {
            Some(change) if change.stage != Stage::Lock => change.policy.witness,
            _ => self.durable.policy.witness,
        }
    }

    pub(super) fn change_base(&self) -> Option<Record> {
        let change = self.change?;
        match change.stage {
            Stage::Lock => self.durable.record,
            Stage::Look | Stage::Seed | Stage::Prepare => change.record,
        }
    }

    pub(super) fn change_wish(&self) -> Option<Claim> {
        match self.change?.stage {
            Stage::Lock => Some(Claim::Solo),
            Stage::Seed => Some(Claim::Appoint { floor: self.floor() }),
            Stage::Look | Stage::Prepare => None,
        }
    }

    pub(super) fn on_change(&mut self, answer: Answer, out: &mut Out) {
        let Some(mut change) = self.change else { return };
        change.stage = match (change.stage, answer) {
            (Stage::Lock, Answer::Won(record)) => {
                self.believe(record, out);
                if change.policy.mode == Mode::Witness { Stage::Look } else { Stage::Prepare }
            }
            (Stage::Look, Answer::Is(record)) => {
                change.record = Some(record);
                Stage::Seed
            }
            (Stage::Seed, Answer::Won(record)) => {
                change.record = Some(record);
                Stage::Prepare
            }
            _ => return self.stop_change(out),
        };
        self.change = Some(change);
        self.change_step(out);
    }

    /// Ends a change that is not decided. The peer learns it when it asks.
    pub(super) fn stop_change(&mut self, out: &mut Out) {
        if let Some(change) = self.change.take() {
            out.push(Effect::Refuse(Reason::PeerSilent));
            out.tell(Message::Abort { id: change.id });
        }
    }

    pub(super) fn on_prepare(&mut self, id: RequestId, policy: Policy, out: &mut Out) {
        // A node that could itself go on must not be barred by a message that took its time.
        let standby = self.view.healthy()
            && self.view.role == Role::Secondary
            && self.view.peer == Some(Role::Primary)
            && self.plan == super::Plan::None
            && self.change.is_none();
        let known = self.durable.prepared == Some((id, policy));
        let free =
            standby && self.durable.prepared.is_none() && policy.revision > self.durable.policy.revision;
        if free {
            self.pending = None;
            self.store(Durable { prepared: Some((id, policy)), ..self.durable }, out);
        }
        if free || known {
            out.tell(Message::Prepared { id });
        }
    }

    pub(super) fn on_prepared(&mut self, id: RequestId, out: &mut Out) {
        let Some(change) = self.change.filter(|c| c.id == id && c.stage == Stage::Prepare) else {
            return self.settle_change(id, out);
        };
        self.change = None;
        self.pending = None;
        let record = change.record;
        let durable = Durable { policy: change.policy, record, committed: Some(id), ..self.durable };
        self.store(durable, out);
        self.unknown = None;
        self.foreign = false;
        out.tell(Message::Commit { id });
    }

    /// The peer is barred by this transaction: tell it how it ended.
    pub(super) fn settle_change(&mut self, id: RequestId, out: &mut Out) {
        if self.change.is_some_and(|change| change.id == id) {
            return;
        }
        if self.durable.committed == Some(id) {
            out.tell(Message::Commit { id });
        } else {
            out.tell(Message::Abort { id });
        }
    }

    pub(super) fn on_commit(&mut self, id: RequestId, out: &mut Out) {
        if let Some((_, policy)) = self.durable.prepared.filter(|(present, _)| *present == id) {
            self.pending = None;
            self.unknown = None;
            self.foreign = false;
            self.store(Durable { policy, prepared: None, record: None, ..self.durable }, out);
        }
    }

    pub(super) fn on_abort(&mut self, id: RequestId, out: &mut Out) {
        if self.durable.prepared.is_some_and(|(present, _)| present == id) {
            self.store(Durable { prepared: None, ..self.durable }, out);
        }
    }
}
