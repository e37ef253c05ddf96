//! The root folder: short entries of 32 bytes, each with its long name in pieces before it (Microsoft FAT
//! specification, sections 6 and 7).

use std::ops::Range;

use anyhow::bail;

/// Bytes of an entry.
pub(crate) const ENTRY: usize = 32;
const FREE: u8 = 0xe5;
const LONG_NAME: u8 = 0x0f;
const FOLDER: u8 = 0x10;
const LABEL: u8 = 0x08;
/// The first day that FAT knows, 1 January 1980. No clock is asked, so the same seed gives the same partition.
const FIRST_DAY: u16 = 1 << 5 | 1;

/// A file, a folder or the label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Long name, else the short one.
    pub name: String,
    /// Number of the short entry.
    pub at: usize,
    /// Numbers of all its entries.
    pub slots: Range<usize>,
    pub attributes: u8,
    pub first: u32,
    pub size: u32,
}

impl Entry {
    pub const fn is_label(&self) -> bool {
        self.attributes & LABEL != 0
    }

    pub const fn is_folder(&self) -> bool {
        self.attributes & FOLDER != 0
    }
}

/// The folder's bytes, all of its clusters.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub bytes: Vec<u8>,
}

impl Folder {
    /// All entries up to the end mark.
    pub fn entries(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut pieces: Vec<(usize, u8, [u16; 13])> = Vec::new();
        for (at, entry) in self.bytes.chunks_exact(ENTRY).enumerate() {
            match (entry[0], entry[11]) {
                (0, _) => break,
                (FREE, _) => pieces.clear(),
                (order, attributes) if attributes & 0x3f == LONG_NAME => {
                    if order & 0x40 != 0 {
                        pieces.clear();
                    }
                    pieces.push((at, entry[13], letters(entry)));
                }
                (_, attributes) => {
                    let start = at - pieces.len();
                    // Pieces that belong to another short name are orphans of an older system.
                    let own = pieces.iter().enumerate().all(|(index, (place, sum, _))| {
                        *place == start + index && *sum == checksum(&entry[..11])
                    });
                    let long: Vec<u16> = pieces.iter().rev().flat_map(|(_, _, letters)| *letters).collect();
                    let long: Vec<u16> = long.into_iter().take_while(|letter| *letter != 0).collect();
                    let has_long = own && !long.is_empty() && attributes & LABEL == 0;
                    let name = if has_long {
                        String::from_utf16_lossy(&long)
                    } else {
                        short_name(entry, attributes)
                    };
                    let word = |at: usize| u32::from(entry[at]) | u32::from(entry[at + 1]) << 8;
                    found.push(Entry {
                        name,
                        at,
                        slots: if has_long { start..at + 1 } else { at..at + 1 },
                        attributes,
                        first: word(20) << 16 | word(26),
                        size: word(28) | word(30) << 16,
                    });
                    pieces.clear();
                }
            }
        }
        found
    }

    /// The file of this name, in capitals or not.
    pub fn find(&self, name: &str) -> anyhow::Result<Option<Entry>> {
        let found = self
            .entries()
            .into_iter()
            .find(|entry| !entry.is_label() && entry.name.eq_ignore_ascii_case(name));
        if found.as_ref().is_some_and(Entry::is_folder) {
            bail!("{name} is a folder there; remove it first");
        }
        Ok(found)
    }

    /// Lets an entry point to other content.
    pub fn point(&mut self, at: usize, first: u32, size: u32) {
        let entry = &mut self.bytes[at * ENTRY..(at + 1) * ENTRY];
        entry[20..22].copy_from_slice(&first.to_le_bytes()[2..]);
        entry[26..28].copy_from_slice(&first.to_le_bytes()[..2]);
        entry[28..32].copy_from_slice(&size.to_le_bytes());
    }

    /// Frees all entries of a file.
    pub fn remove(&mut self, slots: Range<usize>) {
        for slot in slots {
            self.bytes[slot * ENTRY] = FREE;
        }
    }

    /// Adds a file; `None` when there is no room for its name. Gives the number of the short entry.
    pub fn add(&mut self, name: &str, first: u32, size: u32) -> Option<usize> {
        let short = self.unused_short_name(name);
        let units: Vec<u16> = name.encode_utf16().collect();
        let count = units.len().div_ceil(13);
        let start = self.free_run(count + 1)?;
        let end_mark = self.bytes.chunks_exact(ENTRY).position(|entry| entry[0] == 0);
        for piece in 0..count {
            // The last piece comes first, with a mark; behind the end of the name a zero, then ones.
            let number = count - piece;
            let letter = |index: usize| match units.get((number - 1) * 13 + index) {
                Some(unit) => *unit,
                None if (number - 1) * 13 + index == units.len() => 0,
                None => 0xffff,
            };
            let entry = &mut self.bytes[(start + piece) * ENTRY..(start + piece + 1) * ENTRY];
            entry.fill(0);
            entry[0] = u8::try_from(number).ok()? | if piece == 0 { 0x40 } else { 0 };
            entry[11] = LONG_NAME;
            entry[13] = checksum(&short);
            for (index, place) in PLACES.into_iter().enumerate() {
                entry[place..place + 2].copy_from_slice(&letter(index).to_le_bytes());
            }
        }
        let at = start + count;
        let entry = &mut self.bytes[at * ENTRY..(at + 1) * ENTRY];
        entry.fill(0);
        entry[..11].copy_from_slice(&short);
        entry[11] = 0x20;
        for place in [16, 18, 24] {
            entry[place..place + 2].copy_from_slice(&FIRST_DAY.to_le_bytes());
        }
        self.point(at, first, size);
        // The end mark was written over: it has to follow, whatever stood behind it.
        if end_mark.is_some_and(|end| end <= at) && (at + 1) * ENTRY < self.bytes.len() {
            self.bytes[(at + 1) * ENTRY] = 0;
        }
        Some(at)
    }

    /// First of `count` free entries in a row.
    fn free_run(&self, count: usize) -> Option<usize> {
        let mut run = 0;
        let mut ended = false;
        for (at, entry) in self.bytes.chunks_exact(ENTRY).enumerate() {
            // Behind the end mark everything is free, whatever stands there.
            ended |= entry[0] == 0;
            run = if ended || entry[0] == FREE { run + 1 } else { 0 };
            if run == count {
                return Some(at + 1 - count);
            }
        }
        None
    }

    /// `SEED~1.TOM` for `seed.toml`, with the first number that is not in use.
    fn unused_short_name(&self, name: &str) -> [u8; 11] {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let plain = |text: &str, most: usize| -> Vec<u8> {
            let letters = text.bytes().filter(|letter| *letter != b'.');
            let plain =
                letters.map(|l| if l.is_ascii_alphanumeric() { l.to_ascii_uppercase() } else { b'_' });
            plain.take(most).collect()
        };
        let used: Vec<&[u8]> = self.bytes.chunks_exact(ENTRY).map(|entry| &entry[..11]).collect();
        let candidate = |number: usize| {
            let tail = format!("~{number}");
            let mut short = [b' '; 11];
            let stem = plain(stem, 8 - tail.len());
            short[..stem.len()].copy_from_slice(&stem);
            short[stem.len()..stem.len() + tail.len()].copy_from_slice(tail.as_bytes());
            let extension = plain(extension, 3);
            short[8..8 + extension.len()].copy_from_slice(&extension);
            short
        };
        // There are fewer entries than numbers, so one is free.
        (1..=used.len() + 1)
            .map(candidate)
            .find(|short| !used.contains(&short.as_slice()))
            .unwrap_or(candidate(1))
    }
}

/// Where the thirteen letters of a piece of a long name are.
const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

fn letters(entry: &[u8]) -> [u16; 13] {
    PLACES.map(|place| u16::from(entry[place]) | u16::from(entry[place + 1]) << 8)
}

fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0_u8, |sum, letter| sum.rotate_right(1).wrapping_add(*letter))
}

fn short_name(entry: &[u8], attributes: u8) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if attributes & LABEL != 0 {
        return text(&entry[..11]);
    }
    let (stem, extension) = (text(&entry[..8]), text(&entry[8..11]));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}
