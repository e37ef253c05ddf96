//! What outlives a power cut: who was active last, and the memory that it is part of.

use super::Agent;
use pair_core::view::Role;

impl Agent {
    /// Who was active last becomes active again where both could.
    pub(super) fn remember_active(&mut self) {
        let view = self.node.view();
        let active = match (view.role, view.peer) {
            (Role::Primary, _) => Some(self.config.side),
            (Role::Secondary, Some(Role::Primary)) => Some(!self.config.side),
            (Role::Secondary, _) => None,
        };
        if active.is_some() && active != self.memory.last_active {
            self.memory.last_active = active;
            if let Some(side) = active {
                self.node.prefer(side);
            }
            self.keep();
        }
    }

    /// Writes the memory; `false` when it could not be written.
    pub(super) fn keep(&mut self) -> bool {
        match self.memory.store(&self.ports.place) {
            Ok(()) => {
                self.clear("memory");
                true
            }
            Err(error) => {
                self.problem("memory", &format!("what must be remembered cannot be written: {error}"));
                false
            }
        }
    }
}
