//! The storage steps in a world that loses power before, into or after any act: the next boot finishes, and nothing
//! that was ever in use is written over. A double of the box, for this test only.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use edgepair_render::names::BACKING_PART;
use edgepair_render::plan::{EmptyTarget, Target};
use pair_core::record::DiskId;
use proptest::prelude::*;

use super::apply::{Disk, apply};
use super::plan::{Backing, Device, Drbd, File, Loop, Next, Seen, Wanted, next};
use super::superblock::Superblock;
use crate::begun::Begun;
use crate::member::{DiskFile, Hardware};

const SIZE: u64 = 1 << 30;

/// What is at the end of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Zero,
    /// create-md was cut short.
    Torn,
    /// Metadata; `true` until data is written under it.
    Metadata(bool),
    /// Metadata with a data generation, cut before the disk was made current under it.
    HalfMade,
    /// Somebody's file system.
    Foreign,
}

/// How far an act gets that the power cut comes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Before,
    Half,
    After,
}

#[derive(Debug, Clone)]
struct World {
    // Kept over a power cut.
    part: Option<u64>,
    file: Option<u64>,
    file_number: u64,
    tail: Tail,
    records: Vec<(Target, Begun)>,
    disk_id: Option<DiskFile>,
    only_begun: bool,
    // Gone with it.
    attached_loop: bool,
    attached: bool,
    watchdog_ms: u64,
    // The test's.
    minted: u8,
    /// Every number that was ever recorded.
    identities: BTreeSet<String>,
    in_use: bool,
    acts: u32,
    cut: Option<(u32, Cut)>,
    log: Vec<&'static str>,
}

impl World {
    fn new(tail: Tail) -> Self {
        Self {
            part: None,
            file: None,
            file_number: 0,
            tail,
            records: Vec::new(),
            disk_id: None,
            only_begun: false,
            attached_loop: false,
            attached: false,
            watchdog_ms: 120_000,
            minted: 0,
            identities: BTreeSet::new(),
            in_use: false,
            acts: 0,
            cut: None,
            log: Vec::new(),
        }
    }

    /// One act: `whole` does all of it, `half` what is left of it when the power goes in between.
    fn act(
        &mut self,
        name: &'static str,
        half: impl FnOnce(&mut Self),
        whole: impl FnOnce(&mut Self),
    ) -> anyhow::Result<()> {
        self.acts += 1;
        match self.cut {
            Some((at, cut)) if at == self.acts => {
                match cut {
                    Cut::Before => {}
                    Cut::Half => half(self),
                    Cut::After => whole(self),
                }
                self.cut = None;
                self.off();
                bail!("power cut in {name}")
            }
            _ => {
                whole(self);
                self.log.push(name);
                Ok(())
            }
        }
    }

    /// What the power takes with it.
    fn off(&mut self) {
        (self.attached_loop, self.attached, self.watchdog_ms) = (false, false, 120_000);
    }

    /// Boots and provisions until nothing is missing or it stops.
    fn boot(&mut self, wanted: &Wanted) -> anyhow::Result<Result<(), String>> {
        for _ in 0..20 {
            let seen = self.observe(wanted)?;
            match next(wanted, &seen) {
                Next::Done => return Ok(Ok(())),
                Next::Blocked(blocked) => return Ok(Err(blocked.what)),
                Next::Step(step) => apply(self, wanted, &seen, step)?,
            }
        }
        panic!("it never ends: {:?}", self.log)
    }
}

impl Disk for World {
    fn observe(&mut self, wanted: &Wanted) -> anyhow::Result<Seen> {
        let file_mode = matches!(wanted.backing, Backing::File(_));
        let there = !file_mode || self.attached_loop;
        let identity =
            if file_mode { format!("file {}", self.file_number) } else { "disk serial 1".to_owned() };
        let metadata = match self.tail {
            Tail::Metadata(just_created) => Some(Superblock { just_created, consistent: !just_created }),
            Tail::HalfMade => Some(Superblock { just_created: false, consistent: false }),
            _ => None,
        };
        let signatures = match self.tail {
            Tail::Torn => vec!["drbd".to_owned()],
            Tail::Foreign => vec!["ext4".to_owned()],
            _ => Vec::new(),
        };
        let record =
            |target| self.records.iter().find(|(kind, _)| *kind == target).map(|(_, begun)| begun.clone());
        Ok(Seen {
            state_is_kept: true,
            free: 2 * SIZE,
            file: match (self.file, self.part) {
                (Some(bytes), _) => File::Whole { bytes, allocated: true },
                (None, Some(bytes)) => File::Part(bytes),
                (None, None) => File::Absent,
            },
            file_begun: record(Target::BackingFile),
            loop_device: if self.attached_loop {
                Loop::Attached { direct: true, discards: false, linked: true }
            } else {
                Loop::None
            },
            device: if there {
                Device::Present { identity, metadata, signatures, ends_are_zero: self.tail == Tail::Zero }
            } else {
                Device::Missing
            },
            device_begun: record(Target::BackingDevice),
            disk_id: self.disk_id.clone(),
            only_begun: self.only_begun,
            drbd: if self.attached { Drbd::Attached } else { Drbd::None },
            watchdog_ms: self.watchdog_ms,
        })
    }

    fn record(&mut self, proof: &EmptyTarget, begun: &Begun) -> anyhow::Result<()> {
        let entry = (proof.target(), begun.clone());
        self.act(
            "record",
            |_| {},
            |world| {
                world.identities.extend(entry.1.chosen.clone());
                world.records.retain(|(target, _)| *target != entry.0);
                world.records.push(entry);
            },
        )
    }

    fn finish(&mut self, target: Target) -> anyhow::Result<()> {
        self.act("finish", |_| {}, |world| world.records.retain(|(kind, _)| *kind != target))
    }

    fn write_part(&mut self, size: u64) -> anyhow::Result<()> {
        assert!(self.file.is_none(), "a second backing file beside the first");
        assert!(self.records.iter().any(|(target, _)| *target == Target::BackingFile), "no durable proof");
        self.act(
            "write",
            |world| world.part = Some(world.part.unwrap_or(0).max(size / 3)),
            |world| world.part = Some(size),
        )
    }

    fn publish_part(&mut self) -> anyhow::Result<()> {
        assert_eq!(self.part, Some(SIZE), "half a file is given its name");
        self.act(
            "publish",
            |_| {},
            |world| {
                world.file = world.part.take();
                world.file_number += 1;
                world.tail = Tail::Zero;
            },
        )
    }

    fn attach_loop(&mut self) -> anyhow::Result<()> {
        self.act("losetup", |_| {}, |world| world.attached_loop = true)
    }

    fn mint(&mut self) -> anyhow::Result<DiskId> {
        self.minted += 1;
        Ok(DiskId([self.minted; 16]))
    }

    fn hardware(&mut self, _: &Wanted) -> anyhow::Result<Hardware> {
        Ok(Hardware { board: "uuid 1".into(), disk: "serial 1".into() })
    }

    fn wipe_end(&mut self, _: &Wanted) -> anyhow::Result<()> {
        assert!(!self.in_use, "data is wiped: {:?}", self.log);
        assert_ne!(self.tail, Tail::Foreign, "foreign data is wiped: {:?}", self.log);
        self.act("wipe", |world| world.tail = Tail::Torn, |world| world.tail = Tail::Zero)
    }

    fn create_metadata(&mut self, _: &Wanted) -> anyhow::Result<()> {
        assert!(!self.in_use, "metadata is made a second time: {:?}", self.log);
        assert!(self.records.iter().any(|(target, _)| *target == Target::BackingDevice), "no durable proof");
        // drbdadm asks when it finds anything, and takes the missing terminal for a no.
        assert_eq!(self.tail, Tail::Zero, "create-md finds something: {:?}", self.log);
        self.act("create-md", |world| world.tail = Tail::Torn, |world| world.tail = Tail::Metadata(true))
    }

    fn keep_id(&mut self, file: &DiskFile) -> anyhow::Result<()> {
        let file = file.clone();
        self.act("keep-id", |_| {}, |world| world.disk_id = Some(file))
    }

    fn attach(&mut self) -> anyhow::Result<()> {
        let mint = self.disk_id.as_ref().context("attached without an identity").map(|file| file.mint);
        mint?;
        assert!(matches!(self.tail, Tail::Metadata(_) | Tail::HalfMade));
        self.act("attach", |_| {}, |world| world.attached = true)
    }

    fn set_watchdog(&mut self, millis: u64) -> anyhow::Result<()> {
        self.act("watchdog", |_| {}, |world| world.watchdog_ms = millis)
    }
}

fn wanted(device: bool) -> Wanted {
    let backing = if device { Backing::Device("/dev/sdb".into()) } else { Backing::File(SIZE) };
    Wanted { backing, pair: "site-042 (c22e2e93)".into(), watchdog_ms: Some(10_000) }
}

/// How many acts there are without a cut.
fn acts(device: bool) -> u32 {
    let mut world = World::new(Tail::Zero);
    assert_eq!(world.boot(&wanted(device)).unwrap(), Ok(()));
    world.acts
}

#[test]
fn without_a_cut_everything_is_done_once_and_a_second_boot_only_attaches() {
    let mut world = World::new(Tail::Zero);
    world.boot(&wanted(false)).unwrap().unwrap();
    let all = [
        "record",
        "write",
        "publish",
        "finish",
        "losetup",
        "record",
        "create-md",
        "keep-id",
        "finish",
        "attach",
        "watchdog",
    ];
    assert_eq!(world.log, all);
    world.off();
    world.log = Vec::new();
    world.boot(&wanted(false)).unwrap().unwrap();
    assert_eq!(world.log, ["losetup", "attach", "watchdog"]);
}

#[test]
fn a_cut_at_every_point_is_answered_by_the_next_boot() {
    for device in [false, true] {
        let wanted = wanted(device);
        let all = acts(device);
        for at in 1..=all {
            for cut in [Cut::Before, Cut::Half, Cut::After] {
                let mut world = World::new(Tail::Zero);
                world.cut = Some((at, cut));
                assert!(world.boot(&wanted).is_err(), "the cut came");
                assert_eq!(world.boot(&wanted).unwrap(), Ok(()), "act {at}, {cut:?}: {world:?}");
                assert!(world.records.is_empty() && world.part.is_none(), "something is left: {world:?}");
                assert_eq!(world.identities.len(), 1, "a recorded number was not used: {world:?}");
            }
        }
        println!("{all} acts, {} cuts", all * 3);
    }
}

#[test]
fn half_a_first_generation_is_made_anew_whatever_is_cut_then() {
    for device in [false, true] {
        let wanted = wanted(device);
        let mut made = World::new(Tail::Zero);
        made.boot(&wanted).unwrap().unwrap();
        made.off();
        let mint = made.disk_id.clone();
        (made.tail, made.only_begun, made.acts, made.log) = (Tail::HalfMade, true, 0, Vec::new());
        let mut whole = made.clone();
        whole.boot(&wanted).unwrap().unwrap();
        assert_eq!(whole.tail, Tail::Metadata(true), "{:?}", whole.log);
        for at in 1..=whole.acts {
            for cut in [Cut::Before, Cut::Half, Cut::After] {
                let mut world = made.clone();
                world.cut = Some((at, cut));
                assert!(world.boot(&wanted).is_err(), "the cut came");
                assert_eq!(world.boot(&wanted).unwrap(), Ok(()), "act {at}, {cut:?}: {world:?}");
                assert_eq!(world.tail, Tail::Metadata(true), "act {at}, {cut:?}: {world:?}");
                assert!(world.records.is_empty() && world.disk_id == mint, "another replica: {world:?}");
            }
        }
        // Once data may be there, never.
        let mut later = made.clone();
        (later.only_begun, later.in_use) = (false, true);
        later.boot(&wanted).unwrap().unwrap();
        assert_eq!(later.tail, Tail::HalfMade);
    }
}

#[test]
fn foreign_data_is_left_alone_and_said_so() {
    let mut world = World::new(Tail::Foreign);
    let said = world.boot(&wanted(true)).unwrap().unwrap_err();
    assert!(said.contains("ext4") && world.log.is_empty(), "{said}");
    let mut world = World::new(Tail::Metadata(false));
    assert!(world.boot(&wanted(true)).unwrap().is_err());
    assert!(world.log.is_empty());
    world.records.push((
        Target::BackingDevice,
        Begun { identity: BACKING_PART.into(), chosen: Some(DiskId([1; 16]).to_string()) },
    ));
    assert!(world.boot(&wanted(true)).unwrap().is_err(), "a record of another disk is no proof");
    assert!(world.log.is_empty());
}

fn cuts() -> impl Strategy<Value = Vec<(u32, Cut)>> {
    let kind = prop_oneof![Just(Cut::Before), Just(Cut::Half), Just(Cut::After)];
    proptest::collection::vec((1_u32..14, kind), 0..12)
}

proptest! {
    /// Any number of cuts, one boot each; after the first boot that gets through, data is written.
    #[test]
    fn however_often_the_power_goes_nothing_is_made_twice(device: bool, cuts in cuts()) {
        let wanted = wanted(device);
        let mut world = World::new(Tail::Zero);
        let mut id = None;
        for (at, cut) in cuts.into_iter().chain([(u32::MAX, Cut::Before)]) {
            (world.acts, world.cut) = (0, Some((at, cut)));
            if world.boot(&wanted).is_ok_and(|result| result.is_ok()) {
                let now = world.disk_id.as_ref().map(|file| file.mint);
                prop_assert!(now.is_some() && id.is_none_or(|id| Some(id) == now), "another identity");
                id = now;
                // From here on the asserts in the acts forbid to make anything again.
                world.in_use = true;
                world.tail = Tail::Metadata(false);
            }
            world.off();
        }
        prop_assert!(world.in_use, "the last boot, without a cut, did not finish");
        prop_assert_eq!(world.identities.len(), 1, "a recorded number was not used");
    }
}
