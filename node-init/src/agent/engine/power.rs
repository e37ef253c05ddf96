//! The other node's power switch, as the agent uses it: off when the pair core wants it, on again afterwards, asked now and
//! then whether it still answers.
//!
//! - Mode `fence`: the pair core's `PowerOff` is answered with what was read back. Attempts that failed are spaced, however
//!   often they are wanted: a board locks a login that is wrong too often.
//! - Mode `witness`: the claim decides. Only when this node was granted and the other one is silent, its power is taken and
//!   given again: that proves its death, so its pods may move at once, and it brings a hung box back.
//! - Whatever was switched off is switched on again, as soon as this node does not wait for its answer any more. A note on
//!   state says so, for the next agent and the next boot.

mod due;

pub(super) use due::Switch;

use self::due::{Due, Seen};
use super::{Agent, Input};
use crate::agent::fence::Said;
use crate::agent::fence::note::Note;
use crate::agent::fence::switch::{self, Pace, timed};
use crate::agent::history::Kind;
use crate::agent::log;
use crate::update::driver::Driver;
use edgepair_status::Fence;
use pair_core::effect::Code;
use pair_core::event::{Event, Power, RequestId, Timer};
use pair_core::message::Mode;
use pair_core::update::UpdateReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::Instant;

/// Between two looks at a switch that answers.
const LOOK: Duration = Duration::from_secs(600);
/// Between two looks at one that does not.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// So many looks without an answer are an alarm.
const DEAF: u32 = 2;
/// For a look, and for switching on.
const SHORT: Duration = Duration::from_secs(40);
/// Between two proofs of death beside a witness: a link that comes and goes must not cost a power cut each time.
const PROOF: Duration = Duration::from_secs(300);
/// Attempts at one proof.
const PROOFS: u32 = 3;
/// The standby of mode `fence` lets the active node's attempt go first by so much, at least and at most.
const HEAD_START: Duration = Duration::from_secs(2);
const HEAD_START_MOST: Duration = Duration::from_secs(15);

/// What was done at the switch.
#[derive(Debug)]
pub enum Done {
    /// Off, read back or not.
    Off(Result<(), String>),
    /// On, read back or not.
    On(Result<(), String>),
    /// Looked; how long it took.
    Look(Result<Said, String>, Duration),
}

fn is_under_way(reason: UpdateReason) -> bool {
    use UpdateReason as R;
    matches!(
        reason,
        R::Writing
            | R::WaitsForPeer
            | R::WaitsForPair
            | R::WaitsForSwitchover
            | R::Arming
            | R::OnTrial
            | R::WaitsToBless
    )
}

impl Agent {
    /// The switch for `status`.
    pub(super) fn fence_status(&self) -> Option<Fence> {
        self.switch.as_ref().map(Switch::status)
    }

    /// How long the standby's own attempt waits beyond its usual delay.
    pub(super) fn head_start(&self) -> Duration {
        match &self.switch {
            Some(switch) if self.node.durable().policy.mode == Mode::Fence => {
                (switch.took * 2).clamp(HEAD_START, HEAD_START_MOST)
            }
            _ => Duration::ZERO,
        }
    }

    /// The pair core wants the other box off.
    pub(super) fn power_off(&mut self, request: RequestId) {
        match &mut self.switch {
            Some(switch) => switch.requests.push(request),
            None => {
                self.problem("power", "the other node is to be switched off, and the seed names no switch");
                let inputs = self.inputs.clone();
                spawn_local(async move {
                    let _ = inputs.send(Input::Power(request, Power::NotOff)).await;
                });
            }
        }
    }

    /// The pair core wants it on again. The note says so as well, and lasts.
    pub(super) fn power_on(&mut self) {
        if let Some(switch) = &mut self.switch {
            switch.next_try = Instant::now();
        }
    }

    /// The kernel's handler was answered. Beside a witness, a grant by claim means that the other node may be dead.
    pub(super) fn granted(&mut self, code: Code) {
        let beside = self.node.durable().policy.mode == Mode::Witness && !self.node.facts().promised;
        // The other node reboots into a trial, and a power cut there would cost it an attempt.
        let updating = self.update.as_ref().and_then(Driver::reason).is_some_and(is_under_way);
        let beside = beside && !updating;
        if let (Code::PeerOutdated, true, Some(switch)) = (code, beside, &mut self.switch) {
            if switch.proven.is_none_or(|at| at.elapsed() >= PROOF) {
                switch.proofs = PROOFS;
            }
        }
    }

    /// Brings about what is due at the switch.
    pub(super) fn settle_power(&mut self) {
        let Some(switch) = &mut self.switch else { return };
        let view = self.node.view();
        if view.connected() {
            switch.proofs = 0;
            if let Some(stop) = &switch.running {
                stop.store(true, Ordering::Relaxed);
            } else {
                // The question that they were for is over.
                let over = std::mem::take(&mut switch.requests);
                over.into_iter()
                    .for_each(|request| self.event(Event::Power { request, power: Power::NotOff }));
            }
        }
        let seen = Seen {
            view,
            ordered: !self.ordered.is_empty(),
            heard: self.peer.heard.is_some(),
            now: Instant::now(),
        };
        if let Some(due) = self.switch.as_ref().and_then(|switch| switch.due(seen)) {
            self.use_switch(due);
        }
    }

    fn use_switch(&mut self, due: Due) {
        let Some(switch) = &mut self.switch else { return };
        let (device, runner) = (switch.device.clone(), Arc::clone(&self.ports.runner));
        let left_off = switch.note.as_ref().is_some_and(|note| note.off);
        if due != Due::Look {
            // Before the order: whatever ends this agent then, the box is switched on again.
            let note = Note { device: device.name(), off: false };
            if let Err(error) = note.store(&self.ports.place) {
                switch.failed(Instant::now());
                let text =
                    format!("the other node's switch is not used, because that cannot be noted: {error}");
                return self.problem("power", &text);
            }
            switch.note = Some(note);
        }
        let work: Box<dyn FnOnce() -> Done + Send> = match due {
            Due::Off => {
                let stop = Arc::new(AtomicBool::new(false));
                switch.running = Some(Arc::clone(&stop));
                let pace = Pace::within(switch.limit);
                Box::new(move || Done::Off(switch::off(&*runner, &device, pace, left_off, &stop)))
            }
            Due::On => {
                switch.running = Some(Arc::default());
                Box::new(move || Done::On(switch::on(&*runner, &device, Pace::within(SHORT))))
            }
            Due::Look => {
                switch.looking = true;
                Box::new(move || {
                    let (said, took) = timed(|| switch::look(&*runner, &device, Pace::within(SHORT)));
                    Done::Look(said, took)
                })
            }
        };
        if due != Due::Look {
            log::info(&format!("{} is told: {due:?}", switch.device.name()));
        }
        let inputs = self.inputs.clone();
        spawn_local(async move {
            let failed = || "the thread of the switch ended early".to_owned();
            let done = spawn_blocking(work).await.unwrap_or_else(|_| match due {
                Due::Off => Done::Off(Err(failed())),
                Due::On => Done::On(Err(failed())),
                Due::Look => Done::Look(Err(failed()), Duration::ZERO),
            });
            let _ = inputs.send(Input::Switch(done)).await;
        });
    }

    /// The switch has answered.
    pub(super) fn switch_done(&mut self, done: Done) {
        match done {
            Done::Off(result) => self.off_done(result),
            Done::On(result) => self.on_done(result),
            Done::Look(said, took) => self.look_done(said, took),
        }
    }

    fn off_done(&mut self, result: Result<(), String>) {
        let other = self.config.names.1.clone();
        let Some(switch) = &mut self.switch else { return };
        let now = Instant::now();
        switch.running = None;
        switch.said = Some((result.clone().map(|()| Said::Off), now));
        let requests = std::mem::take(&mut switch.requests);
        let proving = switch.proofs > 0;
        let power = match &result {
            Ok(()) => {
                switch.failures = 0;
                switch.proofs = 0;
                switch.off_at = Some(now);
                if let Some(note) = &mut switch.note {
                    note.off = true;
                    let _ = note.store(&self.ports.place);
                }
                Power::Off
            }
            Err(_) => {
                switch.failed(now);
                switch.proofs = switch.proofs.saturating_sub(1);
                Power::NotOff
            }
        };
        match result {
            Ok(()) => {
                self.clear("power");
                let text = format!("the power of {other} was read back as off: it is dead");
                log::info(&text);
                self.history.note(Kind::Decision, &text);
            }
            Err(why) => self.problem("power", &format!("{other} cannot be switched off: {why}")),
        }
        for request in requests {
            self.event(Event::Power { request, power });
        }
        if proving && power == Power::Off {
            if let Some(switch) = &mut self.switch {
                switch.proven = Some(now);
            }
            // What only time could say before is proven now.
            self.fire(Timer::PeerGone);
        }
    }

    fn on_done(&mut self, result: Result<(), String>) {
        let other = self.config.names.1.clone();
        let Some(switch) = &mut self.switch else { return };
        let now = Instant::now();
        switch.running = None;
        switch.said = Some((result.clone().map(|()| Said::On), now));
        match result {
            Ok(()) => {
                switch.failures = 0;
                if let Err(error) = Note::clear(&self.ports.place) {
                    log::warn(&format!("the note of the switched-off box stays: {error}"));
                }
                switch.note = None;
                self.clear("power-on");
                let text = format!("{other} has power again");
                log::info(&text);
                self.history.note(Kind::Decision, &text);
            }
            Err(why) => {
                switch.failed(now);
                self.problem(
                    "power-on",
                    &format!("{other} was switched off and cannot be switched on: {why}"),
                );
            }
        }
    }

    fn look_done(&mut self, said: Result<Said, String>, took: Duration) {
        let Some(switch) = &mut self.switch else { return };
        let now = Instant::now();
        switch.looking = false;
        switch.said = Some((said.clone(), now));
        match said {
            Ok(_) => {
                switch.took = took;
                switch.deaf = 0;
                switch.next_look = now + LOOK;
                self.clear("fence");
            }
            Err(why) => {
                switch.deaf = switch.deaf.saturating_add(1);
                switch.next_look = now + LOOK_AGAIN;
                let text = format!(
                    "the power switch of {} ({}) does not answer: {why}",
                    self.config.names.1,
                    switch.device.name()
                );
                if switch.deaf == DEAF {
                    log::loud(&text);
                    self.history.note(Kind::Alarm, &text);
                }
                if switch.deaf >= DEAF {
                    self.problem("fence", &text);
                }
            }
        }
    }
}
