//! An authenticated, encrypted stream in one direction: Noise `NNpsk0` (noiseprotocol.org, revision 34) over TCP.
//!
//! Both sides prove that they know the key derived from the pair secret; fresh ephemeral keys in every handshake make
//! a recorded conversation worthless. Who speaks first and from which node is part of the prologue, so that a
//! connection led back to its own sender fails.
//!
//! Frame: length in two bytes (big endian), then so many bytes of one Noise message.

use pair_core::record::Side;
use snow::{Builder, HandshakeState, TransportState};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Most bytes of a frame; a message of the pair core has a tenth of that.
pub const FRAME: usize = 4096;
/// Bytes that the authentication adds.
const TAG: usize = 16;
/// A handshake is two small packets.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Why a conversation did not come about or ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// TCP.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side does not know the key, or damages what it says.
    #[error("the other side does not have this pair's secret, or is not the other node of this pair")]
    Untrusted(#[source] snow::Error),
    /// A frame that no version sends.
    #[error("a frame of {0} bytes")]
    FrameSize(usize),
    /// Silence.
    #[error("silent for too long")]
    Silent,
}

fn noise(key: &[u8; 32], speaker: Side, initiator: bool) -> Result<HandshakeState, ChannelError> {
    let prologue = format!("edgepair agents, version 1, {speaker} speaks");
    let parameters = PATTERN.parse().map_err(ChannelError::Untrusted)?;
    let builder = Builder::new(parameters).prologue(prologue.as_bytes()).psk(0, key);
    let built = if initiator { builder.build_initiator() } else { builder.build_responder() };
    built.map_err(ChannelError::Untrusted)
}

async fn write_frame(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), ChannelError> {
    let length = u16::try_from(bytes.len()).map_err(|_| ChannelError::FrameSize(bytes.len()))?;
    let mut frame = Vec::with_capacity(2 + bytes.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    Ok(stream.write_all(&frame).await?)
}

async fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>, ChannelError> {
    let length = usize::from(stream.read_u16().await?);
    if length == 0 || length > FRAME + TAG {
        return Err(ChannelError::FrameSize(length));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The speaking end.
#[derive(Debug)]
pub struct Speaker {
    stream: TcpStream,
    state: TransportState,
}

impl Speaker {
    /// Handshake as the node `side`, which speaks.
    ///
    /// # Errors
    /// [`ChannelError`], after three seconds at the latest.
    pub async fn open(mut stream: TcpStream, key: &[u8; 32], side: Side) -> Result<Self, ChannelError> {
        stream.set_nodelay(true)?;
        let work = async {
            let mut state = noise(key, side, true)?;
            let mut buffer = [0; 128];
            let length = state.write_message(&[], &mut buffer).map_err(ChannelError::Untrusted)?;
            write_frame(&mut stream, &buffer[..length]).await?;
            let answer = read_frame(&mut stream).await?;
            state.read_message(&answer, &mut buffer).map_err(ChannelError::Untrusted)?;
            state.into_transport_mode().map_err(ChannelError::Untrusted)
        };
        let state = timeout(HANDSHAKE, work).await.map_err(|_| ChannelError::Silent)??;
        Ok(Self { stream, state })
    }

    /// Says something of at most [`FRAME`] bytes.
    ///
    /// # Errors
    /// [`ChannelError`]; the conversation is over then.
    pub async fn say(&mut self, bytes: &[u8], limit: Duration) -> Result<(), ChannelError> {
        if bytes.is_empty() || bytes.len() > FRAME {
            return Err(ChannelError::FrameSize(bytes.len()));
        }
        let mut frame = vec![0; bytes.len() + TAG];
        let length = self.state.write_message(bytes, &mut frame).map_err(ChannelError::Untrusted)?;
        let written = timeout(limit, write_frame(&mut self.stream, &frame[..length])).await;
        written.map_err(|_| ChannelError::Silent)?
    }
}

/// The listening end.
#[derive(Debug)]
pub struct Listener {
    stream: TcpStream,
    state: TransportState,
}

impl Listener {
    /// Handshake with the node `peer`, which speaks.
    ///
    /// # Errors
    /// [`ChannelError`], after three seconds at the latest.
    pub async fn open(mut stream: TcpStream, key: &[u8; 32], peer: Side) -> Result<Self, ChannelError> {
        stream.set_nodelay(true)?;
        let work = async {
            let mut state = noise(key, peer, false)?;
            let mut buffer = [0; 128];
            let question = read_frame(&mut stream).await?;
            state.read_message(&question, &mut buffer).map_err(ChannelError::Untrusted)?;
            let length = state.write_message(&[], &mut buffer).map_err(ChannelError::Untrusted)?;
            write_frame(&mut stream, &buffer[..length]).await?;
            state.into_transport_mode().map_err(ChannelError::Untrusted)
        };
        let state = timeout(HANDSHAKE, work).await.map_err(|_| ChannelError::Silent)??;
        Ok(Self { stream, state })
    }

    /// The next thing said.
    ///
    /// # Errors
    /// [`ChannelError`]; the conversation is over then.
    pub async fn hear(&mut self, limit: Duration) -> Result<Vec<u8>, ChannelError> {
        let frame =
            timeout(limit, read_frame(&mut self.stream)).await.map_err(|_| ChannelError::Silent)??;
        let mut bytes = vec![0; frame.len()];
        let length = self.state.read_message(&frame, &mut bytes).map_err(ChannelError::Untrusted)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(20);

    async fn streams() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (out, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (out.unwrap(), accepted.unwrap().0)
    }

    async fn talk(
        speaker: ([u8; 32], Side),
        listener: ([u8; 32], Side),
    ) -> (Result<Speaker, ChannelError>, Result<Listener, ChannelError>) {
        let (out, accepted) = streams().await;
        tokio::join!(
            Speaker::open(out, &speaker.0, speaker.1),
            Listener::open(accepted, &listener.0, listener.1)
        )
    }

    #[tokio::test]
    async fn what_is_said_is_heard() {
        let (speaker, listener) = talk(([1; 32], Side::A), ([1; 32], Side::A)).await;
        let (mut speaker, mut listener) = (speaker.unwrap(), listener.unwrap());
        let long = vec![b'x'; FRAME];
        for text in [b"one".as_slice(), b"two", &long] {
            speaker.say(text, LIMIT).await.unwrap();
            assert_eq!(listener.hear(LIMIT).await.unwrap(), text);
        }
        let too_long = vec![b'x'; FRAME + 1];
        assert!(matches!(speaker.say(&too_long, LIMIT).await, Err(ChannelError::FrameSize(_))));
        drop(speaker);
        assert!(matches!(listener.hear(LIMIT).await, Err(ChannelError::Io(_))));
    }

    #[tokio::test]
    async fn another_secret_and_an_own_echo_are_refused() {
        let (_, listener) = talk(([1; 32], Side::A), ([2; 32], Side::A)).await;
        assert!(matches!(listener, Err(ChannelError::Untrusted(_))), "another secret");
        let (_, listener) = talk(([1; 32], Side::A), ([1; 32], Side::B)).await;
        assert!(matches!(listener, Err(ChannelError::Untrusted(_))), "led back to the speaker");
    }

    #[tokio::test]
    async fn garbage_ends_the_conversation() {
        let (mut out, accepted) = streams().await;
        out.write_all(&[0xff; 64]).await.unwrap();
        let refused = Listener::open(accepted, &[1; 32], Side::A).await;
        assert!(matches!(refused, Err(ChannelError::FrameSize(65535))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_changed_byte_is_noticed() {
        let (speaker, listener) = talk(([1; 32], Side::A), ([1; 32], Side::A)).await;
        let (mut speaker, mut listener) = (speaker.unwrap(), listener.unwrap());
        let mut frame = vec![0; 64];
        let length = speaker.state.write_message(b"your turn", &mut frame).unwrap();
        frame[3] ^= 1;
        write_frame(&mut speaker.stream, &frame[..length]).await.unwrap();
        assert!(matches!(listener.hear(LIMIT).await, Err(ChannelError::Untrusted(_))));
    }
}
