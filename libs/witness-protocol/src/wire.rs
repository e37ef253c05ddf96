//! The canonical encoding: big-endian integers and fixed-length byte strings, one after the other.
//!
//! Every value has exactly one encoding, and a decoder takes nothing else: no padding, no unknown tags,
//! no bytes left over. So equal values have equal bytes, and a signature over bytes is one over a value.

use thiserror::Error;

/// Why bytes from outside are not a message. Says where, never what: the bytes may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The message ends before the named field does.
    #[error("the message ends inside `{0}`")]
    Short(&'static str),
    /// More bytes than the message needs.
    #[error("{0} bytes are left over behind the message")]
    TrailingBytes(usize),
    /// More bytes than any message may have.
    #[error("{0} bytes are more than any message has")]
    TooLong(usize),
    /// The first bytes are not ours.
    #[error("not a witness message")]
    Magic,
    /// A version that this program does not speak.
    #[error("protocol version {0} is not known here")]
    Version(u8),
    /// A tag outside its range, or a value that has a shorter spelling.
    #[error("`{0}` has a value that is not defined")]
    Undefined(&'static str),
}

/// Reads fields off the front of a message. Never panics, never allocates.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`, refused when they are longer than `limit`.
    ///
    /// # Errors
    /// [`Malformed::TooLong`].
    pub fn new(bytes: &'a [u8], limit: usize) -> Result<Self, Malformed> {
        if bytes.len() > limit { Err(Malformed::TooLong(bytes.len())) } else { Ok(Self { rest: bytes }) }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] with the field's name.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Short(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed::Short`] with the field's name.
    pub fn byte(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(field).map(|[b]| b)
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// [`Malformed::Short`] with the field's name.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// The end: nothing may be left.
    ///
    /// # Errors
    /// [`Malformed::TrailingBytes`].
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes(self.rest.len())) }
    }
}

/// The three letters every message begins with.
const MAGIC: [u8; 3] = *b"EPW";

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// Begins a message: magic and version.
pub fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
}

/// Checks the beginning of a message.
///
/// # Errors
/// [`Malformed::Magic`], [`Malformed::Version`] or [`Malformed::Short`].
pub fn check_begin(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    if reader.array::<3>("magic")? != MAGIC {
        return Err(Malformed::Magic);
    }
    match reader.byte("version")? {
        VERSION => Ok(()),
        other => Err(Malformed::Version(other)),
    }
}
