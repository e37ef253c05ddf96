//! Runs the pair core's update machine: feeds it with what is seen and heard, carries out what it wants, keeps what it
//! remembers.
//!
//! ```text
//!  tick, Seen ─┐              ┌─▶ memory on state        (kept), before the next effect
//!  other node ─┼─▶ Updater ───┼─▶ Work beside the loop   (hands) ─▶ Done ─▶ Updater
//!  operator ───┘              └─▶ Want: say, switch over, reboot is under way
//! ```
//!
//! Effects of one event are carried out in order and before the next event is taken, as in the model. An answer that belongs
//! to a superseded question is dropped. What fails is tried again here, since the core does not ask twice.

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
use pair_core::update::{Cause, Facts, Outcome, PlanId, UpdateEvent, UpdateReason, Updater};
use said::{Said, Start};
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// Seconds between two attempts at what has failed.
const AGAIN: u64 = 5;
/// Seconds between two messages that say again what is known.
const TELL: u64 = 5;
/// Seconds in which an asked-for switchover is not asked for again.
const SWITCHOVER: u64 = 20;
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
    /// The slot is written, or not; to which question.
    Written(u64, Result<(), Trouble>),
    /// The rollback is proven, or not.
    Proven(u64, Result<(), Trouble>),
    /// Health was looked at.
    Observed(u64, Result<Vec<Finding>, Trouble>),
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
    todo: VecDeque<pair_core::update::UpdateEffect>,
    next: VecDeque<Next>,
    at_work: bool,
    /// Nothing is carried out before this tick.
    hold: u64,
    /// Names the present question.
    asked: u64,
    /// A question that is asked again at this tick.
    repeat: Option<(u64, pair_core::update::UpdateEffect)>,
    trial: Option<Trial>,
    seen: Seen,
    switched: Option<u64>,
    rebooting: bool,
    ticks: u64,
    wants: Vec<Want>,
    /// What the other node has heard of this one last.
    heard: Option<Facts>,
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
            asked: 0,
            repeat: None,
            trial: None,
            seen: Seen::default(),
            switched: None,
            rebooting: false,
            ticks: 0,
            wants: Vec::new(),
            heard: None,
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
        self.solo();
        self.pass_time();
        if let Some((_, effect)) = self.repeat.take_if(|(at, _)| *at <= self.ticks) {
            self.todo.push_front(effect);
        }
        self.observe();
        self.pump();
    }

    /// How the pair is, for the machine. Alone, by an operator's word, this node serves nobody but itself.
    fn pair(&mut self) {
        let solo = self.is_solo();
        let ready = if solo { self.seen.current } else { self.seen.ready() };
        let active = self.seen.active && !solo;
        if self.updater.as_ref().is_some_and(|updater| updater.pair() != (ready, active)) {
            self.event(UpdateEvent::Pair { ready, active });
        }
    }

    fn is_solo(&self) -> bool {
        self.kept.plan.as_ref().is_some_and(|plan| plan.solo) && self.kept.memory.lead && !self.seen.peer
    }

    /// The other node's part, which an operator has said is not to be waited for. It takes it over when it comes back.
    fn solo(&mut self) {
        let Some(ours) = self.kept.memory.facts.filter(|_| self.is_solo()) else { return };
        let decided = ours.outcome == Outcome::Decided;
        let outcome = if decided { Outcome::Decided } else { Outcome::Open };
        let theirs = Facts { plan: ours.plan, written: true, passed: true, outcome };
        if self.updater.as_ref().is_some_and(|updater| updater.peer() != Some(theirs)) {
            self.event(UpdateEvent::Peer(theirs));
        }
    }

    fn pass_time(&mut self) {
        let Some(facts) = self.kept.memory.facts else { return };
        if !self.seen.peer {
            // Whoever comes back may have forgotten.
            self.heard = None;
        }
        if self.heard != Some(facts) && self.ticks % TELL == 0 {
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
            let (asked, solo) = (self.asked, self.kept.plan.as_ref().is_some_and(|plan| plan.solo));
            let work = self.hands.observe(self.seen.clone(), solo);
            self.spawn(work, move |result| Done::Observed(asked, result));
        }
    }

    fn observed(&mut self, findings: Vec<Finding>) {
        let elapsed =
            self.trial.as_ref().map(|trial| self.ticks.saturating_sub(trial.began)).unwrap_or_default();
        let Some(trial) = &mut self.trial else { return };
        trial.looking = false;
        let event = match trial.gate.look(findings, elapsed) {
            Verdict::Wait => return,
            Verdict::Well => UpdateEvent::Health(true),
            Verdict::Sick => UpdateEvent::Health(false),
            Verdict::Undecided => UpdateEvent::Limit,
        };
        // The findings stay, for whoever asks why.
        trial.looking = true;
        self.asked += 1;
        self.event(event);
    }

    /// Takes work that has ended.
    pub fn done(&mut self, done: Done) {
        match done {
            Done::Looked(result) => self.looked(result),
            Done::Opened(result, start, reply) => self.opened(result, &start, reply),
            Done::Carried(kind, result) => self.carried(kind, result),
            Done::Written(asked, result) if asked == self.asked => self.written(result),
            Done::Proven(asked, result) if asked == self.asked => self.proven(result),
            Done::Observed(asked, result) if asked == self.asked => self.observed(
                result.unwrap_or_else(|trouble| vec![Finding { text: trouble.text, elsewhere: false }]),
            ),
            Done::Written(..) | Done::Proven(..) | Done::Observed(..) => {}
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
                self.begin();
            }
            Ok(_) => {}
        }
    }

    fn begin(&mut self) {
        let standing = |version: &str| {
            self.look.versions.iter().find(|(known, _)| known == version).map(|(_, standing)| *standing)
        };
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
        let old = self.updater.is_none()
            || self.stopped.is_some()
            || said.facts.plan.serial <= self.kept.rolled_back;
        self.peer_rolled_back = said.rolled_back > self.kept.rolled_back;
        if old || number(&said.version) != said.facts.plan.version {
            return;
        }
        let newer = self.kept.plan.as_ref().is_none_or(|plan| plan.serial < said.facts.plan.serial);
        let ours = self.kept.memory.facts.map(|facts| facts.plan);
        if newer || (ours.is_some_and(|ours| ours < said.facts.plan) && self.follows(said)) {
            self.kept.plan = Some(said.plan());
            if !self.keep() {
                return;
            }
        }
        self.heard = said.heard;
        self.event(UpdateEvent::Peer(said.facts));
        self.pump();
        if said.answer {
            let answer = self.kept.memory.facts.and_then(|facts| Said::of(self, facts));
            self.wants.extend(answer.map(Want::Say));
        }
    }

    /// Of two plans with one serial the other node's is the newer one.
    fn follows(&self, said: &Said) -> bool {
        self.kept.plan.as_ref().is_some_and(|plan| plan.version != said.version)
    }

    /// What this node is doing, or why it is not doing more.
    pub fn reason(&self) -> Option<UpdateReason> {
        self.updater.as_ref().map(Updater::reason)
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
