//! `node-init fence-peer`: what DRBD runs when a Primary has lost its peer, inside `drbdadm primary` without a
//! connection, and when the own disk fails.
//!
//! Never longer than two seconds, one at a time, no `drbdadm`, and keepalived's FAULT before anybody is asked. The
//! agent answers. Only when no agent lives (its lock is free) the same decision is made here, from what the agent
//! has remembered: a claim at the witness, or in `manual` mode a durable note.
//!
//! In mode `fence` the answer is the other box's power, read back as off, and that takes as long as the box's switch does:
//! the kernel's configuration then says how long (`--patience`, from `failover.fence_timeout`).

use super::config::Config;
use super::control::{self, Reply, Request};
use super::drbd::proc;
use super::fence::note::Note;
use super::fence::switch::{self, Pace};
use super::log;
use super::ports::{reset, write_fault};
use super::store::Memory;
use super::witness::{Witness, ask};
use crate::member::{Own, OwnDisk, Place};
use crate::witness::client::{AskError, Keeper, blocking};
use anyhow::Context;
use edgepair_host_io::HostRunner;
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

/// What of the handler's time is for starting and ending.
const OWN: u64 = 200;
/// For everything at the witness, without an agent.
const WITNESS: Duration = Duration::from_millis(HANDLER_MS - 400);
/// One handler at a time.
const LOCK: &str = "/run/edgepair/fence-peer.lock";

/// Runs the handler; gives its exit code.
#[must_use]
pub fn run(local_io_error: bool, patience: Option<u64>) -> u8 {
    let patience = Duration::from_millis(patience.unwrap_or(HANDLER_MS).max(HANDLER_MS) - OWN);
    let place = Place::default();
    // First of all: while this node waits the other one may be granted.
    if let Err(error) = write_fault(&place, false) {
        log::kernel(&format!("fence-peer: keepalived's file cannot be written: {error}"));
    }
    let request = if local_io_error { Request::LocalIoError } else { Request::FencePeer };
    let code = match decide(request, patience) {
        Ok(code) => code,
        Err(error) => {
            log::kernel(&format!("fence-peer: {error:#}"));
            Code::Stay.number()
        }
    };
    log::kernel(&format!("fence-peer: exit {code}"));
    code
}

fn decide(request: Request, patience: Duration) -> anyhow::Result<u8> {
    std::fs::create_dir_all(RUN_DIR)?;
    let file = std::fs::File::create(LOCK).context(LOCK)?;
    // Another call is waiting for its answer; the kernel asks again.
    let _one = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .context("another handler is running")?;
    match control::ask(request.clone(), patience) {
        Ok(Reply::Code(code)) => return Ok(code),
        Ok(other) => anyhow::bail!("the agent answered {other:?}"),
        Err(error @ (control::AskError::Silent(_) | control::AskError::Strange)) => return Err(error.into()),
        Err(control::AskError::NoAgent(_)) => {}
    }
    let file = std::fs::File::create(AGENT_LOCK).context(AGENT_LOCK)?;
    // An agent that lives and does not listen is hung or is just starting: its watchdog ends it, and it asks again.
    let instead = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .context("the agent lives and does not listen")?;
    alone(request, instead)
}

/// Decides without an agent, instead of one.
fn alone(request: Request, instead: Flock<std::fs::File>) -> anyhow::Result<u8> {
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
        power: config.fence.is_some(),
    };
    let same = memory.durable.policy.witness == config.witness_id();
    let mut keeper = match Witness::new(&config)? {
        Some(mut witness) if same => Some(witness.client()?),
        _ => None,
    };
    let end = blocking(async { Ok::<_, AskError>(conversation(facts, keeper.as_mut(), &mut memory).await) })?;
    let code = match end {
        End::Code(code) => code,
        End::PowerOff(handler) => {
            // An agent that is started meanwhile must not be kept from its work for as long as a switch may take. It does
            // what is done here once more, or finds it done. Nothing was learned that it would not know.
            drop(instead);
            let power = switch_off(&place, &config);
            return Ok(handler.power(handler.request(), power).unwrap_or(Code::Stay).number());
        }
    };
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

/// Takes the other box's power away. The note of it is the agent's to act on: it switches the box on again.
fn switch_off(place: &Place, config: &Config) -> Power {
    let Some(device) = &config.fence else {
        log::kernel("fence-peer: the seed names no power switch of the other box");
        return Power::NotOff;
    };
    let before = Note::load(place).ok().flatten();
    let mut note = Note { device: device.name(), off: false };
    if let Err(error) = note.store(place) {
        log::kernel(&format!("fence-peer: not noted, so not switched off: {error}"));
        return Power::NotOff;
    }
    let never = std::sync::atomic::AtomicBool::new(false);
    let left_off = before.is_some_and(|note| note.off);
    match switch::off(&HostRunner, device, Pace::within(config.fence_limit), left_off, &never) {
        Ok(()) => {
            note.off = true;
            let _ = note.store(place);
            log::kernel("fence-peer: the power of the other box was read back as off");
            Power::Off
        }
        Err(why) => {
            log::kernel(&format!("fence-peer: {}: {why}", device.name()));
            Power::NotOff
        }
    }
}

/// How the conversation ends.
enum End {
    Code(Code),
    PowerOff(Handler),
}

/// The pair core's handler, fed with the witness' answers.
async fn conversation(mut facts: Facts, mut keeper: Option<&mut Keeper>, memory: &mut Memory) -> End {
    let deadline = Instant::now() + WITNESS;
    let mut number = 0_u64;
    let mut fresh = || {
        number += 1;
        RequestId(number)
    };
    let (mut handler, mut step) = Handler::start(&facts, Rules::ALL, fresh());
    loop {
        match step {
            Step::Exit(code) => return End::Code(code),
            Step::PowerOff => return End::PowerOff(handler),
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
