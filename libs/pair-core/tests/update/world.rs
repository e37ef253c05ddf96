//! Two nodes that update, their boot loaders, and what can go wrong.

use pair_core::{
    record::Side,
    rules::Rules,
    update::{Cause, Facts, Memory, Outcome, PlanId, UpdateEffect, UpdateEvent, Updater, Version},
};
use std::collections::VecDeque;

pub const OLD: Version = Version(1);
pub const NEW: Version = Version(2);

/// The boot loader's entry for the new version. The old one is kept: without tries, sorted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    Empty,
    Tries(u8),
    Bad,
    Good,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    pub up: bool,
    pub booted: Version,
    pub entry: Entry,
    pub memory: Memory,
    pub updater: Option<Updater>,
    /// Effects not carried out yet: a power cut takes them.
    pub todo: VecDeque<UpdateEffect>,
    /// What the shell is busy with.
    pub asked: Option<UpdateEffect>,
    pub mail: Option<Facts>,
    pub cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    pub cut: u8,
    pub sick: u8,
    pub panic: u8,
    pub lose: u8,
    pub start: u8,
    pub limit: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub hosts: [Host; 2],
    pub active: usize,
    pub left: Left,
    pub broken: Option<&'static str>,
}

pub const BLESSED: &str = "never blessed before decided";
pub const REFUSED: &str = "a refused version is never tried again";
pub const ONE: &str = "both on one version at the end";
pub const ACTIVE: &str = "no step of an update reboots the active node";
pub const LAWS: [&str; 3] = [BLESSED, REFUSED, ACTIVE];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    Do(usize),
    Answer(usize, bool),
    Mail(usize),
    Repeat(usize),
    Lose(usize),
    Observe(usize),
    Retry(usize),
    Limit(usize),
    Start(usize),
    Boot(usize),
    Cut(usize),
    Panic(usize),
}

impl World {
    pub fn new(left: Left) -> World {
        let host = || Host {
            up: false,
            booted: OLD,
            entry: Entry::Empty,
            memory: Memory::default(),
            updater: None,
            todo: VecDeque::new(),
            asked: None,
            mail: None,
            cause: Cause::Power,
        };
        World { hosts: [host(), host()], active: 0, left, broken: None }
    }

    fn ready(&self) -> bool {
        self.hosts.iter().all(|host| host.up)
    }

    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for at in 0..2 {
            let host = &self.hosts[at];
            let Some(updater) = &host.updater else {
                moves.push(Move::Boot(at));
                continue;
            };
            if self.left.cut > 0 {
                moves.push(Move::Cut(at));
            }
            if self.left.panic > 0 && host.booted == NEW && host.entry != Entry::Good {
                moves.push(Move::Panic(at));
            }
            if !host.todo.is_empty() {
                // Effects first: an event waits for them, a power cut does not.
                moves.push(Move::Do(at));
                continue;
            }
            if let Some(asked) = &host.asked {
                moves.push(Move::Answer(at, true));
                let verdict =
                    matches!(asked, UpdateEffect::Check | UpdateEffect::Write(_) | UpdateEffect::Prove(_));
                if verdict && self.left.sick > 0 {
                    moves.push(Move::Answer(at, false));
                }
            }
            if host.mail.is_some() {
                moves.push(Move::Mail(at));
                if self.left.lose > 0 {
                    moves.extend([Move::Lose(at), Move::Repeat(at)]);
                }
            }
            if updater.pair() != (self.ready(), self.active == at) {
                moves.push(Move::Observe(at));
            }
            let known = self.hosts[1 - at].updater.as_ref().and_then(Updater::peer);
            let other = &self.hosts[1 - at];
            if updater.facts().is_some()
                && known != updater.facts()
                && other.up
                && other.mail != updater.facts()
            {
                moves.push(Move::Retry(at));
            }
            if self.left.limit > 0 && updater.facts().is_some_and(|facts| facts.outcome == Outcome::Open) {
                moves.push(Move::Limit(at));
            }
            if self.left.start > 0 {
                moves.push(Move::Start(at));
            }
        }
        moves
    }

    pub fn act(&mut self, the: Move, rules: Rules) {
        match the {
            Move::Do(at) => self.carry_out(at),
            Move::Answer(at, good) => {
                let event = match self.hosts[at].asked.take() {
                    Some(UpdateEffect::Write(_)) => {
                        // A slot that could not be written is no boot entry; what was there is overwritten.
                        UpdateEvent::Written(good)
                    }
                    Some(UpdateEffect::Prove(_)) => UpdateEvent::Proven(good),
                    _ => UpdateEvent::Health(good),
                };
                self.left.sick -= u8::from(!good);
                self.event(at, event);
            }
            Move::Mail(at) => {
                if let Some(facts) = self.hosts[at].mail.take() {
                    self.event(at, UpdateEvent::Peer(facts));
                }
            }
            Move::Repeat(at) => {
                self.left.lose -= 1;
                if let Some(facts) = self.hosts[at].mail {
                    self.event(at, UpdateEvent::Peer(facts));
                }
            }
            Move::Lose(at) => {
                self.left.lose -= 1;
                self.hosts[at].mail = None;
            }
            Move::Observe(at) => {
                let (ready, active) = (self.ready(), self.active == at);
                self.event(at, UpdateEvent::Pair { ready, active });
            }
            Move::Retry(at) => self.event(at, UpdateEvent::Retry),
            Move::Limit(at) => {
                self.left.limit -= 1;
                self.event(at, UpdateEvent::Limit);
            }
            Move::Start(at) => {
                self.left.start -= 1;
                let last = self.hosts[at].memory.facts.map(|facts| facts.plan.serial).unwrap_or_default();
                let leader = [Side::A, Side::B][at];
                self.event(at, UpdateEvent::Start(PlanId { serial: last + 1, leader, version: NEW }));
            }
            Move::Boot(at) => self.boot(at, rules),
            Move::Cut(at) => {
                self.left.cut -= 1;
                self.down(at, Cause::Power);
            }
            Move::Panic(at) => {
                self.left.panic -= 1;
                self.down(at, Cause::Crash);
            }
        }
        // Whether it is active a node knows at once: it did that itself. How the pair is, it learns later.
        for at in 0..2 {
            let stale = self.hosts[at].updater.as_ref().map(Updater::pair);
            if let Some((ready, known)) = stale {
                let active = self.active == at;
                if known != active {
                    self.event(at, UpdateEvent::Pair { ready, active });
                }
            }
        }
    }

    fn event(&mut self, at: usize, event: UpdateEvent) {
        let peer_up = self.hosts[1 - at].up;
        let host = &mut self.hosts[at];
        if let Some(updater) = &mut host.updater {
            let effects = updater.on(event);
            // Judged when it is decided: that the peer dies a moment later nobody can exclude.
            let again = matches!(host.entry, Entry::Tries(1..) | Entry::Good) && host.booted == OLD;
            let serves = self.active == at && peer_up;
            if again && serves && effects.contains(&UpdateEffect::Reboot) {
                self.broken = Some(ACTIVE);
            }
            host.todo.extend(effects);
        }
    }

    fn down(&mut self, at: usize, cause: Cause) {
        let host = &mut self.hosts[at];
        host.up = false;
        host.updater = None;
        host.todo.clear();
        host.asked = None;
        host.mail = None;
        host.cause = cause;
        if self.active == at && self.hosts[1 - at].up {
            self.active = 1 - at;
        }
    }

    /// The loader takes the highest version that is kept or has tries left, and counts the attempt first.
    fn boot(&mut self, at: usize, rules: Rules) {
        let host = &mut self.hosts[at];
        (host.booted, host.entry) = match host.entry {
            Entry::Good => (NEW, Entry::Good),
            Entry::Tries(left @ 1..) => (NEW, Entry::Tries(left - 1)),
            other => (OLD, other),
        };
        let blessed = host.booted == OLD || host.entry == Entry::Good;
        let (updater, todo) = Updater::boot(host.booted, blessed, host.cause, host.memory.clone(), rules);
        host.updater = Some(updater);
        host.todo = todo.into();
        host.up = true;
        if !self.hosts[1 - at].up {
            self.active = at;
        }
    }

    fn carry_out(&mut self, at: usize) {
        let both = self
            .hosts
            .iter()
            .all(|host| host.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Decided));
        let peer_up = self.hosts[1 - at].up;
        let active = self.active == at;
        let host = &mut self.hosts[at];
        let Some(effect) = host.todo.pop_front() else { return };
        let refused = host.memory.refused.contains(&NEW);
        match effect {
            UpdateEffect::Store(memory) => host.memory = memory,
            UpdateEffect::Write(_) => {
                host.entry = Entry::Empty;
                host.asked = Some(effect);
            }
            UpdateEffect::Arm(_) => {
                host.entry = Entry::Tries(3);
                if refused {
                    self.broken = Some(REFUSED);
                }
            }
            UpdateEffect::Prove(_) => host.asked = Some(effect),
            UpdateEffect::Check => {
                host.asked = Some(effect);
                if refused {
                    self.broken = Some(REFUSED);
                }
            }
            UpdateEffect::Bless(_) => {
                host.entry = Entry::Good;
                if !both {
                    self.broken = Some(BLESSED);
                }
            }
            UpdateEffect::MarkBad(_) => {
                if host.entry != Entry::Empty {
                    host.entry = Entry::Bad;
                }
            }
            UpdateEffect::Reboot => {
                let again = matches!(host.entry, Entry::Tries(1..) | Entry::Good);
                if refused && again {
                    self.broken = Some(REFUSED);
                }
                self.down(at, Cause::Power);
            }
            UpdateEffect::Switchover => {
                if peer_up && active {
                    self.active = 1 - at;
                }
            }
            UpdateEffect::Tell(facts) => {
                if peer_up {
                    self.hosts[1 - at].mail = Some(facts);
                }
            }
            UpdateEffect::Refuse(_) => {}
        }
    }
}
