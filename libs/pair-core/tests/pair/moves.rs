//! What can happen next.

use crate::{
    act::Act,
    drbd::{Kernel, Later, Why},
    table,
    world::{Flight, Power, Scenario, Stage, Twist, World, disk_id, lineage},
};
use pair_core::{
    effect::Query,
    event::{Answer, Command, Event, Power as PowerAnswer, RequestId, Timer},
    message::{Mode, Policy, WitnessId},
    record::{Holder, decide},
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
        moves
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
            Timer::Claim | Timer::Retry => !out,
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
        let Some(agent) = &host.agent else { return };
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

    /// The state after `the` move.
    pub fn act(&mut self, the: Move, act: &mut Act) {
        let scenario = act.scenario;
        table::count("move", kind(&the));
        match the {
            Move::Write(at) => {
                self.left.write -= 1;
                self.write(at, scenario);
            }
            Move::Notice(at) => self.notice(at, act),
            Move::Meet => self.meet(act),
            Move::Synced => self.synced(),
            Move::Flush(at) => self.hosts[at].unflushed = false,
            Move::Stop(at) => self.off(at, true),
            Move::Mail(at) => {
                if let Some(mail) = self.hosts[at].mail.take() {
                    act.queue.push_back((at, Event::Peer(mail)));
                }
            }
            Move::RepeatMail(at) => {
                self.left.delay -= 1;
                if let Some(mail) = self.hosts[at].mail {
                    act.queue.push_back((at, Event::Peer(mail)));
                }
            }
            Move::DropMail(at) => {
                self.left.loss -= 1;
                self.hosts[at].mail = None;
            }
            Move::Carry(at, id) => {
                self.carry(at, id, act);
                self.deliver(at, id, act);
            }
            Move::Hold(at, id) => {
                self.left.delay -= 1;
                self.carry(at, id, act);
            }
            Move::Waste(at, id) => {
                self.left.loss -= 1;
                self.carry(at, id, act);
                self.give_up(at, id, false, act);
            }
            Move::Deliver(at, id) => self.deliver(at, id, act),
            Move::Lose(at, id) => {
                let down = matches!(self.flight(at, id), Some(Flight { stage: Stage::Going(to, _), .. })
                    if !self.witnesses[to.0 as usize].up);
                self.left.loss -= u8::from(!down);
                self.give_up(at, id, false, act);
            }
            Move::Delay(at, id) => {
                self.left.delay -= 1;
                self.give_up(at, id, true, act);
            }
            Move::SlowHello(at) => {
                self.left.delay -= 1;
                act.swift = false;
                act.queue.push_back((at, Event::Timer(Timer::Hello)));
            }
            Move::Timer(at, timer) => {
                act.swift |= timer == Timer::Hello;
                self.left.fence -= u8::from(timer == Timer::SelfFence);
                act.queue.push_back((at, Event::Timer(timer)));
            }
            Move::Boot(at) => {
                self.hosts[at].power = Power::On;
                self.hosts[at].kernel = Kernel::attach(self.hosts[at].md);
                self.start_agent(at, scenario);
            }
            Move::Crash(at) => {
                self.left.crash -= 1;
                self.off(at, false);
            }
            Move::AgentDies(at) => {
                self.left.agent -= 1;
                let host = &mut self.hosts[at];
                host.facts = host.agent.take().map(|agent| agent.facts());
                // Its handler's call fails with its socket; the kernel sees a broken helper.
                host.kernel.question = None;
                host.mail = None;
            }
            Move::Watchdog(at) => self.off(at, false),
            Move::Sleep(at) => {
                self.left.sleep -= 1;
                self.hosts[at].power = Power::Asleep;
            }
            Move::Wake(at) => self.hosts[at].power = Power::On,
            Move::Cut | Move::Heal => {
                self.left.link -= 1;
                self.wire = the == Move::Heal;
            }
            Move::WitnessDown => {
                self.left.outage -= 1;
                self.witnesses[0].up = false;
            }
            Move::WitnessUp => self.witnesses[0].up = true,
            Move::Restore => {
                self.left.restore -= 1;
                let witness = &mut self.witnesses[0];
                witness.record = match scenario.twist {
                    Twist::RestoreBelieved => witness.backup,
                    _ => witness.record.restored(lineage(2)),
                };
            }
            Move::DiskError(at) => {
                self.left.disk -= 1;
                self.question(at, Why::DiskError, act);
            }
            Move::Replace(at) => {
                self.left.replace -= 1;
                self.swap_box(at, disk_id(0xc));
                self.later = if at == 0 { Later::B } else { Later::A };
                let host = &mut self.hosts[at];
                host.md.consistent = false;
                host.md.was_up_to_date = false;
                host.data = 0;
            }
            Move::Clone(at) => {
                // A copy of the card, made when the pair was formed, is put in.
                self.left.clone -= 1;
                let id =
                    if scenario.twist == Twist::CloneKeepsId { self.hosts[at].disk } else { disk_id(0xc) };
                let store = self.hosts[at].store;
                self.swap_box(at, id);
                let host = &mut self.hosts[at];
                host.store = store;
                host.md.consistent = true;
                host.md.was_up_to_date = true;
                // Only what the other, usable disk holds can still be kept.
                host.data = 0;
            }
            Move::Operator(at, command) => {
                match command {
                    Command::Switchover => self.left.switchover -= 1,
                    Command::Leave => self.left.leave -= 1,
                    Command::SetPolicy(_) => self.left.policy -= 1,
                    Command::Promote => {
                        self.left.promote -= 1;
                        self.hosts[1 - at].scrapped = true;
                        // What only the other disk holds is given up by the operator's word.
                        self.acked &= self.hosts[at].data;
                        self.later = Later::Same;
                    }
                }
                act.queue.push_back((at, Event::Operator(command)));
            }
            Move::Clients(at) => {
                self.left.clients -= 1;
                act.queue.push_back((at, Event::Clients(false)));
            }
        }
        self.pump(act);
        self.normalise(scenario.late);
    }

    /// Another disk in this box; the other one has the later data.
    fn swap_box(&mut self, at: usize, id: pair_core::record::DiskId) {
        let host = &mut self.hosts[at];
        host.disk = id;
        host.store = pair_core::node::Durable::new(host.store.policy);
        host.md.primary = false;
        host.md.peer_outdated = false;
        host.flights.clear();
        // What only the removed disk held is gone with it; no protocol can keep it.
        self.acked &= self.hosts[1 - at].data;
    }

    fn flight(&self, at: usize, id: RequestId) -> Option<Flight> {
        self.hosts[at].flights.iter().find(|flight| flight.id == id).copied()
    }

    fn carry(&mut self, at: usize, id: RequestId, act: &mut Act) {
        let Some(flight) = self.flight(at, id) else { return };
        self.hosts[at].flights.retain(|flight| flight.id != id);
        let stage = match flight.stage {
            Stage::Going(to, query) => {
                let witness = &mut self.witnesses[to.0 as usize];
                Stage::Back(match query {
                    Query::Read => Answer::Is(witness.record),
                    Query::Swap(swap) => match decide(&witness.record, &swap) {
                        Ok(record) => {
                            table::count("record", change(&witness.record.holder, &record.holder));
                            witness.record = record;
                            Answer::Won(record)
                        }
                        Err(refusal) => Answer::Refused(refusal),
                    },
                })
            }
            Stage::Shot => {
                self.off(1 - at, false);
                Stage::ShotDone(PowerAnswer::Off)
            }
            stage => stage,
        };
        if !flight.orphan {
            self.hosts[at].flights.push(Flight { stage, ..flight });
        }
    }

    fn deliver(&mut self, at: usize, id: RequestId, act: &mut Act) {
        let Some(flight) = self.flight(at, id) else { return };
        self.hosts[at].flights.retain(|flight| flight.id != id);
        match flight.stage {
            Stage::Back(answer) => self.answered(at, id, answer, act),
            Stage::ShotDone(power) => self.shot(at, id, power, act),
            Stage::Going(..) | Stage::Shot | Stage::Lost => {}
        }
    }

    fn give_up(&mut self, at: usize, id: RequestId, keep: bool, act: &mut Act) {
        let Some(flight) = self.flight(at, id) else { return };
        if keep {
            for flight in self.hosts[at].flights.iter_mut().filter(|flight| flight.id == id) {
                flight.orphan = true;
            }
        } else {
            self.hosts[at].flights.retain(|flight| flight.id != id);
        }
        match flight.stage {
            Stage::Shot => self.shot(at, id, PowerAnswer::NotOff, act),
            _ => self.answered(at, id, Answer::Silence, act),
        }
    }
}

fn change(from: &Holder, to: &Holder) -> &'static str {
    match (from, to) {
        (Holder::Paired { .. }, Holder::Solo { .. }) => "paired to solo",
        (Holder::Solo { .. }, Holder::Paired { .. }) => "solo to paired",
        (Holder::Solo { side: a, .. }, Holder::Solo { side: b, .. }) if a == b => "solo again",
        (Holder::Solo { .. }, Holder::Solo { .. }) => "solo to the other",
        (Holder::Unknown, Holder::Paired { .. }) => "unknown to paired",
        (Holder::Unknown, _) => "unknown to solo",
        _ => "other",
    }
}

/// The name of a move, without its numbers.
pub fn kind(the: &Move) -> &'static str {
    match the {
        Move::Write(_) => "write",
        Move::Notice(_) => "kernel notices the loss",
        Move::Meet => "kernels meet",
        Move::Synced => "synchronised",
        Move::Flush(_) => "outdated flag reaches the disk",
        Move::Stop(_) => "goes down in order",
        Move::Mail(_) => "agent message",
        Move::DropMail(_) => "agent message lost",
        Move::RepeatMail(_) => "agent message repeated",
        Move::Carry(..) => "request answered",
        Move::Hold(..) => "answer held up",
        Move::Waste(..) => "answer lost",
        Move::Deliver(..) => "answer arrives",
        Move::Lose(..) => "request lost",
        Move::Delay(..) => "request or answer delayed past its bound",
        Move::Timer(_, Timer::Claim) => "timer claim",
        Move::Timer(_, Timer::Retry) => "timer retry",
        Move::Timer(_, Timer::SelfFence) => "timer self-fence",
        Move::Timer(_, Timer::Reread) => "timer reread",
        Move::Timer(_, Timer::PeerGone) => "timer peer gone",
        Move::Timer(_, Timer::Hello) => "timer hello",
        Move::SlowHello(_) => "timer hello, slow answer",
        Move::Boot(_) => "cold start",
        Move::Crash(_) => "crash",
        Move::AgentDies(_) => "agent dies",
        Move::Watchdog(_) => "watchdog resets",
        Move::Sleep(_) => "suspended",
        Move::Wake(_) => "woken",
        Move::Cut => "link cut",
        Move::Heal => "link healed",
        Move::WitnessDown => "witness down",
        Move::WitnessUp => "witness up",
        Move::Restore => "witness restored",
        Move::DiskError(_) => "disk error",
        Move::Replace(_) => "box replaced",
        Move::Clone(_) => "cloned disk put in",
        Move::Operator(_, Command::Switchover) => "operator switchover",
        Move::Operator(_, Command::Leave) => "operator leave",
        Move::Operator(_, Command::Promote) => "operator promote",
        Move::Operator(_, Command::SetPolicy(_)) => "operator policy",
        Move::Clients(_) => "clients lost",
    }
}

/// Does the mode keep promises at all?
pub fn promises(mode: Mode) -> bool {
    mode != Mode::AvailabilityFirst
}
