//! The stamp: how far the database has come, written outside of it.
//!
//! A database that is restored from a backup looks healthy and is wrong: it would grant what it granted
//! before, to somebody else. It cannot notice by itself. So every commit raises a generation inside the
//! database and then here, in another directory that no backup should hold. At start both must agree, or
//! the database may be one commit ahead (killed between the two). Anything else is a restore.
//!
//! Two slots are written in turn, so that a torn write leaves the other one whole. What this cannot see: both
//! directories brought back together, as by a snapshot of the whole machine. See `docs/witness.md`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pair_core::record::Lineage;
use ring::digest::{SHA256, digest};

use super::StoreError;
use crate::witness::failpoint;

/// Distance of the two slots in bytes: no sector or page holds both.
const SLOT: u64 = 4096;
const BODY: usize = 16 + 8;
const FULL: usize = BODY + 32;

/// What the stamp says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which database.
    pub database: Lineage,
    /// Its last acknowledged commit.
    pub generation: u64,
}

/// How a database stands to its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The database is the one that was acknowledged last.
    Same,
    /// The database is older, another one, or its stamp is gone: believe nothing.
    Restored,
}

/// Compares what the database says of itself with the stamp.
#[must_use]
pub fn judge(database: Stamp, stamp: Option<Stamp>) -> Verdict {
    match stamp {
        Some(stamp)
            if stamp.database == database.database
                && database.generation.checked_sub(stamp.generation).is_some_and(|ahead| ahead <= 1) =>
        {
            Verdict::Same
        }
        _ => Verdict::Restored,
    }
}

/// The file.
#[derive(Debug)]
pub struct StampFile {
    file: File,
    path: PathBuf,
}

impl StampFile {
    /// Opens or creates `DIR/stamp`, readable by its owner only.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("stamp");
        let io = |source| StoreError::Io { path: path.clone(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        // The name must survive a power cut as well as the content does.
        File::open(dir).and_then(|d| d.sync_all()).map_err(io)?;
        Ok(Self { file, path })
    }

    /// The newest whole slot.
    ///
    /// # Errors
    /// [`StoreError::Io`]. A torn or empty slot is no error.
    pub fn read(&self) -> Result<Option<Stamp>, StoreError> {
        let mut newest: Option<Stamp> = None;
        for slot in [0, SLOT] {
            let mut bytes = [0; FULL];
            match self.file.read_exact_at(&mut bytes, slot) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => continue,
                Err(source) => return Err(StoreError::Io { path: self.path.clone(), source }),
            }
            newest = newest.into_iter().chain(decode(&bytes)).max_by_key(|stamp| stamp.generation);
        }
        Ok(newest)
    }

    /// Writes the stamp and returns when it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the caller must not acknowledge anything after it.
    pub fn write(&self, stamp: Stamp) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        self.file.write_all_at(&encode(stamp), (stamp.generation % 2) * SLOT).map_err(io)?;
        failpoint::pass("stamp-written");
        self.file.sync_data().map_err(io)
    }

    /// Forgets both slots and begins with this stamp: for a new database, whose generation is low.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn begin(&self, stamp: Stamp) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        self.file.set_len(0).map_err(io)?;
        self.file.set_len(2 * SLOT).map_err(io)?;
        self.file.sync_all().map_err(io)?;
        self.write(stamp)
    }
}

fn encode(stamp: Stamp) -> [u8; FULL] {
    let mut out = [0; FULL];
    out[..16].copy_from_slice(&stamp.database.0);
    out[16..BODY].copy_from_slice(&stamp.generation.to_be_bytes());
    let sum = digest(&SHA256, &out[..BODY]);
    out[BODY..].copy_from_slice(sum.as_ref());
    out
}

fn decode(bytes: &[u8; FULL]) -> Option<Stamp> {
    if digest(&SHA256, &bytes[..BODY]).as_ref() != &bytes[BODY..] {
        return None;
    }
    let (database, rest) = bytes.split_first_chunk::<16>()?;
    let (generation, _) = rest.split_first_chunk::<8>()?;
    Some(Stamp { database: Lineage(*database), generation: u64::from_be_bytes(*generation) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Lineage = Lineage([1; 16]);

    fn at(generation: u64) -> Stamp {
        Stamp { database: ME, generation }
    }

    #[test]
    fn only_the_same_generation_or_one_ahead_is_believed() {
        assert_eq!(judge(at(7), Some(at(7))), Verdict::Same);
        assert_eq!(judge(at(8), Some(at(7))), Verdict::Same);
        assert_eq!(judge(at(9), Some(at(7))), Verdict::Restored);
        assert_eq!(judge(at(6), Some(at(7))), Verdict::Restored);
        assert_eq!(judge(at(7), None), Verdict::Restored);
        assert_eq!(
            judge(at(7), Some(Stamp { database: Lineage([2; 16]), generation: 7 })),
            Verdict::Restored
        );
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = StampFile::open(dir.path()).unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.begin(at(1)).unwrap();
        file.write(at(2)).unwrap();
        file.write(at(3)).unwrap();
        assert_eq!(StampFile::open(dir.path()).unwrap().read().unwrap(), Some(at(3)));
        file.file.write_all_at(&[0xff; 5], SLOT + 18).unwrap();
        assert_eq!(file.read().unwrap(), Some(at(2)));
        // A new database begins lower than the old one ended.
        file.begin(at(1)).unwrap();
        assert_eq!(file.read().unwrap(), Some(at(1)));
    }
}
