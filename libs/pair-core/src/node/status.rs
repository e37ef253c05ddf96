//! The state in words.

use super::{Node, Plan};
use crate::{
    message::Mode,
    reason::Reason,
    record::Holder,
    view::{Disk, Link, Role},
};

impl Node {
    /// What this node is doing, or why it is not doing more.
    pub fn reason(&self) -> Reason {
        if self.gone {
            return Reason::Resetting;
        }
        if self.diverged {
            return Reason::Diverged;
        }
        if self.stranger {
            return Reason::NotMyDisk;
        }
        if self.same_disk {
            return Reason::SameDisk;
        }
        match (self.view.role, self.plan) {
            (_, Plan::HandOver | Plan::Yielded) => return Reason::HandingOver,
            (_, Plan::Leaving(_)) => return Reason::Leaving,
            (Role::Primary, _) if self.view.frozen => return Reason::Frozen,
            (Role::Primary, _) if self.view.healthy() => return Reason::ActivePaired,
            (Role::Primary, _) => return Reason::ActiveAlone,
            (Role::Secondary, _) => {}
        }
        match (self.view.link, self.view.disk) {
            (Link::SyncTarget, _) => return Reason::Synchronising,
            (_, Disk::Diskless) => return Reason::DiskMissing,
            (_, Disk::Inconsistent) => return Reason::DiskInconsistent,
            (_, Disk::Outdated) => return Reason::DiskOutdated,
            _ => {}
        }
        if self.durable.prepared.is_some() {
            return Reason::Barred;
        }
        if self.view.peer == Some(Role::Primary) {
            return Reason::StandbyPaired;
        }
        match self.durable.policy.mode {
            Mode::Witness => self.record_reason(),
            Mode::Fence | Mode::Manual if !self.view.connected() => Reason::NeedsPeerOrOperator,
            Mode::Fence | Mode::Manual | Mode::AvailabilityFirst => Reason::WaitsForPeer,
        }
    }

    fn record_reason(&self) -> Reason {
        if self.unknown.is_some() {
            return Reason::WitnessUnknown;
        }
        if self.foreign {
            return Reason::ForeignLineage;
        }
        match self.durable.record.map(|record| record.holder) {
            Some(Holder::Solo { side, .. }) if side != self.me.side => Reason::PeerIsSolo,
            Some(holder @ (Holder::Solo { .. } | Holder::Paired { .. }))
                if holder.disk_of(self.me.side) != Some(self.me.disk) =>
            {
                Reason::NotMyDisk
            }
            _ if self.view.link == Link::StandAlone && self.pending.is_none() => Reason::WaitsForPeer,
            _ => Reason::WaitsForWitness,
        }
    }
}
