//! Events into the agents, effects out of them, and what the kernel does about it.

use crate::{
    drbd::Kernel,
    table,
    world::{Flight, Held, Power, SIDES, Scenario, Stage, Twist, World},
};
use pair_core::{
    effect::Effect,
    event::{Answer, Asked, Command, Event, Power as PowerAnswer, RequestId},
    handler::{Handler, Step},
    message::{Message, WitnessId},
    view::{Disk, Link, Role, View},
};
use std::collections::VecDeque;

/// The context of one step.
pub struct Act<'a> {
    pub scenario: &'a Scenario,
    pub queue: VecDeque<(usize, Event)>,
    /// Hellos are exchanged within the move instead of travelling.
    pub swift: bool,
}

impl Act<'_> {
    pub fn new(scenario: &Scenario) -> Act<'_> {
        Act { scenario, queue: VecDeque::new(), swift: scenario.left.delay == 0 }
    }
}

impl World {
    /// The first events of both agents.
    pub fn begin(&mut self, scenario: &Scenario) {
        let mut act = Act::new(scenario);
        self.pump(&mut act);
        self.meet(&mut act);
        self.pump(&mut act);
        self.hosts[0].kernel.role = Role::Primary;
        self.hosts[1].kernel.peer = Some(Role::Primary);
        self.pump(&mut act);
        for at in 0..2 {
            // Both agents have met before the model begins.
            let hello = self.hosts[at].agent.as_ref().map(|agent| agent.hello());
            if let Some(hello) = hello {
                let event = Event::Peer(Message::Hello(hello));
                act.queue.push_back((1 - at, event));
            }
            self.pump(&mut act);
        }
        self.normalise(scenario.late);
    }

    /// Delivers what is due until nothing is: queued events, and DRBD events where a view is not the agent's.
    pub fn pump(&mut self, act: &mut Act) {
        for _ in 0..64 {
            if let Some((at, old, new)) = self.changed() {
                self.event(at, Event::Drbd { old, new }, act);
                continue;
            }
            let Some((at, event)) = act.queue.pop_front() else { return };
            self.event(at, event, act);
        }
        self.broken = Some("the agents settle");
    }

    /// A view that an agent does not know yet.
    fn changed(&mut self) -> Option<(usize, View, View)> {
        self.catch_up();
        (0..2).find_map(|at| {
            self.follow(at);
            let host = &self.hosts[at];
            let old = host.agent.as_ref().filter(|_| host.power == Power::On)?.view();
            let new = host.kernel.view();
            (old != new).then_some((at, old, new))
        })
    }

    /// What was held up on a connection that turned out to be alive arrives: states and writes.
    fn catch_up(&mut self) {
        if !self.live() {
            return;
        }
        for at in 0..2 {
            let other = self.hosts[1 - at].kernel;
            self.hosts[at].kernel.peer = Some(other.role);
            if self.hosts[at].kernel.link == Link::Connected {
                self.hosts[at].kernel.peer_disk = other.disk;
            }
            let waiting = self.hosts[at].waiting;
            if waiting != 0 {
                self.hosts[1 - at].data |= waiting;
                self.hosts[at].waiting = 0;
                self.acked |= waiting;
            }
        }
    }

    /// Kernel state that follows from itself: metadata, generations, the reset's victims.
    fn follow(&mut self, at: usize) {
        if self.alone(at) {
            self.later = self.later.bump(at);
        }
        let unflushed = self.hosts[at].unflushed;
        let host = &mut self.hosts[at];
        if host.power != Power::Off && !unflushed {
            host.md = host.kernel.meta(host.md);
        }
    }

    pub fn event(&mut self, at: usize, event: Event, act: &mut Act) {
        let fresh = self.fresh();
        if self.hosts[at].power != Power::On {
            return;
        }
        let lone = matches!((&event, self.hosts[at].lone), (Event::Witness { request, .. }, Some(lone)) if lone.request() == *request);
        if lone || self.hosts[at].agent.is_none() {
            self.lone_question(at, event, fresh, act);
            return;
        }
        table::event(&event);
        // The shell drops these when the link is not what it was when they were ordered.
        if matches!(event, Event::Drbd { old, new } if old.connected() != new.connected()) {
            self.hosts[at].held.retain(|held| !matches!(held, Held::Disconnect | Held::Outdate));
        }
        let last = self.hosts[at].last;
        let Some(agent) = self.hosts[at].agent.as_mut() else { return };
        let before = agent.reason();
        let effects = agent.on(event, fresh);
        crate::picture::edge(before, &event, agent.reason());
        // The shell remembers who was active last, and prefers that side.
        let view = agent.view();
        let active = match (view.role, view.peer) {
            (Role::Primary, _) => Some(SIDES[at]),
            (Role::Secondary, Some(Role::Primary)) => Some(SIDES[1 - at]),
            (Role::Secondary, _) => None,
        };
        if let Some(side) = active.filter(|side| *side != last) {
            agent.prefer(side);
            self.hosts[at].last = side;
        }
        // Whoever was asked to hand over lets the other one go first.
        let refused = effects.iter().any(|effect| matches!(effect, Effect::Refuse(_)));
        if matches!(event, Event::Operator(Command::Switchover)) && !refused {
            agent.prefer(SIDES[1 - at]);
        }
        for effect in effects {
            table::effect(&effect);
            self.effect(at, effect, act);
        }
    }

    /// The agent is dead: the handler works without it.
    fn lone_question(&mut self, at: usize, event: Event, fresh: RequestId, act: &mut Act) {
        let host = &mut self.hosts[at];
        let Some(mut facts) = host.facts else { return };
        facts.disk = host.kernel.disk;
        facts.role = host.kernel.role;
        let step = match event {
            Event::Question { asked: Asked::FencePeer, .. } => {
                // The handler writes keepalived's FAULT by itself.
                if host.kernel.role == Role::Primary {
                    host.address = false;
                }
                let (handler, step) = Handler::start(&facts, act.scenario.rules, fresh);
                host.lone = Some(handler);
                Some(step)
            }
            Event::Witness { request, answer } => host
                .lone
                .as_mut()
                .and_then(|lone| lone.witness(&facts, act.scenario.rules, request, answer, fresh)),
            _ => None,
        };
        let (Some(step), Some(lone)) = (step, host.lone) else { return };
        let id = lone.request();
        match step {
            Step::Ask(query) => {
                self.send(at, Flight { id, stage: Stage::Going(WitnessId(0), query), orphan: false })
            }
            Step::PowerOff => self.send(at, Flight { id, stage: Stage::Shot, orphan: false }),
            Step::Exit(code) => {
                host.lone = None;
                table::count("lone handler", table::code(code));
                if let Some(question) = self.hosts[at].kernel.question {
                    self.answer(at, question.id, code, act);
                }
            }
        }
    }

    fn send(&mut self, at: usize, flight: Flight) {
        self.hosts[at].flights.push(flight);
    }

    fn effect(&mut self, at: usize, effect: Effect, act: &mut Act) {
        let host = &mut self.hosts[at];
        if host.power != Power::On {
            return;
        }
        match effect {
            Effect::Store(durable) => host.store = durable,
            Effect::Ask { request: id, witness, query } => {
                self.send(at, Flight { id, stage: Stage::Going(witness, query), orphan: false });
            }
            Effect::PowerOff { request: id } => {
                self.send(at, Flight { id, stage: Stage::Shot, orphan: false });
            }
            Effect::Answer { id, code } => self.answer(at, id, code, act),
            Effect::Promote { force } => self.command(at, Held::Promote(force), act),
            Effect::Demote => self.command(at, Held::Demote, act),
            Effect::Connect => self.command(at, Held::Connect, act),
            Effect::Disconnect => self.command(at, Held::Disconnect, act),
            Effect::AskAgain => self.command(at, Held::AskAgain, act),
            Effect::Outdate => self.command(at, Held::Outdate, act),
            Effect::Service(on) => {
                if host.ready != on {
                    host.ready = on;
                    act.queue.push_back((at, Event::Service(on)));
                }
            }
            Effect::VirtualIp(on) => host.address = on,
            Effect::Tell(message) => {
                let hello = matches!(message, Message::Hello(_));
                if act.swift && hello && self.wire && self.hosts[1 - at].power == Power::On {
                    act.queue.push_back((1 - at, Event::Peer(message)));
                } else if self.reachable(1 - at) {
                    self.hosts[1 - at].mail = Some(message);
                }
            }
            Effect::Reset => self.off(at, false),
            Effect::Halt => host.halting = true,
            Effect::Taint(on) => host.taint = on,
            Effect::PowerOn | Effect::Arm(_) | Effect::Disarm(_) | Effect::Alarm(_) | Effect::Refuse(_) => {}
        }
    }

    /// A command to the kernel: at once, unless one is held up or before it.
    fn command(&mut self, at: usize, command: Held, act: &mut Act) {
        let host = &mut self.hosts[at];
        if host.slow || !host.held.is_empty() {
            host.slow = false;
            if !host.held.contains(&command) {
                host.held.push(command);
            }
            return;
        }
        self.carry_out(at, command, act);
    }

    /// What was held up happens, whatever has become of the pair meanwhile.
    pub fn carry_out(&mut self, at: usize, command: Held, act: &mut Act) {
        let host = &mut self.hosts[at];
        match command {
            Held::Question(id, asked) => act.queue.push_back((at, Event::Question { id, asked })),
            Held::Promote(force) => self.promote(at, force, act),
            // It waits for I/O that is under way, which a dead link holds up.
            Held::Demote if !host.ready && host.waiting == 0 => {
                host.kernel.role = Role::Secondary;
                if self.live() {
                    self.hosts[1 - at].kernel.peer = Some(Role::Secondary);
                }
            }
            Held::Connect if host.kernel.link == Link::StandAlone => host.kernel.link = Link::Connecting,
            Held::Demote | Held::Connect => {}
            Held::Disconnect => self.disconnect(at),
            Held::AskAgain => self.ask_again(at, act),
            Held::Outdate => {
                let alone = host.kernel.link < Link::Connected && host.kernel.role == Role::Secondary;
                if alone && host.kernel.disk > Disk::Outdated {
                    host.kernel.disk = Disk::Outdated;
                }
            }
        }
    }

    /// Power goes, or a reset: everything volatile is lost.
    pub fn off(&mut self, at: usize, orderly: bool) {
        let host = &mut self.hosts[at];
        if orderly {
            host.md = host.kernel.meta(host.md);
        }
        host.power = Power::Off;
        host.agent = None;
        host.lone = None;
        host.facts = None;
        host.kernel = Kernel::DOWN;
        host.unflushed = false;
        host.halting = false;
        host.data &= !host.cached;
        host.cached = 0;
        host.waiting = 0;
        host.ready = false;
        host.address = false;
        host.taint = false;
        host.mail = None;
        host.slow = false;
        host.held.clear();
    }

    /// The datastore commits one transaction.
    pub fn write(&mut self, at: usize, scenario: &Scenario) {
        let used = self.acked | self.hosts[0].data | self.hosts[1].data;
        let bit = 1 << used.trailing_ones();
        self.hosts[at].data |= bit;
        if self.live() {
            self.hosts[1 - at].data |= bit;
            if scenario.twist == Twist::EmptyFlush {
                self.hosts[1 - at].cached |= bit;
            }
            self.acked |= bit;
        } else if self.hosts[at].kernel.link >= Link::Connected {
            self.hosts[at].waiting |= bit;
        } else {
            self.acked |= bit;
        }
    }

    /// Delivers an answer to whoever waits for it.
    pub fn answered(&mut self, at: usize, id: RequestId, answer: Answer, act: &mut Act) {
        table::answer(&answer);
        act.queue.push_back((at, Event::Witness { request: id, answer }));
    }

    /// A power device has done its work.
    pub fn shot(&mut self, at: usize, id: RequestId, power: PowerAnswer, act: &mut Act) {
        act.queue.push_back((at, Event::Power { request: id, power }));
    }
}
