//! The pair core's effects, carried out.

use super::{ALARMS, Agent, Input};
use crate::agent::control::Reply;
use crate::agent::drbd::orders::Order;
use crate::agent::history::Kind;
use crate::agent::log;
use crate::agent::peer::wire::Said;
use crate::agent::witness::ask;
use crate::witness::client::Keeper;
use pair_core::effect::{Alarm, Effect, Query};
use pair_core::event::{Answer, Event, RequestId, Timer};
use pair_core::message::{Message, WitnessId};
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

/// A request for a handler: three of them fit into its two seconds only when the witness is near, one always does.
const HANDLER: Duration = Duration::from_millis(1500);
/// What a decision ends with that changes nothing.
pub(super) const NOTHING: &str = "nothing to do";
/// A witness that is silent for so long is a problem of its own.
pub(super) const WITNESS_AWAY: Duration = Duration::from_secs(30);

/// What was decided, for the journal; `None` for what happens every few seconds.
pub(super) fn in_words(event: Event, effects: &[Effect]) -> Option<String> {
    let quiet = |effect: &&Effect| {
        !matches!(
            effect,
            Effect::Arm(_)
                | Effect::Disarm(_)
                | Effect::Tell(Message::Hello(_))
                | Effect::Store(_)
                | Effect::Ask { query: Query::Read, .. }
        )
    };
    let told: Vec<String> = effects.iter().filter(quiet).map(words).collect();
    let cause = match event {
        Event::Drbd { old, new } => format!(
            "DRBD {:?}/{:?} {:?}/{:?} {:?}{}, was {:?}/{:?} {:?}/{:?} {:?}{}",
            new.role,
            new.peer,
            new.disk,
            new.peer_disk,
            new.link,
            if new.frozen { " frozen" } else { "" },
            old.role,
            old.peer,
            old.disk,
            old.peer_disk,
            old.link,
            if old.frozen { " frozen" } else { "" },
        ),
        Event::Peer(Message::Hello(_)) | Event::Timer(_) | Event::Witness { .. } if told.is_empty() => {
            return None;
        }
        Event::Peer(Message::Hello(_)) => "the other node says how it is".to_owned(),
        event => format!("{event:?}"),
    };
    let told = if told.is_empty() { NOTHING.to_owned() } else { told.join(", ") };
    Some(format!("{cause}: {told}"))
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Ask { query: Query::Swap(swap), .. } => {
            format!("ask the witness for {:?} at epoch {}", swap.claim, swap.expect)
        }
        Effect::Service(true) => "start storage and datastore".to_owned(),
        Effect::Service(false) => "stop datastore and storage".to_owned(),
        Effect::VirtualIp(true) => "take the virtual IP".to_owned(),
        Effect::VirtualIp(false) => "give the virtual IP up".to_owned(),
        Effect::Answer { code, .. } => format!("answer the kernel's handler with {}", code.number()),
        Effect::Refuse(reason) => format!("refused: {reason}"),
        effect => format!("{effect:?}"),
    }
}

fn alarm_words(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::MissedEvent => "a change of DRBD's state was missed",
        Alarm::Diverged => {
            "both nodes have written on their own: their data has diverged; an operator must choose one"
        }
        Alarm::DiskFailed => "this node's disk failed",
        Alarm::ForeignLineage => "the witness keeps another history of this pair than this node remembers",
        Alarm::WitnessBehind => {
            "the witness is behind what this node remembers: it was restored from an old copy"
        }
        Alarm::SameDisk => "both nodes name the same disk: one is a clone of the other",
        Alarm::StrangeDisk => {
            "this node's disk holds data and is not the one it was paired with; it does not connect until it is empty"
        }
        Alarm::SelfFenced => "frozen for too long: this node resets itself",
        Alarm::Superseded => "the other node has become the owner while this one was active",
    }
}

impl Agent {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        if self.failed.is_some() {
            // What should have been durable is not: nothing that follows may be done.
            return;
        }
        match effect {
            Effect::Store(durable) => {
                self.memory.durable = durable;
                if !self.keep() {
                    self.failed = Some("a decision could not be made durable".to_owned());
                }
            }
            Effect::Ask { request, witness, query } => self.ask_witness(request, witness, query),
            Effect::PowerOff { request } => self.power_off(request),
            Effect::PowerOn => self.power_on(),
            Effect::Answer { id, code } => {
                self.granted(code);
                if let Some(reply) = self.questions.remove(&id) {
                    let _ = reply.send(Reply::Code(code.number()));
                }
            }
            Effect::Promote { force } => self.order(Order::Promote { force }),
            Effect::Demote => self.order(Order::Demote),
            Effect::Connect if self.left => {}
            Effect::Connect => self.order(Order::Connect),
            Effect::Disconnect => self.order(Order::Disconnect),
            Effect::AskAgain => self.order(Order::AskAgain),
            Effect::Outdate => self.order(Order::Outdate),
            Effect::Service(run) => {
                if self.service.goal() != Some(run) {
                    self.well = false;
                }
                self.service.set(run);
            }
            Effect::VirtualIp(hold) => {
                self.address = hold;
                self.undecided = false;
                self.tell_keepalived();
            }
            Effect::Tell(message) => self.mouth.say(&Said::Core(message)),
            Effect::Reset => self.ports.kernel.reset(),
            Effect::Halt => {
                self.left = true;
                log::info("this node may be switched off");
            }
            Effect::Taint(on) => self.taint(on),
            Effect::Arm(timer) => self.arm(timer),
            Effect::Disarm(timer) => {
                if let Some((_, task)) = self.timers.remove(&timer) {
                    task.abort();
                }
            }
            Effect::Alarm(alarm) => {
                let text = alarm_words(alarm);
                self.alarm(text);
            }
            Effect::Refuse(reason) => self.refusal = Some(reason),
        }
    }

    /// Something that somebody should look at, told at once and kept.
    pub(super) fn alarm(&mut self, text: &str) {
        log::loud(text);
        if self.alarms.back().is_none_or(|last| last != text) {
            self.history.note(Kind::Alarm, text);
            self.alarms.push_back(text.to_owned());
        }
        if self.alarms.len() > ALARMS {
            self.alarms.pop_front();
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        // The pair core repeats what still lacks; an order that waits already is not given twice. One that was given for
        // another state of the link may be dropped, and stands for nothing.
        let link = self.link.get();
        let waits =
            |(waiting, given): &(Order, u64)| *waiting == order && (!order.of_one_link() || *given == link);
        if !self.ordered.iter().any(waits) {
            self.ordered.push_back((order, link));
            let _ = self.orders.send((order, link));
        }
    }

    pub(super) fn order_done(&mut self, order: Order, result: Result<(), String>) {
        // They are carried out one after the other: it is the first.
        self.ordered.pop_front();
        match result {
            Ok(()) if order == Order::SkipSync => log::info("step skip-sync done"),
            Ok(()) => self.clear("order"),
            // Whether it may become active is decided while drbdadm runs; a refusal is no fault.
            Err(error) if matches!(order, Order::Promote { .. }) => log::info(&error),
            Err(error) => self.problem("order", &error),
        }
        self.look(false);
    }

    fn arm(&mut self, timer: Timer) {
        let duration = self.config.duration(timer, self.retries, self.node.view().frozen);
        // In mode `fence` the active node's own attempt needs a start, or a cut cable would cost both.
        let more = if timer == Timer::Claim { self.head_start() } else { Duration::ZERO };
        self.arm_for(timer, duration + more);
    }

    pub(super) fn arm_for(&mut self, timer: Timer, duration: Duration) {
        self.timer_serial += 1;
        let serial = self.timer_serial;
        let inputs = self.inputs.clone();
        let task = spawn_local(async move {
            sleep(duration).await;
            let _ = inputs.send(Input::Timer(timer, serial)).await;
        });
        if let Some((_, old)) = self.timers.insert(timer, (serial, task.abort_handle())) {
            old.abort();
        }
    }

    fn ask_witness(&mut self, request: RequestId, witness: WitnessId, query: Query) {
        let inputs = self.inputs.clone();
        let silent = |error: String| {
            spawn_local(async move {
                let input =
                    Input::Witness { request, answer: Answer::Silence, keeper: None, error: Some(error) };
                let _ = inputs.send(input).await;
            });
        };
        if witness != self.config.witness_id() {
            return silent("the pair runs with another witness than the seed names".to_owned());
        }
        let Some(pool) = &mut self.witness else {
            return silent("the seed names no witness".to_owned());
        };
        let limit = if self.questions.is_empty() { pool.limit() } else { pool.limit().min(HANDLER) };
        let mut keeper = match pool.client() {
            Ok(keeper) => keeper,
            Err(error) => return silent(error.to_string()),
        };
        let remembered = self.memory.durable.record;
        let inputs = self.inputs.clone();
        spawn_local(async move {
            let (answer, error) = ask(&mut keeper, query, remembered, limit).await;
            let keeper = Some(Box::new(keeper));
            let _ = inputs.send(Input::Witness { request, answer, keeper, error }).await;
        });
    }

    pub(super) fn witness_answer(&mut self, error: Option<String>, keeper: Option<Box<Keeper>>) {
        match error {
            None => {
                self.witness_silent = None;
                self.clear("witness");
            }
            Some(error) => {
                self.witness_silent.get_or_insert_with(Instant::now);
                // Why it does not answer differs from try to try; that it does not is told once.
                let text = format!("the witness does not answer: {error}");
                match self.problems.get_mut("witness") {
                    Some(present) => *present = text,
                    None => self.problem("witness", &text),
                }
            }
        }
        if let (Some(pool), Some(keeper)) = (&mut self.witness, keeper) {
            pool.back(*keeper);
        }
    }
}
