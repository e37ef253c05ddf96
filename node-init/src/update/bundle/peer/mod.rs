//! The other node as a source of blocks, so that a pair fetches a version once.
//!
//! ```text
//!  Client::dial ─▶ Line ─ question ─▶ serve ─▶ head kept on state; blocks of its slots, each compared with the index
//!                     ◀─ answer ────
//! ```
//!
//! TCP 7792, Noise `NNpsk0` with the key of the agents' channel and a prologue of its own. One question, one answer, as
//! often as wanted. Whoever asks checks everything again: an answer is bytes, never a [`edgepair_bundle::Block`].
//!
//! - [`line`]: the encrypted line. [`wire`]: questions and answers. [`serve`]: the answering end.

pub mod line;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod wire;

use super::source::{Fetch, Give};
use super::stock::HEAD_MAX;
use crate::update::driver::hands::Trouble;
use crate::update::slot::SlotError;
use edgepair_bundle::{Admitted, BlockId, Unpacker};
use line::{Line, LineError};
use pair_core::record::Side;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use wire::{BLOCKS_MAX, Question, Reply};

/// To reach an address.
const DIAL: Duration = Duration::from_secs(4);
/// A line on which nothing was asked for this long is opened anew: the other node closes a silent one a little later
/// ([`line::SILENCE`]), and finding blocks in the running slot may take minutes.
const IDLE: Duration = Duration::from_secs(10);
/// Between two questions for a block that the other node does not have yet.
const PAUSE: Duration = Duration::from_secs(1);
/// So often in a row without a single block: then the slot is given free, and it is tried anew later.
const PATIENCE: u32 = 60;

/// How to ask the other node.
#[derive(Clone)]
pub struct Client {
    /// The key that both sides prove to know.
    pub key: [u8; 32],
    /// This node.
    pub side: Side,
    /// Where the other one answers, best first.
    pub addresses: Vec<SocketAddr>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({:?})", self.addresses)
    }
}

/// The line to the other node.
#[derive(Debug)]
pub struct Dialled {
    client: Client,
    line: Line,
    /// When something was heard on it last.
    heard: Instant,
}

#[expect(clippy::disallowed_methods, reason = "how long a line was silent, beside the line itself")]
fn now() -> Instant {
    Instant::now()
}

fn away(error: &LineError) -> Trouble {
    Trouble { text: format!("the bundle is not to be had from the other node: {error}"), again: true }
}

impl Client {
    /// Reaches the other node on the first address that answers.
    ///
    /// # Errors
    /// When none does.
    pub fn dial(&self) -> Result<Dialled, Trouble> {
        let mut last = None;
        for address in &self.addresses {
            let opened = TcpStream::connect_timeout(address, DIAL)
                .map_err(LineError::from)
                .and_then(|stream| Line::ask(stream, &self.key, self.side));
            match opened {
                Ok(line) => return Ok(Dialled { client: self.clone(), line, heard: now() }),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) => away(&error),
            None => Trouble::lasting("the seed has no address of the other node"),
        })
    }
}

impl Dialled {
    /// Fetches the head of a bundle: bytes, unchecked.
    ///
    /// # Errors
    /// When the other node does not have it, or the line breaks.
    pub fn head(&mut self, bundle: &str) -> Result<Vec<u8>, Trouble> {
        let question = Question::Head { bundle: bundle.to_owned() };
        self.line.say(&question.encode()).map_err(|error| away(&error))?;
        let reply = Reply::decode(&self.line.hear().map_err(|error| away(&error))?);
        let size = match reply {
            Some(Reply::Size(size)) if size <= HEAD_MAX => size,
            Some(Reply::No(why)) => {
                let text = format!("the other node does not give the bundle: {why}");
                return Err(Trouble { text, again: true });
            }
            _ => return Err(away(&LineError::Strange)),
        };
        let mut head = Vec::new();
        while (head.len() as u64) < size {
            head.extend(self.line.hear().map_err(|error| away(&error))?);
        }
        if head.len() as u64 == size { Ok(head) } else { Err(away(&LineError::Strange)) }
    }

    /// The blocks of this bundle, from there.
    pub fn blocks<'a>(self, admitted: &'a Admitted, bundle: &str) -> FromPeer<'a> {
        FromPeer {
            dialled: self,
            unpacker: admitted.unpacker(),
            bundle: bundle.to_owned(),
            pause: PAUSE,
            idle: IDLE,
        }
    }
}

/// Blocks of the other node's slots.
#[derive(Debug)]
pub struct FromPeer<'a> {
    dialled: Dialled,
    unpacker: Unpacker<'a>,
    bundle: String,
    pause: Duration,
    idle: Duration,
}

impl FromPeer<'_> {
    /// Asks for blocks; returns how many came before one that the other node does not have.
    fn ask(&mut self, ids: &[BlockId], give: &mut Give<'_>) -> Result<usize, SlotError> {
        let broken = |error: LineError| SlotError::Source {
            text: format!("blocks from the other node: {error}"),
            again: true,
        };
        let question = Question::blocks(&self.bundle, ids).ok_or(LineError::Strange).map_err(broken)?;
        if self.dialled.heard.elapsed() >= self.idle {
            self.dialled = self
                .dialled
                .client
                .dial()
                .map_err(|trouble| SlotError::Source { text: trouble.text, again: trouble.again })?;
        }
        self.dialled.line.say(&question.encode()).map_err(broken)?;
        for (count, id) in ids.iter().enumerate() {
            let answer = self.dialled.line.hear().map_err(broken)?;
            self.dialled.heard = now();
            let Some(bytes) = wire::block(&answer) else { return Ok(count) };
            // A disk over there may be failing: not a verdict on the bundle.
            let block = self.unpacker.plain(*id, bytes).map_err(|error| SlotError::Source {
                text: format!("the other node sent something else: {error}"),
                again: true,
            })?;
            give(block)?;
        }
        Ok(ids.len())
    }
}

impl Fetch for FromPeer<'_> {
    fn fetch(&mut self, mut wanted: &[BlockId], give: &mut Give<'_>) -> Result<(), SlotError> {
        let mut waited = 0;
        while let Some(first) = wanted.first() {
            let same = wanted.iter().take(BLOCKS_MAX).take_while(|id| id.payload == first.payload).count();
            let came = self.ask(&wanted[..same], give)?;
            wanted = &wanted[came..];
            if came > 0 {
                waited = 0;
            } else if waited == PATIENCE {
                let text = format!("the other node does not have {} yet", wanted[0]);
                return Err(SlotError::Source { text, again: true });
            } else {
                waited += 1;
                std::thread::sleep(self.pause);
            }
        }
        Ok(())
    }
}
