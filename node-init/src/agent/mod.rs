//! The agent: the shell around the decision core of the pair (`libs/pair-core`), which decides everything.
//!
//! ```text
//!  drbdsetup events2 ─┐                                          ┌─▶ drbdadm            (drbd::orders)
//!  /proc/drbd ────────┤                                          ├─▶ systemd units      (service, units)
//!  systemd units ─────┤                                          ├─▶ keepalived's file  (ports)
//!  other agent ───────┼─▶ Input ─▶ engine ─▶ pair_core::Node ─▶ ──┼─▶ other agent        (peer)
//!  witness ───────────┤                                          ├─▶ witness            (witness)
//!  timers ────────────┤                                          ├─▶ memory on state    (store)
//!  control socket ────┘                                          └─▶ reset              (ports)
//! ```
//!
//! One thread, one tokio runtime, no waiting in the loop: programs run beside it and come back as inputs. Stopping
//! or killing the agent moves nothing: it changes nothing when it ends, and when it starts it looks first.
//!
//! - [`engine`]: the loop. [`config`]: what it takes from the seed. [`store`]: what it remembers over a power cut.
//! - [`drbd`], [`peer`], [`witness`], [`control`]: where inputs come from. [`ports`], [`units`]: the outside.
//! - [`fence`]: the power of the other box. [`kubernetes`]: k3s around the pair: taints, cordons, how it is.
//! - [`service`]: storage and datastore of the active node. [`form`]: making them the first time.
//! - [`history`]: what was decided and why, kept over boots.
//! - [`handler`]: `node-init fence-peer`, also when no agent lives.

pub mod config;
pub mod control;
pub mod drbd;
pub mod engine;
pub mod fence;
pub mod form;
pub mod handler;
pub mod history;
pub mod kubernetes;
pub mod log;
pub mod notify;
pub mod peer;
pub mod ports;
pub mod service;
pub mod store;
pub mod units;
pub mod wear;
pub mod witness;

#[cfg(test)]
mod tests;

use crate::extension::decide::Layout;
use crate::facts::{Booted, Facts, image_info};
use crate::member::{Own, OwnDisk, Place};
use crate::update::bundle::peer::{Client, serve};
use crate::update::bundle::{About, Bundles, HostShelf};
use crate::update::driver::hands::HostHands;
use anyhow::Context;
use config::Config;
use edgepair_host_io::HostRunner;
use edgepair_layout::format::DATASTORE;
use edgepair_layout::path::{AGENT_LOCK, AGENT_SOCKET, RUN_DIR};
use edgepair_render::names::{KEEPALIVED_FIFO, port};
use engine::{Boot, Input, Started};
use notify::Systemd;
use ports::{HostKernel, Ports};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncBufReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// A missing seed or disk is looked for again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs the agent until it is told to end.
///
/// # Errors
/// When another agent runs, or a decision could not be made durable: systemd starts it anew.
pub fn run() -> anyhow::Result<()> {
    std::fs::create_dir_all(RUN_DIR)?;
    let lock = std::fs::File::create(AGENT_LOCK).context(AGENT_LOCK)?;
    let _lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .context("another agent runs on this node, or a fence handler is deciding right now")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // drbdadm, programs on the data set, a slot that is written for minutes, the power switch and its check, and two to
        // spare; each has a stack.
        .max_blocking_threads(7)
        .thread_stack_size(256 << 10)
        .thread_keep_alive(Duration::from_secs(5))
        .build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, live());
    // A program that hangs must not keep the agent from ending.
    runtime.shutdown_background();
    result
}

async fn live() -> anyhow::Result<()> {
    let systemd = Systemd::from_environment();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut last = String::new();
    let mut ready = false;
    loop {
        let begun = begin();
        if !ready {
            systemd.say("READY=1");
            ready = true;
        }
        match begun {
            Ok(started) => {
                let _ = Facts::default().clear("agent");
                return work(started, &systemd, &mut terminate).await;
            }
            Err(error) => {
                let text = format!("{error:#}");
                if text != last {
                    log::warn(&text);
                    let _ =
                        Facts::default().problem("agent", text.clone(), "see journalctl -u edgepair-agent");
                    last = text;
                }
                systemd.say(&format!("WATCHDOG=1\nSTATUS=waits: {last}"));
            }
        }
        let again = tokio::time::sleep(AGAIN.min(Duration::from_secs(2)));
        tokio::select! {
            () = again => {}
            _ = terminate.recv() => return Ok(()),
        }
    }
}

/// Loads what provisioning has put in force, and starts.
fn begin() -> anyhow::Result<Started> {
    let own = Own::load()?.context("this node has no seed yet")?;
    let rendered = own.rendered()?;
    let lan = own.context()?.lan();
    let config = Config::new(&own.seed, &own.member, &rendered, lan).context("this box is a worker")?;
    let disk = OwnDisk::load()?
        .context("the replicated storage is not set up yet; node-init provision does that")?;
    let facts = Facts::default();
    let boot = Boot {
        disk: disk.id,
        moved: disk.moved,
        version: image_info(Path::new("/"), "IMAGE_VERSION").unwrap_or_else(|| "not known".to_owned()),
        slot: facts.get::<Booted>("booted").and_then(|booted| booted.slot),
    };
    let bundles = bundles(&config);
    // With one server only the active node has an API, and it is the datastore's readiness as well.
    let servers = config.kubernetes.is_some_and(|kubernetes| kubernetes.layout == Layout::TwoServers);
    let hands = HostHands::new(Arc::new(HostRunner), &boot.version, servers, bundles.clone());
    let ports = Ports::new(
        Place::default(),
        Arc::new(HostRunner),
        Rc::new(units::Systemd::default()),
        Rc::new(HostKernel),
    )
    .with_update(Rc::new(hands));
    let (key, side) = (config.peer.key, config.side);
    let started = engine::start(config, boot, ports, None)?;
    let shelf = Arc::new(HostShelf::new(bundles));
    // Without it the other node takes no update from this one; everything else goes on.
    if let Err(error) = serve::listen(port::BUNDLES, key, side, shelf) {
        log::warn(&format!("the other node cannot take updates from this one: {error}"));
    }
    Ok(started)
}

/// The bundles of this node, which the other one may have as well.
fn bundles(config: &Config) -> Bundles {
    let about = About {
        board: image_info(Path::new("/"), "BOARD").unwrap_or_else(|| "not known".to_owned()),
        datastore: (config.store == config::Store::Postgres).then_some(DATASTORE),
    };
    let at = |agent: &std::net::SocketAddr| std::net::SocketAddr::new(agent.ip(), port::BUNDLES);
    let addresses = config.peer.peers.iter().map(at).collect();
    let client = Client { key: config.peer.key, side: config.side, addresses };
    Bundles::new(Place::default(), about, Some(client))
}

async fn work(
    started: Started,
    systemd: &Systemd,
    terminate: &mut tokio::signal::unix::Signal,
) -> anyhow::Result<()> {
    let Started { mut agent, mut inputs } = started;
    let (asked, mut requests) = mpsc::channel(16);
    control::listen(Path::new(AGENT_SOCKET), asked).context(AGENT_SOCKET)?;
    let (lines, mut keepalived) = mpsc::channel(16);
    tokio::task::spawn_local(listen_to_keepalived(lines));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        let input = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = tick.tick() => {
                // From here only: a loop that hangs is not alive.
                systemd.say("WATCHDOG=1");
                Input::Tick
            }
            Some(asked) = requests.recv() => Input::Asked(asked),
            Some(line) = keepalived.recv() => Input::Keepalived(line),
            input = inputs.recv() => input.context("the agent's tasks have ended")?,
        };
        agent.take(input);
        if let Some(why) = agent.failed() {
            anyhow::bail!("{why}; this agent ends and is started anew");
        }
        let why = agent.why_now();
        if why != said {
            systemd.say(&format!("STATUS={why}"));
            said = why;
        }
    }
}

/// Lines of keepalived's notify pipe (`vrrp_notify_fifo` in keepalived.conf(5)). keepalived makes it.
async fn listen_to_keepalived(lines: mpsc::Sender<String>) {
    loop {
        // Open for writing as well, so that it does not end when keepalived does.
        let pipe = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(KEEPALIVED_FIFO);
        if let Ok(pipe) = pipe {
            let mut reader = tokio::io::BufReader::new(pipe).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
