//! An operator's commands.

use super::{Node, Out, Plan, ask::Purpose};
use crate::{
    effect::Effect,
    event::Command,
    message::{Message, Mode},
    reason::Reason,
    view::{Disk, Role},
};

impl Node {
    pub(super) fn on_command(&mut self, command: Command, out: &mut Out) {
        if let Err(reason) = self.command(command, out) {
            out.push(Effect::Refuse(reason));
        }
    }

    /// Would a switchover be refused now? For whoever has something to prepare first.
    ///
    /// # Errors
    /// Why.
    pub fn may_switch_over(&self) -> Result<(), Reason> {
        self.free()?;
        if self.view.role != Role::Primary {
            return Err(Reason::NotActive);
        }
        if self.may_hand_over() { Ok(()) } else { Err(Reason::NotPaired) }
    }

    /// Takes commands at all.
    fn free(&self) -> Result<(), Reason> {
        if self.durable.prepared.is_some() {
            return Err(Reason::Barred);
        }
        if self.question.is_some() || self.plan != Plan::None || self.change.is_some() {
            return Err(Reason::Busy);
        }
        Ok(())
    }

    fn command(&mut self, command: Command, out: &mut Out) -> Result<(), Reason> {
        let active = self.view.role == Role::Primary;
        self.free()?;
        match command {
            Command::Switchover => {
                self.may_switch_over()?;
                self.tried = false;
                self.plan = Plan::HandOver;
            }
            Command::Leave if active => return Err(Reason::IsActive),
            // It may be active before the peer has answered.
            Command::Leave if self.promoting => return Err(Reason::Busy),
            // Without a peer there is nothing to ask.
            Command::Leave if !self.view.connected() => out.push(Effect::Halt),
            Command::Leave => {
                let id = out.fresh.take().ok_or(Reason::Busy)?;
                self.plan = Plan::Leaving(id);
                out.tell(Message::Leave { id });
            }
            Command::Promote if active => return Err(Reason::IsActive),
            Command::Promote if self.view.connected() => return Err(Reason::NotActive),
            Command::Promote if self.view.disk < Disk::Outdated => {
                return Err(if self.view.disk == Disk::Diskless {
                    Reason::DiskMissing
                } else {
                    Reason::DiskInconsistent
                });
            }
            Command::Promote => {
                self.plan = Plan::Promoting;
                self.sworn = true;
                match self.durable.policy.mode {
                    Mode::Witness => self.ask(Purpose::Appoint, out),
                    Mode::Fence | Mode::Manual | Mode::AvailabilityFirst => {
                        self.promote(self.view.disk < Disk::Consistent, out);
                    }
                }
            }
            Command::SetPolicy(_) if !active => return Err(Reason::NotActive),
            Command::SetPolicy(_) if !self.may_hand_over() => return Err(Reason::NotPaired),
            Command::SetPolicy(policy) if policy.revision <= self.durable.policy.revision => {
                return Err(Reason::OldPolicy);
            }
            Command::SetPolicy(policy) => self.start_change(policy, out),
        }
        Ok(())
    }
}
