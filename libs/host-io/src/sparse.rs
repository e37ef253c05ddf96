//! Reading files with holes, as disk images have them.

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Reads a file from its beginning; its holes are zeros that cost no reading. What the file system has no hole for is read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// Next byte's place.
    at: u64,
    length: u64,
    /// Up to here, from `at`, is a hole (`true`) or data.
    extent: (u64, bool),
}

impl Reader {
    /// From the file's beginning.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, at: 0, length, extent: (0, false) })
    }

    /// Goes over whole units of a hole, when it is at one; returns its place.
    ///
    /// # Errors
    /// The kernel's.
    pub fn skip_hole(&mut self, unit: u64) -> io::Result<u64> {
        if self.at < self.length {
            let (end, hole) = self.extent()?;
            if hole {
                self.at += (end.min(self.length) - self.at) / unit * unit;
            }
        }
        Ok(self.at)
    }

    /// Where the present extent ends, and whether it is a hole (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).
    fn extent(&mut self) -> io::Result<(u64, bool)> {
        if self.at < self.extent.0 {
            return Ok(self.extent);
        }
        let from = i64::try_from(self.at).map_err(io::Error::other)?;
        let data = match lseek(&self.file, from, Whence::SeekData) {
            Ok(data) => data.unsigned_abs(),
            // A hole up to the end.
            Err(Errno::ENXIO) => self.length,
            Err(error) => return Err(error.into()),
        };
        self.extent = if data > self.at {
            (data, true)
        } else {
            (lseek(&self.file, from, Whence::SeekHole)?.unsigned_abs(), false)
        };
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(self.extent)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.length {
            return Ok(0);
        }
        let (end, hole) = self.extent()?;
        let most = usize::try_from(end.min(self.length) - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = if hole {
            buffer[..most].fill(0);
            most
        } else {
            self.file.read(&mut buffer[..most])?
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom, Write};

    #[test]
    fn only_whole_units_of_a_hole_are_gone_over() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        File::create(&path).expect("creates").set_len(10_000).expect("grows");
        let mut reader = super::Reader::new(File::open(&path).expect("opens")).expect("opens");
        assert_eq!(reader.skip_hole(4096).expect("skips"), 8192);
        assert_eq!(reader.skip_hole(4096).expect("skips"), 8192, "the rest is no unit");
        assert_eq!(reader.read(&mut [1; 4096]).expect("reads"), 10_000 - 8192);
        File::create(&path).expect("creates").write_all(&[1; 5000]).expect("writes");
        let mut reader = super::Reader::new(File::open(&path).expect("opens")).expect("opens");
        assert_eq!(reader.skip_hole(4096).expect("skips"), 0, "data is not gone over");
    }

    #[test]
    fn reads_what_is_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        let places: [&[u64]; 4] = [&[], &[0], &[70_000, 5_000_000], &[999_990, 9_999_997]];
        for places in places {
            let mut file = File::create(&path).expect("creates");
            file.set_len(10_000_000).expect("grows");
            for at in places {
                file.seek(SeekFrom::Start(*at)).expect("seeks");
                file.write_all(b"abc").expect("writes");
            }
            let want = std::fs::read(&path).expect("reads");
            let mut have = Vec::new();
            let mut reader = super::Reader::new(File::open(&path).expect("opens")).expect("opens");
            reader.read_to_end(&mut have).expect("reads");
            assert!(have == want, "{places:?}");
        }
        File::create(&path).expect("creates");
        let mut empty = super::Reader::new(File::open(&path).expect("opens")).expect("opens");
        assert_eq!(empty.read(&mut [0; 8]).expect("reads"), 0);
    }
}
