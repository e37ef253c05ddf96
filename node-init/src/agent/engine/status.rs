//! What the agent answers when it is asked how this node is.

use super::effects::WITNESS_AWAY;
use super::{Agent, Formation};
use crate::agent::config::Store;
use edgepair_status::{Datastore, Peer, Role, Status, VirtualIp};
use pair_core::message::Mode;
use pair_core::reason::Reason;
use pair_core::view;

impl Agent {
    /// This node's status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let reason = self.node.reason();
        let record = self.node.durable().record;
        let with_record = self.node.durable().policy.mode == Mode::Witness;
        let held = |address: &std::net::IpAddr| VirtualIp {
            address: address.to_string(),
            held: self.ports.kernel.holds(*address),
        };
        Status {
            node: self.config.names.0.clone(),
            side: self.config.side.to_string(),
            pair: self.config.pair.clone(),
            version: self.boot.version.clone(),
            slot: self.boot.slot.clone(),
            seed: self.config.seed.clone(),
            mode: mode_word(self.node.durable().policy.mode).to_owned(),
            role: self.role(reason),
            why: self.why(reason),
            record: record.filter(|_| with_record).map(|record| record.holder.to_string()),
            epoch: record.filter(|_| with_record).map(|record| record.epoch.0),
            peer: Peer {
                name: self.config.names.1.clone(),
                reachable: self.peer.heard.is_some(),
                role: self.peer_role(),
            },
            drbd: self.device.as_ref().map(|device| device.words.clone()),
            datastore: Datastore {
                kind: self.config.store.word().to_owned(),
                state: match self.config.store {
                    Store::External => "not here",
                    Store::Postgres | Store::Sqlite => self.datastore,
                }
                .to_owned(),
            },
            kubernetes: self.kubernetes_status(),
            wear: crate::agent::wear::look(&self.ports.place),
            virtual_ip: self.config.virtual_ips.iter().map(held).collect(),
            fence: self.fence_status(),
            problems: self.problem_list(),
        }
    }

    /// What this node is doing, or why it is not active, in words.
    #[must_use]
    pub fn why_now(&self) -> String {
        self.why(self.node.reason())
    }

    fn forming(&self) -> bool {
        matches!(self.formation(), Formation::Begun | Formation::Formatting)
    }

    fn role(&self, reason: Reason) -> Role {
        match reason {
            Reason::ActivePaired | Reason::ActiveAlone if self.forming() => Role::Forming,
            Reason::ActivePaired | Reason::ActiveAlone => Role::Active,
            Reason::StandbyPaired => Role::Standby,
            Reason::Synchronising => Role::Synchronising,
            Reason::Frozen => Role::Frozen,
            Reason::HandingOver => Role::HandingOver,
            Reason::Resetting => Role::Resetting,
            _ => Role::Waiting,
        }
    }

    fn why(&self, reason: Reason) -> String {
        let new = self.formation() == Formation::None && self.just_created == Some(true);
        match reason {
            Reason::DiskInconsistent if new && self.peer.greeting.is_none() => {
                format!("waits for {}: the pair is formed when both boxes are there", self.config.names.1)
            }
            Reason::DiskInconsistent if new => "both boxes are there; the pair is being formed".to_owned(),
            Reason::ActivePaired | Reason::ActiveAlone if !self.notes.is_empty() => {
                format!("waits until {} has noted how far the forming is", self.config.names.1)
            }
            Reason::ActivePaired | Reason::ActiveAlone if self.forming() => {
                "makes file system and database, once".to_owned()
            }
            Reason::WaitsForPeer if self.node.view().healthy() => {
                "both copies are current; one of the nodes becomes active".to_owned()
            }
            reason => reason.to_string(),
        }
    }

    fn peer_role(&self) -> Option<Role> {
        let healthy = self.node.view().healthy();
        match self.node.view().peer.or(self.peer.role)? {
            view::Role::Primary => Some(Role::Active),
            view::Role::Secondary if healthy => Some(Role::Standby),
            view::Role::Secondary => Some(Role::Waiting),
        }
    }

    fn problem_list(&self) -> Vec<String> {
        let mut list: Vec<String> = self.alarms.iter().cloned().collect();
        let witness_blip = self.witness_silent.is_some_and(|since| since.elapsed() < WITNESS_AWAY);
        let shown = self.problems.iter().filter(|(key, _)| !(**key == "witness" && witness_blip));
        list.extend(shown.map(|(_, text)| text.clone()));
        list.extend(self.peer.refused.clone());
        if self.peer.heard.is_none() {
            list.push(format!("{} does not answer", self.config.names.1));
        }
        list
    }
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Witness => "witness",
        Mode::Fence => "fence",
        Mode::Manual => "manual",
        Mode::AvailabilityFirst => "availability-first",
    }
}
