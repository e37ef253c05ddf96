//! The update machine of one node.
//!
//! ```text
//!  Start ─▶ write ─▶ written ─ both written, pair ready, not active ─▶ arm, prove, reboot
//!                      │                                                    │
//!                      │   (the leader goes second: after the peer passed)  ▼
//!                      │                                   on trial ─ healthy ─▶ passed
//!                      ▼                                      │                    │
//!               refused / abandoned ◀── unhealthy, panic ─────┘     leader: both passed
//!                 bad, reboot to old                                               ▼
//!                                     bless ◀─ both hold it ◀─ told ◀──────── decided
//! ```
//! It is a two-phase commit. `passed` is a node's vote: after it only the leader (the node on which the update was
//! started) may still end the plan without it. The leader's durable `decided` is the decision.

mod event;
mod facts;

pub use event::{Memory, UpdateEffect, UpdateEvent};
pub use facts::{Cause, Facts, Outcome, PlanId, UpdateReason, Version};

use crate::rules::{Broken, Rules};

/// How often a trial that power cut short is begun.
const TRIALS: u8 = 2;

/// The update machine of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Updater {
    rules: Rules,
    booted: Version,
    blessed: bool,
    memory: Memory,
    peer: Option<Facts>,
    ready: bool,
    active: bool,
    /// Waits for an answer of the shell.
    busy: bool,
}

impl Updater {
    /// After a boot into `booted`. `blessed`: its slot is kept. Returns what to do at once.
    pub fn boot(
        booted: Version,
        blessed: bool,
        cause: Cause,
        memory: Memory,
        rules: Rules,
    ) -> (Updater, Vec<UpdateEffect>) {
        let mut updater =
            Updater { rules, booted, blessed, memory, peer: None, ready: false, active: false, busy: false };
        let mut out = Vec::new();
        if let Some(facts) = updater.open() {
            let new = booted == facts.plan.version;
            let tried = updater.memory.trials > 0;
            match (facts.passed, new, cause) {
                // After its vote this node may neither refuse nor give up.
                (true, _, _) => {}
                // Panic or watchdog on trial: a verdict. In the old slot it is the same: its tries were used up.
                (false, _, Cause::Crash) if tried => updater.end(Outcome::Refused, &mut out),
                // The slot was armed by an older plan and this one has not written it yet: no trial of anything.
                (false, true, _) if !facts.written => {
                    updater.busy = true;
                    out.extend([UpdateEffect::MarkBad(facts.plan.version), UpdateEffect::Reboot]);
                }
                // Also when a cut came between arming and the note of it.
                (false, true, _) => {
                    updater.memory.trials = updater.memory.trials.max(1);
                    updater.busy = true;
                    out.push(UpdateEffect::Check);
                }
                (false, false, _) if updater.memory.trials >= TRIALS => {
                    updater.end(Outcome::Abandoned, &mut out);
                }
                (false, false, _) => {}
            }
        }
        updater.settle(&mut out);
        (updater, out)
    }

    /// Takes one event.
    pub fn on(&mut self, event: UpdateEvent) -> Vec<UpdateEffect> {
        let mut out = Vec::new();
        match event {
            UpdateEvent::Start(plan) => self.start(plan, &mut out),
            UpdateEvent::Written(done) => {
                self.busy = false;
                if done {
                    self.keep(&mut out, |facts| facts.written = true);
                } else {
                    self.end(Outcome::Abandoned, &mut out);
                }
            }
            UpdateEvent::Proven(armed) => self.proven(armed, &mut out),
            UpdateEvent::Health(well) => self.health(well, &mut out),
            UpdateEvent::Pair { ready, active } => {
                self.ready = ready;
                self.active = active;
            }
            UpdateEvent::Peer(facts) => self.on_peer(facts, &mut out),
            UpdateEvent::Retry => self.tell(&mut out),
            // After its vote a follower cannot end the plan: the leader may have decided.
            UpdateEvent::Limit => {
                let voted = self.facts().is_some_and(|facts| facts.passed) && !self.memory.lead;
                if self.open().is_some() && !voted {
                    self.end(Outcome::Abandoned, &mut out);
                }
            }
        }
        self.settle(&mut out);
        out
    }

    /// The present or last plan.
    pub fn facts(&self) -> Option<Facts> {
        self.memory.facts
    }

    /// What this node is doing, or why it is not doing more.
    pub fn reason(&self) -> UpdateReason {
        let Some(facts) = self.memory.facts else { return UpdateReason::Idle };
        let new = self.booted == facts.plan.version;
        match facts.outcome {
            Outcome::Refused => UpdateReason::Refused,
            Outcome::Abandoned => UpdateReason::Abandoned,
            Outcome::Decided if new && self.blessed => UpdateReason::Done,
            Outcome::Decided if new => UpdateReason::WaitsToBless,
            Outcome::Decided => UpdateReason::Arming,
            Outcome::Open if !facts.written => UpdateReason::Writing,
            Outcome::Open if self.busy && new => UpdateReason::OnTrial,
            Outcome::Open if self.busy => UpdateReason::Arming,
            Outcome::Open if facts.passed || !self.turn() => UpdateReason::WaitsForPeer,
            Outcome::Open if !self.ready => UpdateReason::WaitsForPair,
            Outcome::Open => UpdateReason::WaitsForSwitchover,
        }
    }

    /// The other node's facts, as far as they are known.
    pub fn peer(&self) -> Option<Facts> {
        self.peer
    }

    /// Knows that it is ready, and active.
    pub fn pair(&self) -> (bool, bool) {
        (self.ready, self.active)
    }

    fn open(&self) -> Option<Facts> {
        self.memory.facts.filter(|facts| facts.outcome == Outcome::Open)
    }

    fn start(&mut self, plan: PlanId, out: &mut Vec<UpdateEffect>) {
        let newer = self.memory.facts.is_none_or(|facts| {
            let settled = match facts.outcome {
                Outcome::Open => false,
                Outcome::Decided => self.blessed && self.booted == facts.plan.version,
                Outcome::Abandoned | Outcome::Refused => self.booted != facts.plan.version,
            };
            settled && plan > facts.plan
        });
        if self.memory.refused.contains(&plan.version) {
            out.push(UpdateEffect::Refuse(UpdateReason::KnownBad));
        } else if !newer || plan.version == self.booted {
            out.push(UpdateEffect::Refuse(UpdateReason::Busy));
        } else {
            self.adopt(plan, true, out);
        }
    }

    fn adopt(&mut self, plan: PlanId, lead: bool, out: &mut Vec<UpdateEffect>) {
        let known_bad = self.memory.refused.contains(&plan.version);
        let outcome = if known_bad { Outcome::Refused } else { Outcome::Open };
        self.memory.facts = Some(Facts { plan, written: false, passed: false, outcome });
        self.memory.lead = lead;
        self.memory.trials = 0;
        self.memory.both = false;
        self.peer = None;
        self.busy = false;
        out.push(UpdateEffect::Store(self.memory.clone()));
        self.tell(out);
    }

    fn keep(&mut self, out: &mut Vec<UpdateEffect>, change: impl FnOnce(&mut Facts)) {
        if let Some(facts) = &mut self.memory.facts {
            let before = *facts;
            change(facts);
            if *facts != before {
                out.push(UpdateEffect::Store(self.memory.clone()));
                self.tell(out);
            }
        }
    }

    fn tell(&self, out: &mut Vec<UpdateEffect>) {
        out.extend(self.memory.facts.map(UpdateEffect::Tell));
    }

    /// This node's turn for a trial: the leader's comes last.
    fn turn(&self) -> bool {
        let same = self.peer.filter(|peer| Some(peer.plan) == self.memory.facts.map(|facts| facts.plan));
        same.is_some_and(|peer| if self.memory.lead { peer.passed } else { peer.written })
    }

    fn proven(&mut self, armed: bool, out: &mut Vec<UpdateEffect>) {
        self.busy = false;
        let Some(facts) = self.memory.facts else { return };
        match (facts.outcome, armed) {
            // It became the active node meanwhile: not now.
            (Outcome::Open | Outcome::Decided, true) if self.active => {}
            (Outcome::Open | Outcome::Decided, true) => {
                self.memory.trials = self.memory.trials.saturating_add(1);
                out.push(UpdateEffect::Store(self.memory.clone()));
                self.busy = true;
                out.push(UpdateEffect::Reboot);
            }
            // Without a proven rollback nothing is tried.
            (Outcome::Open, false) => self.end(Outcome::Abandoned, out),
            _ => {}
        }
    }

    fn health(&mut self, well: bool, out: &mut Vec<UpdateEffect>) {
        self.busy = false;
        if self.open().is_none_or(|facts| facts.passed || facts.plan.version != self.booted) {
            return;
        }
        if well {
            self.keep(out, |facts| facts.passed = true);
        } else {
            self.end(Outcome::Refused, out);
        }
    }

    fn on_peer(&mut self, theirs: Facts, out: &mut Vec<UpdateEffect>) {
        let ours = self.memory.facts;
        if ours.is_none_or(|ours| theirs.plan > ours.plan) {
            // A newer plan: on the node that began it the old one is over, so it is over here, and as it ended
            // there. It is told again; first this node has to be on a slot that is kept.
            match ours.map(|ours| ours.outcome) {
                Some(Outcome::Open) if !self.blessed => return self.end(Outcome::Abandoned, out),
                Some(Outcome::Decided) if !self.blessed => {
                    self.memory.both = true;
                    return out.push(UpdateEffect::Store(self.memory.clone()));
                }
                Some(_) if !self.blessed => return,
                _ => self.adopt(theirs.plan, false, out),
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
            (Outcome::Decided, Outcome::Decided) if !self.memory.both => {
                self.memory.both = true;
                out.push(UpdateEffect::Store(self.memory.clone()));
                self.tell(out);
            }
            _ => {}
        }
    }

    /// The plan ends so, durably.
    fn end(&mut self, outcome: Outcome, out: &mut Vec<UpdateEffect>) {
        let Some(facts) = &mut self.memory.facts else { return };
        facts.outcome = outcome;
        let version = facts.plan.version;
        if outcome == Outcome::Refused && !self.memory.refused.contains(&version) {
            self.memory.refused.push(version);
        }
        // A decision that came from the peer is held by both.
        let told = self.peer.is_some_and(|peer| peer.outcome == Outcome::Decided && peer.plan == facts.plan);
        self.memory.both = outcome == Outcome::Decided && told;
        self.busy = false;
        out.push(UpdateEffect::Store(self.memory.clone()));
        self.tell(out);
        if matches!(outcome, Outcome::Refused | Outcome::Abandoned) && self.booted != version {
            out.push(UpdateEffect::MarkBad(version));
        }
    }

    /// Brings about what the facts ask for.
    fn settle(&mut self, out: &mut Vec<UpdateEffect>) {
        let Some(facts) = self.memory.facts else { return };
        let version = facts.plan.version;
        let new = self.booted == version;
        if self.busy {
            return;
        }
        match facts.outcome {
            Outcome::Open => self.settle_open(facts, out),
            Outcome::Decided if new && !self.blessed && self.memory.both => {
                self.blessed = true;
                out.push(UpdateEffect::Bless(version));
            }
            Outcome::Decided if new => {}
            // Woke in the old slot: the decision stands, so the new one gets its tries again. One node at a time.
            Outcome::Decided => {
                if !self.active {
                    self.arm(version, out);
                } else if self.ready {
                    out.push(UpdateEffect::Switchover);
                }
            }
            Outcome::Refused | Outcome::Abandoned if new => {
                self.busy = true;
                if !self.rules.lacks(Broken::RetryFailed) {
                    out.push(UpdateEffect::MarkBad(version));
                }
                out.push(UpdateEffect::Reboot);
            }
            Outcome::Refused | Outcome::Abandoned => {}
        }
    }

    fn settle_open(&mut self, facts: Facts, out: &mut Vec<UpdateEffect>) {
        let new = self.booted == facts.plan.version;
        if facts.passed && new && !self.blessed && self.rules.lacks(Broken::BlessEarly) {
            self.blessed = true;
            out.push(UpdateEffect::Bless(facts.plan.version));
        }
        if !facts.written {
            self.busy = true;
            out.push(UpdateEffect::Write(facts.plan.version));
        } else if facts.passed && self.memory.lead && self.turn() {
            self.end(Outcome::Decided, out);
        } else if !facts.passed && !new && self.ready && self.turn() {
            if self.active {
                out.push(UpdateEffect::Switchover);
            } else {
                self.arm(facts.plan.version, out);
            }
        }
    }

    fn arm(&mut self, version: Version, out: &mut Vec<UpdateEffect>) {
        self.busy = true;
        out.push(UpdateEffect::Arm(version));
        out.push(UpdateEffect::Prove(version));
    }
}
