//! systemd's private socket, in a form that zbus can read.
//!
//! On it systemd names itself as the sender of every message with its well-known name, `org.freedesktop.systemd1`. The
//! D-Bus specification has unique names there ("Message Header Fields", SENDER), and zbus panics on anything else. The
//! name is overwritten, as the message comes in, with a unique one of the same length; nobody looks at it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use tokio::net::UnixStream;
use zbus::connection::socket::{BoxedSplit, ReadHalf, Split};

/// Where it is, for root only, from the first unit on.
const PATH: &str = "/run/systemd/private";
/// Largest message that is taken in, bytes. A list of all units has some 100 KiB.
const MOST: usize = 8 << 20;

/// Code of the header field SENDER, its type (`s`), its length, and what systemd writes.
const SENDER: &[u8] = b"\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0";
/// The same field with a unique name.
const UNIQUE: &[u8] = b"\x07\x01s\0\x18\0\0\0:1.000000000000000000001\0";
const _: () = assert!(SENDER.len() == UNIQUE.len());

/// Connects.
///
/// # Errors
/// The kernel's: systemd does not run here, or the caller is not root.
pub async fn connect() -> io::Result<BoxedSplit> {
    let split = BoxedSplit::from(UnixStream::connect(PATH).await?);
    let (read, write) = split.take();
    Ok(Split::new(Box::new(Mended { inner: read, raw: Vec::new(), ready: VecDeque::new() }), write))
}

/// The reading half. Hands out whole lines of the handshake and whole messages.
#[derive(Debug)]
struct Mended {
    inner: Box<dyn ReadHalf>,
    raw: Vec<u8>,
    ready: VecDeque<u8>,
}

#[zbus::export::async_trait::async_trait]
impl ReadHalf for Mended {
    async fn recvmsg(&mut self, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut all = Vec::new();
        while self.ready.is_empty() {
            // One at a time: in a handshake zbus takes every line end that it is given for one of its own.
            if let Some(length) = first_length(&self.raw)? {
                let mut part: Vec<u8> = self.raw.drain(..length).collect();
                mend(&mut part);
                self.ready.extend(part);
                break;
            }
            let mut chunk = [0; 4096];
            let (count, handed) = self.inner.recvmsg(&mut chunk).await?;
            all.extend(handed);
            if count == 0 {
                return Ok((0, all));
            }
            self.raw.extend_from_slice(&chunk[..count]);
        }
        let count = buf.len().min(self.ready.len());
        for (place, byte) in buf.iter_mut().zip(self.ready.drain(..count)) {
            *place = byte;
        }
        Ok((count, all))
    }
}

/// Pure: length of the line or message at the start; `None` when it is not whole yet.
fn first_length(raw: &[u8]) -> io::Result<Option<usize>> {
    let Some(first) = raw.first() else { return Ok(None) };
    if *first != b'l' {
        // systemd writes little-endian messages where zbus does; anything else is a line of the handshake.
        if raw.len() > 4096 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "neither a message nor a line of a handshake",
            ));
        }
        return Ok(raw.iter().position(|byte| *byte == b'\n').map(|at| at + 1));
    }
    let number = |at: usize| {
        let bytes: Option<[u8; 4]> = raw.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.and_then(|bytes| usize::try_from(u32::from_le_bytes(bytes)).ok())
    };
    let (Some(body), Some(fields)) = (number(4), number(12)) else { return Ok(None) };
    let length = fields.div_ceil(8).saturating_mul(8).saturating_add(16).saturating_add(body);
    if length > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    Ok((raw.len() >= length).then_some(length))
}

/// Pure: overwrites the sender in the header of a message.
fn mend(part: &mut [u8]) {
    let fields: Option<[u8; 4]> = part.get(12..16).and_then(|bytes| bytes.try_into().ok());
    let Some(fields) = fields.filter(|_| part.first() == Some(&b'l')) else { return };
    let end = usize::try_from(u32::from_le_bytes(fields)).unwrap_or(0).saturating_add(16).min(part.len());
    if let Some(at) = part[..end].windows(SENDER.len()).position(|window| window == SENDER) {
        part[at..at + UNIQUE.len()].copy_from_slice(UNIQUE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with these header fields and this body.
    fn message(fields: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![b'l', 2, 1, 1];
        for number in [body.len(), 7, fields.len()] {
            bytes.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        bytes.extend(fields);
        bytes.resize(bytes.len().div_ceil(8) * 8, 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lines_and_messages_are_found_whole_or_not_at_all() {
        let mut stream = b"OK 0123\r\nAGREE_UNIX_FD\r\n".to_vec();
        let one = message(SENDER, b"body");
        stream.extend(&one);
        stream.extend(message(b"", b""));
        let mut lengths = Vec::new();
        let mut rest = stream.as_slice();
        while let Some(length) = first_length(rest).unwrap() {
            lengths.push(length);
            rest = &rest[length..];
        }
        assert_eq!(lengths, [9, 15, one.len(), 16]);
        for cut in 0..one.len() {
            assert_eq!(first_length(&one[..cut]).unwrap(), None, "{cut}");
        }
        assert!(first_length(&message(b"", b"")[..8]).unwrap().is_none());
        assert!(first_length(b"l\x02\x01\x01\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff").is_err());
        assert!(first_length(&[b'X'; 5000]).is_err());
    }

    #[test]
    fn only_the_sender_in_the_header_is_overwritten() {
        let mut bytes = message(SENDER, SENDER);
        let before = bytes.clone();
        mend(&mut bytes);
        assert_eq!(bytes.len(), before.len());
        assert_eq!(&bytes[16..16 + UNIQUE.len()], UNIQUE);
        assert_eq!(bytes[bytes.len() - SENDER.len()..], *SENDER, "the body is not touched");
        let mut line = b"OK 0123456789abcdef\r\n".to_vec();
        mend(&mut line);
        assert_eq!(line, b"OK 0123456789abcdef\r\n");
    }

    #[test]
    fn the_name_in_its_place_is_one_that_zbus_takes() {
        let name = std::str::from_utf8(&UNIQUE[8..UNIQUE.len() - 1]).unwrap();
        assert!(zbus::names::UniqueName::try_from(name).is_ok());
        assert!(zbus::names::UniqueName::try_from("org.freedesktop.systemd1").is_err());
    }
}
