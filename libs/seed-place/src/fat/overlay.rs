//! A part of a file or device with changes that are kept in memory: what another implementation of FAT reads in tests.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use super::geometry::{Changes, SECTOR};

/// The part `start..start + length` of a file, with changes.
pub(super) struct Overlay<'a> {
    file: &'a File,
    start: u64,
    length: u64,
    position: u64,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    pub fn new(file: &'a File, start: u64, length: u64) -> Self {
        Self { file, start, length: length / SECTOR * SECTOR, position: 0, changes: Changes::new() }
    }

    fn on_disk(&self, number: u64) -> io::Result<[u8; SECTOR as usize]> {
        let mut sector = [0; SECTOR as usize];
        self.file.read_exact_at(&mut sector, self.start + number * SECTOR)?;
        Ok(sector)
    }

    fn sector(&self, number: u64) -> io::Result<[u8; SECTOR as usize]> {
        self.changes.get(&number).map_or_else(|| self.on_disk(number), |sector| Ok(*sector))
    }

    /// The sector under the position, the place in it, and how many bytes of `wanted` are in it.
    fn here(&self, wanted: usize) -> (u64, usize, usize) {
        let within = (self.position % SECTOR) as usize;
        let left = usize::try_from(self.length.saturating_sub(self.position)).unwrap_or(usize::MAX);
        (self.position / SECTOR, within, wanted.min(SECTOR as usize - within).min(left))
    }
}

impl Read for Overlay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (number, within, count) = self.here(buffer.len());
        if count == 0 {
            return Ok(0);
        }
        buffer[..count].copy_from_slice(&self.sector(number)?[within..within + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Overlay<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (number, within, count) = self.here(buffer.len());
        if count == 0 {
            return Ok(0);
        }
        let mut sector = self.sector(number)?;
        sector[within..within + count].copy_from_slice(&buffer[..count]);
        self.changes.insert(number, sector);
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Overlay<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(offset) => (self.position, offset),
            SeekFrom::End(offset) => (self.length, offset),
        };
        self.position = base
            .checked_add_signed(offset)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the start"))?;
        Ok(self.position)
    }
}
