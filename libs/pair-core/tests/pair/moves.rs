//! What can happen next.

use crate::drbd::Why;
use crate::world::{Power, Scenario, Stage, World};
use pair_core::{
    event::{Command, RequestId, Timer},
    message::{Mode, Policy, WitnessId},
    record::Record,
    view::{Disk, Link, Role},
};

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    Write(usize),
    Notice(usize),
    Meet,
    Synced,
    Flush(usize),
    Stop(usize),
    Mail(usize),
    DropMail(usize),
    RepeatMail(usize),
    /// The witness (or power device) takes the request, and its answer arrives.
    Carry(usize, RequestId),
    /// It takes the request; the answer is under way.
    Hold(usize, RequestId),
    /// It takes the request; the answer is lost.
    Waste(usize, RequestId),
    /// The answer arrives.
    Deliver(usize, RequestId),
    /// The sender gives up; the request is lost.
    Lose(usize, RequestId),
    /// The sender gives up; the request or its answer is still on its way.
    Delay(usize, RequestId),
    Timer(usize, Timer),
    /// A hello that travels, with everything that can happen meanwhile.
    SlowHello(usize),
    Boot(usize),
    Crash(usize),
    AgentDies(usize),
    Watchdog(usize),
    Sleep(usize),
    Wake(usize),
    Cut,
    Heal,
    WitnessDown,
    WitnessUp,
    Restore,
    DiskError(usize),
    Replace(usize),
    Clone(usize),
    Operator(usize, Command),
    Clients(usize),
    /// The next command to this kernel, or its next question, takes its time.
    Slow(usize),
    /// It is carried out, or arrives.
    Release(usize),
    AgentRestarts(usize),
    RollBack,
}

impl World {
    pub fn moves(&self, scenario: &Scenario) -> Vec<Move> {
        let mut moves = Vec::new();
        for at in 0..2 {
            self.quiet_moves(at, scenario, &mut moves);
            self.loud_moves(at, scenario, &mut moves);
        }
        if self.can_meet() {
            moves.push(Move::Meet);
        }
        if self.live() && self.hosts.iter().any(|host| host.kernel.link == Link::SyncSource) {
            moves.push(Move::Synced);
        }
        if self.left.link > 0 {
            moves.push(if self.wire { Move::Cut } else { Move::Heal });
        }
        if !self.witnesses[0].up {
            moves.push(Move::WitnessUp);
        } else if self.left.outage > 0 {
            moves.push(Move::WitnessDown);
        }
        if self.left.restore > 0 {
            moves.push(Move::Restore);
        }
        if self.left.rollback > 0 && self.both_know_later() {
            moves.push(Move::RollBack);
        }
        moves
    }

    /// Both nodes remember a later epoch than the backup's. Where one does not, it could be granted what the other
    /// was granted before: the stated limit of a rollback that nothing notices (docs/witness.md).
    fn both_know_later(&self) -> bool {
        let backup = self.witnesses[0].backup;
        let later = |record: Record| record.lineage == backup.lineage && record.epoch > backup.epoch;
        self.witnesses[0].up && self.hosts.iter().all(|host| host.store.record.is_some_and(later))
    }

    fn can_meet(&self) -> bool {
        let ready = |at: usize| {
            let host = &self.hosts[at];
            host.power == Power::On
                && host.kernel.link == Link::Connecting
                && host.kernel.disk > Disk::Diskless
        };
        self.wire && ready(0) && ready(1)
    }

    /// What needs no fault.
    fn quiet_moves(&self, at: usize, scenario: &Scenario, moves: &mut Vec<Move>) {
        let host = &self.hosts[at];
        if host.power == Power::Off {
            if !host.scrapped {
                moves.push(Move::Boot(at));
            }
            return;
        }
        if host.power == Power::Asleep {
            moves.push(Move::Wake(at));
            return;
        }
        if host.kernel.link >= Link::Connected && !self.live() {
            moves.push(Move::Notice(at));
        }
        if host.unflushed {
            moves.push(Move::Flush(at));
        } else if host.halting {
            moves.push(Move::Stop(at));
        }
        if !host.held.is_empty() {
            moves.push(Move::Release(at));
        }
        if host.agent.is_none() {
            moves.push(Move::Watchdog(at));
        }
        if host.mail.is_some() && self.wire {
            moves.push(Move::Mail(at));
        }
        for flight in &host.flights {
            match flight.stage {
                Stage::Going(to, _) if self.witnesses[to.0 as usize].up => {
                    moves.push(Move::Carry(at, flight.id))
                }
                Stage::Going(..) if !flight.orphan => moves.push(Move::Lose(at, flight.id)),
                Stage::Shot => moves.push(Move::Carry(at, flight.id)),
                Stage::Back(_) | Stage::ShotDone(_) => moves.push(Move::Deliver(at, flight.id)),
                Stage::Going(..) | Stage::Lost => {}
            }
        }
        for timer in Timer::ALL {
            if self.useful(at, timer, scenario) {
                moves.push(Move::Timer(at, timer));
                if timer == Timer::Hello && self.left.delay > 0 {
                    moves.push(Move::SlowHello(at));
                }
            }
        }
    }

    /// Timers that can change something. A timer that would only repeat what is known or in flight leads back to
    /// the same state and is left out; so is one that would fire while a request is out (its bound is shorter).
    fn useful(&self, at: usize, timer: Timer, scenario: &Scenario) -> bool {
        let host = &self.hosts[at];
        let Some(agent) = &host.agent else { return false };
        if !agent.armed(timer) {
            return false;
        }
        let out = host.flights.iter().any(|flight| !flight.orphan);
        match timer {
            Timer::Claim => !out,
            // Nor while an order waits or is carried out.
            Timer::Retry => {
                let promotes = host.kernel.question.is_some_and(|question| question.why == Why::Promote);
                !out && host.held.is_empty() && !promotes
            }
            Timer::SelfFence => self.left.fence > 0,
            Timer::Reread => {
                let witness = self.witnesses[agent.durable().policy.witness.0 as usize];
                !out && agent.durable().record != Some(witness.record)
            }
            Timer::PeerGone => scenario.taint && !host.taint,
            Timer::Hello => {
                let hello = agent.hello();
                let other = self.hosts[1 - at].agent.as_ref().and_then(|other| other.peer());
                let stale = other.is_none_or(|known| {
                    known.disk != hello.disk
                        || known.stayed != hello.stayed
                        || known.clients != hello.clients
                        || known.lineage != hello.record.map(|record| record.lineage)
                });
                let behind = self.hosts[1 - at].agent.as_ref().and_then(|other| other.durable().record);
                let stale = stale || behind.zip(hello.record).is_some_and(|(b, h)| b.epoch < h.epoch);
                let asks = host.kernel.link == Link::StandAlone || hello.prepared.is_some() || stale;
                asks && self.reachable(1 - at) && host.mail.is_none() && self.hosts[1 - at].mail.is_none()
            }
        }
    }

    /// Faults and acts, as long as the budget lasts.
    fn loud_moves(&self, at: usize, scenario: &Scenario, moves: &mut Vec<Move>) {
        let host = &self.hosts[at];
        let left = self.left;
        let mut may = |left: u8, the: Move| {
            if left > 0 {
                moves.push(the);
            }
        };
        if host.power == Power::Off {
            may(left.replace, Move::Replace(at));
            may(left.clone, Move::Clone(at));
            return;
        }
        may(left.crash, Move::Crash(at));
        if host.power == Power::Asleep {
            return;
        }
        may(left.sleep, Move::Sleep(at));
        for flight in host.flights.iter().filter(|flight| !flight.orphan) {
            if matches!(flight.stage, Stage::Going(..) | Stage::Back(_) | Stage::Shot) {
                may(left.loss, Move::Lose(at, flight.id));
                let up = match flight.stage {
                    Stage::Going(to, _) => self.witnesses[to.0 as usize].up,
                    _ => false,
                };
                may(if up { left.loss } else { 0 }, Move::Waste(at, flight.id));
                may(if up { left.delay } else { 0 }, Move::Hold(at, flight.id));
                let still = matches!(flight.stage, Stage::Going(..)) || scenario.late;
                may(if still { left.delay } else { 0 }, Move::Delay(at, flight.id));
            }
        }
        if host.kernel.role == Role::Primary && !host.kernel.frozen && host.ready {
            may(left.write, Move::Write(at));
        }
        if host.mail.is_some() {
            may(left.loss, Move::DropMail(at));
            may(if self.wire { left.delay } else { 0 }, Move::RepeatMail(at));
        }
        may(if host.slow { 0 } else { left.lag }, Move::Slow(at));
        let Some(agent) = &host.agent else {
            may(left.restart, Move::AgentRestarts(at));
            return;
        };
        may(left.agent, Move::AgentDies(at));
        if host.kernel.disk == Disk::UpToDate && host.kernel.question.is_none() {
            may(left.disk, Move::DiskError(at));
        }
        may(left.clients, Move::Clients(at));
        if host.kernel.role == Role::Primary {
            may(left.switchover, Move::Operator(at, Command::Switchover));
            let (mode, witness) = scenario.next;
            let revision = agent.durable().policy.revision + 1;
            let policy = Policy { revision, mode, witness: WitnessId(witness) };
            may(left.policy, Move::Operator(at, Command::SetPolicy(policy)));
        } else {
            may(left.leave, Move::Operator(at, Command::Leave));
            // The operator's word is true: the other is off, and is wiped.
            if self.hosts[1 - at].power == Power::Off {
                may(left.promote, Move::Operator(at, Command::Promote));
            }
        }
    }
}

/// Does the mode keep promises at all?
pub fn promises(mode: Mode) -> bool {
    mode != Mode::AvailabilityFirst
}
