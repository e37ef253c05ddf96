//! Handler questions and the power device.

use super::{Node, Out, ask::Purpose};
use crate::{
    effect::{Alarm, Code, Effect},
    event::{Asked, Power, QuestionId, RequestId},
    handler::Handler,
    message::Mode,
    view::Role,
};

impl Node {
    pub(super) fn on_question(&mut self, id: QuestionId, asked: Asked, out: &mut Out) {
        match asked {
            Asked::FencePeer => self.on_fence_peer(id, out),
            Asked::LocalIoError => {
                out.alarm(Alarm::DiskFailed);
                let current = self.view.healthy() && self.paired() && self.durable.prepared.is_none();
                if self.durable.policy.mode == Mode::Witness && current {
                    self.ask(Purpose::DiskFailed(id), out);
                } else {
                    self.reset(out);
                }
            }
        }
    }

    fn on_fence_peer(&mut self, id: QuestionId, out: &mut Out) {
        if self.view.role == Role::Primary {
            // The address goes before anybody is asked: the peer may be granted while this node waits.
            if self.address {
                self.address = false;
                out.push(Effect::VirtualIp(false));
            }
            self.freeze.get_or_insert(id);
        }
        // A call that was held up may come after a younger one. Only the last to come is worked for; the other is
        // ended, because the kernel asks nobody again while one of its handlers runs.
        if let Some((former, _)) = self.question.take() {
            out.push(Effect::Answer { id: former, code: Code::Stay });
        }
        let Some(fresh) = out.fresh else { return };
        let (handler, step) = Handler::start(&self.facts(), self.rules, fresh);
        self.question = Some((id, handler));
        self.handler_step(id, handler, step, out);
    }

    /// Only a won give-away lets the kernel detach and go on: a pairing of the owner may still be in flight.
    pub(super) fn disk_failed(&mut self, id: QuestionId, won: bool, out: &mut Out) {
        if won && self.view.role == Role::Secondary {
            out.push(Effect::Answer { id, code: Code::Done });
        } else {
            self.reset(out);
        }
    }

    pub(super) fn on_power(&mut self, request: RequestId, power: Power, out: &mut Out) {
        if let Some((id, handler)) = self.question {
            if let Some(code) = handler.power(request, power) {
                self.finish_question(id, code, out);
                return;
            }
        }
        if self.pending.is_some_and(|p| p.id == request && p.purpose == Purpose::Power) {
            self.pending = None;
            if power == Power::Off && self.stranded() {
                self.promote(false, out);
            }
        }
    }
}
