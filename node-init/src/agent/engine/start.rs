//! Puts an agent together: what it remembers, where its inputs come from, the tasks beside it.

use super::k3s::K3s;
use super::{Agent, Boot, Input, Peer, apart, channel, input, power, update};
use crate::agent::config::Config;
use crate::agent::history::{History, Kind};
use crate::agent::kubernetes::Keeper;
use crate::agent::log;
use crate::agent::peer;
use crate::agent::ports::Ports;
use crate::agent::service::Service;
use crate::agent::store::Memory;
use crate::agent::witness::Witness;
use pair_core::node::{Identity, Node};
use pair_core::rules::Rules;
use ring::rand::{SecureRandom, SystemRandom};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Inputs that wait; whoever sends more is held back.
const INPUTS: usize = 256;

/// An agent and the inputs it takes.
#[derive(Debug)]
pub struct Started {
    /// The agent.
    pub agent: Agent,
    /// What it is fed from.
    pub inputs: mpsc::Receiver<Input>,
}

/// Puts an agent together, on the current [`tokio::task::LocalSet`].
///
/// # Errors
/// When the memory cannot be used or the machine has no random numbers.
pub fn start(
    config: Config,
    boot: Boot,
    ports: Ports,
    listener: Option<tokio::net::TcpListener>,
) -> anyhow::Result<Started> {
    let config = Rc::new(config);
    let memory = Memory::load(&ports.place, &config.pair, config.policy())?;
    let (inputs, receiver) = mpsc::channel(INPUTS);
    let witness = Witness::new(&config)?;
    // No request of this boot may have the name of one that an earlier boot has in flight.
    let mut base = [0; 8];
    SystemRandom::new().fill(&mut base).map_err(|_| anyhow::anyhow!("no random numbers"))?;
    let me = Identity {
        side: config.side,
        disk: boot.disk,
        watchdog: config.watchdog && ports.kernel.watchdog(),
        power: config.fence.is_some(),
    };
    let mouth = peer::start(config.peer.clone(), listener, input::map(&inputs, Input::Heard));
    let service = Service::start(ports.clone(), Rc::clone(&config), input::map(&inputs, Input::Service));
    let link = Rc::new(Cell::new(0));
    let orders = input::order_task(Arc::clone(&ports.runner), &inputs, Rc::clone(&link));
    if let Some(witness) = &witness {
        log::info(&format!("this pair's key at the witness is {}", witness.pair_id()));
    }
    let mut history = History::new(&ports.place);
    history.note(Kind::Start, &format!("the agent of {} {} begins", config.names.0, boot.version));
    let update = update::start(&config, &boot, &ports, &inputs);
    let channel = channel::start(&config, &ports, u64::from_be_bytes(base));
    let switch =
        config.fence.clone().map(|device| power::Switch::new(device, config.fence_limit, &ports.place));
    let keeper = Keeper::start(ports.clone(), &config, input::map(&inputs, Input::Kubernetes));
    let k3s = K3s::load(&ports.place)?;
    let mut agent = Agent {
        node: Node::new(me, memory.durable, Rules::ALL),
        config,
        boot,
        ports,
        memory,
        inputs,
        mouth,
        service,
        orders,
        link,
        ordered: VecDeque::new(),
        witness,
        switch,
        timers: BTreeMap::new(),
        timer_serial: 0,
        retries: 0,
        questions: BTreeMap::new(),
        next_id: u64::from_be_bytes(base),
        device: None,
        seen: None,
        just_created: None,
        stream: None,
        peer: Peer::default(),
        notes: Vec::new(),
        datastore: "stopped",
        address: false,
        undecided: true,
        problems: BTreeMap::new(),
        alarms: VecDeque::new(),
        refusal: None,
        well: false,
        clients: true,
        witness_silent: None,
        failed: None,
        told: String::new(),
        history,
        leaving: None,
        left: false,
        ticks: 0,
        turn: None,
        update,
        channel,
        checks: Vec::new(),
        apart: apart::Apart::default(),
        k3s,
        keeper,
        run: u64::from_be_bytes(base),
        gone_runs: VecDeque::new(),
    };
    agent.begin();
    Ok(Started { agent, inputs: receiver })
}
