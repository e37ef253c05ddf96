//! How much of a partition is in use: a slot's partitions have room to grow, and only what is there goes into a bundle.

use anyhow::ensure;

const NOT_THERE: &str = "\n  to do: name a folder that `edgepair build` of this release wrote";

/// Size in bytes of the erofs file system whose first 4 KiB these are (`fs/erofs/erofs_fs.h`: magic, block size as a
/// power of two, number of blocks).
pub fn erofs_size(first: &[u8; 4096]) -> anyhow::Result<u64> {
    const MAGIC: u32 = 0xE0F5_E1E2;
    let superblock = &first[1024..];
    ensure!(word(superblock, 0) == MAGIC, "the root partition has no erofs file system{NOT_THERE}");
    let bits = superblock[12];
    ensure!(bits == 12, "the root file system has blocks of 2^{bits} bytes, and not of 4096{NOT_THERE}");
    Ok(u64::from(word(superblock, 36)) << bits)
}

/// Size in bytes of the dm-verity superblock and hash tree over `data` bytes, whose first 4 KiB these are (cryptsetup,
/// "DM-Verity": superblock version 1, then the levels from the top).
pub fn verity_size(first: &[u8; 4096], data: u64) -> anyhow::Result<u64> {
    ensure!(
        first.starts_with(b"verity\0\0") && word(first, 8) == 1,
        "the verity partition has no dm-verity superblock{NOT_THERE}"
    );
    let algorithm = first[32..64].split(|byte| *byte == 0).next().unwrap_or_default();
    ensure!(
        algorithm == b"sha256" && word(first, 64) == 4096 && word(first, 68) == 4096,
        "the hash tree is not of SHA-256 and blocks of 4096 bytes{NOT_THERE}"
    );
    let blocks = u64::from(word(first, 72)) | u64::from(word(first, 76)) << 32;
    ensure!(
        blocks.checked_mul(4096) == Some(data),
        "the hash tree is over {blocks} blocks, and not over the root file system of {data} bytes{NOT_THERE}"
    );
    let (mut level, mut tree) = (blocks, 0);
    while level > 1 {
        level = level.div_ceil(4096 / 32);
        tree += level;
    }
    Ok((1 + tree) * 4096)
}

/// A little-endian number. Both callers stay within 4 KiB.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verity(blocks: u32) -> [u8; 4096] {
        let mut first = [0; 4096];
        first[..8].copy_from_slice(b"verity\0\0");
        first[8] = 1;
        first[32..38].copy_from_slice(b"sha256");
        first[65] = 16;
        first[69] = 16;
        first[72..76].copy_from_slice(&blocks.to_le_bytes());
        first
    }

    #[test]
    fn sizes_are_what_the_superblocks_say() {
        let mut first = [0; 4096];
        assert!(erofs_size(&first).is_err());
        first[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
        first[1024 + 12] = 12;
        first[1024 + 36..1024 + 40].copy_from_slice(&43_937_u32.to_le_bytes());
        assert_eq!(erofs_size(&first).expect("size"), 179_965_952);
        first[1024 + 12] = 9;
        assert!(erofs_size(&first).is_err());
    }

    #[test]
    fn a_hash_tree_has_its_levels() {
        // 128 hashes in a block: 1 block needs none, 128 need one, 129 need two and one above them.
        for (blocks, tree) in [(1, 0), (2, 1), (128, 1), (129, 3), (16_384, 129), (16_385, 132)] {
            let data = u64::from(blocks) * 4096;
            assert_eq!(verity_size(&verity(blocks), data).expect("size"), (1 + tree) * 4096, "{blocks}");
            assert!(verity_size(&verity(blocks), data + 4096).is_err());
        }
        let mut other = verity(128);
        other[32] = b'b';
        assert!(verity_size(&other, 128 * 4096).is_err());
        assert!(verity_size(&[0; 4096], 0).is_err());
    }
}
