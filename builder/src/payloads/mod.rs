//! The payloads of a bundle, taken out of what a build wrote: root and hash tree from the disk image, the kernel image
//! from its file. Everything is compared with the build's manifest while it is read.

mod superblock;

use anyhow::{Context, bail, ensure};
use edgepair_bundle::Packer;
use edgepair_bundle::manifest::PayloadName;
use edgepair_host_io::digest;
use edgepair_layout::Slot;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// What of a build's `manifest.json` matters here.
#[derive(Debug, Deserialize)]
pub struct BuildManifest {
    schema: u32,
    /// Name of the image.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The board it was built for.
    pub board: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// dm-verity root hash.
    pub root_hash: String,
    /// Identity of the build.
    pub identity: String,
    disk_size: u64,
    partitions: Vec<Partition>,
    files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    label: String,
    offset: u64,
    raw_size: u64,
}

#[derive(Debug, Deserialize)]
struct FileEntry {
    sha256: String,
}

/// The folder that `edgepair build` wrote.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    /// Its manifest.
    pub manifest: BuildManifest,
}

impl Output {
    /// Opens a folder.
    ///
    /// # Errors
    /// When there is no build in it.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}\n  to do: name the folder that `edgepair build` wrote (`--out`)",
                path.display()
            )
        })?;
        let manifest: BuildManifest = serde_json::from_str(&text)
            .with_context(|| format!("{} is not the manifest of a build", path.display()))?;
        ensure!(
            manifest.schema == 1,
            "{} has schema {}, and this release reads schema 1\n  to do: build the image again",
            path.display(),
            manifest.schema
        );
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// `NAME_VERSION_ARCH`.
    pub fn stem(&self) -> String {
        let BuildManifest { name, version, architecture, .. } = &self.manifest;
        format!("{name}_{version}_{architecture}")
    }

    /// Adds all payloads.
    ///
    /// # Errors
    /// When something cannot be read, or is not what the build's manifest says.
    pub fn pack<S: Read + Write + Seek>(&self, packer: &mut Packer<S>) -> anyhow::Result<()> {
        let image = self.file("img.zst")?;
        let file = File::open(&image).with_context(|| format!("cannot read {}", image.display()))?;
        let mut hashed = Hashed { inner: BufReader::with_capacity(1 << 20, file), hasher: Sha256::new() };
        let mut disk = Disk { inner: zstd::Decoder::with_buffer(BufReader::new(&mut hashed))?, position: 0 };
        let read = || format!("cannot read the disk image in {}", image.display());
        let root_size = {
            let first = self.partition(Slot::A.root_label(), &mut disk).with_context(read)?;
            let size = superblock::erofs_size(&first)?;
            self.add(packer, PayloadName::Root, Slot::A.root_label(), &first, size, &mut disk)?;
            size
        };
        let first = self.partition(Slot::A.verity_label(), &mut disk).with_context(read)?;
        let size = superblock::verity_size(&first, root_size)?;
        self.add(packer, PayloadName::Verity, Slot::A.verity_label(), &first, size, &mut disk)?;
        // To the end, for the digest of the whole.
        io::copy(&mut disk, &mut io::sink()).with_context(read)?;
        let length = disk.position;
        drop(disk);
        io::copy(&mut hashed, &mut io::sink()).with_context(read)?;
        ensure!(length == self.manifest.disk_size, "{}", not_of_this_build(&image));
        self.compare(&image, &hex::encode(hashed.hasher.finalize()))?;

        let kernel = self.file("uki.efi")?;
        let bytes = fs::read(&kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
        self.compare(&kernel, &digest::of_bytes(&bytes))?;
        Ok(packer.add(PayloadName::Uki, &bytes[..])?)
    }

    fn file(&self, suffix: &str) -> anyhow::Result<PathBuf> {
        let name = format!("{}.{suffix}", self.stem());
        ensure!(
            self.manifest.files.contains_key(&name),
            "the build's manifest does not name {name}\n  to do: build the image again"
        );
        Ok(self.folder.join(name))
    }

    fn compare(&self, path: &Path, sum: &str) -> anyhow::Result<()> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let right = self.manifest.files.get(&name).is_some_and(|entry| entry.sha256 == sum);
        ensure!(right, "{}", not_of_this_build(path));
        Ok(())
    }

    /// Goes to a partition and reads its first 4 KiB, where both formats have their superblock.
    fn partition(&self, label: &str, disk: &mut Disk<impl Read>) -> anyhow::Result<[u8; 4096]> {
        let Some(row) = self.manifest.partitions.iter().find(|row| row.label == label) else {
            bail!("the build's manifest has no partition {label}\n  to do: build the image again")
        };
        let Some(between) = row.offset.checked_sub(disk.position) else {
            bail!("the partition {label} stands before the one that comes first in a bundle");
        };
        let skipped = io::copy(&mut disk.by_ref().take(between), &mut io::sink())?;
        ensure!(skipped == between, "the image ends before the partition {label}");
        let mut first = [0; 4096];
        disk.read_exact(&mut first)?;
        Ok(first)
    }

    fn add<S: Read + Write + Seek>(
        &self,
        packer: &mut Packer<S>,
        name: PayloadName,
        label: &str,
        first: &[u8],
        size: u64,
        disk: &mut Disk<impl Read>,
    ) -> anyhow::Result<()> {
        let room =
            self.manifest.partitions.iter().find(|row| row.label == label).map_or(0, |row| row.raw_size);
        ensure!(
            size <= room && size >= first.len() as u64,
            "what is in partition {label} says it has {size} bytes, and the partition has {room}\n  to do: build the image again"
        );
        let before = disk.position;
        packer.add(name, first.chain(disk.by_ref().take(size - first.len() as u64)))?;
        ensure!(
            disk.position - before == size - first.len() as u64,
            "the image ends within partition {label}"
        );
        Ok(())
    }
}

fn not_of_this_build(path: &Path) -> String {
    format!(
        "{} is not the file that the build's manifest names: it was changed or comes from another build\n  to do: build the image again",
        path.display()
    )
}

/// A reader that knows how far it is.
struct Disk<R> {
    inner: R,
    position: u64,
}

impl<R: Read> Read for Disk<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// A reader that takes the digest of what goes through.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
