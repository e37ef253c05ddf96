//! A reader that keeps a copy of what goes through, for as long as the copy is wanted: the head of a bundle (manifest,
//! signatures, index) stays on the state partition, the rest goes into the slot only.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// The copy.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Option<Vec<u8>>>>);

impl Record {
    /// Ends the copying and returns what was copied.
    pub fn end(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

/// The reader.
#[derive(Debug)]
pub struct Recorded<R> {
    inner: R,
    record: Record,
}

impl<R: Read> Recorded<R> {
    /// Copies from now on.
    pub fn new(inner: R) -> (Self, Record) {
        let record = Record(Arc::new(Mutex::new(Some(Vec::new()))));
        (Self { inner, record: record.clone() }, record)
    }
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut record = self.record.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = record.as_mut() {
            copy.extend_from_slice(&buffer[..read]);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_was_read_until_the_end_is_kept() {
        let (mut reader, record) = Recorded::new(&b"head and rest"[..]);
        reader.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(record.end(), b"head");
        reader.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(record.end(), b"");
    }
}
