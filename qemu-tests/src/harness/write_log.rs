//! What was written to a machine's disk, in order, with its flushes: the log of QEMU's `blklogwrites`, in the format of the
//! kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst). From it a disk is made anew as a power cut
//! may leave it: without anything that was written after the last flush.

use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x6a73_6677_7368_7273;
const SECTOR: u64 = 512;
/// Everything written before is on stable storage.
const FLUSH: u64 = 1;
/// This write itself is, when it is acknowledged.
const FUA: u64 = 2;
/// It has no data.
const DISCARD: u64 = 4;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Where on the disk, bytes.
    at: u64,
    /// How much, bytes.
    length: u64,
    flags: u64,
    /// Where its data is in the log, bytes.
    data: u64,
}

impl Entry {
    fn is_boundary(&self) -> bool {
        self.flags & (FLUSH | FUA) != 0
    }
}

/// What was made of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Writes that were taken.
    pub taken: usize,
    /// Writes that came after the boundary and were dropped.
    pub dropped: usize,
    /// Bytes of those.
    pub dropped_bytes: u64,
    /// Flushes in the log.
    pub flushes: usize,
}

/// Reads the entries of a log. QEMU was killed while it wrote, so the last one may not be whole: it counts as not written.
fn entries(log: &File) -> anyhow::Result<Vec<Entry>> {
    let size = log.metadata()?.len();
    let mut reader = BufReader::with_capacity(4096, log);
    reader.seek(SeekFrom::Start(0))?;
    let mut block = [0; SECTOR as usize];
    reader.read_exact(&mut block).context("the log has no beginning")?;
    let word = |block: &[u8], index: usize| -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[index * 8..index * 8 + 8]);
        u64::from_le_bytes(bytes)
    };
    ensure!(word(&block, 0) == MAGIC, "this is no log of writes");
    let mut all = Vec::new();
    let mut at = SECTOR;
    while at + SECTOR <= size {
        reader.seek(SeekFrom::Start(at))?;
        match reader.read_exact(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            result => result?,
        }
        let (sector, sectors, flags) = (word(&block, 0), word(&block, 1), word(&block, 2));
        if (sector, sectors, flags) == (0, 0, 0) {
            break;
        }
        let length = sectors * SECTOR;
        let data = at + SECTOR;
        at = if flags & DISCARD == 0 { data + length } else { data };
        if at > size {
            break;
        }
        all.push(Entry { at: sector * SECTOR, length, flags, data });
    }
    Ok(all)
}

/// Makes the disk anew: `base` as it was when the log began, with all that was written up to a flush. `back` is which flush, 0
/// for the last one.
///
/// # Errors
/// The kernel's, and when the log is not one or has fewer flushes.
pub fn replay(log: &Path, base: &Path, disk: &Path, size: u64, back: usize) -> anyhow::Result<Replayed> {
    let log = File::open(log)?;
    let entries = entries(&log)?;
    let boundaries: Vec<usize> =
        entries.iter().enumerate().filter(|(_, entry)| entry.is_boundary()).map(|(index, _)| index).collect();
    let Some(last) = boundaries.iter().rev().nth(back).copied() else {
        bail!("the log has {} flushes only", boundaries.len());
    };
    super::site::copy_sparse(base, disk)?;
    let target = File::options().write(true).open(disk)?;
    target.set_len(size)?;
    let mut chunk = vec![0; 1 << 20];
    for entry in &entries[..=last] {
        let mut done = 0;
        while done < entry.length {
            let part = usize::try_from((entry.length - done).min(chunk.len() as u64))?;
            let bytes = &mut chunk[..part];
            if entry.flags & DISCARD == 0 {
                log.read_exact_at(bytes, entry.data + done)?;
            } else {
                bytes.fill(0);
            }
            target.write_all_at(bytes, entry.at + done)?;
            done += part as u64;
        }
    }
    let dropped: Vec<&Entry> = entries[last + 1..].iter().filter(|entry| entry.length > 0).collect();
    Ok(Replayed {
        taken: entries[..=last].iter().filter(|entry| entry.length > 0).count(),
        dropped: dropped.len(),
        dropped_bytes: dropped.iter().map(|entry| entry.length).sum(),
        flushes: boundaries.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, u64, u8)]) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR as usize];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        for (sector, flags, fill) in entries {
            let sectors = u64::from(*fill > 0);
            let mut head = vec![0; SECTOR as usize];
            for (index, word) in [*sector, sectors, *flags].iter().enumerate() {
                head[index * 8..index * 8 + 8].copy_from_slice(&word.to_le_bytes());
            }
            bytes.extend(head);
            bytes.extend(vec![*fill; (sectors * SECTOR) as usize]);
        }
        bytes
    }

    fn replayed(bytes: &[u8], back: usize) -> (Replayed, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        edgepair_host_io::atomic::write(&path("log"), bytes, 0o644).unwrap();
        edgepair_host_io::atomic::write(&path("base"), &[9; 1024], 0o644).unwrap();
        let seen = replay(&path("log"), &path("base"), &path("disk"), 4096, back).unwrap();
        let disk = std::fs::read(path("disk")).unwrap();
        assert_eq!(disk.len(), 4096);
        (seen, disk.iter().step_by(SECTOR as usize).copied().collect())
    }

    #[test]
    fn what_came_after_the_last_flush_is_not_there() {
        let bytes = log(&[(0, 0, 1), (2, 0, 2), (0, FLUSH, 0), (2, 0, 3), (3, FUA, 4), (4, 0, 5)]);
        let (seen, disk) = replayed(&bytes, 0);
        assert_eq!(disk, [1, 9, 3, 4, 0, 0, 0, 0]);
        assert_eq!(seen, Replayed { taken: 4, dropped: 1, dropped_bytes: SECTOR, flushes: 2 });
        let (seen, disk) = replayed(&bytes, 1);
        assert_eq!(disk, [1, 9, 2, 0, 0, 0, 0, 0]);
        assert_eq!(seen.dropped, 3);
    }

    #[test]
    fn a_log_that_was_cut_short_ends_before_its_last_entry() {
        let whole = log(&[(0, 0, 1), (0, FLUSH, 0), (1, FUA, 2)]);
        let (seen, disk) = replayed(&whole[..whole.len() - 100], 0);
        assert_eq!((seen.flushes, disk[1]), (1, 9));
        let mut zeros = whole;
        zeros.extend([0; 2048]);
        assert_eq!(replayed(&zeros, 0).0.flushes, 2);
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        edgepair_host_io::atomic::write(&other, &[1; 4096], 0o644).unwrap();
        assert!(replay(&other, &other, &other, 4096, 0).is_err());
    }
}
