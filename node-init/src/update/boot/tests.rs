//! Whatever is renamed, and wherever the power goes, the loader finds a version that is kept and whole.

use super::decide::{self, Listing, Refusal};
use super::entry::{Counter, Entry, Label};
use super::esp::{Esp, Found, Unlocked};
use super::label::{of_image, tests::image};
use super::loader::{self, BOTH, Ids};
use super::{BootControl, BootError, Standing, SystemdBoot};
use edgepair_host_io::digest::of_bytes;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::rc::Rc;

/// What a cut leaves of the change that it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Before,
    Both,
    After,
    Neither,
}

pub(crate) const CUTS: [Cut; 4] = [Cut::Before, Cut::Both, Cut::After, Cut::Neither];

/// A boot partition that loses power at the given change.
#[derive(Debug, Default)]
pub(crate) struct Fat {
    pub files: BTreeMap<String, Vec<u8>>,
    pub pinned: Vec<String>,
    pub room: u64,
    pub fuse: Option<(usize, Cut)>,
    pub dead: bool,
    pub changes: usize,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Double(pub Rc<RefCell<Fat>>);

fn no_power<T>() -> io::Result<T> {
    Err(io::Error::other("no power"))
}

impl Double {
    fn alive(&self) -> io::Result<std::cell::RefMut<'_, Fat>> {
        let fat = self.0.borrow_mut();
        if fat.dead { no_power() } else { Ok(fat) }
    }

    /// One change; `None`: it happens in full.
    fn spend(fat: &mut Fat) -> Option<Cut> {
        fat.changes += 1;
        match fat.fuse {
            Some((0, cut)) => {
                fat.dead = true;
                Some(cut)
            }
            Some((left, cut)) => {
                fat.fuse = Some((left - 1, cut));
                None
            }
            None => None,
        }
    }

    fn rename_it(&self, from: &str, to: &str) -> io::Result<()> {
        let mut fat = self.alive()?;
        let Some(content) = fat.files.get(from).cloned() else { return Err(io::ErrorKind::NotFound.into()) };
        let cut = Self::spend(&mut fat);
        if !matches!(cut, Some(Cut::Before | Cut::Both)) {
            fat.files.remove(from);
        }
        if !matches!(cut, Some(Cut::Before | Cut::Neither)) {
            fat.files.insert(to.to_owned(), content);
        }
        if cut.is_some() { no_power() } else { Ok(()) }
    }

    pub fn names(&self) -> Vec<String> {
        self.0.borrow().files.keys().cloned().collect()
    }

    pub fn put(&self, name: &str, version: &str) {
        let label = format!("IMAGE_ID=edgepair\nIMAGE_VERSION={version}\n");
        self.0.borrow_mut().files.insert(name.to_owned(), image(&label, 0));
    }
}

impl Esp for Double {
    fn files(&self) -> io::Result<Vec<Found>> {
        let fat = self.alive()?;
        let found = |(name, content): (&String, &Vec<u8>)| Found {
            name: name.clone(),
            size: content.len() as u64,
            label: of_image(io::Cursor::new(content)),
        };
        Ok(fat.files.iter().map(found).collect())
    }

    fn digest(&self, name: &str) -> io::Result<Option<String>> {
        Ok(self.alive()?.files.get(name).map(of_bytes))
    }

    fn pinned(&self) -> io::Result<Vec<String>> {
        Ok(self.alive()?.pinned.clone())
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.alive()?.room)
    }

    fn unlock(&self) -> io::Result<Box<dyn Unlocked + '_>> {
        self.alive()?;
        Ok(Box::new(self.clone()))
    }
}

impl Unlocked for Double {
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        assert!(!self.names().contains(&to.to_owned()), "{to} is there already: {:?}", self.names());
        self.rename_it(from, to)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut fat = self.alive()?;
        let cut = Self::spend(&mut fat);
        if !matches!(cut, Some(Cut::Before | Cut::Both)) {
            fat.files.remove(name);
        }
        if cut.is_some() { no_power() } else { Ok(()) }
    }

    fn write(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        let mut fat = self.alive()?;
        let cut = Self::spend(&mut fat);
        let keep = match cut {
            None | Some(Cut::After) => bytes.len(),
            Some(Cut::Both) => bytes.len() / 2,
            Some(Cut::Neither | Cut::Before) => 0,
        };
        bytes.truncate(keep);
        fat.files.insert(name.to_owned(), bytes);
        if cut.is_some() { no_power() } else { Ok(()) }
    }
}

pub(crate) fn uki(version: &str) -> Vec<u8> {
    image(&format!("IMAGE_ID=edgepair\nIMAGE_VERSION={version}\n"), 9)
}

/// A node: its boot partition, and which versions' slots are whole.
struct Machine {
    esp: Double,
    control: SystemdBoot<Double>,
    whole: BTreeSet<String>,
    running: String,
}

impl Machine {
    fn new() -> Self {
        let esp = Double::default();
        esp.0.borrow_mut().room = 1 << 30;
        esp.put("edgepair_1.efi", "1");
        let control = SystemdBoot::new(esp.clone());
        Self { esp, control, whole: BTreeSet::from(["1".to_owned()]), running: "1".to_owned() }
    }

    fn listing(&self) -> Listing {
        self.esp.0.borrow_mut().dead = false;
        self.control.look().unwrap()
    }

    /// From here, every way that the loader can go ends on a version that is kept and whole, and passes only over trials.
    fn ends_well(&self) -> Result<(), String> {
        for ids in BOTH {
            let mut open = vec![self.listing().entries];
            let mut rounds = 0;
            while let Some(entries) = open.pop() {
                rounds += 1;
                if rounds > 200 {
                    return Err("the loader counts for ever".to_owned());
                }
                for first in firsts(&entries, ids) {
                    let version = first.version().map(str::to_owned).unwrap_or_default();
                    match first.counter {
                        None if self.whole.contains(&version) => {}
                        Some(Counter { left: 1.., .. }) => {
                            let at = entries.iter().position(|entry| entry.file == first.file).unwrap();
                            let mut next = entries.clone();
                            next[at] = loader::counted(&first);
                            open.push(next);
                        }
                        _ => return Err(format!("{first} would boot; there are {:?}", self.esp.names())),
                    }
                }
                if entries.is_empty() {
                    return Err("nothing to boot".to_owned());
                }
            }
        }
        Ok(())
    }

    /// The loader boots; its own rename may be cut as well, and then it boots again.
    fn boot(&mut self, ids: Ids, cut: Option<Cut>) {
        self.esp.0.borrow_mut().dead = false;
        self.esp.0.borrow_mut().fuse = None;
        let entries = self.listing().entries;
        let first = firsts(&entries, ids).remove(0);
        if first.counter.is_some() {
            let next = loader::counted(&first).file;
            self.esp.0.borrow_mut().fuse = cut.map(|cut| (0, cut));
            if next != first.file && self.esp.rename_it(&first.file, &next).is_err() {
                return self.boot(ids, None);
            }
        }
        self.esp.0.borrow_mut().fuse = None;
        self.running = first.version().unwrap().to_owned();
    }

    fn update(&mut self, version: &str) -> Result<(), BootError> {
        self.control.room(&self.running, 1 << 20)?;
        self.control.clear(&self.running)?;
        // The other slot is written now: whatever was in it is gone.
        self.whole.retain(|whole| *whole == self.running);
        let bytes = uki(version);
        self.control.install(version, &of_bytes(&bytes), &mut bytes.as_slice())?;
        self.whole.insert(version.to_owned());
        self.try_it(version)
    }

    fn try_it(&self, version: &str) -> Result<(), BootError> {
        self.control.arm_trial(&self.running, version)?;
        let armed = self.control.prove(&self.running, version)?;
        assert_eq!((armed.version(), armed.back(), armed.attempts()), (version, self.running.as_str(), 3));
        Ok(())
    }
}

/// What the loader may boot: one entry, or any of those that stand equal.
fn firsts(entries: &[Entry], ids: Ids) -> Vec<Entry> {
    let order = loader::order(entries, ids);
    let Some(best) = order.first() else { return Vec::new() };
    let tied = |entry: &&&Entry| loader::compare(best, entry, ids).is_eq();
    order.iter().filter(tied).map(|entry| (**entry).clone()).collect()
}

#[derive(Debug, Clone)]
enum Do {
    Update(u32),
    Again,
    Boot,
    Commit,
    Reject,
    RollBack,
}

fn any_do() -> impl Strategy<Value = Do> {
    prop_oneof![
        3 => (0..30_u32).prop_map(Do::Update),
        1 => Just(Do::Again),
        4 => Just(Do::Boot),
        3 => Just(Do::Commit),
        2 => Just(Do::Reject),
        2 => Just(Do::RollBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn the_loader_always_finds_a_kept_version(
        plan in proptest::collection::vec((any_do(), proptest::option::of((0..10_usize, 0..4_usize))), 1..14),
        with_counter: bool,
    ) {
        let ids = if with_counter { Ids::WithCounter } else { Ids::WithoutCounter };
        let mut machine = Machine::new();
        for (step, fuse) in plan {
            let fuse = fuse.map(|(after, cut)| (after, CUTS[cut]));
            machine.esp.0.borrow_mut().fuse = fuse;
            let running = machine.running.clone();
            let other = machine.whole.iter().find(|version| **version != running).cloned();
            match &step {
                Do::Update(version) if version.to_string() != running => {
                    let _ = machine.update(&version.to_string());
                }
                Do::Update(_) => {}
                Do::Again => drop(other.map(|other| machine.try_it(&other))),
                Do::Boot => machine.boot(ids, fuse.map(|(_, cut)| cut)),
                Do::Commit => drop(machine.control.commit(&running)),
                Do::Reject => drop(machine.control.reject(&running)),
                Do::RollBack => drop(machine.control.roll_back(&running)),
            }
            if machine.esp.0.borrow().dead {
                machine.boot(ids, None);
            }
            machine.esp.0.borrow_mut().fuse = None;
            prop_assert!(machine.ends_well().is_ok(), "{step:?} {fuse:?}: {}", machine.ends_well().unwrap_err());
            prop_assert!(machine.whole.contains(&machine.running));
        }
    }
}

#[test]
fn a_life_of_updates() {
    let mut machine = Machine::new();
    machine.update("2").unwrap();
    assert_eq!(machine.esp.names(), ["edgepair_1.efi", "edgepair_2+3.efi"]);
    machine.boot(Ids::WithCounter, None);
    assert_eq!(machine.running, "2");
    let standing = Standing::Trial(Counter { left: 2, done: 1 });
    let versions = machine.control.versions().unwrap();
    assert_eq!(versions, [("2".to_owned(), standing), ("1".to_owned(), Standing::Kept)]);
    machine.control.commit("2").unwrap();
    machine.control.commit("2").unwrap();
    assert_eq!(machine.esp.names(), ["edgepair_1.efi", "edgepair_2.efi"]);
    // By hand: the newer one is exhausted, so that the loader does not take it again.
    assert_eq!(machine.control.roll_back("2").unwrap(), "1");
    assert_eq!(machine.control.roll_back("2").unwrap(), "1", "asked twice");
    machine.boot(Ids::WithCounter, None);
    assert_eq!(machine.running, "1");
    assert!(matches!(machine.control.roll_back("1"), Err(BootError::Refused(Refusal::NoWayBack(_)))));
    // A trial that fails: three attempts, then the old one.
    machine.update("3").unwrap();
    for _ in 0..3 {
        machine.boot(Ids::WithCounter, None);
        assert_eq!(machine.running, "3");
    }
    machine.boot(Ids::WithCounter, None);
    assert_eq!(machine.running, "1");
    assert_eq!(machine.control.versions().unwrap()[1], ("3".to_owned(), Standing::Exhausted));
    assert_eq!(machine.esp.names(), ["edgepair_1.efi", "edgepair_3+0-3.efi"], "2 was in the slot that 3 got");
}

#[test]
fn what_cannot_go_back_is_not_armed() {
    let label = |version: &str| Label { sort_key: Some("edgepair".into()), version: Some(version.into()) };
    let listing = |files: &[(&str, &str)]| Listing {
        entries: files.iter().map(|(file, version)| Entry::parse(file, label(version)).unwrap()).collect(),
        ..Listing::default()
    };
    let armed = |files: &[(&str, &str)]| decide::prove(&listing(files), "5", "6");
    assert!(armed(&[("edgepair_5.efi", "5"), ("edgepair_6+3.efi", "6")]).is_ok());
    for (files, why) in [
        (&[("edgepair_5+1-2.efi", "5"), ("edgepair_6+3.efi", "6")][..], "the running one is itself on trial"),
        (&[("edgepair_5.efi", "5")][..], "not there"),
        (&[("edgepair_5.efi", "5"), ("edgepair_6+0.efi", "6")][..], "no attempts"),
        (&[("edgepair_5.efi", "5"), ("edgepair_6.efi", "6")][..], "it would never go back"),
        (&[("edgepair_5.efi", "5"), ("edgepair_6+3.efi", "4")][..], "the image says that it is older"),
        (&[("edgepair_5.efi", "5"), ("edgepair_6+3.efi", "6"), ("edgepair_7.efi", "7")][..], "a third one"),
        (&[("edgepair_5.efi", "5"), ("edgepair_6+3.efi", "6"), ("edgepair_6+1-2.efi", "6")][..], "two of it"),
        (&[("edgepair_5.efi", "5"), ("edgepair_6+3.efi", "6"), ("debian+9.efi", "8")][..], "somebody else's"),
    ] {
        assert!(armed(files).is_err(), "{why}");
        assert!(decide::prove(&listing(files), "5", "5").is_err(), "itself");
    }
    let mut pinned = listing(&[("edgepair_5.efi", "5"), ("edgepair_6+3.efi", "6")]);
    pinned.pinned.push("loader.conf says `default x`".into());
    assert!(matches!(decide::prove(&pinned, "5", "6"), Err(Refusal::Pinned(_))));
    // An older version is refused before anything is renamed.
    let older = listing(&[("edgepair_5.efi", "5"), ("edgepair_4+0.efi", "4")]);
    assert!(matches!(decide::arm(&older, "5", "4", 3), Err(Refusal::Otherwise { .. })));
}

#[test]
fn others_files_are_left_alone_and_names_are_checked() {
    let machine = Machine::new();
    machine.esp.put("debian_12.efi", "12");
    machine.esp.put(".edgepair_9.tmp", "9");
    machine.esp.put("edgepair_9+0.efi", "9");
    machine.esp.0.borrow_mut().files.insert("edgepair_8.efi".to_owned(), Vec::new());
    machine.esp.0.borrow_mut().files.insert("notes.txt".to_owned(), Vec::new());
    machine.control.clear("1").unwrap();
    assert_eq!(machine.esp.names(), ["debian_12.efi", "edgepair_1.efi", "notes.txt"]);
    for bad in ["", "../1", "1/2", "1+3", "1_2", "é", &"1".repeat(65)] {
        let refused = machine.control.install(bad, "", &mut io::empty());
        assert!(matches!(refused, Err(BootError::Refused(Refusal::NoVersion(_)))), "{bad}");
        assert!(machine.control.commit(bad).is_err() && machine.control.reject(bad).is_err());
    }
}

#[test]
fn an_image_that_is_not_the_signed_one_gets_no_name() {
    let machine = Machine::new();
    let refused = machine.control.install("2", &of_bytes("other"), &mut uki("2").as_slice());
    assert!(matches!(refused, Err(BootError::Digest { .. })));
    assert_eq!(machine.esp.names(), ["edgepair_1.efi"]);
    machine.esp.0.borrow_mut().room = 5 << 20;
    assert!(machine.control.room("1", 1 << 20).is_ok());
    assert!(matches!(machine.control.room("1", 2 << 20), Err(BootError::Room { .. })));
}
