//! The update machine of one node, event by event. What two nodes do together, with boot loaders that count tries,
//! is the model's business (`tests/update`).
//!
//! - `plan`: from the start of a plan to the reboot into the new slot.
//! - `trial`: boots, verdicts, what the other node says.
mod plan;
mod trial;

use pair_core::{
    record::Side,
    rules::Rules,
    update::{
        Cause, Facts, Memory, Outcome, PlanId, UpdateEffect, UpdateEvent, UpdateReason, Updater, Version,
        Word,
    },
};

pub const OLD: Version = Version(1);
pub const NEW: Version = Version(2);
pub const PLAN: PlanId = PlanId { serial: 4, leader: Side::A, version: NEW };
/// Started later, for a still newer version.
pub const NEXT: PlanId = PlanId { serial: 5, leader: Side::A, version: Version(3) };

/// Nothing done yet.
pub const BEGUN: Facts = Facts { plan: PLAN, written: false, passed: false, outcome: Outcome::Open };
pub const WRITTEN: Facts = Facts { written: true, ..BEGUN };
pub const PASSED: Facts = Facts { passed: true, ..WRITTEN };
pub const DECIDED: Facts = Facts { outcome: Outcome::Decided, ..PASSED };
pub const ABANDONED: Facts = Facts { outcome: Outcome::Abandoned, ..WRITTEN };
pub const REFUSED: Facts = Facts { outcome: Outcome::Refused, ..WRITTEN };

pub fn memory(facts: Facts) -> Memory {
    Memory { facts: Some(facts), ..Memory::default() }
}

pub fn boots(booted: Version, blessed: bool, memory: Memory) -> (Updater, Vec<UpdateEffect>) {
    Updater::boot(booted, blessed, Cause::Power, memory, Rules::ALL)
}

/// A node in its old slot, which is kept.
pub fn at_home(memory: Memory) -> Updater {
    boots(OLD, true, memory).0
}

pub fn leads(facts: Facts) -> Memory {
    Memory { lead: true, ..memory(facts) }
}

/// The other node answers.
pub fn pair(ready: bool, active: bool) -> UpdateEvent {
    UpdateEvent::Pair { peer: true, ready, active }
}

/// The other node says so; it has heard nothing and asks for nothing.
pub fn says(facts: Facts) -> UpdateEvent {
    UpdateEvent::Peer(Word { facts, heard: None, heard_kept: None, answer: false, kept: None })
}

pub fn starts(plan: PlanId) -> UpdateEvent {
    UpdateEvent::Start { plan, solo: false }
}

pub fn tells(facts: Facts) -> UpdateEffect {
    UpdateEffect::Tell(Word { facts, heard: None, heard_kept: None, answer: false, kept: None })
}

/// Without what is said beside the facts.
pub fn plain(effects: Vec<UpdateEffect>) -> Vec<UpdateEffect> {
    let plain = |effect| match effect {
        UpdateEffect::Tell(word) => tells(word.facts),
        other => other,
    };
    effects.into_iter().map(plain).collect()
}

/// What the shell is asked to do, without what is kept and told.
pub fn acts(effects: &[UpdateEffect]) -> Vec<UpdateEffect> {
    let quiet = |effect: &&UpdateEffect| !matches!(effect, UpdateEffect::Store(_) | UpdateEffect::Tell(_));
    effects.iter().filter(quiet).cloned().collect()
}

/// The facts are kept before they are told.
pub fn keeps(effects: &[UpdateEffect], facts: Facts) -> bool {
    let kept = |effect: &UpdateEffect| match effect {
        UpdateEffect::Store(memory) => memory.facts == Some(facts),
        _ => false,
    };
    let stored = effects.iter().position(kept);
    let told =
        effects.iter().position(|effect| matches!(effect, UpdateEffect::Tell(word) if word.facts == facts));
    stored.is_some() && told.is_some() && stored < told
}

pub fn arms(plan: PlanId) -> Vec<UpdateEffect> {
    vec![UpdateEffect::Arm(plan), UpdateEffect::Prove(plan)]
}
