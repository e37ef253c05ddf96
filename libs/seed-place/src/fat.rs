//! Changes a FAT file system so that a cut at any instant leaves the old files or the new ones.
//!
//! Everything is planned before anything is written, and reaches the disk in the order in which a reader would *not*
//! follow it yet:
//!
//! 1. content, into clusters that the old state calls free; then an allocation table with the old *and* the new chains;
//! 2. the root folder: files that are replaced keep their names, and only the pointers in it change. One sector where
//!    all names are in one, and that is written whole or not at all; otherwise the seed's own sector last;
//! 3. the allocation table without the old chains, and the count of free clusters.
//!
//! A cut between 2 and 3 leaves a few clusters lost, which `fsck.fat` finds; no file depends on them.

mod folder;
mod geometry;
#[cfg(test)]
mod overlay;

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, bail};
use edgepair_seed::SEED_FILE;

use crate::Payload;
use folder::{ENTRY, Folder};
use geometry::{Changes, Root, SECTOR, Table, Volume};

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

/// Label of the file system: from its root folder, else from its boot sector. `None` when it is no FAT.
pub(super) fn label(file: &File, start: u64, length: u64) -> Option<String> {
    let volume = Volume::open(file, start, length).ok()?;
    let none = Changes::new();
    let (folder, _) = root(&volume, &volume.table(&none).ok()?, &none).ok()?;
    let entry = folder.entries().into_iter().find(folder::Entry::is_label);
    Some(entry.map_or(volume.boot_label, |entry| entry.name))
}

/// Sectors to write, in this order, each group durable before the next.
#[derive(Debug, Default)]
struct Plan {
    content: Changes,
    tables: Changes,
    folder: [Changes; 2],
    rest: Changes,
}

impl Plan {
    fn batches(&self) -> impl Iterator<Item = &Changes> {
        [&self.content, &self.tables, &self.folder[0], &self.folder[1], &self.rest]
            .into_iter()
            .filter(|batch| !batch.is_empty())
    }

    /// The state after everything is written.
    fn all(&self) -> Changes {
        self.batches().flatten().map(|(number, sector)| (*number, *sector)).collect()
    }
}

/// The root folder, and the places of its pieces with their lengths.
fn root(volume: &Volume<'_>, table: &Table, changes: &Changes) -> anyhow::Result<(Folder, Vec<(u64, u64)>)> {
    let pieces: Vec<(u64, u64)> = match volume.root {
        Root::Fixed(at, length) => vec![(at, length)],
        Root::Chain(first) => table
            .chain(first)?
            .into_iter()
            .filter_map(|cluster| Some((volume.place(cluster)?, volume.cluster)))
            .collect(),
    };
    let mut bytes = Vec::new();
    for (at, length) in &pieces {
        bytes.extend(volume.read(*at, *length, changes)?);
    }
    // A folder has at most 65536 entries.
    if bytes.len() > 65536 * ENTRY {
        bail!("the root folder of the file system is too large");
    }
    Ok((Folder { bytes }, pieces))
}

fn plan(file: &File, start: u64, length: u64, payload: &Payload) -> anyhow::Result<Plan> {
    let none = Changes::new();
    let volume = Volume::open(file, start, length)?;
    let mut both = volume.table(&none)?;
    let (mut folder, mut pieces) = root(&volume, &both, &none)?;
    let mut plan = Plan::default();
    let mut old_chains = Vec::new();
    let mut seed_entry = None;
    for item in &payload.items {
        let old = folder.find(&item.name)?;
        if let Some(entry) = old.as_ref().filter(|entry| entry.first != 0) {
            old_chains.extend(both.chain(entry.first)?);
        }
        let Some(content) = &item.content else {
            if let Some(entry) = old {
                folder.remove(entry.slots);
            }
            continue;
        };
        let first = store(&volume, &mut both, content, &mut plan.content)?;
        let size = u32::try_from(content.len()).context("a file is too large")?;
        let at = match old {
            Some(entry) => {
                folder.point(entry.at, first, size);
                entry.at
            }
            None => match folder.add(&item.name, first, size) {
                Some(at) => at,
                None => {
                    grow(&volume, &mut both, &mut folder, &mut pieces, &mut plan.content)?;
                    folder.add(&item.name, first, size).context("the root folder is full")?
                }
            },
        };
        if item.name == SEED_FILE {
            seed_entry = Some(at);
        }
    }
    plan.tables = volume.write_table(&both)?;
    let mut within = 0;
    for (at, length) in pieces {
        let end = within + usize::try_from(length)?;
        for (number, sector) in volume.difference(at, &folder.bytes[within..end])? {
            let inside = within as u64 + number * SECTOR - at..within as u64 + (number + 1) * SECTOR - at;
            let has_seed = seed_entry.is_some_and(|entry| inside.contains(&((entry * ENTRY) as u64)));
            plan.folder[usize::from(has_seed)].insert(number, sector);
        }
        within = end;
    }
    let mut table = both;
    table.release(&old_chains);
    // Against what will be there by then, which is not what is there now.
    plan.rest = volume.write_table(&table)?;
    for number in plan.tables.keys() {
        if !plan.rest.contains_key(number) {
            let mut sector = [0; SECTOR as usize];
            sector.copy_from_slice(&volume.read(number * SECTOR, SECTOR, &none)?);
            plan.rest.insert(*number, sector);
        }
    }
    plan.rest.retain(|number, sector| plan.tables.get(number) != Some(sector));
    plan.rest.extend(volume.write_info(&table)?);
    verify(&volume, &plan.all(), payload)?;
    Ok(plan)
}

/// Puts content into free clusters and gives the first; 0 for no content.
fn store(
    volume: &Volume<'_>,
    table: &mut Table,
    content: &[u8],
    changes: &mut Changes,
) -> anyhow::Result<u32> {
    let size = usize::try_from(volume.cluster)?;
    let chain = table.allocate(content.len().div_ceil(size))?;
    for (cluster, part) in chain.iter().zip(content.chunks(size)) {
        fill(volume, *cluster, part, changes)?;
    }
    Ok(chain.first().copied().unwrap_or(0))
}

/// A whole cluster: the content, and zeros behind it.
fn fill(volume: &Volume<'_>, cluster: u32, part: &[u8], changes: &mut Changes) -> anyhow::Result<()> {
    let mut bytes = part.to_vec();
    bytes.resize(usize::try_from(volume.cluster)?, 0);
    let at = volume.place(cluster).context("a cluster outside the file system")?;
    changes.extend(volume.difference(at, &bytes)?);
    Ok(())
}

/// Adds an empty cluster to the root folder. It counts as content: until now there was anything in it.
fn grow(
    volume: &Volume<'_>,
    table: &mut Table,
    folder: &mut Folder,
    pieces: &mut Vec<(u64, u64)>,
    changes: &mut Changes,
) -> anyhow::Result<()> {
    let Root::Chain(first) = volume.root else {
        bail!("the root folder is full; remove files that are not needed")
    };
    let last = *table.chain(first)?.last().context("the file system has no root folder")?;
    let added = table.allocate(1)?[0];
    table.append(last, added);
    fill(volume, added, &[], changes)?;
    pieces.push((volume.place(added).context("a cluster outside the file system")?, volume.cluster));
    folder.bytes.resize(folder.bytes.len() + usize::try_from(volume.cluster)?, 0);
    Ok(())
}

/// All files of the root folder with their content, as they will be with `changes`.
fn read_files(volume: &Volume<'_>, changes: &Changes) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let table = volume.table(changes)?;
    let (folder, _) = root(volume, &table, changes)?;
    let mut files = Vec::new();
    for entry in folder.entries().into_iter().filter(|entry| !entry.is_label() && !entry.is_folder()) {
        let mut content = Vec::new();
        for cluster in if entry.first == 0 { Vec::new() } else { table.chain(entry.first)? } {
            let at = volume.place(cluster).context("a cluster outside the file system")?;
            content.extend(volume.read(at, volume.cluster, changes)?);
        }
        content.truncate(usize::try_from(entry.size)?);
        files.push((entry.name, content));
    }
    Ok(files)
}

/// Reads every file back, as it will be, before anything is written.
fn verify(volume: &Volume<'_>, changes: &Changes, payload: &Payload) -> anyhow::Result<()> {
    let files = read_files(volume, changes)?;
    for item in &payload.items {
        let mut held =
            files.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&item.name)).map(|(_, held)| held);
        if held.next() != item.content.as_ref() || held.next().is_some() {
            bail!("{} would not read back as it should; nothing was changed", item.name);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "fat_tests.rs"]
mod tests;
