//! Blocks of kernel images that are on the boot partition already: two versions with the same kernel and initrd differ in a few
//! blocks, the command line's and the version's, and those of the running one need not be fetched again.

use edgepair_bundle::manifest::{BLOCK, PayloadName};
use edgepair_bundle::{Admitted, Block, BlockId, Digest, Unpacker};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Largest file that is looked at, bytes: no kernel image has more, and the boot partition not much.
const MOST: u64 = 512 << 20;

/// Where some of a bundle's kernel image is at hand.
#[derive(Debug)]
pub struct AtHand<'a> {
    unpacker: Unpacker<'a>,
    digests: Vec<Digest>,
    files: Vec<File>,
    places: HashMap<Digest, (usize, u64)>,
}

impl<'a> AtHand<'a> {
    /// What the files of a folder have. One that cannot be read has nothing: its blocks are fetched then.
    pub fn in_folder(admitted: &'a Admitted, folder: &Path) -> Self {
        let mut payloads = admitted.contents().index.payloads();
        let kernel = payloads.find(|(payload, _)| payload.name == PayloadName::Uki);
        let digests: Vec<Digest> =
            kernel.map(|(_, rows)| rows.iter().map(|row| row.digest).collect()).unwrap_or_default();
        let mut at_hand =
            Self { unpacker: admitted.unpacker(), digests, files: Vec::new(), places: HashMap::new() };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let _ = at_hand.add(&entry.path());
        }
        at_hand
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() > MOST {
            return Ok(());
        }
        let wanted: HashSet<Digest> = self.digests.iter().copied().collect();
        let (number, mut block) = (self.files.len(), vec![0; BLOCK]);
        for offset in (0..meta.len()).step_by(BLOCK) {
            let size = usize::try_from((meta.len() - offset).min(BLOCK as u64)).unwrap_or(BLOCK);
            file.read_exact_at(&mut block[..size], offset)?;
            let digest = Digest::of(&block[..size]);
            if wanted.contains(&digest) {
                self.places.entry(digest).or_insert((number, offset));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// The block, checked, when it is at hand.
    pub fn block(&mut self, id: BlockId, size: usize) -> Option<Block> {
        let digest = self.digests.get(usize::try_from(id.number).ok()?)?;
        let (file, offset) = *self.places.get(digest)?;
        let mut bytes = vec![0; size];
        self.files.get(file)?.read_exact_at(&mut bytes, offset).ok()?;
        self.unpacker.plain(id, &bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::update::bundle::source::{Fetch, Give, Picked};
    use crate::update::bundle::tests::{key, pack_with};
    use crate::update::slot::tests::newer;
    use crate::update::slot::{SlotError, Source};
    use edgepair_bundle::manifest::{BLOCK, Span};
    use edgepair_bundle::{Admitted, BlockId, Node, Reads, Unverified};
    use edgepair_host_io::atomic;
    use edgepair_signature::TrustedKeys;
    use std::io::Read;
    use std::path::Path;

    fn admitted(bundle: &[u8]) -> Admitted {
        let one = Span { min: 1, max: 1 };
        let node = Node {
            board: "x86-64",
            floor: None,
            refused: &[],
            pair_protocol: one,
            datastore: None,
            state: 1,
            reads: Reads { datastore: one, state: one },
            one_way: None,
            now: None,
            pair: None,
        };
        let keys = TrustedKeys::new([key(1)]).unwrap();
        Unverified::open(bundle).unwrap().verify(&keys).unwrap().admit(&node).unwrap().0
    }

    /// Gives blocks out of a kernel image, and notes which were asked for.
    struct Asked<'a>(&'a Admitted, &'a [u8], &'a mut Vec<u32>);

    impl Fetch for Asked<'_> {
        fn fetch(&mut self, wanted: &[BlockId], give: &mut Give<'_>) -> Result<(), SlotError> {
            for id in wanted {
                self.2.push(id.number);
                let at = id.number as usize * BLOCK;
                let block = &self.1[at..(at + BLOCK).min(self.1.len())];
                give(self.0.unpacker().plain(*id, block).unwrap())?;
            }
            Ok(())
        }
    }

    #[test]
    fn only_blocks_that_differ_are_fetched() {
        let mut new: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        new.truncate(290 * BLOCK + 77);
        let admitted = admitted(&pack_with(&newer(), &new));
        let fetch = |folder: &Path| {
            let (mut asked, mut kernel) = (Vec::new(), Vec::new());
            let mut picked = Picked::new(&admitted, Asked(&admitted, &new, &mut asked), folder.to_owned());
            picked.kernel().unwrap().read_to_end(&mut kernel).unwrap();
            assert!(kernel == new, "whatever was at hand");
            asked
        };
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fetch(&folder.path().join("none")).len(), 291);
        // The running one: another command line, and the rest one block further behind.
        let mut old = vec![0x5a; BLOCK];
        old.extend_from_slice(&new);
        old[BLOCK + 5] ^= 1;
        old[270 * BLOCK] ^= 1;
        atomic::write(&folder.path().join("edgepair_1.efi"), &old, 0o644).unwrap();
        atomic::write(&folder.path().join("short"), b"x", 0o644).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        assert_eq!(fetch(folder.path()), [0, 269]);
    }
}
