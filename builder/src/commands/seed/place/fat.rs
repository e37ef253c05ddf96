//! Changes a FAT file system so that a cut at any instant leaves the old files or the new ones.
//!
//! All changes are made in memory first, in two steps: new files under temporary names, in free clusters; then the old
//! names given to them. What reaches the disk is ordered by what a reader would follow:
//!
//! 1. content, into clusters that the old state calls free; then the allocation table of the first step, which has old
//!    *and* new chains;
//! 2. the root folder of the second step: one sector where all names are in one, and that is written whole or not at
//!    all; otherwise the seed's own sector last;
//! 3. the allocation table of the second step, which frees the old chains, and the rest.
//!
//! A cut between 2 and 3 leaves a few clusters lost, which `fsck.fat` finds; no file depends on them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, bail};
use edgepair_seed::SEED_FILE;
use fatfs::{FileSystem, FsOptions};

use super::Payload;
use super::overlay::{Changes, Overlay, SECTOR};

/// Puts the files into the FAT file system at `start..start + length`.
pub(super) fn put(file: &File, start: u64, length: u64, payload: &Payload) -> anyhow::Result<()> {
    let plan = plan(file, start, length, payload)?;
    for batch in plan.batches() {
        for (number, sector) in batch {
            file.write_all_at(sector, start + number * SECTOR)?;
        }
        file.sync_data()?;
    }
    Ok(())
}

/// Sectors to write, in this order, each group durable before the next.
#[derive(Debug, Default)]
struct Plan {
    content: Changes,
    tables: Changes,
    folder: Vec<Changes>,
    rest: Changes,
}

impl Plan {
    fn batches(&self) -> impl Iterator<Item = &Changes> {
        [&self.content, &self.tables]
            .into_iter()
            .chain(&self.folder)
            .chain([&self.rest])
            .filter(|batch| !batch.is_empty())
    }
}

fn plan(file: &File, start: u64, length: u64, payload: &Payload) -> anyhow::Result<Plan> {
    let geometry = Geometry::read(file, start)?;
    let mut overlay = Overlay::new(file, start, length);
    edit(&mut overlay, |root| {
        for (index, item) in payload.items.iter().enumerate() {
            let Some(content) = &item.content else { continue };
            let name = temporary(index);
            if root.open_file(&name).is_ok() {
                // Left by an earlier run that failed before it wrote anything else.
                root.remove(&name)?;
            }
            let mut new = root.create_file(&name)?;
            new.write_all(content)?;
            new.flush()?;
        }
        Ok(())
    })
    .context("the file system cannot take the files; is there room?")?;
    let first = overlay.changes()?;
    edit(&mut overlay, |root| {
        for (index, item) in payload.items.iter().enumerate() {
            match root.remove(&item.name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if item.content.is_some() {
                root.rename(&temporary(index), root, &item.name)?;
            }
        }
        Ok(())
    })?;
    verify(&mut overlay, payload)?;
    let second = overlay.changes()?;
    Ok(order(&geometry, file, start, first, second))
}

/// Short upper-case names take one entry of the folder each, so that all names fit into one sector more often.
fn temporary(index: usize) -> String {
    format!("EPNEW{index}.TMP")
}

/// The first day that FAT knows. No clock is asked, so the same seed gives the same partition; the library's own
/// default is a day that does not exist.
#[derive(Debug)]
struct FirstDay;

impl fatfs::TimeProvider for FirstDay {
    fn get_current_date(&self) -> fatfs::Date {
        fatfs::Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> fatfs::DateTime {
        let time = fatfs::Time { hour: 0, min: 0, sec: 0, millis: 0 };
        fatfs::DateTime { date: self.get_current_date(), time }
    }
}

fn options() -> FsOptions {
    FsOptions::new().update_accessed_date(false).time_provider(&FirstDay)
}

fn edit(
    overlay: &mut Overlay<'_>,
    change: impl FnOnce(&fatfs::Dir<'_, &mut Overlay<'_>>) -> io::Result<()>,
) -> io::Result<()> {
    overlay.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(overlay, options())?;
    change(&system.root_dir())?;
    system.unmount()
}

/// Reads every file back before anything is written.
fn verify(overlay: &mut Overlay<'_>, payload: &Payload) -> anyhow::Result<()> {
    overlay.seek(SeekFrom::Start(0))?;
    let system = FileSystem::new(overlay, options())?;
    let root = system.root_dir();
    for item in &payload.items {
        match (&item.content, root.open_file(&item.name)) {
            (Some(content), Ok(mut file)) => {
                let mut held = Vec::new();
                file.read_to_end(&mut held)?;
                if held != *content {
                    bail!("{} does not read back as it was written; nothing was changed", item.name);
                }
            }
            (Some(_), Err(error)) => {
                return Err(error).with_context(|| format!("{} is not there", item.name));
            }
            (None, Ok(_)) => bail!("{} cannot be removed; nothing was changed", item.name),
            (None, Err(_)) => {}
        }
    }
    Ok(())
}

/// Sorts the changes of both steps into the order in which they are safe.
fn order(geometry: &Geometry, file: &File, start: u64, first: Changes, second: Changes) -> Plan {
    let old_folder = geometry.root_sectors(file, start, &Changes::new());
    let folder = geometry.root_sectors(file, start, &second);
    let within = |ranges: &[Range<u64>], number: &u64| ranges.iter().any(|range| range.contains(number));
    let mut plan = Plan::default();
    for (number, sector) in first {
        if geometry.tables.contains(&number) {
            plan.tables.insert(number, sector);
        } else if number >= geometry.tables.end && !within(&old_folder, &number) {
            // A cluster by which the folder grows counts as content: until now there was anything in it.
            plan.content.insert(number, sector);
        }
    }
    let (mut names, mut with_seed) = (Changes::new(), Changes::new());
    for (number, sector) in second {
        if !within(&folder, &number) {
            let written = plan.content.get(&number).or_else(|| plan.tables.get(&number));
            if written != Some(&sector) {
                plan.rest.insert(number, sector);
            }
        } else if has_seed(&sector) {
            with_seed.insert(number, sector);
        } else {
            names.insert(number, sector);
        }
    }
    plan.folder = vec![names, with_seed];
    plan
}

/// Whether a sector of a folder has the short entry of the seed's file, `SEED~1.TOM` (FAT has three letters).
fn has_seed(sector: &[u8; SECTOR as usize]) -> bool {
    let stem = SEED_FILE.split('.').next().unwrap_or_default().to_uppercase();
    sector.chunks(32).any(|entry| {
        // Attribute 0x0f marks a piece of a long name; 0xe5 a free entry.
        entry[11] != 0x0f && entry[0] != 0xe5 && entry.starts_with(stem.as_bytes()) && entry[8..11] == *b"TOM"
    })
}

/// Where the parts of the file system are, in sectors of [`SECTOR`] bytes.
struct Geometry {
    /// All copies of the allocation table.
    tables: Range<u64>,
    /// Root folder with a place of its own: FAT12 and FAT16. Empty for FAT32.
    root: Range<u64>,
    /// First sector of the first data cluster.
    data: u64,
    /// Sectors of a cluster.
    cluster: u64,
    /// First cluster of the root folder, for FAT32.
    root_cluster: Option<u64>,
}

impl Geometry {
    /// From the boot sector (Microsoft FAT specification, section 3).
    fn read(file: &File, start: u64) -> anyhow::Result<Self> {
        let mut boot = [0_u8; SECTOR as usize];
        file.read_exact_at(&mut boot, start)?;
        let number = |at: usize, bytes: usize| {
            boot[at..at + bytes].iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let bytes = number(11, 2);
        if bytes < SECTOR || bytes % SECTOR != 0 {
            bail!("the file system has sectors of {bytes} bytes");
        }
        let unit = bytes / SECTOR;
        let small = number(22, 2);
        let table = if small == 0 { number(36, 4) } else { small };
        let tables = number(14, 2)..number(14, 2) + number(16, 1) * table;
        let root = tables.end..tables.end + (number(17, 2) * 32).div_ceil(bytes);
        Ok(Self {
            tables: tables.start * unit..tables.end * unit,
            data: root.end * unit,
            root: root.start * unit..root.end * unit,
            cluster: number(13, 1) * unit,
            root_cluster: (small == 0).then(|| number(44, 4)),
        })
    }

    /// Sectors of the root folder, with the allocation table as it will be.
    fn root_sectors(&self, file: &File, start: u64, changes: &Changes) -> Vec<Range<u64>> {
        let Some(mut cluster) = self.root_cluster else { return vec![self.root.clone()] };
        let mut found = Vec::new();
        // A folder has at most 65536 entries; a chain that goes on longer runs in a circle.
        for _ in 0..65536 {
            if cluster < 2 {
                break;
            }
            let first = self.data + (cluster - 2) * self.cluster;
            found.push(first..first + self.cluster);
            let at = cluster * 4;
            let number = self.tables.start + at / SECTOR;
            let mut sector = [0_u8; SECTOR as usize];
            match changes.get(&number) {
                Some(changed) => sector = *changed,
                None if file.read_exact_at(&mut sector, start + number * SECTOR).is_err() => break,
                None => {}
            }
            let within = (at % SECTOR) as usize;
            let entry = &sector[within..within + 4];
            let next =
                entry.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)) & 0x0fff_ffff;
            if next >= 0x0fff_fff8 {
                break;
            }
            cluster = next;
        }
        found
    }
}

#[cfg(test)]
#[path = "fat_tests.rs"]
mod tests;
