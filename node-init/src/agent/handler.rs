//! `node-init fence-peer`: what DRBD runs when a Primary has lost its peer, inside `drbdadm primary` without a
//! connection, and when the own disk fails.
//!
//! Never longer than two seconds, one at a time, no `drbdadm`, and keepalived's FAULT before anybody is asked. The
//! agent answers. Only when no agent lives (its lock is free) the same decision is made here, from what the agent
//! has remembered: a claim at the witness, or in `manual` mode a durable note.

use super::config::Config;
use super::control::{self, Reply, Request};
use super::drbd::proc;
use super::log;
use super::ports::{reset, write_fault};
use super::store::Memory;
use super::witness::{Witness, ask};
use crate::member::{Own, OwnDisk, Place};
use crate::witness::client::{AskError, Keeper, blocking};
use anyhow::Context;
use edgepair_layout::path::{AGENT_LOCK, RUN_DIR};
use edgepair_render::timing::HANDLER_MS;
use nix::fcntl::{Flock, FlockArg};
use pair_core::effect::Code;
use pair_core::event::{Answer, Power, RequestId};
use pair_core::handler::{Facts, Handler, Step};
use pair_core::record::Holder;
use pair_core::rules::Rules;
use pair_core::view::{Role, View};
use std::time::Duration;
use tokio::time::Instant;

/// How long the agent is waited for: the rest of the two seconds is for starting and ending.
const AGENT: Duration = Duration::from_millis(HANDLER_MS - 200);
/// For everything at the witness, without an agent.
const WITNESS: Duration = Duration::from_millis(HANDLER_MS - 400);
/// One handler at a time.
const LOCK: &str = "/run/edgepair/fence-peer.lock";

/// Runs the handler; gives its exit code.
#[must_use]
pub fn run(local_io_error: bool) -> u8 {
    let place = Place::default();
    // First of all: while this node waits the other one may be granted.
    if let Err(error) = write_fault(&place, false) {
        log::kernel(&format!("fence-peer: keepalived's file cannot be written: {error}"));
    }
    let request = if local_io_error { Request::LocalIoError } else { Request::FencePeer };
    let code = match decide(request) {
        Ok(code) => code,
        Err(error) => {
            log::kernel(&format!("fence-peer: {error:#}"));
            Code::Stay.number()
        }
    };
    log::kernel(&format!("fence-peer: exit {code}"));
    code
}

fn decide(request: Request) -> anyhow::Result<u8> {
    std::fs::create_dir_all(RUN_DIR)?;
    let file = std::fs::File::create(LOCK).context(LOCK)?;
    // Another call is waiting for its answer; the kernel asks again.
    let _one = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .context("another handler is running")?;
    match control::ask(request.clone(), AGENT) {
        Ok(Reply::Code(code)) => return Ok(code),
        Ok(other) => anyhow::bail!("the agent answered {other:?}"),
        Err(error @ (control::AskError::Silent(_) | control::AskError::Strange)) => return Err(error.into()),
        Err(control::AskError::NoAgent(_)) => {}
    }
    let file = std::fs::File::create(AGENT_LOCK).context(AGENT_LOCK)?;
    // An agent that lives and does not listen is hung or is just starting: its watchdog ends it, and it asks again.
    let _instead = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .context("the agent lives and does not listen")?;
    alone(request)
}

/// Decides without an agent.
fn alone(request: Request) -> anyhow::Result<u8> {
    if request == Request::LocalIoError {
        // What is left to say is the agent's to say; without it this node must not stay.
        log::kernel("the disk failed and no agent lives");
        reset();
        return Ok(Code::Stay.number());
    }
    let place = Place::default();
    let own = Own::load()?.context("this node has no seed")?;
    let rendered = own.rendered()?;
    let config =
        Config::new(&own.seed, &own.member, &rendered, String::new()).context("this box is a worker")?;
    let disk = OwnDisk::load()?.context("this node has no replica")?;
    let mut memory = Memory::load(&place, &config.pair, config.policy())?;
    let text = std::fs::read_to_string("/proc/drbd").context("/proc/drbd")?;
    let view = proc::parse(&text, 0)?.map_or(View::DOWN, |device| device.view);
    let facts = Facts {
        side: config.side,
        disk_id: disk.id,
        disk: view.disk,
        role: view.role,
        mode: memory.durable.policy.mode,
        record: memory.durable.record,
        barred: memory.durable.prepared.is_some(),
        promised: false,
        sworn: false,
        power: false,
    };
    let same = memory.durable.policy.witness == config.witness_id();
    let mut keeper = match Witness::new(&config)? {
        Some(mut witness) if same => Some(witness.client()?),
        _ => None,
    };
    let code =
        blocking(async { Ok::<_, AskError>(conversation(facts, keeper.as_mut(), &mut memory).await) })?;
    if code == Code::PeerOutdated && facts.mode == pair_core::message::Mode::Manual {
        memory.durable.alone = true;
    }
    // A grant that is not remembered is none: the record must not be believed lower after a power cut.
    memory.store(&place).context("the decision cannot be remembered")?;
    if code == Code::PeerActive && view.role == Role::Primary {
        log::kernel("the other node has become the owner while this one was active");
        reset();
    }
    Ok(code.number())
}

/// The pair core's handler, fed with the witness' answers.
async fn conversation(mut facts: Facts, mut keeper: Option<&mut Keeper>, memory: &mut Memory) -> Code {
    let deadline = Instant::now() + WITNESS;
    let mut number = 0_u64;
    let mut fresh = || {
        number += 1;
        RequestId(number)
    };
    let (mut handler, mut step) = Handler::start(&facts, Rules::ALL, fresh());
    loop {
        match step {
            Step::Exit(code) => return code,
            Step::PowerOff => {
                return handler.power(handler.request(), Power::NotOff).unwrap_or(Code::Stay);
            }
            Step::Ask(query) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let answer = match &mut keeper {
                    Some(keeper) => {
                        let (answer, error) = ask(keeper, query, facts.record, left).await;
                        if let Some(error) = error {
                            log::kernel(&format!("fence-peer: the witness does not answer: {error}"));
                        }
                        answer
                    }
                    None => Answer::Silence,
                };
                learn(answer, &mut facts, memory);
                let request = handler.request();
                step = handler
                    .witness(&facts, Rules::ALL, request, answer, fresh())
                    .unwrap_or(Step::Exit(Code::Stay));
            }
        }
    }
}

/// Remembers the record of an answer, by the agent's rules: never a lower epoch, never another history.
fn learn(answer: Answer, facts: &mut Facts, memory: &mut Memory) {
    let record = match answer {
        Answer::Is(record) | Answer::Won(record) => record,
        Answer::Refused(refusal) => refusal.current(),
        Answer::Silence => return,
    };
    let newer = match facts.record {
        Some(seen) => seen.lineage == record.lineage && record.epoch >= seen.epoch,
        None => record.holder != Holder::Unknown,
    };
    if newer {
        facts.record = Some(record);
        memory.durable.record = Some(record);
    }
}
