//! The backing file: zeros, written past the page cache, going on where a cut run stopped.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Alignment that direct I/O asks for on every disk that an ext4 state partition can lie on, bytes.
pub const ALIGN: usize = 4096;
/// Bytes of one write.
const CHUNK: usize = 4 << 20;

/// Memory at an address that direct I/O takes.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many zeros.
    pub fn zeros(length: usize) -> Self {
        let bytes = vec![0; length + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { bytes, start, length }
    }

    /// To read.
    pub fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    /// To write.
    pub fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

/// Opens for direct I/O; on a file system without it (a test's), for ordinary I/O.
///
/// # Errors
/// The kernel's.
pub fn open_direct(path: &Path, write: bool, create: bool) -> io::Result<File> {
    let open = |flags: i32| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags | nix::libc::O_NOFOLLOW)
            .open(path)
    };
    match open(nix::libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => open(0),
        result => result,
    }
}

/// Writes zeros until the file has `size` bytes; durable when this returns. `progress` is told bytes done.
///
/// What is there already stays: a file grows only after its content is on the disk, so its length says how far a run
/// came that was cut short.
///
/// # Errors
/// The kernel's; `StorageFull` when the room is gone.
pub fn write_zeros(path: &Path, size: u64, mut progress: impl FnMut(u64)) -> io::Result<()> {
    let file = open_direct(path, true, true)?;
    let chunk = Aligned::zeros(CHUNK);
    let length = file.metadata()?.len();
    if length > size {
        file.set_len(size)?;
    }
    // The last write of the cut run is done again.
    let mut done = (length.min(size) / CHUNK as u64).saturating_sub(1) * CHUNK as u64;
    while done < size {
        let part = usize::try_from(size - done).unwrap_or(CHUNK).min(CHUNK);
        // The end of a file whose size is no multiple of the alignment cannot be written directly.
        file.write_all_at(&chunk.get()[..part], done)?;
        done += part as u64;
        progress(done);
    }
    file.sync_all()?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Text that tells a file from every other, also from a copy of itself or a later one in its place.
///
/// # Errors
/// The kernel's.
pub fn identity(path: &Path) -> io::Result<String> {
    let data = fs::metadata(path)?;
    let born = data.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let born = born.map_or_else(|| "at an unknown time".to_owned(), |time| format!("{time:?}"));
    Ok(format!("file {} made {born}", data.ino()))
}

/// Bytes that have a place on the disk.
pub fn allocated(data: &fs::Metadata) -> u64 {
    data.blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_out_and_a_cut_run_is_gone_on_with() {
        // Not in memory: a file system there has no direct I/O.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("part");
        let size = (3 * CHUNK + 8192) as u64;
        let mut told = Vec::new();
        write_zeros(&path, size, |done| told.push(done)).unwrap();
        assert_eq!((told.len(), told.last()), (4, Some(&size)));
        let data = fs::metadata(&path).unwrap();
        assert_eq!(data.len(), size);
        assert!(allocated(&data) >= size, "it has holes");
        File::options().write(true).open(&path).unwrap().set_len((2 * CHUNK + 5) as u64).unwrap();
        told.clear();
        write_zeros(&path, size, |done| told.push(done)).unwrap();
        assert_eq!(told.len(), 3, "one chunk stood for certain: {told:?}");
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
    }

    #[test]
    fn a_later_file_in_the_same_place_is_another_one() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("f");
        File::create(&path).unwrap();
        let first = identity(&path).unwrap();
        assert_eq!(identity(&path).unwrap(), first);
        fs::copy(&path, dir.path().join("g")).unwrap();
        assert_ne!(identity(&dir.path().join("g")).unwrap(), first);
        assert!(first.contains("made") && !first.contains("unknown"), "{first}");
    }
}
