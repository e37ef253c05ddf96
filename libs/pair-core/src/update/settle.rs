//! What is to be done next.

use super::{Facts, Job, Outcome, UpdateEffect, Updater};
use crate::rules::Broken;

impl Updater {
    /// Goes on without the other node.
    pub(super) fn alone(&self) -> bool {
        self.memory.solo && self.memory.lead && (!self.answers || self.rules.lacks(Broken::SoloForever))
    }

    /// This node's turn for a trial: the leader's comes last.
    pub(super) fn turn(&self) -> bool {
        let same = self.peer.filter(|peer| Some(peer.plan) == self.memory.facts.map(|facts| facts.plan));
        self.alone() || same.is_some_and(|peer| if self.memory.lead { peer.passed } else { peer.written })
    }

    pub(super) fn fit(&self) -> bool {
        self.ready && (self.answers || self.alone())
    }

    /// A reboot of this node would take something away that the other one could go on with.
    pub(super) fn serves(&self) -> bool {
        self.active && !self.alone()
    }

    /// Brings about what the facts ask for.
    pub(super) fn settle(&mut self, out: &mut Vec<UpdateEffect>) {
        let Some(facts) = self.memory.facts else { return };
        let new = self.booted == facts.plan.version;
        let again = matches!(self.asked, Some((Job::Switchover, _))) && self.rules.lacks(Broken::SwitchAgain);
        if self.down || self.later || (self.asked.is_some() && !again) {
            return;
        }
        match facts.outcome {
            Outcome::Open => self.settle_open(facts, out),
            Outcome::Decided => self.settle_decided(facts, out),
            // One that is kept stays: it was decided earlier.
            Outcome::Refused | Outcome::Abandoned if new && !self.blessed => self.leave(out),
            Outcome::Refused | Outcome::Abandoned => {}
        }
    }

    fn settle_decided(&mut self, facts: Facts, out: &mut Vec<UpdateEffect>) {
        let new = self.booted == facts.plan.version;
        // Decided alone: the other node takes it over when it comes.
        let both = self.memory.both || self.alone();
        // Decided alone, not kept yet, and it failed on the node that came back: one version is worth more than the new one.
        let failed =
            self.peer.is_some_and(|peer| peer.plan == facts.plan && peer.outcome == Outcome::Refused);
        if failed && !self.blessed {
            self.end(Outcome::Refused, out);
            return self.settle(out);
        }
        if new && !self.blessed && both && self.untried().is_none() {
            self.ask(Job::Bless, out);
            self.blessed |= self.rules.lacks(Broken::BlessOnce);
        } else if !new && !facts.written && !self.rules.lacks(Broken::ArmUnwritten) {
            self.ask(Job::Write, out);
        } else if !new {
            // Woke in the old slot: the decision stands, so the new one gets its tries again. One node at a time.
            if !self.serves() {
                self.ask(Job::Prove, out);
            } else if self.ready {
                self.ask(Job::Switchover, out);
            }
        }
    }

    fn settle_open(&mut self, facts: Facts, out: &mut Vec<UpdateEffect>) {
        let new = self.booted == facts.plan.version;
        if facts.passed && new && !self.blessed && self.rules.lacks(Broken::BlessEarly) {
            self.ask(Job::Bless, out);
            return;
        }
        if !facts.written {
            self.ask(Job::Write, out);
        } else if facts.passed && self.memory.lead && self.turn() {
            self.end(Outcome::Decided, out);
            self.settle(out);
        } else if !facts.passed && !new && self.fit() && self.turn() {
            self.ask(if self.serves() { Job::Switchover } else { Job::Prove }, out);
        }
    }
}
