//! A disk that loses power at any write: the running slot stays as it was, nothing half-written has a name, and the next
//! run finishes.

use super::verity::tests::tree;
use super::*;
use crate::update::boot::SystemdBoot;
use crate::update::boot::tests::{CUTS, Double, uki};
use edgepair_host_io::digest::of_bytes;
use sha2::Digest as _;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Blocks of the root file system, of its partition and of the tree's.
const BLOCKS: usize = 40;
const ROOM: usize = 48;
const TREE: usize = 4;

/// Root and tree of slot A (running), then of slot B.
#[derive(Debug, Default)]
pub struct Disk {
    pub stable: [Vec<u8>; 4],
    /// Written and not flushed: a cut keeps some of it.
    volatile: [BTreeMap<usize, Vec<u8>>; 4],
    uuids: [String; 2],
    /// Changes until the power goes, and which of what is not flushed survives.
    fuse: Option<(usize, u32)>,
    dead: bool,
    pub changes: usize,
    written: usize,
    /// The medium forgets writes to this block of slot B's root.
    failing: Option<usize>,
}

impl Disk {
    fn spend(&mut self) -> io::Result<()> {
        self.alive()?;
        self.changes += 1;
        match &mut self.fuse {
            Some((0, seed)) => {
                let seed = *seed;
                self.dead = true;
                for at in 0..4 {
                    for (block, bytes) in std::mem::take(&mut self.volatile[at]) {
                        if (seed >> (block % 29)) & 1 == 1 {
                            self.stable[at][block * BLOCK..][..BLOCK].copy_from_slice(&bytes);
                        }
                    }
                }
                Err(io::Error::other("no power"))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("no power")) } else { Ok(()) }
    }
}

pub type Shared = Rc<RefCell<Disk>>;

struct Partition(Shared, usize);

impl Volume for Partition {
    fn bytes(&self) -> u64 {
        self.0.borrow().stable[self.1].len() as u64
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let disk = self.0.borrow();
        disk.alive()?;
        assert_eq!(offset as usize % BLOCK, 0);
        for (block, into) in (offset as usize / BLOCK..).zip(into.chunks_mut(BLOCK)) {
            match disk.volatile[self.1].get(&block) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => into.copy_from_slice(&disk.stable[self.1][block * BLOCK..][..BLOCK]),
            }
        }
        Ok(())
    }

    fn read_medium(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(offset, into)?;
        let failing = self.0.borrow().failing.filter(|_| self.1 == 2);
        let first = offset as usize / BLOCK;
        if let Some(block) = failing.and_then(|block| block.checked_sub(first)) {
            into[block * BLOCK] ^= 1;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(self.1 >= 2, "the running slot is written to");
        let mut disk = self.0.borrow_mut();
        for (block, bytes) in (offset as usize / BLOCK..).zip(bytes.chunks(BLOCK)) {
            // A cut comes between any two blocks of one write.
            disk.spend()?;
            disk.written += 1;
            disk.volatile[self.1].insert(block, bytes.to_vec());
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.spend()?;
        for (block, bytes) in std::mem::take(&mut disk.volatile[self.1]) {
            disk.stable[self.1][block * BLOCK..][..BLOCK].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

struct Identifiers(Shared);

impl Table for Identifiers {
    fn identifiers(&mut self) -> Result<[String; 2], SlotError> {
        Ok(self.0.borrow().uuids.clone())
    }

    fn set_identifiers(&mut self, uuids: &[String; 2]) -> Result<(), SlotError> {
        let mut disk = self.0.borrow_mut();
        for (at, uuid) in uuids.iter().enumerate() {
            disk.spend().map_err(|error| SlotError::Table(error.to_string()))?;
            disk.uuids[at].clone_from(uuid);
        }
        Ok(())
    }
}

/// A system: root file system, tree, kernel image.
pub struct System {
    pub image: Image,
    pub root: Vec<u8>,
    pub tree: Vec<u8>,
}

fn system(version: &str, changed: &[usize]) -> System {
    let mut root: Vec<u8> =
        (0..BLOCKS).flat_map(|block| vec![u8::try_from(block).unwrap() + 1; BLOCK]).collect();
    for block in changed {
        root[block * BLOCK..][..BLOCK].fill(0xc0 ^ u8::try_from(*block).unwrap());
        root[block * BLOCK] = version.as_bytes()[0];
    }
    let (tree, root_hash) = tree(&root);
    let kernel = uki(version);
    let digests =
        |bytes: &[u8]| bytes.chunks(BLOCK).map(|block| sha2::Sha256::digest(block).into()).collect();
    let image = Image {
        version: version.to_owned(),
        root_hash,
        root: digests(&root),
        verity: digests(&tree),
        kernel_bytes: kernel.len() as u64,
        kernel_digest: of_bytes(&kernel),
    };
    System { image, root, tree }
}

/// Hands blocks over, and spoils one.
struct Bundle<'a> {
    system: &'a System,
    spoiled: Option<usize>,
    ends_after: Option<usize>,
    asked: usize,
}

impl<'a> Bundle<'a> {
    fn of(system: &'a System) -> Self {
        Self { system, spoiled: None, ends_after: None, asked: 0 }
    }
}

impl Source for Bundle<'_> {
    fn fetch(&mut self, wanted: &[BlockId], take: &mut Take<'_>) -> Result<(), SlotError> {
        self.asked += wanted.len();
        assert!(wanted.is_sorted());
        for (count, id) in wanted.iter().enumerate().take(self.ends_after.unwrap_or(usize::MAX)) {
            let payload = match id.part {
                Part::Root => &self.system.root,
                Part::Verity => &self.system.tree,
            };
            let mut block = payload[id.number as usize * BLOCK..][..BLOCK].to_vec();
            if self.spoiled == Some(count) {
                block[17] ^= 1;
            }
            take(*id, &block)?;
        }
        Ok(())
    }

    fn kernel(&mut self) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(Box::new(io::Cursor::new(uki(&self.system.image.version))))
    }
}

pub struct Machine {
    pub disk: Shared,
    pub esp: Double,
    boot: SystemdBoot<Double>,
    old: System,
}

impl Machine {
    pub fn new() -> Self {
        let old = system("1", &[]);
        let mut disk = Disk::default();
        for (at, blocks) in [ROOM, TREE, ROOM, TREE].into_iter().enumerate() {
            disk.stable[at] = vec![0xee; blocks * BLOCK];
        }
        disk.stable[0][..old.root.len()].copy_from_slice(&old.root);
        disk.stable[1][..old.tree.len()].copy_from_slice(&old.tree);
        let esp = Double::default();
        esp.0.borrow_mut().room = 1 << 30;
        esp.put("edgepair_1.efi", "1");
        let boot = SystemdBoot::new(esp.clone());
        Self { disk: Rc::new(RefCell::new(disk)), esp, boot, old }
    }

    fn install(&self, bundle: &mut Bundle<'_>) -> Result<Report, SlotError> {
        self.fill(&bundle.system.image.clone(), bundle)
    }

    pub fn fill(&self, image: &Image, source: &mut dyn Source) -> Result<Report, SlotError> {
        let part = |at| Box::new(Partition(Rc::clone(&self.disk), at));
        let mut slots = Slots {
            root: part(2),
            verity: part(3),
            running_root: part(0),
            running_verity: part(1),
            table: Box::new(Identifiers(Rc::clone(&self.disk))),
            boot: &self.boot,
            running: "1".to_owned(),
            running_hash: self.old.image.root_hash.clone(),
        };
        let mut last = 0;
        slots.install(image, source, &mut |done, all| {
            assert!(last <= done && done <= all);
            last = done;
        })
    }

    fn power_on(&self) {
        let mut disk = self.disk.borrow_mut();
        disk.dead = false;
        disk.fuse = None;
        let mut fat = self.esp.0.borrow_mut();
        fat.dead = false;
        fat.fuse = None;
    }

    /// What must hold at any moment.
    pub fn holds(&self, new: &System, words: &str) {
        let disk = self.disk.borrow();
        let old = &self.old;
        assert!(disk.stable[0].starts_with(&old.root) && disk.stable[1].starts_with(&old.tree), "{words}");
        let whole = disk.stable[2].starts_with(&new.root) && disk.stable[3].starts_with(&new.tree);
        let (root, tree) = edgepair_layout::uuids_of_root_hash(&new.image.root_hash).unwrap();
        let identified = disk.uuids == [root.clone(), tree.clone()];
        assert!(whole || !(disk.uuids.contains(&root) || disk.uuids.contains(&tree)), "{words}: identifiers");
        drop(disk);
        let listing = self.boot.look().unwrap();
        assert_eq!(listing.settles_on().as_deref(), Ok("1"), "{words}");
        if listing.of(&new.image.version).next().is_some() {
            assert!(whole && identified, "{words}: a boot entry for half a slot");
        }
    }

    pub fn done(&self, new: &System) {
        self.holds(new, "at the end");
        assert!(self.disk.borrow().stable[2].starts_with(&new.root));
        assert_eq!(self.esp.names(), ["edgepair_1.efi", &format!("edgepair_{}+0.efi", new.image.version)]);
    }
}

/// Blocks 3, 4, 17 and 39 differ; 20 is a block that the running slot has elsewhere.
pub fn newer() -> System {
    let mut new = system("2", &[3, 4, 17, 39]);
    let moved = new.root[5 * BLOCK..6 * BLOCK].to_vec();
    new.root[20 * BLOCK..21 * BLOCK].copy_from_slice(&moved);
    let (tree, root_hash) = tree(&new.root);
    new.image.root = new.root.chunks(BLOCK).map(|block| sha2::Sha256::digest(block).into()).collect();
    new.image.verity = tree.chunks(BLOCK).map(|block| sha2::Sha256::digest(block).into()).collect();
    new.image.root_hash = root_hash;
    new.tree = tree;
    new
}

#[test]
fn only_what_is_nowhere_comes_from_the_source() {
    let machine = Machine::new();
    let new = newer();
    let report = machine.install(&mut Bundle::of(&new)).unwrap();
    // The superblock of the tree is the same.
    assert_eq!(report, Report { kept: 0, copied: 37, fetched: 5 });
    machine.done(&new);
    let before = machine.disk.borrow().written;
    let report = machine.install(&mut Bundle::of(&new)).unwrap();
    assert_eq!(report, Report { kept: 42, copied: 0, fetched: 0 });
    assert_eq!(machine.disk.borrow().written, before, "nothing is written twice");
    machine.done(&new);
}

#[test]
fn the_power_may_go_at_every_write() {
    let new = newer();
    let machine = Machine::new();
    machine.install(&mut Bundle::of(&new)).unwrap();
    let on_disk = machine.disk.borrow().changes;
    let on_esp = machine.esp.0.borrow().changes;
    assert!(on_disk > 40 && on_esp > 3, "{on_disk} {on_esp}");
    for seed in [0, u32::MAX, 0x5555_5555, 0x0f0f_3c3c] {
        for at in 0..on_disk {
            let machine = Machine::new();
            machine.disk.borrow_mut().fuse = Some((at, seed));
            assert!(machine.install(&mut Bundle::of(&new)).is_err());
            machine.power_on();
            machine.holds(&new, &format!("cut at change {at} of the disk"));
            machine.install(&mut Bundle::of(&new)).unwrap();
            machine.done(&new);
        }
    }
    for at in 0..on_esp {
        for cut in CUTS {
            let machine = Machine::new();
            machine.esp.put("edgepair_0.efi", "0");
            machine.esp.0.borrow_mut().fuse = Some((at, cut));
            assert!(machine.install(&mut Bundle::of(&new)).is_err());
            machine.power_on();
            machine.holds(&new, &format!("cut at change {at} of the boot partition, {cut:?}"));
            machine.install(&mut Bundle::of(&new)).unwrap();
            machine.done(&new);
        }
    }
}

#[test]
fn a_slot_that_was_cut_takes_another_version() {
    let (new, newest) = (newer(), system("3", &[1, 2, 38]));
    let machine = Machine::new();
    machine.disk.borrow_mut().fuse = Some((30, 0x1234_5678));
    assert!(machine.install(&mut Bundle::of(&new)).is_err());
    machine.power_on();
    machine.install(&mut Bundle::of(&newest)).unwrap();
    machine.done(&newest);
    machine.install(&mut Bundle::of(&new)).unwrap();
    machine.done(&new);
}

#[test]
fn a_source_that_lies_or_ends_is_found_out() {
    let new = newer();
    for (spoiled, ends_after) in [(Some(0), None), (Some(4), None), (None, Some(3))] {
        let machine = Machine::new();
        let mut bundle = Bundle { spoiled, ends_after, ..Bundle::of(&new) };
        let error = machine.install(&mut bundle).unwrap_err();
        assert!(matches!(error, SlotError::Block(_) | SlotError::Missing(2)), "{error}");
        machine.holds(&new, "refused");
        assert_eq!(machine.esp.names(), ["edgepair_1.efi"]);
        machine.install(&mut Bundle::of(&new)).unwrap();
    }
}

#[test]
fn a_disk_that_forgets_is_found_out() {
    let new = newer();
    for block in [0, 17, 39] {
        let machine = Machine::new();
        machine.disk.borrow_mut().failing = Some(block);
        let error = machine.install(&mut Bundle::of(&new)).unwrap_err();
        let number = u32::try_from(block).unwrap();
        assert!(
            matches!(error, SlotError::ReadBack(id) if id == BlockId { part: Part::Root, number }),
            "{error}"
        );
        machine.holds(&new, "a failing disk");
        assert_eq!(machine.esp.names(), ["edgepair_1.efi"]);
    }
}

#[test]
fn what_does_not_belong_there_is_refused_before_a_byte_is_written() {
    let new = newer();
    let wrong = |change: fn(&mut System)| {
        let machine = Machine::new();
        machine.esp.put("edgepair_0.efi", "0");
        let mut system = System { image: new.image.clone(), root: new.root.clone(), tree: new.tree.clone() };
        change(&mut system);
        let error = machine.install(&mut Bundle::of(&system)).unwrap_err();
        assert_eq!((machine.disk.borrow().changes, machine.esp.0.borrow().changes), (0, 0), "{error}");
        error.to_string()
    };
    assert!(wrong(|system| system.image.version = "1".into()).contains("running"));
    assert!(wrong(|system| system.image.root_hash = "x".into()).contains("root hash"));
    assert!(wrong(|system| system.image.kernel_bytes = 1 << 40).contains("free"));
    assert!(wrong(|system| system.image.root.clear()).contains("0 bytes"));
    assert!(wrong(|system| system.image.root.resize(ROOM + 1, [0; 32])).contains("partition"));
    let machine = Machine::new();
    let mut same = system("2", &[]);
    same.image.root_hash = machine.old.image.root_hash.to_uppercase();
    assert!(machine.install(&mut Bundle::of(&same)).unwrap_err().to_string().contains("same root"));
    // A running version that is itself on trial is nothing to go back to.
    let machine = Machine::new();
    machine.esp.0.borrow_mut().files.remove("edgepair_1.efi");
    machine.esp.put("edgepair_1+2-1.efi", "1");
    assert!(matches!(machine.install(&mut Bundle::of(&new)), Err(SlotError::Boot(_))));
    assert_eq!(machine.disk.borrow().changes, 0);
}

#[test]
fn a_hash_tree_of_another_root_hash_gets_no_identifiers() {
    let mut new = newer();
    new.image.root_hash = "ab".repeat(32);
    let machine = Machine::new();
    let error = machine.install(&mut Bundle::of(&new)).unwrap_err();
    assert!(error.to_string().contains("root hash"), "{error}");
    assert_eq!(machine.disk.borrow().uuids, [String::new(), String::new()]);
    assert_eq!(machine.esp.names(), ["edgepair_1.efi"]);
}
