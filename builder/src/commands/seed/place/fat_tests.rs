use super::*;
use std::io::Cursor;

const START: u64 = 1 << 20;

/// An image with a FAT file system at [`START`], labelled SEED, with a file of its own in it.
fn image(size: u64) -> File {
    let mut volume = Cursor::new(vec![0_u8; usize::try_from(size).expect("fits")]);
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"SEED       ");
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

/// FAT12, FAT16 and FAT32, by size.
const SIZES: [u64; 3] = [1 << 20, 16 << 20, 64 << 20];

#[test]
fn files_are_put_replaced_and_removed() {
    for size in SIZES {
        let file = image(size);
        for (word, node) in [("first", true), ("second", true), ("third", false)] {
            put(&file, START, size, &payload(word, node)).expect("puts");
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
    put(&file, START, size, &crowded("first")).expect("puts");
    let (old, new) = (expected(&crowded("first")), expected(&crowded("second")));
    let plan = plan(&file, START, size, &crowded("second")).expect("plans");
    assert!(plan.folder.iter().map(Changes::len).sum::<usize>() > 1, "the names are spread over sectors");
    let seed = |files: &[(String, Vec<u8>)]| files.iter().find(|(name, _)| name == SEED_FILE).cloned();
    let mut written = Changes::new();
    for (number, sector) in plan.batches().flatten() {
        let now = read(&file, size, &written);
        assert!(seed(&now) == seed(&old) || now == new, "after {} sectors", written.len());
        written.insert(*number, *sector);
    }
    assert_eq!(read(&file, size, &written), new);
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
    let verdict = |payload: &Payload| verify(&mut Overlay::new(&file, START, size), payload).is_ok();
    assert!(verdict(&payload("first", true)));
    assert!(!verdict(&payload("second", true)), "other content");
    assert!(!verdict(&payload("first", false)), "a file that should be gone");
}
