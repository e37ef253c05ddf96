use super::overlay::Overlay;
use super::*;
use fatfs::{FileSystem, FsOptions};
use proptest::prelude::*;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

const START: u64 = 1 << 20;

/// An image with a FAT file system at [`START`], labelled SEED, with a file of its own in it.
fn image(size: u64) -> File {
    // What was on the stick before: free clusters are not empty ones.
    let mut volume = Cursor::new(b"old stuff       ".repeat(usize::try_from(size / 16).expect("fits")));
    let mut options = fatfs::FormatVolumeOptions::new().volume_label(*b"SEED       ");
    if size == SIZES[2] {
        options = options.fat_type(fatfs::FatType::Fat32).bytes_per_cluster(512);
    }
    fatfs::format_volume(&mut volume, options).expect("formats");
    let system = FileSystem::new(&mut volume, FsOptions::new()).expect("opens");
    system
        .root_dir()
        .create_file("README.TXT")
        .and_then(|mut file| file.write_all(b"hello"))
        .expect("writes");
    system.unmount().expect("unmounts");
    let mut file = tempfile::tempfile().expect("tempfile");
    file.set_len(START + size + 4096).expect("grows");
    file.seek(SeekFrom::Start(START)).expect("seeks");
    file.write_all(volume.get_ref()).expect("writes");
    file
}

fn payload(word: &str, node: bool) -> Payload {
    let mut payload = Payload::default();
    payload.secret("pair.secret", format!("{word}-secret").repeat(40).as_bytes());
    if node {
        payload.file("node", b"a\n");
    } else {
        payload.remove("node");
    }
    payload.file(SEED_FILE, format!("# {word}\n").repeat(500).as_bytes());
    payload
}

/// What a node would read: all files of the root folder by name.
fn read(file: &File, size: u64, changes: &Changes) -> Vec<(String, Vec<u8>)> {
    let mut overlay = Overlay::new(file, START, size);
    for (number, sector) in changes {
        overlay.seek(SeekFrom::Start(number * SECTOR)).expect("seeks");
        overlay.write_all(sector).expect("writes");
    }
    overlay.seek(SeekFrom::Start(0)).expect("seeks");
    let system = FileSystem::new(overlay, FsOptions::new().update_accessed_date(false)).expect("opens");
    let mut files: Vec<(String, Vec<u8>)> = system
        .root_dir()
        .iter()
        .map(|entry| {
            let entry = entry.expect("an entry");
            let mut content = Vec::new();
            entry.to_file().read_to_end(&mut content).expect("reads");
            (entry.file_name(), content)
        })
        .collect();
    files.sort();
    files
}

fn expected(payload: &Payload) -> Vec<(String, Vec<u8>)> {
    let kept = payload.items.iter().filter_map(|item| Some((item.name.clone(), item.content.clone()?)));
    let mut files: Vec<(String, Vec<u8>)> =
        kept.chain([("README.TXT".to_owned(), b"hello".to_vec())]).collect();
    files.sort();
    files
}

/// All copies of the allocation table.
fn tables(file: &File) -> Vec<Vec<u8>> {
    let mut boot = [0_u8; 512];
    file.read_exact_at(&mut boot, START).expect("reads");
    let number = |at: usize| u64::from(boot[at]) | u64::from(boot[at + 1]) << 8;
    let length = number(11) * if number(22) == 0 { number(36) } else { number(22) };
    let copy = |index: u64| {
        let mut bytes = vec![0; usize::try_from(length).expect("fits")];
        file.read_exact_at(&mut bytes, START + number(14) * number(11) + index * length).expect("reads");
        bytes
    };
    (0..u64::from(boot[16])).map(copy).collect()
}

/// FAT12, FAT16 and FAT32, by size.
const SIZES: [u64; 3] = [1 << 20, 16 << 20, 64 << 20];

#[test]
fn files_are_put_replaced_and_removed() {
    for size in SIZES {
        let file = image(size);
        for (word, node) in [("first", true), ("second", true), ("third", false)] {
            put(&file, START, size, &payload(word, node)).expect("puts");
            let tables = tables(&file);
            assert!(tables.len() == 2 && tables[0] == tables[1], "{size} {word}: the copies differ");
            assert_eq!(read(&file, size, &Changes::new()), expected(&payload(word, node)), "{size} {word}");
        }
    }
}

/// The power goes after every single sector: a reader then finds the old files or the new ones, and no mixture.
#[test]
fn a_cut_leaves_the_old_or_the_new() {
    for size in SIZES {
        let file = image(size);
        let states = [payload("first", true), payload("second", true), payload("third", false)];
        let mut old = vec![("README.TXT".to_owned(), b"hello".to_vec())];
        for state in &states {
            let plan = plan(&file, START, size, state).expect("plans");
            let new = expected(state);
            let mut written = Changes::new();
            let (mut seen_old, mut seen_new) = (0, 0);
            for (number, sector) in plan.batches().flatten() {
                let files = read(&file, size, &written);
                if files == old {
                    seen_old += 1;
                } else {
                    assert_eq!(files, new, "{size}: neither old nor new after {} sectors", written.len());
                    seen_new += 1;
                }
                written.insert(*number, *sector);
            }
            assert_eq!(read(&file, size, &written), new);
            assert!(seen_old > 1, "{size}: the switch is not the first thing that happens");
            assert_eq!(plan.folder.iter().map(Changes::len).sum::<usize>(), 1, "{size}: one sector switches");
            assert!(seen_new > 0 || plan.rest.is_empty(), "{size}");
            put(&file, START, size, state).expect("puts");
            old = new;
        }
    }
}

/// With many long names they do not fit into one sector; who sees the new seed then sees all its companions.
#[test]
fn a_crowded_folder_switches_the_seed_last() {
    let size = SIZES[2];
    let file = image(size);
    let crowded = |word: &str| {
        let mut payload = Payload::default();
        for number in 0..8 {
            payload.secret(&format!("a-companion-with-a-long-name-{number}.secret"), word.as_bytes());
        }
        payload.file(SEED_FILE, format!("# {word}\n").repeat(500).as_bytes());
        payload
    };
    let seed = |files: &[(String, Vec<u8>)]| files.iter().find(|(name, _)| name == SEED_FILE).cloned();
    let mut old = vec![("README.TXT".to_owned(), b"hello".to_vec())];
    // The first time the folder grows by clusters in which there was anything.
    for word in ["first", "second"] {
        let new = expected(&crowded(word));
        let plan = plan(&file, START, size, &crowded(word)).expect("plans");
        assert!(plan.folder.iter().map(Changes::len).sum::<usize>() > 1, "the names are spread over sectors");
        let mut written = Changes::new();
        for (number, sector) in plan.batches().flatten() {
            let now = read(&file, size, &written);
            assert!(seed(&now) == seed(&old) || now == new, "{word}: after {} sectors", written.len());
            let strange = now.iter().find(|(name, _)| !new.iter().any(|(known, _)| known == name));
            assert_eq!(strange, None, "{word}: after {} sectors", written.len());
            written.insert(*number, *sector);
        }
        assert_eq!(read(&file, size, &written), new);
        put(&file, START, size, &crowded(word)).expect("puts");
        old = new;
    }
}

#[test]
fn free_clusters_are_counted_for_fat32() {
    let size = SIZES[2];
    let file = image(size);
    for word in ["first", "second"] {
        put(&file, START, size, &payload(word, true)).expect("puts");
        let clusters =
            FileSystem::new(Overlay::new(&file, START, size), FsOptions::new()).expect("opens").stats();
        let clusters = clusters.expect("counts").total_clusters() as usize;
        let table = &tables(&file)[0];
        let free = table.chunks(4).skip(2).take(clusters).filter(|entry| **entry == [0; 4]).count();
        let mut info = [0_u8; 4];
        file.read_exact_at(&mut info, START + 512 + 488).expect("reads");
        assert_eq!(u32::from_le_bytes(info) as usize, free, "{word}");
    }
}

#[test]
fn short_names_differ_and_the_folder_ends_where_it_should() {
    // An end mark, and behind it what an older folder left.
    let mut folder = Folder { bytes: vec![b'X'; 64 * ENTRY] };
    folder.bytes[0] = 0;
    assert_eq!(folder.entries(), Vec::new());
    for name in ["companion-1.secret", "companion-2.secret", "companion-3.secret"] {
        folder.add(name, 5, 7).expect("room");
        assert_eq!(
            folder.find(name).expect("no folder").map(|entry| (entry.first, entry.size)),
            Some((5, 7))
        );
    }
    let entries = folder.entries();
    assert_eq!(entries.len(), 3);
    let mut short: Vec<&[u8]> = entries.iter().map(|entry| &folder.bytes[entry.at * ENTRY..][..11]).collect();
    short.sort_unstable();
    short.dedup();
    assert_eq!(short, [b"COMPAN~1SEC", b"COMPAN~2SEC", b"COMPAN~3SEC"]);
    folder.remove(entries[1].slots.clone());
    assert_eq!(folder.entries().len(), 2);
    assert_eq!(folder.find("companion-2.secret").expect("no folder"), None);
}

#[test]
fn nothing_outside_the_file_system_changes() {
    let size = SIZES[1];
    let file = image(size);
    let outside = |file: &File| {
        let mut bytes = vec![0; usize::try_from(START).expect("fits") + 4096];
        file.read_exact_at(&mut bytes[..1 << 20], 0).expect("reads");
        file.read_exact_at(&mut bytes[1 << 20..], START + size).expect("reads");
        bytes
    };
    file.write_all_at(&[0xaa; 4096], START - 4096).expect("writes");
    file.write_all_at(&[0xbb; 4096], START + size).expect("writes");
    let before = outside(&file);
    put(&file, START, size, &payload("first", true)).expect("puts");
    assert_eq!(outside(&file), before);
}

#[test]
fn a_full_file_system_is_left_as_it_was() {
    let size = SIZES[0];
    let file = image(size);
    put(&file, START, size, &payload("first", true)).expect("puts");
    let mut large = payload("second", true);
    large.file("large", &vec![7; 2 << 20]);
    assert!(put(&file, START, size, &large).is_err());
    assert_eq!(read(&file, size, &Changes::new()), expected(&payload("first", true)));
}

#[test]
fn old_clusters_become_free_again() {
    let size = SIZES[0];
    let file = image(size);
    // The whole file system would be full after nine times.
    for round in 0..20 {
        let mut payload = payload(if round % 2 == 0 { "even" } else { "odd" }, true);
        payload.file("large.secret", &[round; 100 << 10]);
        put(&file, START, size, &payload).expect("puts");
    }
}

#[test]
fn what_does_not_read_back_is_noticed() {
    let size = SIZES[0];
    let file = image(size);
    put(&file, START, size, &payload("first", true)).expect("puts");
    let volume = Volume::open(&file, START, size).expect("opens");
    let verdict = |payload: &Payload| verify(&volume, &Changes::new(), payload).is_ok();
    assert!(verdict(&payload("first", true)));
    assert!(!verdict(&payload("second", true)), "other content");
    assert!(!verdict(&payload("first", false)), "a file that should be gone");
}

/// What systemd-repart makes of a small partition: FAT32 by its fields, with fewer clusters than FAT32 should have, and
/// sectors of 4096 bytes. The other implementation refuses it; Linux and firmware read it.
fn small_fat32() -> (File, u64) {
    let size = 8_u64 << 20;
    let (sector, table_sectors) = (4096_u64, 2_u64);
    let mut boot = [0_u8; 512];
    boot[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
    boot[11..13].copy_from_slice(&4096_u16.to_le_bytes());
    boot[13] = 1;
    boot[14..16].copy_from_slice(&32_u16.to_le_bytes());
    boot[16] = 2;
    boot[21] = 0xf8;
    boot[32..36].copy_from_slice(&u32::try_from(size / sector).expect("fits").to_le_bytes());
    boot[36..40].copy_from_slice(&u32::try_from(table_sectors).expect("fits").to_le_bytes());
    boot[44..48].copy_from_slice(&2_u32.to_le_bytes());
    boot[48..50].copy_from_slice(&1_u16.to_le_bytes());
    boot[50..52].copy_from_slice(&6_u16.to_le_bytes());
    boot[66] = 0x29;
    boot[71..82].copy_from_slice(b"SEED       ");
    boot[82..90].copy_from_slice(b"FAT32   ");
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    let file = tempfile::tempfile().expect("tempfile");
    file.set_len(START + size).expect("grows");
    let put = |at: u64, bytes: &[u8]| file.write_all_at(bytes, START + at).expect("writes");
    put(0, &boot);
    put(sector, b"RRaA");
    put(sector + 484, b"rrAa");
    put(sector + 508, &[0, 0, 0x55, 0xaa]);
    for copy in 0..2 {
        let marks: Vec<u8> =
            [0x0fff_fff8_u32, 0x0fff_ffff, 0x0fff_ffff].iter().flat_map(|m| m.to_le_bytes()).collect();
        put((32 + copy * table_sectors) * sector, &marks);
    }
    put((32 + 2 * table_sectors) * sector, b"SEED       \x08");
    (file, size)
}

#[test]
fn a_small_fat32_survives_cuts_as_well() {
    let (file, size) = small_fat32();
    assert_eq!(label(&file, START, size).as_deref(), Some("SEED"));
    let read = |changes: &Changes| {
        let volume = Volume::open(&file, START, size).expect("opens");
        let mut files = read_files(&volume, changes).expect("reads");
        files.sort();
        files
    };
    let mut old = Vec::new();
    for state in [payload("first", true), payload("second", true), payload("third", false)] {
        let plan = plan(&file, START, size, &state).expect("plans");
        let new: Vec<_> = expected(&state).into_iter().filter(|(name, _)| name != "README.TXT").collect();
        let mut written = Changes::new();
        for (number, sector) in plan.batches().flatten() {
            let now = read(&written);
            assert!(now == old || now == new, "after {} sectors", written.len());
            written.insert(*number, *sector);
        }
        put(&file, START, size, &state).expect("puts");
        assert_eq!(read(&Changes::new()), new);
        old = new;
    }
}

#[test]
fn damaged_file_systems_are_refused_and_never_panic() {
    let size = SIZES[2];
    let mut refused = 0;
    for at in 0..90 {
        for value in [0_u8, 1, 0x7f, 0xff] {
            let file = image(SIZES[0]);
            file.write_all_at(&[value], START + at).expect("writes");
            refused += usize::from(plan(&file, START, SIZES[0], &payload("first", true)).is_err());
        }
    }
    assert!(refused > 20, "most of the fields that count are noticed: {refused}");
    // A chain that runs in a circle: the root folder's first cluster follows itself.
    let file = image(size);
    let volume = Volume::open(&file, START, size).expect("opens");
    let mut table = volume.table(&Changes::new()).expect("reads");
    table.append(2, 2);
    for (number, sector) in volume.write_table(&table).expect("differs") {
        file.write_all_at(&sector, START + number * SECTOR).expect("writes");
    }
    assert!(plan(&file, START, size, &payload("first", true)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Names and sizes at random, one payload after another: the other implementation reads what was put.
    #[test]
    fn another_implementation_agrees(
        size in prop::sample::select(SIZES[..2].to_vec()),
        rounds in prop::collection::vec(prop::collection::btree_map("[a-zA-Z0-9][a-zA-Z0-9._-]{0,30}[a-z0-9]", 0_usize..9000, 1..6), 1..5),
    ) {
        let file = image(size);
        let mut there: std::collections::BTreeMap<String, (String, Vec<u8>)> = std::collections::BTreeMap::new();
        there.insert("readme.txt".to_owned(), ("README.TXT".to_owned(), b"hello".to_vec()));
        for (round, files) in rounds.iter().enumerate() {
            let mut payload = Payload::default();
            for (name, length) in files {
                let key = name.to_lowercase();
                if payload.items.iter().any(|item| item.name.to_lowercase() == key) {
                    continue;
                }
                let content: Vec<u8> = (0..*length).map(|at| (at * 7 + round) as u8).collect();
                payload.file(name, &content);
                // A file that is replaced keeps the capitals of its name.
                let kept = there.get(&key).map_or_else(|| name.clone(), |(kept, _)| kept.clone());
                there.insert(key, (kept, content));
            }
            put(&file, START, size, &payload).expect("puts");
            let mut expected: Vec<(String, Vec<u8>)> = there.values().cloned().collect();
            expected.sort();
            prop_assert_eq!(read(&file, size, &Changes::new()), expected);
        }
    }
}
