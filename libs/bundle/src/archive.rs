//! The tar around the parts: a fixed order of plain files, with one possible header for each.
//!
//! A header is built from name and size, and what is read must be the same 512 bytes. So nothing of tar's many dialects
//! has to be understood: links, devices, long names, extended headers, sparse maps, prefixes, odd check sums all differ
//! somewhere. The `tar` crate writes that header, and reads another one only to say in the error what it is.

use crate::Error;
use std::io::{self, Read};
use tar::{EntryType, Header};

/// Size of a header, and the unit that content is padded to, in bytes.
pub(crate) const UNIT: usize = 512;
/// What a tar ends with.
pub(crate) const END: [u8; 2 * UNIT] = [0; 2 * UNIT];

/// The one header that an entry of this name and size has.
///
/// # Errors
/// When the name does not fit; a constant's does.
pub(crate) fn header(name: &str, size: u64) -> io::Result<[u8; UNIT]> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Zeros from the end of an entry's content to the next header, in bytes.
pub(crate) const fn padding(size: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "less than 512")]
    let over = (size % UNIT as u64) as usize;
    (UNIT - over) % UNIT
}

/// Reads the parts of a bundle and counts the bytes.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Archive<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, position: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What has not been read.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// Fills the buffer, or says in which part the bundle ends.
    pub fn fill(&mut self, buffer: &mut [u8], part: &'static str) -> Result<(), Error> {
        self.reader.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated(part),
            _ => Error::Read { part, source },
        })?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// Reads the header of the entry that belongs here and returns its size.
    pub fn entry(&mut self, expected: &'static str) -> Result<u64, Error> {
        let mut bytes = [0; UNIT];
        self.fill(&mut bytes, expected)?;
        if bytes == [0; UNIT] {
            return Err(Error::Order { expected, found: "the end of the tar".into() });
        }
        let read = Header::from_byte_slice(&bytes);
        let size = read.entry_size().unwrap_or(0);
        if header(expected, size).is_ok_and(|good| good == bytes) {
            return Ok(size);
        }
        // From here on only to say what is wrong.
        let first = self.position == UNIT as u64;
        let is_tar = read.as_ustar().is_some() || read.as_gnu().is_some();
        if first && (!is_tar || read.path_bytes().as_ref() != expected.as_bytes()) {
            return Err(Error::NotABundle);
        }
        let kind = match read.entry_type() {
            EntryType::Regular => {
                let name = read.path_bytes();
                if name.as_ref() == expected.as_bytes() {
                    return Err(Error::Header(expected));
                }
                let shown = String::from_utf8_lossy(&name).escape_debug().to_string();
                return Err(Error::Order { expected, found: shown });
            }
            EntryType::Link | EntryType::Symlink => "a link",
            EntryType::Directory => "a folder",
            EntryType::GNULongName | EntryType::GNULongLink => "a long name",
            EntryType::GNUSparse => "a sparse file",
            EntryType::XHeader | EntryType::XGlobalHeader => "an extended header",
            EntryType::Char | EntryType::Block | EntryType::Fifo => "a device",
            _ => "of an unknown kind",
        };
        Err(Error::Kind { expected, kind })
    }

    /// Reads the header of the entry that belongs here; its size is known from the manifest.
    pub fn entry_of(&mut self, part: &'static str, signed: u64) -> Result<(), Error> {
        let found = self.entry(part)?;
        if found == signed { Ok(()) } else { Err(Error::Size { part, signed, found }) }
    }

    /// Reads a whole part of at most `limit` bytes, with its padding.
    pub fn part(&mut self, part: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let size = self.entry(part)?;
        self.content(part, size, limit)
    }

    /// Reads the content of the entry whose header was just read.
    pub fn content(&mut self, part: &'static str, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(size).ok().filter(|_| size <= limit);
        let Some(length) = length else { return Err(Error::TooLarge { part, size, limit }) };
        // Grows with what is there, so that a wrong size alone takes no memory.
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(size).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { part, source })?;
        if bytes.len() < length {
            return Err(Error::Truncated(part));
        }
        self.position += size;
        self.pad(part, size)?;
        Ok(bytes)
    }

    /// Reads the zeros behind a part.
    pub fn pad(&mut self, part: &'static str, size: u64) -> Result<(), Error> {
        let mut zeros = [0; UNIT];
        let zeros = &mut zeros[..padding(size)];
        self.fill(zeros, part)?;
        if zeros.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Error::Padding(part)) }
    }

    /// Reads the end of the tar, behind which there must be nothing.
    pub fn end(&mut self) -> Result<(), Error> {
        const PART: &str = "the end of the tar";
        let mut end = END;
        self.fill(&mut end, PART)?;
        if end != END {
            return Err(Error::Trailing);
        }
        let mut more = [0];
        loop {
            match self.reader.read(&mut more) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(Error::Trailing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { part: PART, source }),
            }
        }
    }
}
