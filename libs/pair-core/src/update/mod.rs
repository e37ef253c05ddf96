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
//!
//! Alone (`solo`, an operator's word) the leader's own vote is the decision. A node that hears of it afterwards has not
//! voted: it writes, tries and keeps the version like any other, or refuses it, and then both say that they are [`Mixed`].
//!
//! - `answers`: what the shell and the operator say. `peer`: what the other node says.
//! - `settle`: what is to be done next.
//!
//! [`Mixed`]: UpdateReason::Mixed

mod answers;
mod event;
mod facts;
mod peer;
mod settle;

pub use event::{Memory, UpdateEffect, UpdateEvent};
pub use facts::{Cause, Facts, Outcome, PlanId, UpdateReason, Version, Word};

use crate::rules::{Broken, Rules};

/// How often a trial that power cut short is begun.
const TRIALS: u8 = 2;

/// What the shell was asked and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Job {
    Write,
    Prove,
    Check,
    Bless,
    Switchover,
}

/// The update machine of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Updater {
    rules: Rules,
    booted: Version,
    blessed: bool,
    memory: Memory,
    peer: Option<Facts>,
    peer_keeps: Option<Version>,
    /// What the other node has heard of this one last.
    heard: Option<Facts>,
    answers: bool,
    ready: bool,
    active: bool,
    asked: Option<(Job, PlanId)>,
    /// Something has failed: nothing is begun before the next [`UpdateEvent::Retry`].
    later: bool,
    /// It reboots.
    down: bool,
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
        let mut updater = Updater {
            rules,
            booted,
            blessed,
            memory,
            peer: None,
            peer_keeps: None,
            heard: None,
            answers: false,
            ready: false,
            active: false,
            asked: None,
            later: false,
            down: false,
        };
        let mut out = Vec::new();
        if let Some(facts) = updater.untried() {
            let new = booted == facts.plan.version;
            let tried = updater.memory.trials > 0;
            match (new, cause) {
                // Panic or watchdog on trial: a verdict. In the old slot it is the same: its tries were used up.
                (_, Cause::Crash) if tried => updater.end(Outcome::Refused, &mut out),
                // The slot was armed by an older plan and this one has not written it yet: no trial of anything.
                (true, _) if !facts.written => updater.leave(&mut out),
                // Also when a cut came between arming and the note of it.
                (true, _) => {
                    updater.memory.trials = updater.memory.trials.max(1);
                    updater.ask(Job::Check, &mut out);
                }
                // What is decided is tried until it is judged.
                (false, _) if updater.memory.trials >= TRIALS && facts.outcome == Outcome::Open => {
                    updater.end(Outcome::Abandoned, &mut out);
                }
                (false, _) => {}
            }
        }
        updater.settle(&mut out);
        (updater, out)
    }

    /// Takes one event.
    pub fn on(&mut self, event: UpdateEvent) -> Vec<UpdateEffect> {
        let mut out = Vec::new();
        if self.down {
            if let UpdateEvent::Start { .. } = event {
                out.push(UpdateEffect::Refuse(UpdateReason::Busy));
            }
            return out;
        }
        match event {
            UpdateEvent::Start { plan, solo } => self.start(plan, solo, &mut out),
            UpdateEvent::Written(plan, done) => self.written(plan, done, &mut out),
            UpdateEvent::Proven(plan, armed) => self.proven(plan, armed, &mut out),
            UpdateEvent::Health(plan, well) => self.health(plan, well, &mut out),
            UpdateEvent::Blessed(plan, done) => self.kept(plan, done),
            UpdateEvent::Stayed(plan) => self.later |= self.answered(Job::Switchover, plan),
            UpdateEvent::Pair { peer, ready, active } => self.pair_is(peer, ready, active),
            UpdateEvent::Peer(word) => self.hear(word, &mut out),
            UpdateEvent::Retry => {
                self.later = false;
                if self.heard != self.memory.facts {
                    self.tell(&mut out);
                }
            }
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
        let asked = self.asked.map(|(job, _)| job);
        match facts.outcome {
            Outcome::Refused | Outcome::Abandoned | Outcome::Decided if self.mixed(facts) => {
                UpdateReason::Mixed
            }
            Outcome::Refused => UpdateReason::Refused,
            Outcome::Abandoned => UpdateReason::Abandoned,
            Outcome::Decided if new && self.blessed => UpdateReason::Done,
            Outcome::Open | Outcome::Decided if !facts.written => UpdateReason::Writing,
            Outcome::Open | Outcome::Decided if asked == Some(Job::Check) => UpdateReason::OnTrial,
            Outcome::Decided if new => UpdateReason::WaitsToBless,
            Outcome::Decided => UpdateReason::Arming,
            Outcome::Open if self.down || asked == Some(Job::Prove) => UpdateReason::Arming,
            Outcome::Open if facts.passed || !self.turn() => UpdateReason::WaitsForPeer,
            Outcome::Open if !self.fit() => UpdateReason::WaitsForPair,
            Outcome::Open => UpdateReason::WaitsForSwitchover,
        }
    }

    /// Both nodes have come to rest, each on a version of its own. (Who has given up a plan that is decided follows.)
    fn mixed(&self, facts: Facts) -> bool {
        let rests = self.peer.filter(|peer| peer.plan == facts.plan).is_some_and(|peer| {
            let refused = peer.outcome == Outcome::Refused;
            refused || (facts.outcome != Outcome::Decided && peer.outcome != Outcome::Open)
        });
        rests && self.blessed && self.peer_keeps.is_some_and(|version| version != self.booted)
    }

    /// The other node's facts, as far as they are known.
    pub fn peer(&self) -> Option<Facts> {
        self.peer
    }

    /// Knows that the other node answers, that it is ready, and active.
    pub fn pair(&self) -> (bool, bool, bool) {
        (self.answers, self.ready, self.active)
    }

    fn open(&self) -> Option<Facts> {
        self.memory.facts.filter(|facts| facts.outcome == Outcome::Open)
    }

    /// The plan, where this node has not voted and its trial matters: also after a decision that was made without it.
    fn untried(&self) -> Option<Facts> {
        let early = self.rules.lacks(Broken::DecidedIsTried);
        self.memory.facts.filter(|facts| match facts.outcome {
            Outcome::Open => !facts.passed,
            Outcome::Decided => !facts.passed && !early,
            Outcome::Abandoned | Outcome::Refused => false,
        })
    }

    fn change(&mut self, out: &mut Vec<UpdateEffect>, change: impl FnOnce(&mut Facts)) {
        if let Some(facts) = &mut self.memory.facts {
            let before = *facts;
            change(facts);
            if *facts != before {
                out.push(UpdateEffect::Store(self.memory.clone()));
                self.tell(out);
            }
        }
    }

    /// The plan ends so, durably.
    fn end(&mut self, outcome: Outcome, out: &mut Vec<UpdateEffect>) {
        let Some(facts) = &mut self.memory.facts else { return };
        // What was marked bad is written anew.
        facts.written &= facts.outcome != Outcome::Abandoned || outcome != Outcome::Decided;
        facts.outcome = outcome;
        let version = facts.plan.version;
        let passed = facts.passed;
        let stays = self.blessed && self.booted == version;
        if outcome == Outcome::Refused && !stays && !self.memory.refused.contains(&version) {
            self.memory.refused.push(version);
        }
        // A decision that came from the peer is held by both.
        let told = self.peer.is_some_and(|peer| peer.outcome == Outcome::Decided && peer.plan == facts.plan);
        self.memory.both = outcome == Outcome::Decided && told;
        // A trial that is not needed any more is over; every other answer is waited for.
        if outcome != Outcome::Decided || passed {
            self.asked.take_if(|(job, _)| *job == Job::Check);
        }
        out.push(UpdateEffect::Store(self.memory.clone()));
        self.tell(out);
        if matches!(outcome, Outcome::Refused | Outcome::Abandoned) && self.booted != version {
            out.push(UpdateEffect::MarkBad(version));
        }
    }

    /// Asks the shell.
    fn ask(&mut self, job: Job, out: &mut Vec<UpdateEffect>) {
        let Some(plan) = self.memory.facts.map(|facts| facts.plan) else { return };
        self.asked = Some((job, plan));
        match job {
            Job::Write => out.push(UpdateEffect::Write(plan)),
            Job::Prove => out.extend([UpdateEffect::Arm(plan), UpdateEffect::Prove(plan)]),
            Job::Check => out.push(UpdateEffect::Check(plan)),
            Job::Bless => out.push(UpdateEffect::Bless(plan)),
            Job::Switchover => out.push(UpdateEffect::Switchover(plan)),
        }
    }

    /// Back to the old version.
    fn leave(&mut self, out: &mut Vec<UpdateEffect>) {
        if !self.rules.lacks(Broken::RetryFailed) {
            out.push(UpdateEffect::MarkBad(self.booted));
        }
        self.reboot(out);
    }

    fn reboot(&mut self, out: &mut Vec<UpdateEffect>) {
        self.down = true;
        out.push(UpdateEffect::Reboot);
    }
}
