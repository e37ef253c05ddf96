//! Two nodes that update, their boot loaders, and what can go wrong.

use pair_core::{
    record::Side,
    rules::Rules,
    update::{Cause, Memory, Outcome, PlanId, UpdateEffect, UpdateEvent, Updater, Version, Word},
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
    /// Whose bytes are in the inactive slot, whole.
    pub slot: Option<PlanId>,
    pub memory: Memory,
    pub updater: Option<Updater>,
    /// Effects not carried out yet: a power cut takes them.
    pub todo: VecDeque<UpdateEffect>,
    /// Questions that the shell has not answered. Each may be answered late.
    pub asked: Vec<UpdateEffect>,
    /// What failed since time was last let pass.
    pub failed: Option<UpdateEffect>,
    pub mail: Option<Word>,
    pub cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    pub cut: u8,
    pub sick: u8,
    pub panic: u8,
    pub lose: u8,
    pub start: u8,
    /// Starts without the other node, which is off.
    pub solo: u8,
    pub limit: u8,
    /// Time passes also while a message is on its way: `Retry` at any moment, not only when messages have arrived.
    pub hasty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub hosts: [Host; 2],
    pub active: usize,
    pub left: Left,
    pub broken: Option<&'static str>,
}

pub const BLESSED: &str = "never blessed before decided";
pub const TRIED: &str = "never blessed without a trial on this node";
pub const REFUSED: &str = "a refused version is never tried again";
pub const ACTIVE: &str = "no step of an update reboots the active node";
pub const WHOLE: &str = "only a slot that this plan has written is armed";
pub const ONCE: &str = "nothing is asked while the same is under way";
pub const LATER: &str = "what failed is tried again only after a while";
pub const ONE: &str = "both on one version at the end";
pub const LAWS: [&str; 7] = [BLESSED, TRIED, REFUSED, ACTIVE, WHOLE, ONCE, LATER];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    Do(usize),
    /// To which of its questions, and how.
    Answer(usize, usize, bool),
    Mail(usize),
    Repeat(usize),
    Lose(usize),
    Observe(usize),
    Retry(usize),
    Limit(usize),
    Start(usize),
    Solo(usize),
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
            slot: None,
            memory: Memory::default(),
            updater: None,
            todo: VecDeque::new(),
            asked: Vec::new(),
            failed: None,
            mail: None,
            cause: Cause::Power,
        };
        World { hosts: [host(), host()], active: 0, left, broken: None }
    }

    /// What can happen. Time that passes (`Retry`) comes last.
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
            for which in 0..host.asked.len() {
                moves.push(Move::Answer(at, which, true));
                if self.left.sick > 0 {
                    moves.push(Move::Answer(at, which, false));
                }
            }
            if host.mail.is_some() {
                moves.push(Move::Mail(at));
                if self.left.lose > 0 {
                    moves.extend([Move::Lose(at), Move::Repeat(at)]);
                }
            }
            if updater.pair() != self.seen(at) {
                moves.push(Move::Observe(at));
            }
            if self.left.limit > 0 && updater.facts().is_some_and(|facts| facts.outcome == Outcome::Open) {
                moves.push(Move::Limit(at));
            }
            if self.left.start > 0 {
                moves.push(Move::Start(at));
            }
            if self.left.solo > 0 && !self.hosts[1 - at].up {
                moves.push(Move::Solo(at));
            }
        }
        let arrived = self.left.hasty || self.hosts.iter().all(|host| host.mail.is_none());
        let idle =
            |at: &usize| arrived && self.hosts[*at].updater.is_some() && self.hosts[*at].todo.is_empty();
        moves.extend((0..2).filter(idle).map(Move::Retry));
        moves
    }

    /// Whether the other node answers, this one is fit, and active.
    fn seen(&self, at: usize) -> (bool, bool, bool) {
        (self.hosts[1 - at].up, true, self.active == at)
    }

    pub fn act(&mut self, the: Move, rules: Rules) {
        match the {
            Move::Do(at) => self.carry_out(at),
            Move::Answer(at, which, good) => self.answer(at, which, good),
            Move::Mail(at) => {
                if let Some(word) = self.hosts[at].mail.take() {
                    self.event(at, UpdateEvent::Peer(word));
                }
            }
            Move::Repeat(at) => {
                self.left.lose -= 1;
                if let Some(word) = self.hosts[at].mail {
                    self.event(at, UpdateEvent::Peer(word));
                }
            }
            Move::Lose(at) => {
                self.left.lose -= 1;
                self.hosts[at].mail = None;
            }
            Move::Observe(at) => self.look(at, self.seen(at)),
            Move::Retry(at) => {
                self.hosts[at].failed = None;
                self.event(at, UpdateEvent::Retry);
            }
            Move::Limit(at) => {
                self.left.limit -= 1;
                self.event(at, UpdateEvent::Limit);
            }
            Move::Start(at) | Move::Solo(at) => {
                let solo = matches!(the, Move::Solo(_));
                self.left.start -= u8::from(!solo);
                self.left.solo -= u8::from(solo);
                let last = self.hosts[at].memory.facts.map(|facts| facts.plan.serial).unwrap_or_default();
                let leader = [Side::A, Side::B][at];
                let plan = PlanId { serial: last + 1, leader, version: NEW };
                self.event(at, UpdateEvent::Start { plan, solo });
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
            let known = self.hosts[at].updater.as_ref().map(Updater::pair);
            if let Some((peer, ready, _)) = known.filter(|known| known.2 != (self.active == at)) {
                self.look(at, (peer, ready, self.active == at));
            }
        }
    }

    fn look(&mut self, at: usize, (peer, ready, active): (bool, bool, bool)) {
        self.event(at, UpdateEvent::Pair { peer, ready, active });
    }

    fn answer(&mut self, at: usize, which: usize, good: bool) {
        self.left.sick -= u8::from(!good);
        let asked = self.hosts[at].asked.remove(which);
        let peer_up = self.hosts[1 - at].up;
        let event = match asked {
            UpdateEffect::Write(plan) => {
                // A slot that could not be written is no boot entry; what was there is overwritten.
                self.hosts[at].slot = good.then_some(plan);
                UpdateEvent::Written(plan, good)
            }
            UpdateEffect::Prove(plan) => UpdateEvent::Proven(plan, good),
            UpdateEffect::Check(plan) => UpdateEvent::Health(plan, good),
            UpdateEffect::Bless(plan) => {
                if good {
                    self.hosts[at].entry = Entry::Good;
                }
                UpdateEvent::Blessed(plan, good)
            }
            UpdateEffect::Switchover(plan) => {
                if good && peer_up && self.active == at {
                    // It is seen at once.
                    self.active = 1 - at;
                    return;
                }
                UpdateEvent::Stayed(plan)
            }
            _ => return,
        };
        let fails = !good || matches!(event, UpdateEvent::Stayed(_));
        self.hosts[at].failed = fails.then_some(asked).or(self.hosts[at].failed.take());
        self.event(at, event);
    }

    fn event(&mut self, at: usize, event: UpdateEvent) {
        let peer_up = self.hosts[1 - at].up;
        let host = &mut self.hosts[at];
        let Some(updater) = &mut host.updater else { return };
        let effects = updater.on(event);
        // Judged when it is decided: that the peer dies a moment later nobody can exclude. Who goes on alone cannot
        // know that the other one has just come.
        let again = matches!(host.entry, Entry::Tries(1..) | Entry::Good) && host.booted == OLD;
        let alone = host.memory.solo && !updater.pair().0;
        let serves = self.active == at && peer_up && !alone;
        if again && serves && effects.contains(&UpdateEffect::Reboot) {
            self.broken = Some(ACTIVE);
        }
        if host.failed.as_ref().is_some_and(|failed| effects.contains(failed)) {
            self.broken = Some(LATER);
        }
        host.todo.extend(effects);
    }

    fn down(&mut self, at: usize, cause: Cause) {
        let host = &mut self.hosts[at];
        host.up = false;
        host.updater = None;
        host.todo.clear();
        host.asked.clear();
        host.failed = None;
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
        let host = &mut self.hosts[at];
        let Some(effect) = host.todo.pop_front() else { return };
        let refused = host.memory.refused.contains(&NEW);
        let decided = host.memory.facts.is_some_and(|facts| facts.outcome == Outcome::Decided);
        let passed = host.memory.facts.is_some_and(|facts| facts.passed);
        let mut law = None;
        match effect {
            UpdateEffect::Store(memory) => host.memory = memory,
            UpdateEffect::Write(_) | UpdateEffect::Prove(_) | UpdateEffect::Switchover(_) => {
                let same =
                    |asked: &UpdateEffect| std::mem::discriminant(asked) == std::mem::discriminant(&effect);
                law = host.asked.iter().any(same).then_some(ONCE);
                if let UpdateEffect::Write(_) = effect {
                    (host.entry, host.slot) = (Entry::Empty, None);
                }
                host.asked.push(effect);
            }
            UpdateEffect::Arm(plan) => {
                host.entry = Entry::Tries(3);
                law = refused.then_some(REFUSED).or((host.slot != Some(plan)).then_some(WHOLE));
            }
            UpdateEffect::Check(_) => {
                host.asked.push(effect);
                law = refused.then_some(REFUSED);
            }
            UpdateEffect::Bless(_) => {
                host.asked.push(effect);
                let may = both || (decided && host.memory.solo);
                law = (!may).then_some(BLESSED).or((!passed).then_some(TRIED));
            }
            UpdateEffect::MarkBad(_) => {
                if host.entry != Entry::Empty {
                    host.entry = Entry::Bad;
                }
            }
            UpdateEffect::Reboot => {
                let again = matches!(host.entry, Entry::Tries(1..) | Entry::Good);
                law = (refused && again).then_some(REFUSED);
                self.down(at, Cause::Power);
            }
            UpdateEffect::Tell(word) => {
                if peer_up {
                    self.hosts[1 - at].mail = Some(word);
                }
            }
            UpdateEffect::Refuse(_) => {}
        }
        self.broken = self.broken.or(law);
    }
}
