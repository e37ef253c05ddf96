//! What the other node says, and what it is told.

use super::{Facts, Memory, Outcome, PlanId, UpdateEffect, Updater, Version, Word};
use crate::rules::Broken;

impl Updater {
    pub(super) fn tell(&mut self, out: &mut Vec<UpdateEffect>) {
        let Some(facts) = self.memory.facts else { return };
        let word = Word {
            facts,
            heard: self.peer,
            heard_kept: self.peer_keeps,
            answer: self.heard != Some(facts),
            kept: self.keeps(),
        };
        out.push(UpdateEffect::Tell(word));
        if self.rules.lacks(Broken::TellOnce) {
            self.heard = Some(facts);
        }
    }

    /// The version that runs here, when it is kept.
    fn keeps(&self) -> Option<Version> {
        self.blessed.then_some(self.booted)
    }

    pub(super) fn hear(&mut self, word: Word, out: &mut Vec<UpdateEffect>) {
        // It may have heard an earlier run of this node, which kept nothing yet.
        self.heard = word.heard.filter(|_| word.heard_kept == self.keeps());
        self.peer_keeps = word.kept;
        self.on_peer(word.facts, out);
        if word.answer && !out.iter().any(|effect| matches!(effect, UpdateEffect::Tell(_))) {
            self.tell(out);
        }
    }

    /// Takes up a plan.
    pub(super) fn adopt(
        &mut self,
        plan: PlanId,
        out: &mut Vec<UpdateEffect>,
        role: impl FnOnce(&mut Memory),
    ) {
        let known_bad = self.memory.refused.contains(&plan.version);
        let outcome = if known_bad { Outcome::Refused } else { Outcome::Open };
        // A version that is kept here was written and tried.
        let here = self.blessed && self.booted == plan.version;
        let refused = std::mem::take(&mut self.memory.refused);
        let facts = Facts { plan, written: here, passed: here && !known_bad, outcome };
        self.memory = Memory { facts: Some(facts), refused, ..Memory::default() };
        role(&mut self.memory);
        self.peer = None;
        if self.rules.lacks(Broken::NoWaiting) {
            self.asked = None;
        }
        self.later = false;
        out.push(UpdateEffect::Store(self.memory.clone()));
        self.tell(out);
    }

    fn on_peer(&mut self, theirs: Facts, out: &mut Vec<UpdateEffect>) {
        let ours = self.memory.facts;
        if ours.is_none_or(|ours| theirs.plan > ours.plan) {
            // A newer plan: on the node that began it the old one is over, so it is over here, and as it ended
            // there. It is told again; first this node has to be on a slot that is kept.
            match ours.map(|ours| ours.outcome) {
                Some(Outcome::Open) if !self.blessed => return self.end(Outcome::Abandoned, out),
                Some(Outcome::Decided) if !self.blessed => {
                    if !self.memory.both {
                        self.memory.both = true;
                        out.push(UpdateEffect::Store(self.memory.clone()));
                    }
                    return;
                }
                Some(_) if !self.blessed => return,
                _ => self.adopt(theirs.plan, out, |_| {}),
            }
        }
        let Some(ours) = self.memory.facts.filter(|ours| ours.plan == theirs.plan) else {
            // The other node is behind.
            return self.tell(out);
        };
        self.peer = Some(theirs);
        match (ours.outcome, theirs.outcome) {
            (Outcome::Open, Outcome::Decided | Outcome::Refused | Outcome::Abandoned) => {
                self.end(theirs.outcome, out);
            }
            (Outcome::Abandoned, Outcome::Refused) => self.end(Outcome::Refused, out),
            // Decided without this node, which had not voted.
            (Outcome::Abandoned, Outcome::Decided) => self.end(Outcome::Decided, out),
            (Outcome::Decided, Outcome::Decided) if !self.memory.both => {
                self.memory.both = true;
                out.push(UpdateEffect::Store(self.memory.clone()));
                self.tell(out);
            }
            _ => {}
        }
    }
}
