//! An authenticated, encrypted line between two threads: Noise `NNpsk0` (noiseprotocol.org, revision 34) over TCP.
//!
//! As the channel between the agents (`agent::peer::noise`), with the same key and another prologue, so that no message of
//! one can be passed off as one of the other. Here both ends speak, and nobody waits for anybody in the agent's loop.
//!
//! Frame: length in two bytes (big endian), then so many bytes of one Noise message.

use pair_core::record::Side;
use snow::{Builder, HandshakeState, TransportState};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Most bytes of what is said at once.
pub const FRAME: usize = 32 << 10;
/// Bytes that the authentication adds.
const TAG: usize = 16;
/// A handshake is two small packets.
const HANDSHAKE: Duration = Duration::from_secs(4);
/// Somebody who says nothing for so long is away. Longer than the pause between two questions, and than a disk takes.
const SILENCE: Duration = Duration::from_secs(30);

/// Why the line broke.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// TCP.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side does not know the key, or damages what it says.
    #[error("the other side does not have this pair's secret, or is not the other node of this pair")]
    Untrusted(#[source] snow::Error),
    /// Something that no version says.
    #[error("an answer that is none")]
    Strange,
}

/// The line.
pub struct Line {
    stream: TcpStream,
    state: TransportState,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({:?})", self.stream.peer_addr())
    }
}

#[cfg(test)]
impl Line {
    /// What the other end does to a line that is silent for too long.
    pub(super) fn close(&self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
}

fn noise(key: &[u8; 32], asks: Side, initiator: bool) -> Result<HandshakeState, LineError> {
    let prologue = format!("edgepair bundles, version 1, {asks} asks");
    let parameters = PATTERN.parse().map_err(LineError::Untrusted)?;
    let builder = Builder::new(parameters).prologue(prologue.as_bytes()).psk(0, key);
    let built = if initiator { builder.build_initiator() } else { builder.build_responder() };
    built.map_err(LineError::Untrusted)
}

fn write_frame(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), LineError> {
    let length = u16::try_from(bytes.len()).map_err(|_| LineError::Strange)?;
    let mut frame = Vec::with_capacity(2 + bytes.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    Ok(stream.write_all(&frame)?)
}

fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>, LineError> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length == 0 || length > FRAME + TAG {
        return Err(LineError::Strange);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Line {
    /// Handshake of the end that asks, as the node `side`.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn ask(mut stream: TcpStream, key: &[u8; 32], side: Side) -> Result<Self, LineError> {
        limits(&stream, HANDSHAKE)?;
        let mut state = noise(key, side, true)?;
        let mut buffer = [0; 128];
        let length = state.write_message(&[], &mut buffer).map_err(LineError::Untrusted)?;
        write_frame(&mut stream, &buffer[..length])?;
        let answer = read_frame(&mut stream)?;
        state.read_message(&answer, &mut buffer).map_err(LineError::Untrusted)?;
        Self::stands(stream, state)
    }

    /// Handshake of the end that answers the node `peer`.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn answer(mut stream: TcpStream, key: &[u8; 32], peer: Side) -> Result<Self, LineError> {
        limits(&stream, HANDSHAKE)?;
        let mut state = noise(key, peer, false)?;
        let mut buffer = [0; 128];
        let question = read_frame(&mut stream)?;
        state.read_message(&question, &mut buffer).map_err(LineError::Untrusted)?;
        let length = state.write_message(&[], &mut buffer).map_err(LineError::Untrusted)?;
        write_frame(&mut stream, &buffer[..length])?;
        Self::stands(stream, state)
    }

    fn stands(stream: TcpStream, state: HandshakeState) -> Result<Self, LineError> {
        limits(&stream, SILENCE)?;
        let state = state.into_transport_mode().map_err(LineError::Untrusted)?;
        Ok(Self { stream, state, buffer: vec![0; FRAME + TAG] })
    }

    /// Says something of at most [`FRAME`] bytes, and at least one.
    ///
    /// # Errors
    /// [`LineError`]; the line is broken then.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        if bytes.is_empty() || bytes.len() > FRAME {
            return Err(LineError::Strange);
        }
        let length = self.state.write_message(bytes, &mut self.buffer).map_err(LineError::Untrusted)?;
        write_frame(&mut self.stream, &self.buffer[..length])
    }

    /// The next thing said.
    ///
    /// # Errors
    /// [`LineError`]; the line is broken then.
    pub fn hear(&mut self) -> Result<Vec<u8>, LineError> {
        let frame = read_frame(&mut self.stream)?;
        let mut bytes = vec![0; frame.len()];
        let length = self.state.read_message(&frame, &mut bytes).map_err(LineError::Untrusted)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn limits(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))
}
