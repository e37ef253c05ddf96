//! The agent's loop: what was observed becomes an event of the pair core, and its effects are carried out in order.
//!
//! [`Agent::take`] is the only place that changes anything; it never waits. What takes time runs in tasks of its own
//! and comes back as an [`Input`].

mod address;
mod apart;
mod channel;
mod datastore;
mod duplicate;
mod effects;
mod host;
mod input;
mod k3s;
mod meet;
mod observe;
mod operator;
mod power;
mod remember;
mod start;
mod status;
mod update;

pub use input::Input;
use k3s::K3s;
pub use start::{Started, start};

use super::config::Config;
use super::control::Reply;
use super::drbd::orders::Order;
use super::drbd::proc::Device;
use super::form::Formation;
use super::history::{History, Kind};
use super::kubernetes::Keeper;
use super::log;
use super::peer::wire::Greeting;
use super::peer::{Mouth, SILENCE};
use super::ports::Ports;
use super::service::{Report, Service};
use super::store::Memory;
use super::witness::Witness;
use crate::update::channel::Watcher;
use crate::update::driver::Driver;
use pair_core::event::{Event, QuestionId, RequestId, Timer};
use pair_core::node::Node;
use pair_core::reason::Reason;
use pair_core::record::DiskId;
use pair_core::view::{Disk, Role, View};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A retry waits so long for orders under way, again and again.
const ORDER_WAIT: Duration = Duration::from_millis(500);
/// Ticks between two introductions.
const GREET: u32 = 5;
/// Ticks after which a restarted agent does not wait for the datastore's first word any longer.
const UNDECIDED: u32 = 30;
/// Alarms that `status` remembers.
const ALARMS: usize = 8;

/// What this boot knows beside the seed.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Identity of the replica.
    pub disk: DiskId,
    /// Set when the replica was made on other hardware.
    pub moved: Option<String>,
    /// Version of the image.
    pub version: String,
    /// Slot that booted.
    pub slot: Option<String>,
}

/// What is known of the other agent.
#[derive(Debug, Default)]
struct Peer {
    greeting: Option<Greeting>,
    heard: Option<Instant>,
    role: Option<Role>,
    refused: Option<String>,
}

/// One node's agent.
pub struct Agent {
    config: Rc<Config>,
    boot: Boot,
    ports: Ports,
    node: Node,
    memory: Memory,
    inputs: mpsc::Sender<Input>,
    mouth: Mouth,
    service: Service,
    orders: mpsc::UnboundedSender<(Order, u64)>,
    /// Counts how often the replication link came or went.
    link: Rc<Cell<u64>>,
    /// Orders that wait or run, each with the count of the link when it was given.
    ordered: VecDeque<(Order, u64)>,
    witness: Option<Witness>,
    /// The other node's power switch, where it has one.
    switch: Option<power::Switch>,
    timers: BTreeMap<Timer, (u64, AbortHandle)>,
    timer_serial: u64,
    retries: u32,
    questions: BTreeMap<QuestionId, oneshot::Sender<Reply>>,
    next_id: u64,
    device: Option<Device>,
    /// What the kernel said last, word for word; the pair core may have understood it more carefully.
    seen: Option<View>,
    just_created: Option<bool>,
    stream: Option<Box<dyn std::any::Any>>,
    peer: Peer,
    notes: Vec<(Formation, oneshot::Sender<()>)>,
    datastore: &'static str,
    /// What the pair core wants keepalived to be told, once it wants anything.
    address: bool,
    /// A restarted agent on an active node leaves the address alone until it knows whether the datastore is ready.
    undecided: bool,
    problems: BTreeMap<&'static str, String>,
    alarms: VecDeque<String>,
    refusal: Option<Reason>,
    /// The datastore was well here since this node became active, and was not handed on.
    well: bool,
    clients: bool,
    witness_silent: Option<Instant>,
    /// Why this agent must end: its memory and what is on the disk are not the same any more.
    failed: Option<String>,
    /// What was decided last.
    told: String,
    history: History,
    /// Who asked to go down, until that is granted or refused.
    leaving: Option<oneshot::Sender<Reply>>,
    /// This node may go down. It stays away from the other one until the agent is started anew.
    left: bool,
    ticks: u32,
    /// The other node has handed over, and this kernel has not heard of it yet.
    turn: Option<Instant>,
    /// Updates; absent where there is nothing to update.
    update: Option<Driver>,
    /// Their channel; absent where the seed has none.
    channel: Option<Watcher>,
    /// Who waits for the channel's answer.
    checks: Vec<oneshot::Sender<Reply>>,
    /// Whether pods may run here.
    apart: apart::Apart,
    /// Which k3s runs here, and what is known of the cluster.
    k3s: K3s,
    /// Does what is to be done in the cluster; absent without Kubernetes.
    keeper: Option<Keeper>,
    /// Names this run of the agent.
    run: u64,
    /// Runs of the other agent that are over.
    gone_runs: VecDeque<u64>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Agent({:?})", self.config)
    }
}

impl Agent {
    /// The first look, before anything else is taken.
    fn begin(&mut self) {
        if let Some(side) = self.memory.last_active {
            self.node.prefer(side);
        }
        self.listen_to_drbd();
        self.look(false);
        let view = self.node.view();
        self.undecided = view.role == Role::Primary && view.disk == Disk::UpToDate && !view.frozen;
        if self.service.goal().is_none() {
            // Whatever an earlier agent started here: this node is not active.
            self.service.set(false);
        }
        if !self.undecided {
            self.tell_keepalived();
        }
        let policy = self.node.durable().policy;
        if policy.mode != self.config.mode || policy.witness != self.config.witness_id() {
            self.problem(
                "policy",
                "the seed has another failover mode or witness than the pair runs with: both nodes change it together",
            );
        }
        if let Some(text) = self.boot.moved.clone() {
            self.problem("moved", &format!("this node's disk is a copy or was moved: {text}"));
        }
        self.settle();
    }

    /// Why this agent must end and be started anew, when it must.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Takes one input.
    pub fn take(&mut self, input: Input) {
        match input {
            Input::Tick => self.tick(),
            Input::Drbd(Some(line)) => self.drbd_line(&line),
            Input::Drbd(None) => {
                self.stream = None;
                self.problem("events", "drbdsetup events2 ended; it is started again");
                self.look(false);
            }
            Input::Ordered(order, result) => self.order_done(order, result),
            Input::JustCreated(result) => match result {
                Ok(just_created) => {
                    self.just_created = Some(just_created);
                    self.greet();
                }
                Err(error) => self.problem("generation", &error),
            },
            Input::Heard(heard) => self.hear(heard),
            Input::Service(report) => self.service_report(report),
            Input::Witness { request, answer, keeper, error } => {
                self.witness_answer(error, keeper);
                self.event(Event::Witness { request, answer });
            }
            Input::Power(request, power) => self.event(Event::Power { request, power }),
            Input::Switch(done) => self.switch_done(done),
            Input::Timer(timer, serial) => {
                let present = self.timers.get(&timer).is_some_and(|(present, _)| *present == serial);
                if present && timer == Timer::Retry && !self.ordered.is_empty() {
                    // What is to be tried again may still be under way.
                    self.arm_for(timer, ORDER_WAIT);
                } else if present {
                    self.timers.remove(&timer);
                    if timer == Timer::Retry {
                        self.retries = self.retries.saturating_add(1);
                    }
                    self.event(Event::Timer(timer));
                }
            }
            Input::Asked(asked) => self.asked(asked),
            Input::Switchover(reply) => self.switchover(reply),
            Input::Keepalived(line) => self.keepalived(&line),
            Input::Duplicates(found) => self.duplicates(&found),
            Input::Update(done) => self.update_done(*done),
            Input::Channel(answer) => self.channel_answered(*answer),
            Input::ChannelStarted(result) => self.channel_started(result),
            Input::Kubernetes(state) => self.kubernetes_is(state),
            Input::K3sChanged(result) => self.k3s_changed(result),
            Input::Apart(result) => self.apart_done(result),
        }
        self.settle();
    }

    fn fresh(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// Hands one event to the pair core and carries out what it wants.
    fn event(&mut self, event: Event) {
        let fresh = RequestId(self.fresh());
        let before = self.node.reason();
        let effects = self.node.on(event, fresh);
        if let Some(text) = effects::in_words(event, &effects) {
            // A try that is repeated until it succeeds is told once; the journal lies on a card that wears.
            if text != self.told {
                log::info(&text);
                // Each hello and each second of a resynchronisation would fill the file: only what leads to something.
                if !text.ends_with(effects::NOTHING) {
                    self.history.note(Kind::Decision, &text);
                }
                self.told = text;
            }
        }
        for effect in effects {
            self.carry_out(effect);
        }
        let after = self.node.reason();
        // While it tries again and again it waits now for one, now for the other.
        let waits = [Reason::WaitsForWitness, Reason::WaitsForPeer];
        if before != after && !(waits.contains(&before) && waits.contains(&after)) {
            log::info(&format!("now: {after}"));
            self.history.note(Kind::State, &after.to_string());
        }
    }

    /// What is looked after whatever happened.
    fn settle(&mut self) {
        self.remember_active();
        self.form();
        self.notes_done();
        self.leave_done();
        self.settle_power();
    }

    fn tick(&mut self) {
        if self.stream.is_none() {
            self.listen_to_drbd();
        }
        self.look(false);
        self.ticks = self.ticks.wrapping_add(1);
        self.update_tick();
        self.channel_tick();
        self.keep_address();
        self.look_for_duplicates();
        self.look_at_host();
        self.k3s_tick();
        if self.ticks % GREET == 0 {
            // One that was lost on the way is made good.
            self.greet();
        }
        let clients = self.ports.kernel.carrier(&self.config.lan).unwrap_or(true);
        if clients != self.clients {
            self.clients = clients;
            self.event(Event::Clients(clients));
        }
        match clients {
            true => self.clear("clients"),
            false => {
                self.problem("clients", &format!("{} has no link to the clients' network", self.config.lan))
            }
        }
        if self.peer.heard.is_some_and(|heard| heard.elapsed() > SILENCE) {
            self.peer = Peer { refused: self.peer.refused.take(), ..Peer::default() };
        }
    }

    /// Fires a timer before its time: the pair core never depends on which comes first.
    fn fire(&mut self, timer: Timer) {
        if self.node.armed(timer) {
            if let Some((_, task)) = self.timers.remove(&timer) {
                task.abort();
            }
            self.event(Event::Timer(timer));
        }
    }

    fn service_report(&mut self, report: Report) {
        match report {
            Report::Ready(ready) => {
                let settled = ready || self.datastore == "stopped" || !self.undecided;
                self.event(Event::Service(ready));
                if settled {
                    self.decide_address();
                }
            }
            Report::State(state) => self.datastore = state,
            Report::Trouble(None) => self.clear("service"),
            Report::Trouble(Some(text)) => {
                self.problem("service", &text);
                self.decide_address();
            }
            Report::Well => self.datastore_well(),
            Report::Failed(times) => self.datastore_failed(times),
            Report::Ask(answer) => {
                let _ = answer.send(self.formation());
            }
            Report::Note(formation, done) => {
                if self.note(formation) {
                    self.notes.push((formation, done));
                }
            }
        }
    }

    /// Notes something that is wrong. It is logged once, and not again when only a number in it has changed: the journal lies
    /// on a card that wears.
    fn problem(&mut self, key: &'static str, text: &str) {
        let without_numbers = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        let present = self.problems.insert(key, text.to_owned());
        if present.is_none_or(|present| without_numbers(&present) != without_numbers(text)) {
            log::warn(text);
        }
    }

    fn clear(&mut self, key: &'static str) {
        self.problems.remove(key);
    }
}
