//! What an operator asks: an update, or the version before it.

use super::hands::{Offer, Trouble};
use super::kept::{LIMIT, Plan, number};
use super::said::Start;
use super::{Done, Driver, Next};
use crate::update::bundle::Body;
use pair_core::update::{Outcome, PlanId, UpdateEffect, UpdateReason};
use tokio::sync::oneshot;

impl Driver {
    /// An operator starts an update with the bundle in `body`.
    pub fn start(&mut self, start: Start, body: Option<Body>, reply: oneshot::Sender<Result<(), String>>) {
        if let Some(why) = &self.stopped {
            return drop(reply.send(Err(why.clone())));
        }
        let refusal = match self.updater {
            None => Some(self.not_begun()),
            Some(_) if start.solo && self.seen.peer => {
                Some("the other node answers: both are updated, one after the other")
            }
            Some(_) => None,
        };
        if let Some(why) = refusal {
            let _ = reply.send(Err(why.to_owned()));
            return;
        }
        let work = self.hands.open(&start, body);
        self.spawn(work, move |result| Done::Opened(result, start, reply));
    }

    pub(super) fn opened(
        &mut self,
        result: Result<Offer, Trouble>,
        start: &Start,
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        let offer = match (result, &self.stopped) {
            (Ok(offer), None) => offer,
            (Ok(_), Some(why)) => return drop(reply.send(Err(why.clone()))),
            (Err(trouble), _) => return drop(reply.send(Err(trouble.text))),
        };
        let serial = self.kept.last_serial().saturating_add(1);
        let plan = Plan {
            serial,
            version: offer.version,
            bundle: offer.bundle,
            solo: start.solo,
            limit: start.limit.unwrap_or(LIMIT),
            trial_limit: offer.trial_limit,
            spent: 0,
        };
        let id = PlanId { serial, leader: self.side, version: number(&plan.version) };
        // Where the two nodes have come to differ, what runs here is brought to the other one.
        if id.version == number(&self.version) && self.reason() != Some(UpdateReason::Mixed) {
            let why = format!("version {} is running already", self.version);
            return drop(reply.send(Err(why)));
        }
        self.next.push_back(Next::Start(id, plan, reply));
    }

    /// Whether an update could begin that nobody has asked for by hand.
    pub fn is_free(&self) -> bool {
        use UpdateReason::{Abandoned, Done, Idle, Refused};
        let over = matches!(self.reason(), Some(Idle | Done | Abandoned | Refused));
        let open = self.kept.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Open);
        over && !open
            && !self.rebooting
            && self.stopped.is_none()
            && self.next.is_empty()
            && self.todo.is_empty()
    }

    /// Versions that are not tried again.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.kept.failed.iter().map(|failed| failed.version.as_str())
    }

    /// Why there is no machine yet.
    pub(super) fn not_begun(&self) -> &'static str {
        if self.look.versions.is_empty() {
            "the boot loader's entries have not been read yet"
        } else {
            "this boot has not been called good yet; `node-init status` shows what it waits for"
        }
    }

    /// An operator wants the other version back on this node.
    pub fn roll_back(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        if let Some(why) = &self.stopped {
            return drop(reply.send(Err(why.clone())));
        }
        let open = self.kept.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Open);
        let refusal = if open {
            Some("an update is under way; it goes back by itself when it fails")
        } else if self.updater.is_none() {
            Some(self.not_begun())
        } else if self.rebooting {
            Some("this node is going down")
        } else if self.seen.active && self.seen.peer {
            Some("this node is active; `node-init switchover` first")
        } else {
            None
        };
        if let Some(why) = refusal {
            return drop(reply.send(Err(why.to_owned())));
        }
        if let Err(trouble) = self.hands.may_go_back() {
            return drop(reply.send(Err(trouble.text)));
        }
        // First the note: else the decision of the last plan would bring the newer version back.
        self.kept.rolled_back = self.kept.last_serial();
        self.kept.memory.facts = None;
        self.kept.plan = None;
        if self.keep() {
            self.todo.clear();
            self.begin();
            self.spawn(self.hands.roll_back(), move |result| Done::RolledBack(result, reply));
        } else {
            let _ = reply.send(Err(self.stopped.clone().unwrap_or_default()));
        }
    }

    pub(super) fn rolled_back(
        &mut self,
        result: Result<String, Trouble>,
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        match result {
            Ok(_) => {
                let _ = reply.send(Ok(()));
                self.todo.push_back(UpdateEffect::Reboot);
            }
            Err(trouble) => drop(reply.send(Err(trouble.text))),
        }
    }
}
