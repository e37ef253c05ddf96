//! A model of systemd-boot: in which order it offers entries, which one it boots, how it counts.
//!
//! Source: systemd `src/boot/boot.c` (`boot_entry_compare`, `boot_entry_bump_counters`), UAPI "Boot Loader Specification",
//! section "Sorting". Versions differ in one thing: whether the counter is part of an entry's id, by which entries are
//! sorted where everything before is equal. What is concluded here has to hold for both.

use super::entry::{Counter, Entry};
use std::cmp::Ordering;

/// Whether the counter is part of an entry's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Older systemd-boot.
    WithCounter,
    /// Newer systemd-boot.
    WithoutCounter,
}

/// Both kinds.
pub const BOTH: [Ids; 2] = [Ids::WithCounter, Ids::WithoutCounter];

/// Order of two entries: less is offered first.
pub fn compare(a: &Entry, b: &Entry, ids: Ids) -> Ordering {
    let exhausted = |entry: &Entry| entry.counter.is_some_and(|counter| counter.left == 0);
    let (key_a, key_b) = (&a.label.sort_key, &b.label.sort_key);
    let by_key = match (key_a, key_b) {
        (Some(a_key), Some(b_key)) => {
            let version = |entry: &Entry| entry.label.version.clone().unwrap_or_default();
            a_key.cmp(b_key).then_with(|| newest_first(&version(a), &version(b)))
        }
        _ => key_a.is_none().cmp(&key_b.is_none()),
    };
    let id = |entry: &Entry| match ids {
        Ids::WithCounter => entry.file.to_lowercase(),
        Ids::WithoutCounter => format!("{}.efi", entry.stem.to_lowercase()),
    };
    exhausted(a).cmp(&exhausted(b)).then(by_key).then_with(|| newest_first(&id(a), &id(b))).then_with(|| {
        match (a.counter, b.counter) {
            (Some(a), Some(b)) => b.left.cmp(&a.left).then(a.done.cmp(&b.done)),
            _ => Ordering::Equal,
        }
    })
}

fn newest_first(a: &str, b: &str) -> Ordering {
    uapi_version::strverscmp(b, a)
}

/// Entries in the order in which they are offered.
pub fn order(entries: &[Entry], ids: Ids) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| compare(a, b, ids));
    sorted
}

/// The entry that boots when nobody presses a key; `None` when there is none, or when two stand equal and it depends on
/// their places in the folder.
pub fn chosen(entries: &[Entry], ids: Ids) -> Option<&Entry> {
    let sorted = order(entries, ids);
    let first = *sorted.first()?;
    let tied = sorted.get(1).is_some_and(|second| compare(first, second, ids) == Ordering::Equal);
    (!tied).then_some(first)
}

/// The entry as it is named once an attempt was counted.
pub fn counted(entry: &Entry) -> Entry {
    match entry.counter {
        None => entry.clone(),
        Some(Counter { left, done }) => {
            entry.with(Some(Counter { left: left.saturating_sub(1), done: done.saturating_add(1) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::boot::entry::Label;

    fn entry(file: &str, sort_key: Option<&str>, version: Option<&str>) -> Entry {
        let label = Label { sort_key: sort_key.map(str::to_owned), version: version.map(str::to_owned) };
        Entry::parse(file, label).unwrap()
    }

    fn files(entries: &[Entry], ids: Ids) -> Vec<&str> {
        order(entries, ids).into_iter().map(|entry| entry.file.as_str()).collect()
    }

    #[test]
    fn order_of_the_specification() {
        let entries = [
            entry("edgepair_9+0-3.efi", Some("edgepair"), Some("9")),
            entry("edgepair_2.efi", Some("edgepair"), Some("2")),
            entry("edgepair_10+2-1.efi", Some("edgepair"), Some("10")),
            entry("old-style-99.efi", None, None),
            entry("a-first.efi", Some("another"), Some("1")),
        ];
        for ids in BOTH {
            let order = files(&entries, ids);
            let wanted = [
                "a-first.efi",
                "edgepair_10+2-1.efi",
                "edgepair_2.efi",
                "old-style-99.efi",
                "edgepair_9+0-3.efi",
            ];
            assert_eq!(order, wanted, "sort key, version downwards, without a key, exhausted");
        }
        let label = |file| entry(file, Some("edgepair"), Some("1"));
        let twins = [label("edgepair_1+3.efi"), label("edgepair_1+1-2.efi")];
        assert_eq!(chosen(&twins, Ids::WithoutCounter), Some(&twins[0]), "more tries left first");
        let twins = [label("edgepair_1.efi"), label("edgepair_1+1-2.efi")];
        assert_eq!(chosen(&twins, Ids::WithoutCounter), None, "it depends on the folder");
    }

    #[test]
    fn attempts_are_counted_to_the_end() {
        let mut entry = entry("edgepair_1+2.efi", None, None);
        let mut names = Vec::new();
        for _ in 0..3 {
            entry = counted(&entry);
            names.push(entry.file.clone());
        }
        assert_eq!(names, ["edgepair_1+1-1.efi", "edgepair_1+0-2.efi", "edgepair_1+0-3.efi"]);
    }
}
