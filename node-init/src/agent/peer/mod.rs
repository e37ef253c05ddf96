//! The channel between the two agents.
//!
//! Each agent listens, and each dials every address that the other node has: first the replication link's, then the
//! others'. What it says goes over the first conversation that stands; what it hears comes over those that the other
//! one dialled. Nothing is kept for a peer that is away: the pair core repeats what still matters, and an old message
//! that arrives late helps nobody.
//!
//! ```text
//! Mouth ─▶ one task for each address: dial, handshake, say …        TCP 7790, Noise
//! TcpListener ─▶ one task for each conversation: handshake, hear … ─▶ Heard
//! ```
pub mod noise;
pub mod wire;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use noise::{ChannelError, Listener, Speaker};
use pair_core::record::Side;
use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use wire::Said;

/// Somebody who says nothing for so long is away. The speaker says `Alive` four times in it.
pub const SILENCE: Duration = Duration::from_secs(4);
/// Between two attempts to reach an address.
const AGAIN: Duration = Duration::from_secs(1);
/// Conversations at the same time: the other node has a few addresses, and old ones end by silence.
const CONVERSATIONS: usize = 8;
/// What waits to be said; more is dropped.
const BACKLOG: usize = 64;

/// What the channel reports.
#[derive(Debug)]
pub enum Heard {
    /// The other node said something, in this run of its agent; no run before it has introduced itself.
    Said(Said, Option<u64>),
    /// The other node speaks this other version of the protocol.
    Foreign(u32),
    /// A conversation of ours stands: whatever was said before may be lost.
    Reached,
    /// Somebody without the pair's secret, or the wrong node, tried to talk.
    Refused(String),
    /// The channel cannot listen.
    Deaf(String),
}

/// What a channel needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The key that both sides prove to know.
    pub key: [u8; 32],
    /// This node.
    pub side: Side,
    /// Where the other node listens, best first.
    pub peers: Vec<SocketAddr>,
    /// Port to listen on; 0 lets the system choose, for tests.
    pub port: u16,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("side", &self.side)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

struct Line {
    queue: mpsc::Sender<Vec<u8>>,
    stands: Rc<Cell<bool>>,
}

/// The speaking half.
pub struct Mouth {
    lines: Vec<Line>,
}

impl std::fmt::Debug for Mouth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mouth({} lines)", self.lines.len())
    }
}

impl Mouth {
    /// Says it over the first conversation that stands; else it is lost.
    pub fn say(&self, said: &Said) {
        let bytes = said.encode();
        for line in self.lines.iter().filter(|line| line.stands.get()) {
            if line.queue.try_send(bytes.clone()).is_ok() {
                return;
            }
        }
    }

    /// Whether any conversation of ours stands.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.lines.iter().any(|line| line.stands.get())
    }
}

/// Starts the channel on the current [`tokio::task::LocalSet`].
#[must_use]
pub fn start(settings: Settings, listener: Option<TcpListener>, heard: mpsc::Sender<Heard>) -> Mouth {
    let mut lines = Vec::new();
    for address in settings.peers.clone() {
        let (queue, receiver) = mpsc::channel(BACKLOG);
        let stands = Rc::new(Cell::new(false));
        spawn_local(speak(settings.clone(), address, receiver, Rc::clone(&stands), heard.clone()));
        lines.push(Line { queue, stands });
    }
    spawn_local(listen(settings, listener, heard));
    Mouth { lines }
}

/// Listens on all addresses: the node's own may come up later, and the firewall lets only the other node in.
///
/// # Errors
/// The kernel's.
pub async fn bind(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        // A kernel without IPv6.
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

async fn speak(
    settings: Settings,
    address: SocketAddr,
    mut queue: mpsc::Receiver<Vec<u8>>,
    stands: Rc<Cell<bool>>,
    heard: mpsc::Sender<Heard>,
) {
    let mut complained = false;
    loop {
        let dial = timeout(SILENCE, TcpStream::connect(address)).await;
        let opened = match dial {
            Ok(Ok(stream)) => match bounded(&stream) {
                Ok(()) => Speaker::open(stream, &settings.key, settings.side).await,
                Err(error) => Err(error.into()),
            },
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ChannelError::Silent),
        };
        match opened {
            Ok(mut speaker) => {
                complained = false;
                while queue.try_recv().is_ok() {}
                stands.set(true);
                if heard.send(Heard::Reached).await.is_err() {
                    return;
                }
                converse(&mut speaker, &mut queue).await;
                stands.set(false);
            }
            Err(ChannelError::Untrusted(_)) if !complained => {
                complained = true;
                let text = format!("{address} does not have this pair's secret");
                if heard.send(Heard::Refused(text)).await.is_err() {
                    return;
                }
            }
            Err(_) => {}
        }
        if heard.is_closed() {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// A speaker hears nothing: without this bound it would go on talking to a link that was cut, and after it is healed wait
/// for TCP's next retransmission, half a minute after a cut of half a minute (tcp(7), RFC 5482).
fn bounded(stream: &TcpStream) -> std::io::Result<()> {
    let limit = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(stream, TcpUserTimeout, &limit)?)
}

/// Says what comes, and that it is alive when nothing does, until the conversation breaks.
async fn converse(speaker: &mut Speaker, queue: &mut mpsc::Receiver<Vec<u8>>) {
    loop {
        let bytes = match timeout(SILENCE / 4, queue.recv()).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(_) => Said::Alive.encode(),
        };
        if speaker.say(&bytes, SILENCE).await.is_err() {
            return;
        }
    }
}

async fn listen(settings: Settings, listener: Option<TcpListener>, heard: mpsc::Sender<Heard>) {
    let places = std::sync::Arc::new(Semaphore::new(CONVERSATIONS));
    let mut listener = listener;
    loop {
        let Some(bound) = &listener else {
            match bind(settings.port).await {
                Ok(bound) => listener = Some(bound),
                Err(error) => {
                    let text = format!("port {}: {error}", settings.port);
                    if heard.send(Heard::Deaf(text)).await.is_err() {
                        return;
                    }
                    sleep(AGAIN).await;
                }
            }
            continue;
        };
        let Ok((stream, from)) = bound.accept().await else {
            sleep(AGAIN).await;
            continue;
        };
        // Somebody who opens conversations and says nothing must not use up memory.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (settings, heard) = (settings.clone(), heard.clone());
        spawn_local(async move {
            hear(&settings, stream, from, &heard).await;
            drop(place);
        });
    }
}

async fn hear(settings: &Settings, stream: TcpStream, from: SocketAddr, heard: &mpsc::Sender<Heard>) {
    let mut listener = match Listener::open(stream, &settings.key, !settings.side).await {
        Ok(listener) => listener,
        Err(ChannelError::Untrusted(_)) => {
            let _ = heard
                .send(Heard::Refused(format!(
                    "{} tried to talk to this node: it has another pair secret, or claims to be node {} as well",
                    from.ip(),
                    settings.side
                )))
                .await;
            return;
        }
        Err(_) => return,
    };
    let mut run = None;
    while let Ok(bytes) = listener.hear(SILENCE).await {
        let Ok(said) = Said::decode(&bytes) else {
            // A message of a newer version is not for us, but that it is newer is.
            if let Some(protocol) = wire::protocol_of(&bytes) {
                if heard.send(Heard::Foreign(protocol)).await.is_err() {
                    return;
                }
            }
            continue;
        };
        if let Said::Greeting(greeting) = &said {
            run = Some(greeting.run);
        }
        if heard.send(Heard::Said(said, run)).await.is_err() {
            return;
        }
    }
}
