//! What the agent takes, and the tasks that bring it.

use super::duplicate::Found;
use super::power;
use crate::agent::config::Config;
use crate::agent::control::{Asked, Reply};
use crate::agent::drbd::orders::{Order, is_just_created};
use crate::agent::form::data::Data;
use crate::agent::kubernetes;
use crate::agent::log;
use crate::agent::peer::Heard;
use crate::agent::ports::Ports;
use crate::agent::service::Report;
use crate::witness::client::Keeper;
use edgepair_host_io::{Invocation, Runner};
use pair_core::event::{Answer, Power, RequestId, Timer};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// A checkpoint before a switchover takes no longer; without it the switchover is slower, not wrong.
const CHECKPOINT: Duration = Duration::from_secs(10);

/// One input.
#[derive(Debug)]
pub enum Input {
    /// Once a second.
    Tick,
    /// A line of `events2`; `None`: it ended.
    Drbd(Option<String>),
    /// An order has been carried out.
    Ordered(Order, Result<(), String>),
    /// Whether the own disk has no data generation yet.
    JustCreated(Result<bool, String>),
    /// From the channel to the other agent.
    Heard(Heard),
    /// From storage and datastore.
    Service(Report),
    /// The witness answered, or not.
    Witness {
        /// To which request.
        request: RequestId,
        /// What.
        answer: Answer,
        /// The client, to be used again.
        keeper: Option<Box<Keeper>>,
        /// Why there is no answer.
        error: Option<String>,
    },
    /// The power device answered.
    Power(RequestId, Power),
    /// Work at the other node's power switch has ended.
    Switch(power::Done),
    /// A timer fired.
    Timer(Timer, u64),
    /// Somebody asks on the control socket.
    Asked(Asked),
    /// A switchover is prepared.
    Switchover(oneshot::Sender<Reply>),
    /// A line from keepalived.
    Keepalived(String),
    /// Addresses were looked at that another box might use as well.
    Duplicates(Found),
    /// Work of an update has ended.
    Update(Box<crate::update::driver::Done>),
    /// The channel was asked.
    Channel(Box<crate::update::channel::Answer>),
    /// An update that the channel began was taken, or not.
    ChannelStarted(Result<(), String>),
    /// How Kubernetes is.
    Kubernetes(kubernetes::State),
    /// Another version of k3s was put in use, or not.
    K3sChanged(Result<(), String>),
    /// Pods were ended because this node is apart (true), or may run again (false).
    Apart(Result<bool, String>),
}

/// A sender of something that becomes an input.
pub fn map<T: 'static>(inputs: &mpsc::Sender<Input>, wrap: fn(T) -> Input) -> mpsc::Sender<T> {
    let (sender, mut receiver) = mpsc::channel(16);
    let inputs = inputs.clone();
    spawn_local(async move {
        while let Some(value) = receiver.recv().await {
            if inputs.send(wrap(value)).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// Carries out DRBD's orders, one after the other. An order comes with the count of the link's changes when it was
/// given; one that is only right for that link is dropped when the count in `link` has moved on.
pub fn order_task(
    runner: Arc<dyn Runner + Send + Sync>,
    inputs: &mpsc::Sender<Input>,
    link: Rc<Cell<u64>>,
) -> mpsc::UnboundedSender<(Order, u64)> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Order, u64)>();
    let inputs = inputs.clone();
    spawn_local(async move {
        while let Some((order, given)) = receiver.recv().await {
            let result = if order.of_one_link() && link.get() != given {
                log::info(&format!("{order:?} was for a link that is not the same any more: dropped"));
                Ok(())
            } else {
                let runner = Arc::clone(&runner);
                let work = tokio::task::spawn_blocking(move || order.carry_out(&*runner));
                match work.await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err("the order's thread ended early".to_owned()),
                }
            };
            if inputs.send(Input::Ordered(order, result)).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// Asks DRBD for the own disk's data generation.
pub fn ask_generation(ports: &Ports, inputs: &mpsc::Sender<Input>) {
    let (runner, inputs) = (Arc::clone(&ports.runner), inputs.clone());
    spawn_local(async move {
        let call = Invocation::new("drbdsetup").args(["get-gi", "0"]);
        let work = tokio::task::spawn_blocking(move || runner.run(&call));
        let result = match work.await {
            Ok(Ok(output)) => is_just_created(&output.text())
                .ok_or_else(|| format!("drbdsetup get-gi said: {}", output.text().trim())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the thread of drbdsetup get-gi ended early".to_owned()),
        };
        let _ = inputs.send(Input::JustCreated(result)).await;
    });
}

/// Prepares a switchover: pods move first, then a checkpoint is made; both are bounded.
pub fn checkpoint(
    ports: &Ports,
    config: &Rc<Config>,
    inputs: &mpsc::Sender<Input>,
    reply: oneshot::Sender<Reply>,
) {
    let (ports, config, inputs) = (ports.clone(), Rc::clone(config), inputs.clone());
    spawn_local(async move {
        if config.kubernetes.is_some() {
            kubernetes::drain(&ports, &config.names.0).await;
        }
        let data = Data { ports: &ports, config: &config };
        match tokio::time::timeout(CHECKPOINT, data.checkpoint()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn(&format!("no checkpoint before the switchover: {error:#}")),
            Err(_) => log::warn("no checkpoint before the switchover: it takes too long"),
        }
        let _ = inputs.send(Input::Switchover(reply)).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::{CommandError, Output};
    use std::sync::Mutex;
    use tokio::task::LocalSet;

    /// Notes the calls; each one lasts until the test lets it end.
    #[derive(Debug)]
    struct Slow {
        calls: Arc<Mutex<Vec<String>>>,
        begun: mpsc::UnboundedSender<()>,
        end: Mutex<std::sync::mpsc::Receiver<()>>,
    }

    impl Runner for Slow {
        fn run(&self, call: &Invocation) -> Result<Output, CommandError> {
            self.calls.lock().unwrap().push(call.args.join(" "));
            self.begun.send(()).unwrap();
            self.end.lock().unwrap().recv().unwrap();
            Ok(Output { stdout: Vec::new(), stderr: Vec::new() })
        }
    }

    #[test]
    fn what_was_agreed_for_one_state_of_the_link_is_not_carried_out_in_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (begun, mut begins) = mpsc::unbounded_channel();
            let (go_on, end) = std::sync::mpsc::channel();
            let calls = Arc::<Mutex<Vec<String>>>::default();
            let runner = Arc::new(Slow { calls: Arc::clone(&calls), begun, end: Mutex::new(end) });
            let (inputs, mut results) = mpsc::channel(8);
            let link = Rc::new(Cell::new(0));
            let orders = order_task(runner, &inputs, Rc::clone(&link));
            for order in [Order::Promote { force: false }, Order::Disconnect, Order::Outdate, Order::Connect]
            {
                orders.send((order, link.get())).unwrap();
            }
            begins.recv().await.unwrap();
            link.set(1);
            orders.send((Order::Disconnect, link.get())).unwrap();
            for _ in 0..3 {
                go_on.send(()).unwrap();
            }
            for _ in 0..5 {
                assert!(matches!(results.recv().await, Some(Input::Ordered(_, Ok(())))));
            }
            let calls = calls.lock().unwrap();
            assert_eq!(*calls, ["primary edgepair", "connect edgepair", "disconnect edgepair"]);
        });
    }
}
