//! What a move does.

use crate::{
    act::Act,
    drbd::{Kernel, Later, Why},
    moves::Move,
    names::kind,
    table,
    world::{Flight, Power, Stage, Twist, World, disk_id, lineage},
};
use pair_core::{
    effect::Query,
    event::{Answer, Command, Event, Power as PowerAnswer, RequestId, Timer},
    record::{Holder, decide},
};

impl World {
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
                self.carry(at, id);
                self.deliver(at, id, act);
            }
            Move::Hold(at, id) => {
                self.left.delay -= 1;
                self.carry(at, id);
            }
            Move::Waste(at, id) => {
                self.left.loss -= 1;
                self.carry(at, id);
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
                host.facts = host.agent.take().map(|agent| agent.facts_alone());
                // Its handler's call fails with its socket; the kernel sees a broken helper.
                host.kernel.question = None;
                host.mail = None;
                host.slow = false;
                host.held.clear();
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
            Move::Slow(at) => {
                self.left.lag -= 1;
                self.hosts[at].slow = true;
            }
            Move::Release(at) => {
                if !self.hosts[at].held.is_empty() {
                    let first = self.hosts[at].held.remove(0);
                    self.carry_out(at, first, act);
                }
            }
            Move::AgentRestarts(at) => {
                // The shell writes keepalived's FAULT first, then tells what it finds.
                self.left.restart -= 1;
                let ready = self.hosts[at].ready;
                self.hosts[at].address = false;
                self.start_agent(at, scenario);
                self.pump(act);
                if ready {
                    act.queue.push_back((at, Event::Service(true)));
                }
            }
            Move::RollBack => {
                self.left.rollback -= 1;
                self.witnesses[0].record = self.witnesses[0].backup;
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
        // As both boxes were when the pair was formed.
        host.last = pair_core::record::Side::A;
        host.md.primary = false;
        host.md.peer_outdated = false;
        host.flights.clear();
        // What only the removed disk held is gone with it; no protocol can keep it.
        self.acked &= self.hosts[1 - at].data;
    }

    fn flight(&self, at: usize, id: RequestId) -> Option<Flight> {
        self.hosts[at].flights.iter().find(|flight| flight.id == id).copied()
    }

    fn carry(&mut self, at: usize, id: RequestId) {
        let Some(flight) = self.flight(at, id) else { return };
        self.hosts[at].flights.retain(|flight| flight.id != id);
        let stage = match flight.stage {
            Stage::Going(to, query) => {
                let seen = self.hosts[at].store.record;
                let witness = &mut self.witnesses[to.0 as usize];
                let record = witness.record;
                // Every request shows the latest record that its sender has seen, signed.
                let shown = match query {
                    Query::Read => seen.filter(|_| !flight.orphan).map(|seen| (seen.lineage, seen.epoch)),
                    Query::Swap(swap) => Some((swap.lineage, swap.expect)),
                };
                let behind = shown.is_some_and(|(l, epoch)| l == record.lineage && epoch > record.epoch);
                if behind {
                    table::count("record", "unknown: a later epoch was shown");
                    witness.record = record.restored(lineage(3));
                }
                Stage::Back(match query {
                    Query::Read => Answer::Is(witness.record),
                    // Decided on what it held, so that the sender learns why.
                    Query::Swap(swap) => match decide(&record, &swap) {
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
