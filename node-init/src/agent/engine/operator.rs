//! What is asked on the control socket: by people, by a shutdown, by the kernel's handlers.

use super::{Agent, input};
use crate::agent::control::{Asked, Reply, Request};
use crate::agent::log;
use pair_core::event::{Asked as Handler, Command, Event, QuestionId};
use tokio::sync::oneshot;

impl Agent {
    pub(super) fn asked(&mut self, asked: Asked) {
        let Asked { request, body, reply } = asked;
        match request {
            Request::Status => {
                self.look(false);
                let _ = reply.send(Reply::Status(Box::new(self.status())));
            }
            Request::Switchover => {
                // Pods and checkpoint come first, while this node still serves; the gap is shorter by it.
                if let Err(reason) = self.node.may_switch_over() {
                    let _ = reply.send(Reply::Refused(reason.to_string()));
                    return;
                }
                self.moves();
                input::checkpoint(&self.ports, &self.config, &self.inputs, reply);
            }
            Request::Promote => {
                self.refusal = None;
                log::warn("an operator vouches that the other node is off and will be wiped");
                self.event(Event::Operator(Command::Promote));
                let answer =
                    self.refusal.take().map_or(Reply::Accepted, |reason| Reply::Refused(reason.to_string()));
                let _ = reply.send(answer);
            }
            Request::Leave => {
                self.refusal = None;
                self.leaving = Some(reply);
                self.event(Event::Operator(Command::Leave));
            }
            Request::UpdateStatus
            | Request::UpdateStart(_)
            | Request::UpdateRollback
            | Request::UpdateCheck
            | Request::UpdateTake { .. } => {
                self.update_asked(request, body, reply);
            }
            Request::ExtensionUse(version) => {
                let _ = reply.send(self.choose_k3s(&version));
            }
            Request::ExtensionsChanged => {
                self.shelf_changed();
                let _ = reply.send(Reply::Accepted);
            }
            Request::FencePeer | Request::LocalIoError => {
                // The kernel asks before its event has been read.
                self.look(false);
                let id = QuestionId(self.fresh());
                self.questions.insert(id, reply);
                let asked = match request {
                    Request::LocalIoError => Handler::LocalIoError,
                    _ => Handler::FencePeer,
                };
                self.event(Event::Question { id, asked });
            }
        }
    }

    /// The checkpoint before a switchover is made.
    pub(super) fn switchover(&mut self, reply: oneshot::Sender<Reply>) {
        self.refusal = None;
        self.event(Event::Operator(Command::Switchover));
        if self.refusal.is_none() {
            // Should it fail, this node steps in again at its retry timer.
            self.node.prefer(!self.config.side);
        } else {
            self.stays();
        }
        let answer = self.refusal.take().map_or(Reply::Accepted, |reason| Reply::Refused(reason.to_string()));
        let _ = reply.send(answer);
    }

    /// Tells whoever wants to go down how it ended, once what that needs has been carried out.
    pub(super) fn leave_done(&mut self) {
        if self.left && self.ordered.is_empty() {
            if let Some(reply) = self.leaving.take() {
                let _ = reply.send(Reply::Accepted);
            }
        } else if self.leaving.is_some() {
            if let Some(reason) = self.refusal.take() {
                if let Some(reply) = self.leaving.take() {
                    let _ = reply.send(Reply::Refused(reason.to_string()));
                }
            }
        }
    }
}
