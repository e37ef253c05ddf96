//! Effects, carried out one after the other; the answers to what takes time.

use super::hands::{Job, Trouble};
use super::kept::ArmedIn;
use super::said::Said;
use super::{AGAIN, Done, Driver, Gate, Next, SWITCHOVER, Trial, Want};
use pair_core::update::{Memory, Outcome, PlanId, UpdateEffect, UpdateEvent, Version};

/// Work that the next effect waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A trial gets its attempts.
    Arm,
    /// This plan's version is kept.
    Keep(PlanId),
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
                    let effects = updater.on(UpdateEvent::Start { plan: id, solo: plan.solo });
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
            UpdateEffect::Tell(word) => {
                self.wants.extend(Said::of(self, *word).map(Want::Say));
            }
            UpdateEffect::Refuse(_) => {}
            UpdateEffect::Switchover(plan) => {
                self.switching = Some((self.ticks + SWITCHOVER, *plan));
                self.wants.push(Want::Switchover);
            }
            UpdateEffect::Check(plan) => {
                let plan = *plan;
                let limit = self.kept.plan.as_ref().map(|plan| plan.trial_limit).unwrap_or_default();
                self.trial = Some(Trial { plan, gate: Gate::new(limit), began: self.ticks, looking: false });
            }
            UpdateEffect::Reboot => {
                self.trial = None;
                self.work(Kind::Reboot, self.hands.reboot());
            }
            UpdateEffect::Write(plan) => self.write(*plan),
            UpdateEffect::Arm(plan) => match self.job(*plan) {
                Some(job) => self.work(Kind::Arm, self.hands.arm(job)),
                None => {
                    self.problem =
                        Some(format!("updates: what plan no. {} is for was forgotten", plan.serial))
                }
            },
            UpdateEffect::Prove(plan) => {
                let plan = *plan;
                match self.text(plan.version) {
                    Some(text) => {
                        self.spawn(self.hands.prove(text), move |result| Done::Proven(plan, result));
                    }
                    None => self.event(UpdateEvent::Proven(plan, false)),
                }
            }
            UpdateEffect::Bless(plan) => match self.text(plan.version) {
                Some(text) => self.work(Kind::Keep(*plan), self.hands.keep(text)),
                None => self.event(UpdateEvent::Blessed(*plan, false)),
            },
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

    fn job(&self, id: PlanId) -> Option<Job> {
        let plan = self.kept.plan.as_ref().filter(|plan| super::number(&plan.version) == id.version)?;
        let first = self.kept.memory.lead && self.kept.memory.facts.is_some_and(|facts| !facts.written);
        Some(Job { version: plan.version.clone(), bundle: plan.bundle.clone(), first })
    }

    pub(super) fn write(&mut self, plan: PlanId) {
        match self.job(plan).filter(|_| self.goes_on(plan)) {
            Some(job) => self.spawn(self.hands.write(job), move |result| Done::Written(plan, result)),
            None => self.event(UpdateEvent::Written(plan, false)),
        }
    }

    /// It is the present plan, and its slot is still to be written.
    fn goes_on(&self, plan: PlanId) -> bool {
        self.kept.memory.facts.is_some_and(|facts| {
            facts.plan == plan && matches!(facts.outcome, Outcome::Open | Outcome::Decided)
        })
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
        let passed = memory.facts.is_some_and(|facts| facts.passed);
        let tried = outcome == Some(Outcome::Open) || (outcome == Some(Outcome::Decided) && !passed);
        if !tried {
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
            (Kind::Keep(plan), Ok(())) => {
                self.problem = None;
                self.event(UpdateEvent::Blessed(plan, true));
            }
            (Kind::Arm | Kind::Reject, Ok(())) => self.problem = None,
            (kind, Err(trouble)) => {
                self.problem = Some(format!("updates: {trouble}"));
                match kind {
                    Kind::Keep(plan) => self.event(UpdateEvent::Blessed(plan, false)),
                    // The core says it once, and nothing comes before it.
                    Kind::Reboot => {
                        self.hold = self.ticks + AGAIN;
                        self.todo.push_front(UpdateEffect::Reboot);
                    }
                    // Without the attempts the proof fails, and that decides. A version that keeps its attempts
                    // loses them one by one, and stays refused.
                    Kind::Arm | Kind::Reject => {}
                }
            }
        }
    }

    pub(super) fn written(&mut self, plan: PlanId, result: Result<(), Trouble>) {
        let open = self.kept.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Open);
        match result {
            Ok(()) => {
                self.problem = None;
                self.event(UpdateEvent::Written(plan, true));
            }
            Err(trouble) => {
                self.problem = Some(format!("updates: the slot is not written: {trouble}"));
                if trouble.again && open && self.goes_on(plan) {
                    // A source that is away; the plan's own limit ends this. What is decided the core tries again.
                    self.repeat = Some((self.ticks + AGAIN, plan));
                } else {
                    self.event(UpdateEvent::Written(plan, false));
                }
            }
        }
    }

    pub(super) fn proven(&mut self, plan: PlanId, result: Result<(), Trouble>) {
        let proven = result.is_ok();
        if let Err(trouble) = result {
            self.problem = Some(format!("updates: the trial is not begun: {trouble}"));
        }
        self.event(UpdateEvent::Proven(plan, proven));
    }
}
