//! What the operator wants, and what the shell answers.

use super::{Job, Outcome, PlanId, UpdateEffect, UpdateReason, Updater};
use crate::rules::Broken;

impl Updater {
    pub(super) fn start(&mut self, plan: PlanId, solo: bool, out: &mut Vec<UpdateEffect>) {
        let newer = self.memory.facts.is_none_or(|facts| {
            let settled = match facts.outcome {
                Outcome::Open => false,
                Outcome::Decided => self.blessed && self.booted == facts.plan.version,
                Outcome::Abandoned | Outcome::Refused => self.blessed || self.booted != facts.plan.version,
            };
            settled && plan > facts.plan
        });
        // One that runs here already is started for the other node.
        let here = plan.version == self.booted && self.reason() != UpdateReason::Mixed;
        if self.memory.refused.contains(&plan.version) {
            out.push(UpdateEffect::Refuse(UpdateReason::KnownBad));
        } else if !newer || here {
            out.push(UpdateEffect::Refuse(UpdateReason::Busy));
        } else {
            self.adopt(plan, out, |memory| {
                memory.lead = true;
                memory.solo = solo;
            });
        }
    }

    /// The shell has answered this question. One about an earlier plan only ends the waiting for it.
    pub(super) fn answered(&mut self, job: Job, plan: PlanId) -> bool {
        if self.rules.lacks(Broken::AnyPlan) {
            return self.asked.take_if(|(asked, _)| *asked == job).is_some();
        }
        let asked = self.asked.take_if(|asked| *asked == (job, plan)).is_some();
        asked && self.memory.facts.is_some_and(|facts| facts.plan == plan)
    }

    pub(super) fn written(&mut self, plan: PlanId, done: bool, out: &mut Vec<UpdateEffect>) {
        if !self.answered(Job::Write, plan) {
            return;
        }
        match self.memory.facts.map(|facts| facts.outcome) {
            Some(Outcome::Open | Outcome::Decided) if done => self.change(out, |facts| facts.written = true),
            Some(Outcome::Open) => self.end(Outcome::Abandoned, out),
            _ => {}
        }
        if !done {
            // Also of a plan that has ended: the other node may have decided it alone.
            self.fails();
        }
    }

    pub(super) fn proven(&mut self, plan: PlanId, armed: bool, out: &mut Vec<UpdateEffect>) {
        if !self.answered(Job::Prove, plan) {
            return;
        }
        let Some(facts) = self.memory.facts else { return };
        match (facts.outcome, armed) {
            // It became the active node meanwhile: not now.
            (Outcome::Open | Outcome::Decided, true) if self.serves() => {}
            (Outcome::Open | Outcome::Decided, true) => {
                self.memory.trials = self.memory.trials.saturating_add(1);
                out.push(UpdateEffect::Store(self.memory.clone()));
                self.reboot(out);
            }
            // Without a proven rollback nothing is tried.
            (Outcome::Open, false) => self.end(Outcome::Abandoned, out),
            _ => {}
        }
        if !armed {
            self.fails();
        }
    }

    pub(super) fn health(&mut self, plan: PlanId, well: bool, out: &mut Vec<UpdateEffect>) {
        let answered = self.answered(Job::Check, plan);
        if !answered || self.untried().is_none_or(|facts| facts.plan.version != self.booted) {
            return;
        }
        if well {
            self.change(out, |facts| facts.passed = true);
        } else {
            self.end(Outcome::Refused, out);
        }
    }

    pub(super) fn kept(&mut self, plan: PlanId, done: bool) {
        if self.answered(Job::Bless, plan) {
            self.blessed |= done;
            if done {
                // The other node shall know which version is kept here.
                self.heard = None;
            } else {
                self.fails();
            }
        }
    }

    pub(super) fn pair_is(&mut self, peer: bool, ready: bool, active: bool) {
        (self.answers, self.ready, self.active) = (peer, ready, active);
        if !active {
            self.asked.take_if(|(job, _)| *job == Job::Switchover);
        }
        if !peer {
            // Whoever comes back may have forgotten.
            self.heard = None;
        }
    }

    /// It is tried again, a while later.
    fn fails(&mut self) {
        self.later = !self.rules.lacks(Broken::TryAtOnce);
    }
}
