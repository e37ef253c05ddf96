//! The invariants, by name.

use crate::{
    moves::promises,
    world::{Host, Power, Scenario, World},
};
use pair_core::{
    message::Mode,
    record::{Holder, Record},
    view::{Disk, Link, Role},
};

pub const ONE_WRITER: &str = "never two granted writers";
pub const KEPT: &str = "every acknowledged write is in every dataset that is promoted";
pub const CURRENT: &str = "a stale disk never becomes active";
pub const ADDRESS: &str = "never two virtual IPs longer than the self-fence time";
pub const PAIRED: &str = "nobody acknowledges alone while the record says paired";
pub const BOTH: &str = "a paired record means two current disks";
pub const SETTLES: &str = "the agents settle";
pub const RECOVERS: &str = "a healthy pair with its witness never stays frozen";
pub const SURVIVES: &str = "with the witness and one current node up, eventually an active node";

pub const SAFETY: [&str; 7] = [ONE_WRITER, KEPT, CURRENT, ADDRESS, PAIRED, BOTH, SETTLES];

impl World {
    /// The law that this state breaks.
    pub fn breaks(&self, scenario: &Scenario) -> Option<&'static str> {
        SAFETY.into_iter().find(|law| !self.holds(law, scenario))
    }

    pub fn holds(&self, law: &str, scenario: &Scenario) -> bool {
        if law == SETTLES {
            return self.broken.is_none();
        }
        if !promises(scenario.mode) || !promises(scenario.next.0) {
            return true;
        }
        match law {
            ONE_WRITER => !(self.alone(0) && self.alone(1)),
            KEPT => (0..2).all(|at| !self.writes(at) || self.acked & !self.hosts[at].data == 0),
            CURRENT => (0..2).all(|at| !self.alone(at) || self.later.side() != Some(1 - at)),
            ADDRESS => self.one_address(),
            PAIRED => (0..2).all(|at| self.may_be_alone(at)),
            BOTH => self.both_current(),
            _ => true,
        }
    }

    /// Can acknowledge a write now. A Primary whose connection is dead cannot, it only does not know yet.
    fn writes(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        host.kernel.role == Role::Primary
            && !host.kernel.frozen
            && (host.kernel.link < Link::Connected || self.live())
    }

    /// Two addresses only while the older holder has not noticed, sleeps or is about to be reset: each of these
    /// ends within the self-fence time.
    fn one_address(&self) -> bool {
        let both = self.hosts.iter().all(|host| host.address && host.power != Power::Off);
        let bounded = |at: usize| {
            let host = &self.hosts[at];
            host.power == Power::Asleep
                || host.agent.is_none()
                || (host.kernel.link >= Link::Connected && !self.live())
        };
        !both || bounded(0) || bounded(1)
    }

    fn may_be_alone(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        let peer = &self.hosts[1 - at];
        if host.store.policy.mode != Mode::Witness || !self.alone(at) {
            return true;
        }
        let record = self.witnesses[host.store.policy.witness.0 as usize].record;
        // A peer that is durably old cannot use the record; that is what its promise is worth.
        let claimable = (peer.md.was_up_to_date || peer.unflushed) && !knows_later(peer, &record);
        let paired = matches!(record.holder, Holder::Paired { a, b } if [a, b][1 - at] == peer.disk);
        !(paired && claimable && !peer.scrapped)
    }

    /// While the record says paired, a node that could claim holds every acknowledged write.
    fn both_current(&self) -> bool {
        (0..2).all(|at| {
            let host = &self.hosts[at];
            let policy = host.store.policy;
            let record = self.witnesses[policy.witness.0 as usize].record;
            let named = match record.holder {
                Holder::Paired { a, b } => [a, b][at] == host.disk,
                Holder::Solo { .. } | Holder::Unknown => false,
            };
            let known = host.store.record.is_some_and(|seen| seen.lineage == record.lineage);
            let usable = host.md.was_up_to_date && !host.unflushed && host.kernel.disk != Disk::Inconsistent;
            policy.mode != Mode::Witness
                || !named
                || !known
                || !usable
                || knows_later(host, &record)
                || host.store.prepared.is_some()
                || self.acked & !host.data == 0
        })
    }
}

/// It remembers more than the witness, which went back in time: it can prove that, but not claim.
pub fn knows_later(host: &Host, record: &Record) -> bool {
    host.store.record.is_some_and(|seen| seen.lineage == record.lineage && seen.epoch > record.epoch)
}
