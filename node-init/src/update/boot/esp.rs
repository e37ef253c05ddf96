//! The boot partition's folder of kernel images: FAT, mounted read-only, writable only for as long as something is written.
//!
//! FAT has no journal. What makes a change durable here: a file is synced before it gets its name, the folder is synced
//! after each change, and the partition is mounted with `dirsync`, so that a rename writes the new name before it takes
//! the old one away (kernel `fs/fat/namei_vfat.c`, `fs/fat/dir.c`). A cut between the two leaves both names on the same
//! clusters, and to remove one of them would free the other's. So a partition that was cut while it was writable (the
//! "dirty" bit, kernel `fs/fat/inode.c`) goes through fsck.fat(8) before it is written again.

use super::entry::Label;
use super::label;
use edgepair_host_io::{Invocation, Runner};
use edgepair_layout::boot::UKI_DIR;
use nix::mount::{MsFlags, mount, umount};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file in the folder of kernel images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What it says about itself; `None` when it is no kernel image.
    pub label: Option<Label>,
}

/// The folder, read.
pub trait Esp {
    /// All files in it.
    ///
    /// # Errors
    /// The kernel's.
    fn files(&self) -> io::Result<Vec<Found>>;

    /// SHA-256 of a file as it is on the disk, hexadecimal; `None` when it is not there.
    ///
    /// # Errors
    /// The kernel's.
    fn digest(&self, name: &str) -> io::Result<Option<String>>;

    /// Settings that make the loader choose otherwise than by its order, in words.
    ///
    /// # Errors
    /// The kernel's.
    fn pinned(&self) -> io::Result<Vec<String>>;

    /// Bytes free.
    ///
    /// # Errors
    /// The kernel's.
    fn free(&self) -> io::Result<u64>;

    /// Makes it writable until what is returned is dropped.
    ///
    /// # Errors
    /// The kernel's, or fsck.fat's.
    fn unlock(&self) -> io::Result<Box<dyn Unlocked + '_>>;
}

/// The folder, writable. Each change is durable when the method returns.
pub trait Unlocked {
    /// Gives a file another name. No file has it.
    ///
    /// # Errors
    /// The kernel's.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away. One that is not there is no error.
    ///
    /// # Errors
    /// The kernel's.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Writes a whole file.
    ///
    /// # Errors
    /// The kernel's, or the reader's. The file may be there then, in part.
    fn write(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()>;
}

/// EFI variables with which somebody can pin an entry (systemd "Boot Loader Interface").
const PINS: [&str; 3] = ["LoaderEntryOneShot", "LoaderEntryDefault", "LoaderEntryPreferred"];
/// Vendor of these variables.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// An EFI variable begins with four bytes of attributes (efivarfs, kernel `Documentation/filesystems/efivarfs.rst`).
const ATTRIBUTES: usize = 4;

/// The boot partition of this node.
pub struct HostEsp {
    mounted: PathBuf,
    /// Absent for a plain folder.
    device: Option<PathBuf>,
    variables: PathBuf,
    runner: Arc<dyn Runner + Send + Sync>,
}

impl std::fmt::Debug for HostEsp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostEsp({} of {:?})", self.mounted.display(), self.device)
    }
}

impl HostEsp {
    /// The partition `device`, which is mounted read-only at `mounted`.
    pub fn new(mounted: &Path, device: &Path, runner: Arc<dyn Runner + Send + Sync>) -> Self {
        let variables = PathBuf::from("/sys/firmware/efi/efivars");
        Self { mounted: mounted.to_owned(), device: Some(device.to_owned()), variables, runner }
    }

    /// A plain folder that stands for one; `variables` for the firmware's.
    pub fn folder(mounted: &Path, variables: &Path, runner: Arc<dyn Runner + Send + Sync>) -> Self {
        Self { mounted: mounted.to_owned(), device: None, variables: variables.to_owned(), runner }
    }

    fn images(&self) -> PathBuf {
        self.mounted.join(UKI_DIR)
    }

    fn remount(&self, read_only: bool) -> io::Result<()> {
        if self.device.is_none() {
            return Ok(());
        }
        let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if read_only {
            flags |= MsFlags::MS_RDONLY;
        }
        Ok(mount(None::<&str>, &self.mounted, None::<&str>, flags, None::<&str>)?)
    }

    /// After a cut while it was writable: the file system is checked before anything is written into it.
    fn repair(&self) -> io::Result<()> {
        let Some(device) = &self.device else { return Ok(()) };
        let mut boot_sector = [0; 512];
        File::open(device)?.read_exact(&mut boot_sector)?;
        if !is_dirty(&boot_sector) {
            return Ok(());
        }
        umount(&self.mounted)?;
        let call = Invocation::new("fsck.fat").args(["-a", "-w", &device.to_string_lossy()]);
        match self.runner.run(&call) {
            // 1: errors were found and repaired (fsck.fat(8)).
            Err(error) if error.code() != Some(1) => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    }
}

/// Whether a FAT was not taken down in order: bit 0 of the state byte, at 0x41 in FAT32 and 0x25 in FAT16 (kernel
/// `include/uapi/linux/msdos_fs.h`, `struct fat_boot_sector`). FAT32 has no 16-bit length of the table (0x16).
fn is_dirty(boot_sector: &[u8; 512]) -> bool {
    let wide = boot_sector[0x16..0x18] == [0, 0];
    boot_sector[if wide { 0x41 } else { 0x25 }] & 1 == 1
}

fn words_of_variable(bytes: &[u8]) -> Option<String> {
    let text: Vec<u16> = bytes
        .get(ATTRIBUTES..)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    (!text.is_empty()).then(|| String::from_utf16_lossy(&text))
}

impl Esp for HostEsp {
    fn files(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.images())? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if !meta.is_file() {
                continue;
            }
            let label = label::of_image(File::open(entry.path())?);
            found.push(Found {
                name: entry.file_name().to_string_lossy().into_owned(),
                size: meta.len(),
                label,
            });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn digest(&self, name: &str) -> io::Result<Option<String>> {
        let file = match File::open(self.images().join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        // From the disk, not from what was just written into memory (posix_fadvise(2)).
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&file, 0, 0, advice)?;
        edgepair_host_io::digest::of_reader(file).map(Some)
    }

    fn pinned(&self) -> io::Result<Vec<String>> {
        let mut pinned = Vec::new();
        let conf = match fs::read_to_string(self.mounted.join("loader/loader.conf")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        for line in conf.lines() {
            let mut words = line.split_whitespace();
            if let Some(key @ ("default" | "preferred")) = words.next() {
                let value = words.collect::<Vec<_>>().join(" ");
                pinned.push(format!("loader.conf says `{key} {value}`"));
            }
        }
        for entry in fs::read_dir(self.mounted.join("loader/entries")).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.to_ascii_lowercase().ends_with(".conf") {
                pinned.push(format!("loader/entries/{name} is an entry of its own"));
            }
        }
        for name in PINS {
            let bytes = match fs::read(self.variables.join(format!("{name}-{VENDOR}"))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            pinned
                .extend(words_of_variable(&bytes).map(|value| format!("the variable {name} says `{value}`")));
        }
        Ok(pinned)
    }

    fn free(&self) -> io::Result<u64> {
        // The first access mounts it (automount).
        fs::read_dir(self.images())?;
        let stat = nix::sys::statvfs::statvfs(&self.mounted)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn unlock(&self) -> io::Result<Box<dyn Unlocked + '_>> {
        fs::read_dir(self.images())?;
        self.repair()?;
        fs::read_dir(self.images())?;
        self.remount(false)?;
        Ok(Box::new(HostUnlocked { esp: self, folder: self.images() }))
    }
}

struct HostUnlocked<'a> {
    esp: &'a HostEsp,
    folder: PathBuf,
}

impl HostUnlocked<'_> {
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

impl Unlocked for HostUnlocked<'_> {
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))?;
        self.sync()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    fn write(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).open(self.folder.join(name))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read])?;
        }
        file.seek(SeekFrom::Start(0))?;
        file.sync_all()?;
        self.sync()
    }
}

impl Drop for HostUnlocked<'_> {
    fn drop(&mut self) {
        // A power cut then finds nothing half-written. Where that fails, what was changed is on the disk all the same.
        if let Err(error) = self.esp.remount(true) {
            eprintln!("edgepair: the boot partition stays writable: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::boot::label::tests::image;
    use edgepair_host_io::HostRunner;

    #[test]
    fn a_folder_is_read_and_written() {
        let root = tempfile::tempdir().unwrap();
        let images = root.path().join(UKI_DIR);
        fs::create_dir_all(&images).unwrap();
        let esp = HostEsp::folder(root.path(), &root.path().join("none"), Arc::new(HostRunner));
        let content = image("ID=edgepair\nIMAGE_VERSION=1\n", 100);
        {
            let mut unlocked = esp.unlock().unwrap();
            unlocked.write("new.tmp", &mut content.as_slice()).unwrap();
            unlocked.rename("new.tmp", "edgepair_1.efi").unwrap();
            unlocked.write("broken.efi", &mut &b"x"[..]).unwrap();
            unlocked.remove("not there").unwrap();
        }
        let files = esp.files().unwrap();
        let seen: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.label.is_some())).collect();
        assert_eq!(seen, [("broken.efi", false), ("edgepair_1.efi", true)]);
        assert_eq!(esp.digest("edgepair_1.efi").unwrap(), Some(edgepair_host_io::digest::of_bytes(&content)));
        assert_eq!(esp.digest("edgepair_2.efi").unwrap(), None);
        assert!(esp.free().unwrap() > 0);
    }

    #[test]
    fn whoever_pins_an_entry_is_named() {
        let root = tempfile::tempdir().unwrap();
        let variables = root.path().join("efivars");
        for folder in [root.path().join("loader/entries"), variables.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        let put = |path: PathBuf, bytes: &[u8]| edgepair_host_io::atomic::write(&path, bytes, 0o644).unwrap();
        let esp = HostEsp::folder(root.path(), &variables, Arc::new(HostRunner));
        put(root.path().join("loader/loader.conf"), b"timeout 0\nconsole-mode keep\neditor no\n");
        put(variables.join(format!("LoaderEntryDefault-{VENDOR}")), &[7, 0, 0, 0, 0, 0]);
        assert_eq!(esp.pinned().unwrap(), [""; 0], "as an image has it; an empty variable pins nothing");
        put(root.path().join("loader/loader.conf"), b"#default x\ndefault edgepair_*\n");
        put(root.path().join("loader/entries/debian.conf"), b"linux /vmlinuz\n");
        put(variables.join(format!("LoaderEntryOneShot-{VENDOR}")), &[7, 0, 0, 0, b'a', 0, b'b', 0, 0, 0]);
        let pinned = esp.pinned().unwrap();
        assert_eq!(pinned.len(), 3, "{pinned:?}");
        assert!(
            pinned[0].contains("edgepair_*") && pinned[1].contains("debian") && pinned[2].contains("`ab`")
        );
    }

    #[test]
    fn the_dirty_bit_is_found_in_both_kinds() {
        let mut sector = [0; 512];
        assert!(!is_dirty(&sector));
        sector[0x41] = 1;
        assert!(is_dirty(&sector), "FAT32");
        sector[0x16] = 1;
        assert!(!is_dirty(&sector), "FAT16 keeps it elsewhere");
        sector[0x25] = 3;
        assert!(is_dirty(&sector));
    }
}
