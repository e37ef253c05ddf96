//! Effects, carried out one after the other; the answers to what takes time.

use super::hands::{Job, Trouble};
use super::kept::ArmedIn;
use super::said::Said;
use super::{AGAIN, Done, Driver, Gate, Next, SWITCHOVER, Trial, Want};
use pair_core::update::{Memory, Outcome, UpdateEffect, UpdateEvent, Version};

/// Work that the next effect waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A trial gets its attempts.
    Arm,
    /// A version is kept.
    Keep(Version),
    /// A version loses its attempts.
    Reject,
    /// The node goes down.
    Reboot,
}

impl Driver {
    /// Carries out what waits and takes what comes next, as far as that goes without waiting.
    pub(super) fn pump(&mut self) {
        let may = self.updater.is_some() && self.stopped.is_none();
        while may && !self.at_work && !self.rebooting && self.hold <= self.ticks {
            if let Some(effect) = self.todo.pop_front() {
                self.carry_out(effect);
                continue;
            }
            match self.next.pop_front() {
                None => return,
                Some(Next::Event(event)) => self.take(event),
                Some(Next::Start(id, plan, reply)) => {
                    let Some(updater) = &mut self.updater else { return };
                    let effects = updater.on(UpdateEvent::Start(id));
                    let refusal = effects.iter().find_map(|effect| match effect {
                        UpdateEffect::Refuse(reason) => Some(reason.to_string()),
                        _ => None,
                    });
                    match refusal {
                        Some(why) => drop(reply.send(Err(why))),
                        None => {
                            self.kept.plan = Some(plan);
                            // Whoever ordered it is told yes when it is on disk.
                            let kept = self.keep();
                            let why = self.stopped.clone().unwrap_or_default();
                            drop(reply.send(kept.then_some(()).ok_or(why)));
                            if !kept {
                                return;
                            }
                        }
                    }
                    self.todo.extend(effects);
                }
            }
        }
    }

    fn take(&mut self, event: UpdateEvent) {
        if let Some(updater) = &mut self.updater {
            self.todo.extend(updater.on(event));
        }
    }

    fn text(&self, version: Version) -> Option<String> {
        let own = super::number(&self.version) == version;
        own.then(|| self.version.clone()).or_else(|| self.kept.text(version).map(str::to_owned))
    }

    fn carry_out(&mut self, effect: UpdateEffect) {
        match &effect {
            UpdateEffect::Store(memory) => self.store(memory.clone()),
            UpdateEffect::Tell(facts) => {
                self.wants.extend(Said::of(self, *facts).map(Want::Say));
            }
            UpdateEffect::Refuse(_) => {}
            UpdateEffect::Switchover => {
                // It takes a few seconds, and the machine asks at every event until it has happened.
                if self.switched.is_none_or(|at| at + SWITCHOVER <= self.ticks) {
                    self.switched = Some(self.ticks);
                    self.wants.push(Want::Switchover);
                }
            }
            UpdateEffect::Check => {
                self.asked += 1;
                let limit = self.kept.plan.as_ref().map(|plan| plan.trial_limit).unwrap_or_default();
                self.trial = Some(Trial { gate: Gate::new(limit), began: self.ticks, looking: false });
            }
            UpdateEffect::Reboot => {
                self.trial = None;
                self.work(Kind::Reboot, self.hands.reboot());
            }
            UpdateEffect::Write(version) => self.write(*version),
            UpdateEffect::Arm(version) => match self.job(*version) {
                Some(job) => self.work(Kind::Arm, self.hands.arm(job)),
                None => self.problem = Some(format!("updates: what version no. {version} is was forgotten")),
            },
            UpdateEffect::Prove(version) => {
                self.asked += 1;
                let asked = self.asked;
                match self.text(*version) {
                    Some(text) => {
                        self.spawn(self.hands.prove(text), move |result| Done::Proven(asked, result));
                    }
                    None => self.event(UpdateEvent::Proven(false)),
                }
            }
            UpdateEffect::Bless(version) => {
                if let Some(text) = self.text(*version) {
                    self.work(Kind::Keep(*version), self.hands.keep(text));
                }
            }
            UpdateEffect::MarkBad(version) => {
                if let Some(text) = self.text(*version) {
                    self.work(Kind::Reject, self.hands.reject(text));
                }
            }
        }
    }

    fn work(&mut self, kind: Kind, work: super::Work<()>) {
        self.at_work = true;
        self.spawn(work, move |result| Done::Carried(kind, result));
    }

    fn job(&self, version: Version) -> Option<Job> {
        let plan = self.kept.plan.as_ref().filter(|plan| super::number(&plan.version) == version)?;
        let first = self.kept.memory.lead && self.kept.memory.facts.is_some_and(|facts| !facts.written);
        Some(Job { version: plan.version.clone(), bundle: plan.bundle.clone(), first })
    }

    fn write(&mut self, version: Version) {
        self.asked += 1;
        let asked = self.asked;
        match self.job(version) {
            Some(job) => self.spawn(self.hands.write(job), move |result| Done::Written(asked, result)),
            None => self.event(UpdateEvent::Written(false)),
        }
    }

    fn store(&mut self, memory: Memory) {
        let outcome = memory.facts.map(|facts| facts.outcome);
        if memory.trials > self.kept.memory.trials {
            self.kept.armed = ArmedIn { boot: self.look.boot.clone(), crashes: self.look.crashes.clone() };
        }
        let findings: Vec<String> = match &self.trial {
            Some(trial) => trial.gate.findings.iter().map(|finding| finding.text.clone()).collect(),
            None => Vec::new(),
        };
        if outcome != Some(Outcome::Open) {
            self.trial = None;
        }
        self.kept.take(memory, &findings, self.hands.now());
        self.keep();
    }

    /// Writes the memory; `false` when it could not be written: nothing that follows is done.
    pub(super) fn keep(&mut self) -> bool {
        match self.kept.store(&self.place) {
            Ok(()) => true,
            Err(error) => {
                self.stop(&error.to_string());
                false
            }
        }
    }

    /// Ends all work on updates until the agent is started anew, which then begins with what is on disk. Until then this
    /// node says nothing of updates: for the other one it is away, and the plan waits or reaches its limit. The agent
    /// lives on, since who may be active has a memory of its own; it must not be started again and again by this one.
    fn stop(&mut self, why: &str) {
        let why = format!(
            "updates stop here: a decision could not be made durable: {why}; make /var writable, then `systemctl restart              edgepair-agent`"
        );
        self.todo.clear();
        self.repeat = None;
        self.trial = None;
        self.wants.retain(|want| !matches!(want, Want::Switchover));
        for next in self.next.drain(..) {
            if let Next::Start(_, _, reply) = next {
                let _ = reply.send(Err(why.clone()));
            }
        }
        self.wants.push(Want::Alarm(why.clone()));
        self.stopped = Some(why);
    }

    pub(super) fn carried(&mut self, kind: Kind, result: Result<(), Trouble>) {
        self.at_work = false;
        match (kind, result) {
            (Kind::Reboot, Ok(())) => self.rebooting = true,
            (_, Ok(())) => self.problem = None,
            (kind, Err(trouble)) => {
                self.problem = Some(format!("updates: {trouble}"));
                let again = match kind {
                    // Without the attempts the proof fails, and that decides.
                    Kind::Arm => None,
                    // The core says these once.
                    Kind::Keep(version) => Some(UpdateEffect::Bless(version)),
                    Kind::Reboot => Some(UpdateEffect::Reboot),
                    // Its attempts run out, and it stays refused.
                    Kind::Reject => None,
                };
                if let Some(effect) = again {
                    self.hold = self.ticks + AGAIN;
                    self.todo.push_front(effect);
                }
            }
        }
    }

    pub(super) fn written(&mut self, result: Result<(), Trouble>) {
        match result {
            Ok(()) => {
                self.problem = None;
                self.event(UpdateEvent::Written(true));
            }
            Err(trouble) => {
                self.problem = Some(format!("updates: the slot is not written: {trouble}"));
                let version = self.kept.memory.facts.map(|facts| facts.plan.version);
                match version.filter(|_| trouble.again) {
                    // The plan's own limit ends this.
                    Some(version) => self.repeat = Some((self.ticks + AGAIN, UpdateEffect::Write(version))),
                    None => self.event(UpdateEvent::Written(false)),
                }
            }
        }
    }

    pub(super) fn proven(&mut self, result: Result<(), Trouble>) {
        let decided = self.kept.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Decided);
        match result {
            Ok(()) => self.event(UpdateEvent::Proven(true)),
            Err(trouble) => {
                self.problem = Some(format!("updates: the trial is not begun: {trouble}"));
                if decided {
                    // A decided version is armed again at once, and that would be for ever.
                    self.hold = self.ticks + AGAIN;
                }
                self.event(UpdateEvent::Proven(false));
            }
        }
    }
}
