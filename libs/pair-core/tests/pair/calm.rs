//! Liveness: from every state there is a way out, once the faults stop.
//!
//! stateright's `eventually` is not sound over joined paths. So every state is followed along one undisturbed run
//! (link healed, witness up, boxes on) until the pair is well again or the run has met a state from which another
//! run got well: AG EF.

use crate::{
    act::Act,
    diagram::row,
    laws::knows_later,
    moves::Move,
    world::{Held, Left, Power, Scenario, Stage, World},
};
use pair_core::{
    effect::Query,
    event::Timer,
    message::{Message, Mode},
    record::{Claim, Holder},
    view::{Disk, Link, Role},
};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

const STEPS: usize = 400;

/// Of a run that leads nowhere.
const SHOWN: usize = 40;

/// States from which a run is known to end well.
#[derive(Default)]
pub struct Good(Mutex<HashSet<u64>>);

fn rank(the: &Move) -> usize {
    match the {
        Move::Timer(_, Timer::SelfFence | Timer::PeerGone) => 9,
        Move::Timer(..) => 2,
        Move::SlowHello(_) => 9,
        _ => 1,
    }
}

impl World {
    /// Which state this run would continue from, with nothing going wrong any more.
    fn calmed(&self, only: Option<usize>, act: &mut Act) -> World {
        let mut world = World { left: Left::default(), wire: true, ..self.clone() };
        for witness in &mut world.witnesses {
            witness.up = true;
        }
        if let Some(at) = only {
            world.off(1 - at, false);
            world.hosts[1 - at].scrapped = true;
        }
        for host in &mut world.hosts {
            if host.power == Power::Asleep {
                host.power = Power::On;
            }
        }
        world.pump(act);
        world
    }

    fn serves(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        let view = host.kernel;
        host.power == Power::On && view.role == Role::Primary && !view.frozen && host.ready && host.address
    }

    fn well(&self, scenario: &Scenario, only: Option<usize>) -> bool {
        if let Some(at) = only {
            return self.serves(at);
        }
        let one = self.serves(0) != self.serves(1);
        let both = self.hosts.iter().all(|host| {
            let paired = matches!(
                self.witnesses[host.store.policy.witness.0 as usize].record.holder,
                Holder::Paired { .. }
            );
            let agreed = host.store.policy.mode != Mode::Witness || paired;
            host.kernel.view().healthy() && agreed && host.store.prepared.is_none()
        });
        let alone = self.hosts.iter().any(|host| host.scrapped || host.kernel.disk == Disk::Diskless)
            || scenario.left.clone > 0;
        one && (both || alone) && (alone || self.live())
    }

    /// There is an undisturbed run from here to a pair that is well.
    pub fn recovers(&self, scenario: &Scenario, only: Option<usize>, good: &Good) -> bool {
        self.calm_run(scenario, only, good, &mut |_, _| {})
    }

    /// The undisturbed runs from here that lead nowhere, as diagrams.
    pub fn stuck(&self, scenario: &Scenario) -> String {
        let mut text = String::new();
        for only in [None, Some(0), Some(1)] {
            let mut rows = Vec::new();
            let counts = only.is_none_or(|at| self.current(at));
            if counts
                && !self.calm_run(scenario, only, &Good::default(), &mut |the, to| rows.push(row(the, to)))
            {
                let alone = only.map_or("both nodes", |at| ["only a", "only b"][at]);
                text += &format!("  ✗ undisturbed from here, {alone}: {} moves lead nowhere\n", rows.len());
                text.extend(rows.into_iter().take(SHOWN));
            }
        }
        text
    }

    fn calm_run(
        &self,
        scenario: &Scenario,
        only: Option<usize>,
        good: &Good,
        seen: &mut dyn FnMut(&Move, &World),
    ) -> bool {
        let mut act = Act::new(scenario);
        let mut world = self.calmed(only, &mut act);
        let mut path = Vec::new();
        for step in 0..STEPS {
            let mut hasher = DefaultHasher::new();
            (&world, only).hash(&mut hasher);
            let print = hasher.finish();
            // Any fair choice does; a fixed order could go in a circle.
            let dice = (print.rotate_left(step as u32 % 64) >> 40) as usize;
            let known = good.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&print);
            path.push(print);
            if known || world.well(scenario, only) {
                good.0.lock().unwrap_or_else(PoisonError::into_inner).extend(path);
                return true;
            }
            let mut moves = world.moves(scenario);
            moves.retain(|the| rank(the) < 9);
            let first = moves.iter().map(rank).min().unwrap_or(9);
            moves.retain(|the| rank(the) == first);
            let Some(the) = moves.get(dice % moves.len().max(1)) else { return false };
            world.act(*the, &mut Act::new(scenario));
            seen(the, &world);
        }
        false
    }

    /// This node holds everything and the record lets it go on alone.
    pub fn current(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        let record = self.witnesses[host.store.policy.witness.0 as usize].record;
        let named = record.holder.disk_of(crate::world::SIDES[at]) == Some(host.disk);
        let known = host.store.record.is_some_and(|seen| seen.lineage == record.lineage);
        // A witness that lost history is no witness: this node proves that to it, and then an operator decides.
        let forgot = knows_later(host, &record);
        let usable = match host.power {
            Power::Off => host.md.was_up_to_date,
            _ => {
                host.kernel.disk >= Disk::Consistent
                    && host.kernel.link != Link::SyncTarget
                    && !host.unflushed
            }
        };
        let free = host.store.prepared.is_none() && !host.scrapped && !host.halting;
        // It is giving its right to a frozen peer: if that dies in this moment, the pair waits for it.
        let yields = host.flights.iter().any(|flight| match flight.stage {
            Stage::Going(_, Query::Swap(swap)) => swap.claim == Claim::GiveAway,
            Stage::Back(_) => true,
            _ => false,
        });
        let yields = yields || host.held.contains(&Held::Outdate);
        let told = matches!(host.mail, Some(Message::Hello(hello)) if hello.frozen.is_some());
        let free = free && !yields && !told;
        host.store.policy.mode == Mode::Witness && named && known && !forgot && usable && free
    }
}
