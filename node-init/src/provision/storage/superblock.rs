//! Pure: what of DRBD 8.4's superblock says whose it is (kernel, drivers/block/drbd/drbd_main.c, `struct
//! meta_data_on_disk`; all numbers big-endian).

/// Its length, and the alignment of its place.
pub const LENGTH: u64 = 4096;

/// Offsets of the fields.
const CURRENT_UUID: usize = 8;
const FLAGS: usize = 56;
const MAGIC: usize = 60;

/// `DRBD_MD_MAGIC_08` and `DRBD_MD_MAGIC_84_UNCLEAN` (drbd_int.h).
const MAGICS: [u32; 2] = [0x8374_026b, 0x8374_026c];
/// `UUID_JUST_CREATED` (drbd.h): metadata that no data was ever written under.
const JUST_CREATED: u64 = 4;
/// `MDF_CONSISTENT` (drbd.h): what is on the disk is one state of the data, be it an old one.
const CONSISTENT: u32 = 1;

/// Found at the end of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// No data was ever written under it.
    pub just_created: bool,
    /// What is on the disk is one state of the data; of a disk without this flag nobody is ever served.
    pub consistent: bool,
}

/// Where the superblock of internal metadata is on a device of so many bytes; `None` on one that is too small.
pub const fn offset(device: u64) -> Option<u64> {
    match device.checked_sub(LENGTH) {
        Some(end) => Some(end / LENGTH * LENGTH),
        None => None,
    }
}

/// Reads it; `None` when there is none.
pub fn parse(block: &[u8]) -> Option<Superblock> {
    let magic = u32::from_be_bytes(block.get(MAGIC..MAGIC + 4)?.try_into().ok()?);
    let current = u64::from_be_bytes(block.get(CURRENT_UUID..CURRENT_UUID + 8)?.try_into().ok()?);
    // The lowest bit only says that the node was Primary when the number was written.
    let flags = u32::from_be_bytes(block.get(FLAGS..FLAGS + 4)?.try_into().ok()?);
    MAGICS.contains(&magic).then_some(Superblock {
        just_created: current & !1 == JUST_CREATED,
        consistent: flags & CONSISTENT != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of what drbdmeta 9.22 writes (`drbdmeta 0 v08 DEV internal create-md`), four words of eight bytes
    /// a line.
    const NEW: [&str; 3] = [
        "0000000000000000000000000000000400000000000000000000000000000000",
        "000000000000000000000000000000000000000000000000000000808374026b",
        "00000050ffffffc000000101ffffffb800001000000000000000000100000008",
    ];

    #[test]
    fn new_metadata_is_told_from_used_and_from_none() {
        let mut block = vec![0; 4096];
        let bytes = hex::decode(NEW.concat()).unwrap();
        block[..bytes.len()].copy_from_slice(&bytes);
        assert_eq!(parse(&block), Some(Superblock { just_created: true, consistent: false }));
        block[8..16].copy_from_slice(&0x1234_5678_9abc_def1_u64.to_be_bytes());
        let half = Superblock { just_created: false, consistent: false };
        assert_eq!(parse(&block), Some(half));
        block[63] = 0x6c;
        assert_eq!(parse(&block), Some(half), "not cleanly detached");
        block[59] |= 1;
        assert_eq!(parse(&block), Some(Superblock { consistent: true, ..half }));
        block[63] = 0;
        assert_eq!(parse(&block), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0xff; 61]), None);
    }

    #[test]
    fn it_lies_in_the_last_whole_block() {
        assert_eq!(offset(64 << 20), Some(67_104_768), "as drbdmeta dump-md says of 64 MiB");
        assert_eq!(offset((64 << 20) + 512), Some(67_104_768));
        assert_eq!(offset(4095), None);
    }
}
