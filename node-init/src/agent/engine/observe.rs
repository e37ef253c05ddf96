//! DRBD, looked at.

use super::{Agent, Input, input};
use crate::agent::drbd::orders::Order;
use crate::agent::drbd::{events, proc};
use crate::agent::log;
use edgepair_render::names::DRBD_RESOURCE;
use pair_core::event::Event;
use pair_core::view::{Disk, Link, View};

/// Minor number of the replicated device.
const MINOR: u32 = 0;

impl Agent {
    pub(super) fn listen_to_drbd(&mut self) {
        let started = self.ports.kernel.drbd_events(input::map(&self.inputs, Input::Drbd));
        match started {
            Ok(stream) => {
                self.stream = Some(stream);
                self.clear("events");
            }
            Err(error) => self.problem("events", &format!("drbdsetup events2 cannot be started: {error}")),
        }
    }

    pub(super) fn drbd_line(&mut self, line: &str) {
        let lost = match events::parse(line, DRBD_RESOURCE) {
            Ok(events::Line::Foreign) => return,
            // Only what changed stands in a line: without a state, it is the other node's role.
            Ok(events::Line::Connection { action: events::Action::Change, state }) => {
                !state.is_empty() && !events::is_up(state)
            }
            Ok(events::Line::Helper { action: events::Action::Call, name: "split-brain" }) => {
                self.event(Event::SplitBrain);
                false
            }
            Ok(_) => false,
            Err(error) => {
                log::warn(&error.to_string());
                false
            }
        };
        self.look(lost);
    }

    /// Looks at DRBD and tells the pair core what is new. `lost`: the connection was lost, whatever it is now.
    pub(super) fn look(&mut self, lost: bool) {
        // While a disk is being outdated, what the kernel says is ahead of what is on the disk.
        if self.ordered.front().is_some_and(|(order, _)| *order == Order::Outdate) {
            return;
        }
        let text = match self.ports.kernel.drbd() {
            Ok(text) => text,
            // The module is not loaded yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return self.problem("drbd", &format!("/proc/drbd: {error}")),
        };
        let device = if text.is_empty() { Ok(None) } else { proc::parse(&text, MINOR) };
        match device {
            Ok(device) => {
                self.device = device;
                self.clear("drbd");
            }
            Err(error) => return self.problem("drbd", &error.to_string()),
        }
        let old = self.node.view();
        let new = self.device.as_ref().map_or(View::DOWN, |device| device.seen(old));
        if lost && old.connected() && new.connected() {
            let known = matches!(old.peer_disk, Disk::Inconsistent | Disk::Outdated);
            let peer_disk = if known { old.peer_disk } else { Disk::Unknown };
            self.change(View { link: Link::Connecting, peer: None, peer_disk, ..old });
        }
        self.change(new);
    }

    pub(super) fn change(&mut self, new: View) {
        if self.seen.replace(new) == Some(new) {
            return;
        }
        let old = self.node.view();
        if old.link != new.link {
            self.retries = 0;
        }
        if old.connected() != new.connected() {
            self.link.set(self.link.get().wrapping_add(1));
        }
        if new.disk != Disk::Inconsistent {
            self.just_created = Some(false);
        } else if old.disk != new.disk || self.just_created.is_none() {
            self.just_created = None;
            input::ask_generation(&self.ports, &self.inputs);
        }
        self.event(Event::Drbd { old, new });
        self.take_turn();
        if old.disk != new.disk {
            self.greet();
        }
    }
}
