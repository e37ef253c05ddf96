//! Updates: the driver is fed from the agent's loop, and what it wants is done here.

use super::{Agent, Boot, Input, input};
use crate::agent::config::{Config, Store};
use crate::agent::control::{Reply, Request};
use crate::agent::peer::wire::Said;
use crate::agent::ports::Ports;
use crate::update::bundle::Body;
use crate::update::driver::said::Start;
use crate::update::driver::{Done, Driver, Want};
use crate::update::health::Seen;
use pair_core::view::{Disk, Role};
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// A driver where there is something to update. None where what it remembers is damaged: nobody knows then which
/// version may boot.
pub(super) fn start(
    config: &Config,
    boot: &Boot,
    ports: &Ports,
    inputs: &mpsc::Sender<Input>,
) -> Option<Driver> {
    let hands = ports.update.as_ref()?;
    let (done, mut receiver) = mpsc::unbounded_channel::<Done>();
    let inputs = inputs.clone();
    spawn_local(async move {
        while let Some(done) = receiver.recv().await {
            if inputs.send(Input::Update(Box::new(done))).await.is_err() {
                return;
            }
        }
    });
    match Driver::new(ports.place.clone(), config.side, &boot.version, Rc::clone(hands), done) {
        Ok(driver) => Some(driver),
        Err(error) => {
            // Who may be active does not depend on it: the node serves, and is not updated.
            crate::agent::log::warn(&format!("no updates on this node: {error}"));
            None
        }
    }
}

impl Agent {
    pub(super) fn update_seen(&self) -> Seen {
        let view = self.node.view();
        let active = view.role == Role::Primary;
        let here = !matches!(self.config.store, Store::External);
        Seen {
            active,
            current: view.disk == Disk::UpToDate,
            paired: view.healthy() && !view.frozen,
            peer: self.peer.greeting.is_some(),
            witness: self.witness_silent.is_none(),
            datastore: (active && here).then_some(self.datastore == "ready"),
        }
    }

    pub(super) fn update_tick(&mut self) {
        let seen = self.update_seen();
        if let Some(driver) = &mut self.update {
            driver.tick(seen);
            self.update_wants();
        }
    }

    pub(super) fn update_done(&mut self, done: Done) {
        if let Some(driver) = &mut self.update {
            driver.done(done);
            self.update_wants();
        }
    }

    pub(super) fn update_wants(&mut self) {
        let wants = self.update.as_mut().map(Driver::wants).unwrap_or_default();
        for want in wants {
            match want {
                Want::Say(said) => self.mouth.say(&Said::Update(Box::new(said))),
                Want::Switchover => {
                    if self.node.may_switch_over().is_err() {
                        // The driver sees how it goes, and asks again.
                        continue;
                    }
                    // Nobody waits for the reply, for the same reason.
                    self.moves();
                    let (reply, _) = oneshot::channel();
                    input::checkpoint(&self.ports, &self.config, &self.inputs, reply);
                }
                Want::Alarm(text) => self.alarm(&text),
            }
        }
    }

    pub(super) fn update_asked(
        &mut self,
        request: Request,
        body: Option<Body>,
        reply: oneshot::Sender<Reply>,
    ) {
        let order = match &request {
            Request::UpdateTake { limit, .. } => Some(self.channel_order(*limit)),
            _ => None,
        };
        let Some(driver) = &mut self.update else {
            let _ = reply
                .send(Reply::Refused("this node has no slots to update; the journal says why".to_owned()));
            return;
        };
        let (answer, receiver) = oneshot::channel();
        match request {
            Request::UpdateStart(start) => driver.start(start, body, answer),
            Request::UpdateRollback => driver.roll_back(answer),
            Request::UpdateTake { one_way, .. } => match order {
                Some(Ok(order)) => driver.start(Start::of_channel(order, one_way), None, answer),
                Some(Err(why)) => drop(answer.send(Err(why))),
                None => {}
            },
            Request::UpdateCheck => return self.channel_check(reply),
            _ => {
                let _ = reply.send(Reply::Update(Box::new(self.update_status())));
                return;
            }
        }
        // A bundle is opened beside the loop.
        spawn_local(async move {
            let _ = reply.send(match receiver.await {
                Ok(Ok(())) => Reply::Accepted,
                Ok(Err(why)) => Reply::Refused(why),
                Err(_) => Reply::Refused("the agent is ending".to_owned()),
            });
        });
        self.update_wants();
    }
}
