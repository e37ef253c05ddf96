//! The answer to DRBD's `fence-peer`.
//!
//! A machine of its own because it must work when the agent is dead: `node-init fence-peer` feeds it from the
//! remembered facts, the agent runs the same one inside [`crate::node::Node`]. It is asked by a frozen Primary that
//! lost its peer, and by `drbdadm primary` on a node without a connection. The shell bounds it in time: at its
//! deadline it delivers [`Answer::Silence`].
//!
//! ```text
//!  start ─ disk not usable, barred ──────────────────────────────▶ 1
//!    ├ the peer outdated itself in this freeze, disk UpToDate ─────▶ 4
//!    ├ witness, no record remembered ─▶ read ─┐
//!    ├ witness ───────────────────────────────┴▶ claim ─ won ────▶ 4
//!    │                                     ▲       ├ solo(peer) ─▶ 6
//!    │                                     └ moved ┤
//!    │                                             └ else ───────▶ 1
//!    ├ fence, disk UpToDate ─▶ power off ─ off ──────────────────▶ 7, else 1
//!    ├ manual, Primary and UpToDate, or an operator's word ──────▶ 4, else 1
//!    └ availability-first ───────────────────────────────────────▶ 4
//! ```

use crate::{
    effect::{Code, Query},
    event::{Answer, Power, RequestId},
    message::Mode,
    record::{Claim, DiskId, Holder, Record, Refusal, Side, Swap},
    rules::{Broken, Rules},
    view::{Disk, Role},
};

/// How often one call follows a record that moves under it.
const TRIES: u8 = 3;

/// What the handler knows when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Own side.
    pub side: Side,
    /// Own disk.
    pub disk_id: DiskId,
    /// State of the own disk.
    pub disk: Disk,
    /// Own role: `Secondary` inside `drbdadm primary`.
    pub role: Role,
    /// How this pair decides.
    pub mode: Mode,
    /// The newest record that this node believes.
    pub record: Option<Record>,
    /// A change of policy is under way and this node is not to claim.
    pub barred: bool,
    /// The peer has durably outdated itself in this very freeze.
    pub promised: bool,
    /// An operator vouches that the peer is off.
    pub sworn: bool,
    /// A power device stands beside the witness.
    pub power: bool,
}

impl Facts {
    /// This node remembers a later record than this one.
    fn knows_later(&self, record: &Record) -> bool {
        self.record.is_some_and(|seen| seen.lineage == record.lineage && seen.epoch > record.epoch)
    }
}

/// What the handler does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Ask the witness.
    Ask(Query),
    /// Have the peer's power cut.
    PowerOff,
    /// Exit.
    Exit(Code),
}

/// One call of the handler that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handler {
    request: RequestId,
    tries: u8,
}

impl Handler {
    /// Begins one call. `fresh` names the request it may make.
    pub fn start(facts: &Facts, rules: Rules, fresh: RequestId) -> (Handler, Step) {
        let handler = Handler { request: fresh, tries: 0 };
        (handler, first(facts, rules))
    }

    /// Visits its ids, for a model that renames them.
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn ids(&mut self, visit: &mut dyn FnMut(&mut u64)) {
        visit(&mut self.request.0);
    }

    /// The request whose answer it waits for.
    pub fn request(&self) -> RequestId {
        self.request
    }

    /// The witness answered. `record` is what the node believes after it has learned from the answer.
    pub fn witness(
        &mut self,
        facts: &Facts,
        rules: Rules,
        request: RequestId,
        answer: Answer,
        fresh: RequestId,
    ) -> Option<Step> {
        if request != self.request && !rules.lacks(Broken::AnyAnswer) {
            return None;
        }
        let silence = if rules.lacks(Broken::HandlerAnswers5) { Code::Unreachable } else { Code::Stay };
        Some(match answer {
            // A node that knows a later record has won at a witness that went back in time.
            Answer::Won(record)
                if owns(&record, facts)
                    && (!facts.knows_later(&record) || rules.lacks(Broken::UndoneWin)) =>
            {
                Step::Exit(Code::PeerOutdated)
            }
            Answer::Won(_) => Step::Exit(Code::Stay),
            Answer::Silence => Step::Exit(silence),
            Answer::Is(record) => match record.holder {
                Holder::Solo { .. } if rules.lacks(Broken::HandlerReads) && owns(&record, facts) => {
                    Step::Exit(Code::PeerOutdated)
                }
                Holder::Solo { side, .. } if side != facts.side => Step::Exit(Code::PeerActive),
                Holder::Unknown => Step::Exit(Code::Stay),
                Holder::Solo { .. } | Holder::Paired { .. } => self.claim(facts, rules, record, fresh),
            },
            Answer::Refused(Refusal::PeerIsSolo { .. }) => Step::Exit(Code::PeerActive),
            // The record moved under the claim: follow it, but never into a history that is not ours.
            Answer::Refused(Refusal::Moved { current }) => match current.holder {
                Holder::Solo { side, .. }
                    if side != facts.side && !rules.lacks(Broken::ClaimWithoutCompare) =>
                {
                    Step::Exit(Code::PeerActive)
                }
                Holder::Unknown => Step::Exit(Code::Stay),
                Holder::Solo { .. } | Holder::Paired { .. } => self.claim(facts, rules, current, fresh),
            },
            Answer::Refused(_) => Step::Exit(Code::Stay),
        })
    }

    /// The power device answered.
    pub fn power(&self, request: RequestId, power: Power) -> Option<Code> {
        (request == self.request).then_some(match power {
            Power::Off => Code::PeerFenced,
            Power::NotOff => Code::Stay,
        })
    }

    fn claim(&mut self, facts: &Facts, rules: Rules, record: Record, fresh: RequestId) -> Step {
        if self.tries >= TRIES || facts.record.is_some_and(|seen| seen.lineage != record.lineage) {
            return Step::Exit(Code::Stay);
        }
        self.tries += 1;
        self.request = fresh;
        Step::Ask(claim(facts, rules, record))
    }
}

fn first(facts: &Facts, rules: Rules) -> Step {
    if facts.barred || facts.disk < Disk::Consistent {
        return Step::Exit(Code::Stay);
    }
    let current = facts.disk == Disk::UpToDate;
    match facts.mode {
        // The peer cannot become active until it has synchronised from here, so nothing else is needed.
        _ if facts.promised && current => Step::Exit(Code::PeerOutdated),
        Mode::Witness if facts.power && rules.lacks(Broken::FenceBesideWitness) => Step::PowerOff,
        Mode::Witness if facts.role == Role::Secondary && rules.lacks(Broken::TrustConsistent) => {
            Step::Exit(Code::PeerOutdated)
        }
        Mode::Witness => match facts.record {
            Some(record) if !rules.lacks(Broken::HandlerReads) => Step::Ask(claim(facts, rules, record)),
            _ => Step::Ask(Query::Read),
        },
        // 7 also lifts a disk that may be old: never from `Consistent`.
        Mode::Fence if facts.sworn => Step::Exit(Code::PeerOutdated),
        Mode::Fence if current => Step::PowerOff,
        Mode::Manual if facts.sworn || (current && facts.role == Role::Primary) => {
            Step::Exit(Code::PeerOutdated)
        }
        Mode::Fence | Mode::Manual => Step::Exit(Code::Stay),
        Mode::AvailabilityFirst => Step::Exit(Code::PeerOutdated),
    }
}

fn claim(facts: &Facts, rules: Rules, record: Record) -> Query {
    let claim = if rules.lacks(Broken::ClaimWithoutCompare) {
        Claim::Appoint { floor: record.epoch }
    } else {
        Claim::Solo
    };
    Query::Swap(Swap {
        lineage: record.lineage,
        expect: record.epoch,
        side: facts.side,
        disk: facts.disk_id,
        claim,
    })
}

/// Does the record give this node the right to go on alone?
pub fn owns(record: &Record, facts: &Facts) -> bool {
    record.holder == Holder::Solo { side: facts.side, disk: facts.disk_id }
}

#[cfg(test)]
mod tests;
