//! Where the parts of a FAT file system are, and its allocation table (Microsoft FAT specification, sections 3 and 4).
//!
//! Told apart as Linux does it: 32 bits when the boot sector gives the table's size in its 32-bit field. By the letter
//! of the specification the number of clusters decides, but mkfs.fat makes small FAT32 volumes on request, and
//! systemd-repart always requests it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::bail;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: u64 = 512;

/// Sectors by number, counted from the start of the file system.
pub(crate) type Changes = BTreeMap<u64, [u8; SECTOR as usize]>;

/// Bits of an entry of the allocation table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// Where the root folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// At a place of its own: start and length in bytes.
    Fixed(u64, u64),
    /// In clusters, from this one on.
    Chain(u32),
}

/// A FAT file system inside a file or device. Places are in bytes from its start.
#[derive(Debug)]
pub(crate) struct Volume<'a> {
    file: &'a File,
    start: u64,
    pub width: Width,
    pub root: Root,
    pub cluster: u64,
    /// Number of clusters; they are counted from 2.
    clusters: u32,
    data: u64,
    table: u64,
    table_length: u64,
    copies: u64,
    /// FSInfo sector, for 32 bits.
    info: Option<u64>,
    /// Label in the boot sector.
    pub boot_label: String,
}

impl<'a> Volume<'a> {
    /// Reads the boot sector of the file system at `start..start + length`.
    pub fn open(file: &'a File, start: u64, length: u64) -> anyhow::Result<Self> {
        let mut boot = [0_u8; SECTOR as usize];
        file.read_exact_at(&mut boot, start)?;
        let number = |at: usize, bytes: usize| {
            boot[at..at + bytes].iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let (unit, per_cluster, reserved, copies) =
            (number(11, 2), number(13, 1), number(14, 2), number(16, 1));
        let good_unit = matches!(unit, 512 | 1024 | 2048 | 4096) && per_cluster.is_power_of_two();
        if boot[510..] != [0x55, 0xaa] || !good_unit || reserved == 0 || !(1..=2).contains(&copies) {
            bail!("this is no FAT file system");
        }
        let small_table = number(22, 2);
        let thirty_two = small_table == 0;
        let table_sectors = if thirty_two { number(36, 4) } else { small_table };
        let root_entries = number(17, 2);
        let total = if number(19, 2) == 0 { number(32, 4) } else { number(19, 2) };
        let table = reserved * unit;
        let root = table + copies * table_sectors * unit;
        let root_length = (root_entries * 32).div_ceil(unit) * unit;
        let (data, cluster) = (root + root_length, per_cluster * unit);
        let clusters = (total * unit).saturating_sub(data) / cluster;
        // The last seven numbers below 2^28 have meanings of their own.
        let clusters = u32::try_from(clusters).ok().filter(|count| (1..0x0fff_fff0).contains(count));
        let Some(clusters) = clusters.filter(|_| total * unit <= length && thirty_two == (root_entries == 0))
        else {
            bail!("the boot sector of the FAT file system contradicts itself");
        };
        if thirty_two && number(40, 2) & 0x80 != 0 {
            bail!("the copies of the allocation table differ on purpose; this is not supported");
        }
        let width = match clusters {
            _ if thirty_two => Width::ThirtyTwo,
            0..4085 => Width::Twelve,
            _ => Width::Sixteen,
        };
        let label = if thirty_two { &boot[71..82] } else { &boot[43..54] };
        let root = if thirty_two {
            Root::Chain(u32::try_from(number(44, 4))?)
        } else {
            Root::Fixed(root, root_length)
        };
        let volume = Self {
            file,
            start,
            width,
            root,
            cluster,
            clusters,
            data,
            table,
            table_length: table_sectors * unit,
            copies,
            info: thirty_two.then(|| number(48, 2) * unit),
            boot_label: String::from_utf8_lossy(label).trim().to_owned(),
        };
        if volume.entry_end(clusters + 1) > volume.table_length {
            bail!("the allocation table is too short for its file system");
        }
        Ok(volume)
    }

    /// Reads a part, as it will be with `changes`.
    pub fn read(&self, at: u64, length: u64, changes: &Changes) -> io::Result<Vec<u8>> {
        let (first, end) = (at / SECTOR, (at + length).div_ceil(SECTOR));
        let size = usize::try_from((end - first) * SECTOR).map_err(io::Error::other)?;
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, self.start + first * SECTOR)?;
        for (number, sector) in changes.range(first..end) {
            let place = ((number - first) * SECTOR) as usize;
            bytes[place..place + SECTOR as usize].copy_from_slice(sector);
        }
        let skip = (at % SECTOR) as usize;
        Ok(bytes[skip..skip + usize::try_from(length).map_err(io::Error::other)?].to_vec())
    }

    /// The sectors in which `bytes`, to stand at `at`, differ from what is there. `at` is a multiple of [`SECTOR`].
    pub fn difference(&self, at: u64, bytes: &[u8]) -> io::Result<Changes> {
        let before = self.read(at, bytes.len() as u64, &Changes::new())?;
        let mut changes = Changes::new();
        for (index, (new, old)) in
            bytes.chunks(SECTOR as usize).zip(before.chunks(SECTOR as usize)).enumerate()
        {
            if new != old {
                let mut sector = [0; SECTOR as usize];
                sector[..new.len()].copy_from_slice(new);
                changes.insert(at / SECTOR + index as u64, sector);
            }
        }
        Ok(changes)
    }

    /// First byte of a cluster; `None` for a number that no cluster has.
    pub fn place(&self, cluster: u32) -> Option<u64> {
        self.has(cluster).then(|| self.data + u64::from(cluster - 2) * self.cluster)
    }

    fn has(&self, cluster: u32) -> bool {
        (2..self.clusters + 2).contains(&cluster)
    }

    /// Where the entry of a cluster ends, in bytes from the start of the table.
    fn entry_end(&self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        match self.width {
            Width::Twelve => cluster * 3 / 2 + 2,
            Width::Sixteen => cluster * 2 + 2,
            Width::ThirtyTwo => cluster * 4 + 4,
        }
    }

    /// The allocation table, as it will be with `changes`.
    pub fn table(&self, changes: &Changes) -> io::Result<Table> {
        Ok(Table {
            width: self.width,
            clusters: self.clusters,
            bytes: self.read(self.table, self.table_length, changes)?,
        })
    }

    /// All copies of the table, where they differ from what is there.
    pub fn write_table(&self, table: &Table) -> io::Result<Changes> {
        let mut changes = Changes::new();
        for copy in 0..self.copies {
            changes.extend(self.difference(self.table + copy * self.table_length, &table.bytes)?);
        }
        Ok(changes)
    }

    /// The FSInfo sector with the number of free clusters, where there is one.
    pub fn write_info(&self, table: &Table) -> io::Result<Changes> {
        let Some(at) = self.info.filter(|at| *at > 0 && *at < self.table) else { return Ok(Changes::new()) };
        let mut sector = self.read(at, SECTOR, &Changes::new())?;
        if sector.starts_with(b"RRaA") {
            sector[488..492].copy_from_slice(&table.free().to_le_bytes());
        }
        self.difference(at, &sector)
    }
}

/// The allocation table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    width: Width,
    clusters: u32,
    bytes: Vec<u8>,
}

impl Table {
    fn get(&self, cluster: u32) -> u32 {
        let at = cluster as usize;
        let word = |at: usize, count: usize| {
            self.bytes[at..at + count].iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
        };
        match self.width {
            Width::Twelve => word(at * 3 / 2, 2) >> (4 * (at % 2)) & 0xfff,
            Width::Sixteen => word(at * 2, 2),
            Width::ThirtyTwo => word(at * 4, 4) & 0x0fff_ffff,
        }
    }

    fn set(&mut self, cluster: u32, value: u32) {
        let at = cluster as usize;
        match self.width {
            Width::Twelve => {
                let place = at * 3 / 2;
                let old = u32::from(self.bytes[place]) | u32::from(self.bytes[place + 1]) << 8;
                let shift = 4 * (at % 2);
                let new = old & !(0xfff << shift) | (value & 0xfff) << shift;
                self.bytes[place..place + 2].copy_from_slice(&new.to_le_bytes()[..2]);
            }
            Width::Sixteen => self.bytes[at * 2..at * 2 + 2].copy_from_slice(&value.to_le_bytes()[..2]),
            Width::ThirtyTwo => {
                // The upper four bits are reserved and kept.
                let kept = u32::from(self.bytes[at * 4 + 3] & 0xf0) << 24;
                self.bytes[at * 4..at * 4 + 4].copy_from_slice(&(value & 0x0fff_ffff | kept).to_le_bytes());
            }
        }
    }

    const fn end_mark(&self) -> u32 {
        match self.width {
            Width::Twelve => 0xfff,
            Width::Sixteen => 0xffff,
            Width::ThirtyTwo => 0x0fff_ffff,
        }
    }

    /// All clusters of a chain. A chain that leaves the file system or runs in a circle is an error.
    pub fn chain(&self, first: u32) -> anyhow::Result<Vec<u32>> {
        let mut chain = Vec::new();
        let mut cluster = first;
        // Eight numbers from the top mean the end.
        while cluster < self.end_mark() - 7 {
            if !(2..self.clusters + 2).contains(&cluster) || chain.len() > self.clusters as usize {
                bail!("the file system is damaged: a chain of clusters leads nowhere; run fsck.fat");
            }
            chain.push(cluster);
            cluster = self.get(cluster);
        }
        Ok(chain)
    }

    /// Takes `count` free clusters and chains them.
    pub fn allocate(&mut self, count: usize) -> anyhow::Result<Vec<u32>> {
        let free: Vec<u32> =
            (2..self.clusters + 2).filter(|cluster| self.get(*cluster) == 0).take(count).collect();
        if free.len() < count {
            bail!("the file system is full");
        }
        for pair in free.windows(2) {
            self.set(pair[0], pair[1]);
        }
        if let Some(last) = free.last() {
            self.set(*last, self.end_mark());
        }
        Ok(free)
    }

    /// Appends clusters to a chain.
    pub fn append(&mut self, last: u32, next: u32) {
        self.set(last, next);
    }

    /// Gives clusters back.
    pub fn release(&mut self, chain: &[u32]) {
        for cluster in chain {
            self.set(*cluster, 0);
        }
    }

    fn free(&self) -> u32 {
        (2..self.clusters + 2).map(|cluster| u32::from(self.get(cluster) == 0)).sum()
    }
}
