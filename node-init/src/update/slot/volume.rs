//! A partition, or a file that stands for one.

use super::BLOCK;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Something that blocks are written to.
pub trait Volume {
    /// Its size in bytes.
    fn bytes(&self) -> u64;

    /// Reads exactly so much.
    ///
    /// # Errors
    /// The kernel's; also when it ends before.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Reads exactly so much from the medium, past everything that was kept in memory. Offset and length are multiples
    /// of [`BLOCK`].
    ///
    /// # Errors
    /// The kernel's.
    fn read_medium(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of it.
    ///
    /// # Errors
    /// The kernel's.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Everything written is on stable storage when this returns (fsync(2)).
    ///
    /// # Errors
    /// The kernel's. What was written before may be lost then.
    fn flush(&mut self) -> io::Result<()>;
}

/// Bytes that are read past the page cache at a time.
const PIECE: usize = 1 << 20;

/// A block device or file of this machine.
#[derive(Debug)]
pub struct HostVolume {
    file: File,
    /// Opened past the page cache; absent where the file system cannot do that (tmpfs).
    direct: Option<File>,
    bytes: u64,
    /// Room for one aligned piece.
    buffer: Vec<u8>,
}

impl HostVolume {
    /// Opens a partition that is to be written. A partition that is mounted, or below device-mapper or another of the
    /// kernel's users, is refused by the kernel (`O_EXCL` on a block device, open(2)).
    ///
    /// # Errors
    /// The kernel's, `EBUSY` for one in use.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_EXCL))
    }

    /// Opens a partition for reading.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reader(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().read(true))
    }

    fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let mut file = options.open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err(io::Error::other("neither a block device nor a file"));
        }
        let bytes = file.seek(SeekFrom::End(0))?;
        let direct = OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(path).ok();
        Ok(Self { file, direct, bytes, buffer: vec![0; PIECE + BLOCK] })
    }
}

impl Volume for HostVolume {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn read_medium(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let Some(direct) = &self.direct else {
            // What is clean leaves the cache, and is read anew (posix_fadvise(2)).
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            nix::fcntl::posix_fadvise(&self.file, 0, 0, advice)?;
            return self.file.read_exact_at(into, offset);
        };
        // O_DIRECT wants memory, offset and length aligned to the device's block (open(2)); 4096 is so for all.
        let skip = self.buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
        let mut at = offset;
        for piece in into.chunks_mut(PIECE) {
            let aligned = &mut self.buffer[skip..skip + piece.len()];
            direct.read_exact_at(aligned, at)?;
            piece.copy_from_slice(aligned);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A regular file would grow; a slot never does.
        if offset.saturating_add(bytes.len() as u64) > self.bytes {
            return Err(io::Error::other("behind the end of the partition"));
        }
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_from_the_medium() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("partition");
        File::create(&path).unwrap().set_len(3 * PIECE as u64).unwrap();
        let mut volume = HostVolume::exclusive(&path).unwrap();
        assert_eq!(volume.bytes(), 3 * PIECE as u64);
        let content: Vec<u8> = (0..PIECE + BLOCK).map(|at| (at % 251) as u8).collect();
        volume.write(BLOCK as u64, &content).unwrap();
        volume.flush().unwrap();
        let mut back = vec![0; content.len()];
        volume.read_medium(BLOCK as u64, &mut back).unwrap();
        assert_eq!(back, content);
        volume.direct = None;
        back.fill(0);
        volume.read_medium(BLOCK as u64, &mut back).unwrap();
        assert_eq!(back, content, "also where there is no way past the page cache");
        assert!(volume.write(3 * PIECE as u64 - 1, b"xy").is_err(), "behind the end");
        assert!(volume.read(3 * PIECE as u64 - 1, &mut [0; 2]).is_err());
        assert!(HostVolume::exclusive(dir.path()).is_err(), "a folder");
    }
}
