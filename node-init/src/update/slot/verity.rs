//! The hash tree of dm-verity: its root hash, computed from the partition (cryptsetup `docs/on-disk-format-verity`, kernel
//! `Documentation/admin-guide/device-mapper/verity.rst`).

use super::{BLOCK, SlotError, Volume};
use sha2::{Digest as _, Sha256};

/// Superblock: signature, then at these offsets version, type, algorithm, block sizes, length of the salt, salt.
const SIGNATURE: &[u8; 8] = b"verity\0\0";
const VERSION: usize = 8;
const TYPE: usize = 12;
const ALGORITHM: usize = 32;
const DATA_BLOCK: usize = 64;
const HASH_BLOCK: usize = 68;
const SALT_SIZE: usize = 80;
const SALT: usize = 88;

/// Root hash of the tree that a partition holds, 64 hexadecimal digits: the hash of salt and topmost block, which is the first
/// block behind the superblock.
///
/// # Errors
/// When the partition cannot be read or holds no tree of the kind that the builder makes.
pub fn root_hash(volume: &mut dyn Volume) -> Result<String, SlotError> {
    let mut bytes = vec![0; 2 * BLOCK];
    volume.read_medium(0, &mut bytes).map_err(SlotError::io("read the hash tree"))?;
    of_blocks(&bytes)
        .ok_or_else(|| SlotError::Image("it has no hash tree of dm-verity with SHA-256".to_owned()))
}

/// The same from superblock and first block.
fn of_blocks(bytes: &[u8]) -> Option<String> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let page = u32::try_from(BLOCK).ok()?;
    let known = bytes.starts_with(SIGNATURE)
        && (number(VERSION)?, number(TYPE)?) == (1, 1)
        && bytes.get(ALGORITHM..ALGORITHM + 32)?.starts_with(b"sha256\0")
        && (number(DATA_BLOCK)?, number(HASH_BLOCK)?) == (page, page);
    let salt_size = usize::from(u16::from_le_bytes(bytes.get(SALT_SIZE..SALT_SIZE + 2)?.try_into().ok()?));
    if !known || salt_size > 256 {
        return None;
    }
    let salt = bytes.get(SALT..SALT + salt_size)?;
    let top = bytes.get(BLOCK..2 * BLOCK)?;
    Some(hex::encode(Sha256::new().chain_update(salt).chain_update(top).finalize()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Superblock and one level of hashes for data of at most 128 blocks, with its root hash.
    pub fn tree(data: &[u8]) -> (Vec<u8>, String) {
        let salt = [0x5a; 32];
        let mut bytes = vec![0; 2 * BLOCK];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, SIGNATURE);
        put(VERSION, &1_u32.to_le_bytes());
        put(TYPE, &1_u32.to_le_bytes());
        put(ALGORITHM, b"sha256");
        put(DATA_BLOCK, &4096_u32.to_le_bytes());
        put(HASH_BLOCK, &4096_u32.to_le_bytes());
        put(SALT_SIZE, &32_u16.to_le_bytes());
        put(SALT, &salt);
        for (number, block) in data.chunks(BLOCK).enumerate() {
            let hash = Sha256::new().chain_update(salt).chain_update(block).finalize();
            put(BLOCK + number * 32, &hash);
        }
        let root = Sha256::new().chain_update(salt).chain_update(&bytes[BLOCK..]).finalize();
        (bytes, hex::encode(root))
    }

    #[test]
    fn the_root_hash_is_that_of_the_top() {
        let (bytes, hash) = tree(&[1; 3 * BLOCK]);
        assert_eq!(of_blocks(&bytes), Some(hash));
        for at in [0, VERSION, TYPE, ALGORITHM, DATA_BLOCK, HASH_BLOCK, SALT_SIZE + 1] {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert_eq!(of_blocks(&other), None, "at {at}");
        }
        assert_eq!(of_blocks(&bytes[..BLOCK]), None);
        assert_eq!(of_blocks(&[]), None);
    }

    #[test]
    fn any_bytes_are_survived() {
        for length in 0..200 {
            let _ = of_blocks(&vec![0xff; length]);
        }
    }
}
