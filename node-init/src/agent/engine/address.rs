//! The virtual IP: what keepalived is told, and what it says.

use super::{Agent, UNDECIDED};
use crate::agent::log;

impl Agent {
    /// From here on keepalived is told exactly what the pair core wants.
    pub(super) fn decide_address(&mut self) {
        if self.undecided {
            self.undecided = false;
            self.tell_keepalived();
        }
    }

    /// keepalived writes FAULT into its file whenever it starts, and so does each call of the fence handler, also one that
    /// then found another one waiting already. After the look, so that a frozen node does not take it back.
    pub(super) fn keep_address(&mut self) {
        if self.undecided && self.ticks > UNDECIDED {
            self.decide_address();
        }
        if !self.undecided && self.ports.may_hold() != Some(self.address) {
            self.tell_keepalived();
        }
    }

    pub(super) fn tell_keepalived(&mut self) {
        match self.ports.let_hold(self.address) {
            Ok(()) => self.clear("address"),
            Err(error) => self.problem("address", &format!("keepalived's file cannot be written: {error}")),
        }
    }

    pub(super) fn keepalived(&mut self, line: &str) {
        log::info(&format!("keepalived: {line}"));
        // INSTANCE "pair" MASTER 100
        let master = line.split_whitespace().nth(2) == Some("MASTER");
        if master && !self.address && !self.undecided {
            self.problem("address", "keepalived took the virtual IP although it was told not to");
            let _ = self.ports.let_hold(false);
        }
    }
}
