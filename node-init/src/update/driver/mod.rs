//! Runs the pair core's update machine: feeds it with what is seen and heard, carries out what it wants, keeps what it
//! remembers.
//!
//! ```text
//!  tick, Seen ─┐              ┌─▶ memory on state        (kept), before the next effect
//!  other node ─┼─▶ Updater ───┼─▶ Work beside the loop   (hands) ─▶ Done ─▶ Updater
//!  operator ───┘              └─▶ Want: say, switch over, reboot is under way
//! ```
//!
//! Effects of one event are carried out in order and before the next event is taken, as in the model. Every question of the
//! core is answered once, with the plan that it was about.

mod carry;
pub mod hands;
pub mod kept;
mod operator;
pub mod said;
#[cfg(test)]
mod tests;

use super::boot::Standing;
use super::health::{Finding, Gate, Seen, Verdict};
use crate::member::{KeptError, Place};
use hands::{Hands, Look, Offer, Trouble, Work};
use kept::{Kept, Plan, number};
use pair_core::record::Side;
use pair_core::rules::Rules;
use pair_core::update::{Cause, Outcome, PlanId, UpdateEffect, UpdateEvent, UpdateReason, Updater};
use said::{Said, Start};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// Seconds between two attempts at what has failed.
const AGAIN: u64 = 5;
/// Seconds after which the core may say again what is known, and try again what has failed.
const RETRY: u64 = 5;
/// Seconds after which a switchover that has not happened has failed. Pods may take half of it to move away.
const SWITCHOVER: u64 = 60;
/// Seconds that a boot which no plan asked for has to be called good. Then it counts as one that is not kept: this node may
/// have lost its memory of the plan, and hears of it from the other one.
const GOOD: u64 = 600;
/// Seconds between two notes of how long a plan has taken.
const NOTE: u64 = 60;
/// Seconds between two looks at health.
const LOOK: u64 = 5;

/// What the driver wants of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Say this to the other node.
    Say(Said),
    /// Make the other node active.
    Switchover,
    /// Tell somebody who can act on it.
    Alarm(String),
}

/// Work that has ended.
#[derive(Debug)]
pub enum Done {
    /// The boot loader was looked at.
    Looked(Result<Look, Trouble>),
    /// A bundle was opened for an operator.
    Opened(Result<Offer, Trouble>, Start, oneshot::Sender<Result<(), String>>),
    /// Arm, keep, reject or reboot.
    Carried(carry::Kind, Result<(), Trouble>),
    /// The slot is written, or not.
    Written(PlanId, Result<(), Trouble>),
    /// The rollback is proven, or not.
    Proven(PlanId, Result<(), Trouble>),
    /// Health was looked at, for this plan's trial.
    Observed(PlanId, Result<Vec<Finding>, Trouble>),
    /// The other version was made to boot.
    RolledBack(Result<String, Trouble>, oneshot::Sender<Result<(), String>>),
}

/// What waits to be taken by the machine.
#[derive(Debug)]
enum Next {
    Event(UpdateEvent),
    Start(PlanId, Plan, oneshot::Sender<Result<(), String>>),
}

/// One trial's judging.
#[derive(Debug)]
struct Trial {
    plan: PlanId,
    gate: Gate,
    began: u64,
    looking: bool,
}

/// The update machine of this node with everything around it.
pub struct Driver {
    place: Place,
    side: Side,
    version: String,
    hands: Rc<dyn Hands>,
    done: mpsc::UnboundedSender<Done>,
    kept: Kept,
    updater: Option<Updater>,
    look: Look,
    looking: bool,
    todo: VecDeque<UpdateEffect>,
    next: VecDeque<Next>,
    at_work: bool,
    /// Nothing is carried out before this tick.
    hold: u64,
    /// A plan whose slot is written again at this tick.
    repeat: Option<(u64, PlanId)>,
    trial: Option<Trial>,
    seen: Seen,
    /// A switchover that is waited for until this tick.
    switching: Option<(u64, PlanId)>,
    rebooting: bool,
    ticks: u64,
    wants: Vec<Want>,
    peer_rolled_back: bool,
    problem: Option<String>,
    /// Why nothing is done any more until the agent is started anew.
    stopped: Option<String>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Driver(node {}, {:?})", self.side, self.updater)
    }
}

impl Driver {
    /// A driver for a node that runs `version`. Work that has ended comes out of `done`, for [`Driver::done`].
    ///
    /// # Errors
    /// When what is remembered cannot be used.
    pub fn new(
        place: Place,
        side: Side,
        version: &str,
        hands: Rc<dyn Hands>,
        done: mpsc::UnboundedSender<Done>,
    ) -> Result<Self, KeptError> {
        Ok(Self {
            kept: Kept::load(&place)?,
            place,
            side,
            version: version.to_owned(),
            hands,
            done,
            updater: None,
            look: Look::default(),
            looking: false,
            todo: VecDeque::new(),
            next: VecDeque::new(),
            at_work: false,
            hold: 0,
            repeat: None,
            trial: None,
            seen: Seen::default(),
            switching: None,
            rebooting: false,
            ticks: 0,
            wants: Vec::new(),
            peer_rolled_back: false,
            problem: None,
            stopped: None,
        })
    }

    /// What the agent is to do, in order.
    pub fn wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    fn spawn<T: 'static>(&self, work: Work<T>, wrap: impl FnOnce(Result<T, Trouble>) -> Done + 'static) {
        let done = self.done.clone();
        spawn_local(async move {
            // Nobody listens any more when the agent ends.
            let _ = done.send(wrap(work.await));
        });
    }

    /// Once a second: how the pair is now.
    pub fn tick(&mut self, seen: Seen) {
        self.ticks += 1;
        self.seen = seen;
        if self.stopped.is_some() {
            return;
        }
        if self.updater.is_none() {
            if !self.looking && self.ticks % AGAIN == 1 {
                self.looking = true;
                self.spawn(self.hands.look(), Done::Looked);
            }
            return;
        }
        self.pair();
        self.pass_time();
        if let Some((_, plan)) = self.repeat.take_if(|(at, _)| *at <= self.ticks) {
            self.write(plan);
        }
        self.observe();
        self.pump();
    }

    /// How the pair is, for the machine.
    fn pair(&mut self) {
        let Seen { peer, current, active, .. } = self.seen;
        // Without the other node only an operator's word goes on, and needs nothing but the data here.
        let ready = if peer { self.seen.ready() } else { current };
        if self.updater.as_ref().is_some_and(|updater| updater.pair() != (peer, ready, active)) {
            self.event(UpdateEvent::Pair { peer, ready, active });
        }
        if !active {
            self.switching = None;
        }
        if let Some((_, plan)) = self.switching.take_if(|(until, _)| *until <= self.ticks) {
            self.event(UpdateEvent::Stayed(plan));
        }
    }

    fn pass_time(&mut self) {
        let Some(facts) = self.kept.memory.facts else { return };
        if self.ticks % RETRY == 0 {
            self.event(UpdateEvent::Retry);
        }
        let Some(plan) = self.kept.plan.as_mut().filter(|_| facts.outcome == Outcome::Open) else { return };
        plan.spent = plan.spent.saturating_add(1);
        let over = plan.spent >= plan.limit;
        if self.ticks % NOTE == 0 {
            self.keep();
            if over {
                self.event(UpdateEvent::Limit);
            }
        }
    }

    fn observe(&mut self) {
        let Some(trial) = &mut self.trial else { return };
        if !trial.looking && (self.ticks - trial.began) % LOOK == 0 {
            trial.looking = true;
            let (plan, solo) = (trial.plan, self.kept.plan.as_ref().is_some_and(|plan| plan.solo));
            let work = self.hands.observe(self.seen.clone(), solo);
            self.spawn(work, move |result| Done::Observed(plan, result));
        }
    }

    fn observed(&mut self, plan: PlanId, findings: Vec<Finding>) {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.plan == plan) else { return };
        let elapsed = self.ticks.saturating_sub(trial.began);
        trial.looking = false;
        let open = self.kept.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Open);
        let event = match trial.gate.look(findings, elapsed) {
            Verdict::Wait => return,
            Verdict::Well => UpdateEvent::Health(plan, true),
            Verdict::Sick => UpdateEvent::Health(plan, false),
            Verdict::Undecided if open => UpdateEvent::Limit,
            // Decided without this node: until it is judged.
            Verdict::Undecided => return,
        };
        // The findings stay, for whoever asks why.
        trial.looking = true;
        self.event(event);
    }

    /// Takes work that has ended.
    pub fn done(&mut self, done: Done) {
        match done {
            Done::Looked(result) => self.looked(result),
            Done::Opened(result, start, reply) => self.opened(result, &start, reply),
            Done::Carried(kind, result) => self.carried(kind, result),
            Done::Written(plan, result) => self.written(plan, result),
            Done::Proven(plan, result) => self.proven(plan, result),
            Done::Observed(plan, result) => self.observed(
                plan,
                result.unwrap_or_else(|trouble| vec![Finding { text: trouble.text, elsewhere: false }]),
            ),
            Done::RolledBack(result, reply) => self.rolled_back(result, reply),
        }
        self.pump();
    }

    /// The machine begins: what booted is known now.
    fn looked(&mut self, result: Result<Look, Trouble>) {
        self.looking = false;
        match result {
            Err(trouble) => self.problem = Some(format!("updates: {trouble}")),
            Ok(look) if self.updater.is_none() => {
                self.problem = None;
                self.look = look;
                if !self.is_being_judged() {
                    self.begin();
                }
            }
            Ok(_) => {}
        }
    }

    fn standing(&self, version: &str) -> Option<Standing> {
        self.look.versions.iter().find(|(known, _)| known == version).map(|(_, standing)| *standing)
    }

    /// A freshly flashed version has its tries too. It is kept when its boot is called good, a while after the agent has
    /// started; until then nothing is begun here, and it is looked at again.
    fn is_being_judged(&self) -> bool {
        let planned = self.kept.plan.as_ref().is_some_and(|plan| plan.version == self.version);
        let kept = matches!(self.standing(&self.version), None | Some(Standing::Kept));
        !kept && !planned && self.ticks < GOOD
    }

    fn begin(&mut self) {
        let standing = |version: &str| self.standing(version);
        // A root that is on no boot entry (a network boot) has nothing to be kept.
        let blessed = matches!(standing(&self.version), None | Some(Standing::Kept));
        let tried = self.kept.plan.as_ref().map(|plan| plan.version.clone());
        let exhausted = tried.as_deref().and_then(standing) == Some(Standing::Exhausted);
        let later = self.kept.armed.boot != self.look.boot;
        let crashed = self.look.crashes.iter().any(|record| !self.kept.armed.crashes.contains(record));
        let back = tried.is_some_and(|tried| tried != self.version);
        // A trial that used all its attempts up never came far enough to be judged.
        let crash = later && (crashed || (back && exhausted));
        let cause = if crash { Cause::Crash } else { Cause::Power };
        let memory = self.kept.memory.clone();
        let (updater, effects) =
            Updater::boot(number(&self.version), blessed, cause, memory, Rules::default());
        self.updater = Some(updater);
        self.todo.extend(effects);
    }

    /// The other node says how far it is.
    pub fn hear(&mut self, said: &Said) {
        // Until it is known what booted nothing is taken over; it is said again.
        let theirs = said.word.facts.plan;
        let old = self.updater.is_none() || self.stopped.is_some() || theirs.serial <= self.kept.rolled_back;
        self.peer_rolled_back = said.rolled_back > self.kept.rolled_back;
        if old || number(&said.version) != theirs.version {
            return;
        }
        let newer = self.kept.plan.as_ref().is_none_or(|plan| plan.serial < theirs.serial);
        let ours = self.kept.memory.facts.map(|facts| facts.plan);
        if newer || (ours.is_some_and(|ours| ours < theirs) && self.follows(said)) {
            self.kept.plan = Some(said.plan());
            if !self.keep() {
                return;
            }
        }
        self.event(UpdateEvent::Peer(said.word));
        self.pump();
    }

    /// Of two plans with one serial the other node's is the newer one.
    fn follows(&self, said: &Said) -> bool {
        self.kept.plan.as_ref().is_some_and(|plan| plan.version != said.version)
    }

    /// What this node is doing, or why it is not doing more.
    pub fn reason(&self) -> Option<UpdateReason> {
        self.updater.as_ref().map(Updater::reason)
    }

    /// An update is under way: nothing else of the system changes meanwhile.
    pub fn busy(&self) -> bool {
        self.kept.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Open)
    }

    /// What is wrong, for `status`.
    pub fn problems(&self) -> Vec<String> {
        let mut list: Vec<String> = self.stopped.iter().chain(&self.problem).cloned().collect();
        if self.peer_rolled_back {
            let text = "the other node was rolled back by hand; `node-init update rollback` here as well";
            list.push(text.to_owned());
        }
        list
    }

    fn event(&mut self, event: UpdateEvent) {
        self.next.push_back(Next::Event(event));
    }
}
