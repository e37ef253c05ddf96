use super::*;
use std::io::{Cursor, Write};

const MIB: u64 = 1 << 20;

fn fat(label: &[u8; 11]) -> Vec<u8> {
    let mut volume = Cursor::new(vec![0_u8; 2 << 20]);
    fatfs::format_volume(&mut volume, fatfs::FormatVolumeOptions::new().volume_label(*label))
        .expect("formats");
    volume.into_inner()
}

/// An image of 32 MiB with a GPT of partitions of 2 MiB each: name and content.
fn image(partitions: &[(&str, &[u8])]) -> File {
    let mut file = tempfile::tempfile().expect("tempfile");
    file.set_len(32 * MIB).expect("grows");
    let protective = gpt::mbr::ProtectiveMBR::with_lb_size(u32::try_from(32 * MIB / 512 - 1).expect("fits"));
    protective.overwrite_lba0(&mut file).expect("writes");
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut disk = config.create_from_device(file.try_clone().expect("clones"), None).expect("makes a table");
    for (name, content) in partitions {
        let id = disk.add_partition(name, 2 * MIB, gpt::partition_types::BASIC, 0, None).expect("adds");
        let start = disk.partitions()[&id].first_lba * 512;
        file.write_all_at(content, start).expect("writes");
    }
    disk.write().expect("writes the table");
    file
}

fn found(file: &mut File) -> Result<Volume, String> {
    find(file).map_err(|error| error.to_string())
}

#[test]
fn by_the_partitions_name() {
    let mut file = image(&[("esp", &fat(b"ESP        ")), ("SEED", &fat(b"NO NAME    ")), ("root-a", b"x")]);
    let volume = found(&mut file).expect("found");
    assert_eq!((volume.length, volume.what.as_str()), (2 * MIB, "partition 2"));
    assert_eq!(label(&file, &volume).as_deref(), Some("NO NAME"));
}

#[test]
fn by_the_label_of_the_file_system() {
    let mut file = image(&[("esp", &fat(b"ESP        ")), ("data", &fat(b"SEED       "))]);
    assert_eq!(found(&mut file).expect("found").what, "partition 2");
}

#[test]
fn a_stick_without_partitions() {
    let mut file = tempfile::tempfile().expect("tempfile");
    file.write_all(&fat(b"SEED       ")).expect("writes");
    let volume = found(&mut file).expect("found");
    assert_eq!((volume.start, volume.length), (0, 2 * MIB));
}

#[test]
fn a_stick_with_a_master_boot_record() {
    let mut file = tempfile::tempfile().expect("tempfile");
    file.set_len(8 * MIB).expect("grows");
    let mut record = [0_u8; 512];
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    for (index, (kind, start)) in [(0x83_u8, 2048_u32), (0x0c, 8192)].into_iter().enumerate() {
        let entry = &mut record[446 + index * 16..];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&4096_u32.to_le_bytes());
    }
    file.write_all_at(&record, 0).expect("writes");
    file.write_all_at(&fat(b"SEED       "), 8192 * 512).expect("writes");
    let volume = found(&mut file).expect("found");
    assert_eq!((volume.start, volume.length, volume.what.as_str()), (8192 * 512, 2 * MIB, "partition 2"));
}

#[test]
fn everything_else_is_refused() {
    let refused = |mut file: File, words: &str| {
        let reason = found(&mut file).expect_err("refused");
        assert!(reason.contains(words), "{reason}");
    };
    refused(image(&[("esp", &fat(b"ESP        ")), ("root-a", b"x")]), "no partition named SEED");
    refused(image(&[("SEED", b"not formatted")]), "no FAT file system");
    let seed = fat(b"SEED       ");
    refused(image(&[("SEED", &seed), ("seed", &seed)]), "2 partitions named SEED");
    refused(tempfile::tempfile().expect("tempfile"), "no partition named SEED");
    let mut photos = tempfile::tempfile().expect("tempfile");
    photos.write_all(&fat(b"PHOTOS     ")).expect("writes");
    refused(photos, "no partition named SEED");
}

#[test]
fn mounts_of_the_device_and_its_partitions_are_seen() {
    let table =
        "36 35 8:1 / /boot rw - ext4 /dev/sda1 rw\n37 35 8:18 / /media/MY\\040STICK rw - vfat /dev/sdb2 rw\n";
    let id = nix::sys::stat::makedev(8, 16);
    assert_eq!(mounted(table, id, &["8:17".to_owned()]), None);
    assert_eq!(mounted(table, id, &["8:18".to_owned()]).as_deref(), Some("/media/MY STICK"));
    assert_eq!(mounted(table, nix::sys::stat::makedev(8, 1), &[]).as_deref(), Some("/boot"));
}
