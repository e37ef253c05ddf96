//! Bundles from an operator's pipe to the slot of a machine: what is refused, what is found out, what goes on.

use super::*;
use crate::member::Place;
use crate::update::boot::tests::uki;
use crate::update::driver::kept::{Failed, Kept};
use crate::update::slot::tests::{Machine, System, newer};
use edgepair_bundle::manifest::{Compatible, Leaves, Manifest, Part, PayloadName};
use edgepair_bundle::{PackError, Packer};
use edgepair_host_io::atomic;
use edgepair_signature::{KeyId, Prehash, PublicKey, sign};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::io::{self, Cursor};

const NOW: Option<Time> = Some(Time(1_900_000_000));

/// Public half of a test's key.
pub fn key(number: u8) -> PublicKey {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap();
    PublicKey::new(KeyId([number; 8]), pair.public_key().as_ref().try_into().unwrap())
}

/// A bundle of a system, signed with these keys.
pub fn pack(system: &System, keys: &[u8], change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    pack_all(system, &uki(&system.image.version), keys, change)
}

/// The same with another kernel image.
pub fn pack_with(system: &System, kernel: &[u8]) -> Vec<u8> {
    pack_all(system, kernel, &[1], |_| {})
}

fn pack_all(system: &System, kernel: &[u8], keys: &[u8], change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut packer = Packer::new(Cursor::new(Vec::new())).unwrap();
    for (name, payload) in PayloadName::ALL.into_iter().zip([&system.root[..], &system.tree, kernel]) {
        packer.add(name, payload).unwrap();
    }
    let one = Span { min: 1, max: 1 };
    let mut manifest = Manifest {
        name: "edgepair".into(),
        version: Version::parse(&system.image.version).unwrap(),
        architecture: "amd64".into(),
        boards: vec!["x86-64".into()],
        root_hash: Digest::parse(&system.image.root_hash).unwrap(),
        build: None,
        floor: Version::parse("0").unwrap(),
        expires: None,
        trial_seconds: 900,
        extension: None,
        compatible: Compatible { pair_protocol: one, datastore: Span { min: 17, max: 17 }, state: one },
        leaves: Leaves { datastore: 17, state: 1 },
        one_way: false,
        waves: Vec::new(),
        index: Part { size: 0, sha256: Digest::of(b"") },
        payloads: Vec::new(),
    };
    change(&mut manifest);
    let seal = |text: &str| {
        let hash = Prehash::of_bytes(text.as_bytes());
        let seal =
            |number: &u8| sign(&[*number; 32], KeyId([*number; 8]), &hash, "file:manifest.toml").unwrap();
        Ok::<_, PackError>(keys.iter().map(seal).collect())
    };
    let mut out = Vec::new();
    packer.finish(manifest, seal, &mut out).unwrap();
    out
}

impl Bundles {
    /// As an operator has it opened, without further words.
    pub fn open(
        &self,
        body: Option<Body>,
        origin: Option<String>,
        now: Option<Time>,
    ) -> Result<Offer, Trouble> {
        self.open_on(body, origin, now, &Terms::default())
    }
}

/// A node with its files and its disk.
pub struct OneNode {
    pub bundles: Bundles,
    pub machine: Machine,
    pub files: tempfile::TempDir,
}

impl OneNode {
    pub fn new(peer: Option<peer::Client>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let place = Place::at(files.path());
        let keys = place.path(path::UPDATE_KEYS);
        std::fs::create_dir_all(&keys).unwrap();
        atomic::write(&keys.join("release.pub"), key(1).text().as_bytes(), 0o644).unwrap();
        let about = About { board: "x86-64".into(), datastore: Some(17) };
        Self { bundles: Bundles::new(place, about, peer), machine: Machine::new(), files }
    }

    pub fn open(&self, bundle: &[u8], origin: Option<&str>) -> Result<Offer, Trouble> {
        self.bundles.open(Some(Body(Box::new(Cursor::new(bundle.to_vec())))), origin.map(str::to_owned), NOW)
    }

    pub fn write(&self, job: &Job) -> Result<Report, Trouble> {
        self.bundles.write(job, &mut |image, source| self.machine.fill(image, source))
    }

    fn untouched(&self, why: &str) {
        let changes = (self.machine.disk.borrow().changes, self.machine.esp.0.borrow().changes);
        assert_eq!(changes, (0, 0), "{why}");
    }
}

/// The job of a plan that an offer became.
pub fn job(offer: &Offer, first: bool) -> Job {
    Job { version: offer.version.clone(), bundle: offer.bundle.clone(), first }
}

#[test]
fn a_bundle_goes_from_the_pipe_into_the_slot() {
    let (node, new) = (OneNode::new(None), newer());
    let bundle = pack(&new, &[1], |_| {});
    let offer = node.open(&bundle, None).unwrap();
    assert_eq!((offer.version.as_str(), offer.trial_limit), ("2", 900));
    node.untouched("opened only");
    assert!(Stock::load(&node.bundles.place).unwrap().bundle.is_none(), "nor is anything kept of it");
    let report = node.write(&job(&offer, true)).unwrap();
    assert_eq!(report, Report { kept: 0, copied: 37, fetched: 5 });
    node.machine.done(&new);
    // The pipe is gone, and the head is there: the other node would be asked, were there one.
    let trouble = node.write(&job(&offer, false)).unwrap_err();
    assert!(trouble.text.contains("no other node") && !trouble.again, "{trouble}");
}

#[test]
fn what_is_not_for_this_node_is_refused_by_name_and_nothing_is_written() {
    let new = newer();
    let refused = |bundle: &[u8], prepare: fn(&OneNode), words: &str| {
        let node = OneNode::new(None);
        prepare(&node);
        let trouble = node.open(bundle, None).unwrap_err();
        assert!(trouble.text.contains(words) && !trouble.again, "{words}: {trouble}");
        let job = Job { version: "2".into(), bundle: "any".into(), first: true };
        assert!(node.write(&job).unwrap_err().text.contains("pipe"), "{words}: it is not kept open");
        node.untouched(words);
    };
    let good = pack(&new, &[1], |_| {});
    let at_once = |_: &OneNode| {};
    refused(b"", at_once, "cut off");
    refused(&good[..700], at_once, "cut off");
    refused(b"#!/bin/sh\n".repeat(200).as_slice(), at_once, "no update bundle");
    refused(&pack(&new, &[], |_| {}), at_once, "edgepair bundle sign");
    refused(&pack(&new, &[2], |_| {}), at_once, "a new key must first come");
    let keyless =
        |node: &OneNode| std::fs::remove_dir_all(node.bundles.place.path(path::UPDATE_KEYS)).unwrap();
    refused(&good, keyless, "trusts no key");
    refused(&pack(&new, &[1], |manifest| manifest.boards = vec!["rpi4".into()]), at_once, "rpi4");
    let floor = |node: &OneNode| {
        Stock::default().raise(&node.bundles.place, &Version::parse("3").unwrap()).unwrap();
    };
    refused(&good, floor, "older than 3");
    let failed = |node: &OneNode| {
        let mut kept = Kept::default();
        kept.failed.push(Failed { version: "2".into(), why: Vec::new() });
        kept.store(&node.bundles.place).unwrap();
    };
    refused(&good, failed, "failed here before");
    let expired = pack(&new, &[1], |manifest| manifest.expires = Some(Time(1_800_000_000)));
    refused(&expired, at_once, "it was to be installed before");
    let span = |min| Span { min, max: 99 };
    refused(&pack(&new, &[1], |manifest| manifest.compatible.pair_protocol = span(2)), at_once, "protocol");
    refused(
        &pack(&new, &[1], |manifest| {
            manifest.compatible.datastore = span(18);
            manifest.leaves.datastore = 18;
        }),
        at_once,
        "datastore",
    );
    refused(
        &pack(&new, &[1], |manifest| {
            manifest.compatible.state = span(2);
            manifest.leaves.state = 2;
        }),
        at_once,
        "state partition",
    );
    let damaged = |node: &OneNode| {
        let path = node.bundles.place.path(path::UPDATE_STOCK);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        atomic::write(&path, b"{", 0o600).unwrap();
    };
    let node = OneNode::new(None);
    damaged(&node);
    assert!(node.open(&good, None).unwrap_err().text.contains("damaged"));
}

#[test]
fn a_bundle_that_was_changed_on_the_way_gets_no_boot_entry() {
    let new = newer();
    let good = pack(&new, &[1], |_| {});
    let head = {
        let node = OneNode::new(None);
        let offer = node.open(&good, None).unwrap();
        node.write(&job(&offer, true)).unwrap();
        let stock = Stock::load(&node.bundles.place).unwrap();
        stock.head(&node.bundles.place, &offer.bundle).unwrap().unwrap().len()
    };
    assert_eq!(head % 512, 0);
    // Each 97th byte of the payloads up to the kernel image, whose end is read for whoever sends it.
    let kernel_end = good.len() - 1024 - uki("2").len().div_ceil(512) * 512;
    for at in (head..kernel_end).step_by(97) {
        let node = OneNode::new(None);
        let mut bad = good.clone();
        bad[at] ^= 4;
        let offer = node.open(&bad, None).unwrap();
        let trouble = node.write(&job(&offer, true)).expect_err(&format!("byte {at} of {}", good.len()));
        assert!(!trouble.again, "{trouble}");
        node.machine.holds(&new, &format!("byte {at}"));
        assert_eq!(node.machine.esp.names(), ["edgepair_1.efi"]);
        // The right one goes on where that one ended.
        let offer = node.open(&good, None).unwrap();
        node.write(&job(&offer, true)).unwrap();
        node.machine.done(&new);
    }
    for length in [head, head + 600, (head + kernel_end) / 2, kernel_end - 1] {
        let node = OneNode::new(None);
        let offer = node.open(&good[..length], None).unwrap();
        node.write(&job(&offer, true)).unwrap_err();
        node.machine.holds(&new, "cut off");
        assert_eq!(node.machine.esp.names(), ["edgepair_1.efi"]);
    }
}

/// A pipe that breaks after so many bytes.
struct Breaks(Cursor<Vec<u8>>, u64);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.position() >= self.1 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let most = buffer.len().min(4096);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn a_file_is_read_again_where_a_pipe_is_not() {
    let new = newer();
    let bundle = pack(&new, &[1], |_| {});
    for readable in [false, true] {
        let node = OneNode::new(None);
        let file = node.files.path().join("2.bundle");
        atomic::write(&file, &bundle, 0o600).unwrap();
        let origin = readable.then(|| file.to_str().unwrap().to_owned());
        let body = Body(Box::new(Breaks(Cursor::new(bundle.clone()), bundle.len() as u64 - 3000)));
        let offer = node.bundles.open(Some(body), origin, NOW).unwrap();
        let trouble = node.write(&job(&offer, true)).unwrap_err();
        assert_eq!(trouble.again, readable, "{trouble}");
        node.machine.holds(&new, "broken off");
        // As after a restart of the agent, with nothing but what is on the disk.
        let again = Bundles::new(node.bundles.place.clone(), node.bundles.about.clone(), None);
        let result = again.write(&job(&offer, true), &mut |image, source| node.machine.fill(image, source));
        if readable {
            assert_eq!(result.unwrap().fetched, 0, "the blocks were there already, the kernel image was not");
            node.machine.done(&new);
            std::fs::remove_file(&file).unwrap();
            let trouble = node.write(&job(&offer, true)).unwrap_err();
            assert!(
                trouble.again && trouble.text.contains("cannot be read"),
                "a stick may come back: {trouble}"
            );
        } else {
            let trouble = result.unwrap_err();
            assert!(!trouble.again && trouble.text.contains("pipe that is gone"), "{trouble}");
        }
    }
}

#[test]
fn a_file_that_became_another_one_is_found_out() {
    let new = newer();
    let mut bundle = pack(&new, &[1], |_| {});
    let node = OneNode::new(None);
    let file = node.files.path().join("2.bundle");
    let offer = node.open(&bundle, file.to_str()).unwrap();
    let trouble = node.bundles.write(&job(&offer, true), &mut |_, _| Err(SlotError::Missing(1))).unwrap_err();
    assert!(trouble.again);
    let at = bundle.len() - 2048;
    bundle[..at].fill(0x55);
    atomic::write(&file, &bundle, 0o600).unwrap();
    let trouble = node.write(&job(&offer, true)).unwrap_err();
    assert!(!trouble.again && trouble.text.contains("not what was signed"), "{trouble}");
    assert_eq!(node.machine.esp.names(), ["edgepair_1.efi"]);
}

#[test]
fn a_plan_gets_its_own_bundle_and_no_other() {
    let new = newer();
    let (one, other) = (pack(&new, &[1], |_| {}), pack(&new, &[1], |manifest| manifest.trial_seconds = 60));
    let node = OneNode::new(None);
    let first = node.open(&one, None).unwrap();
    let second = node.open(&other, None).unwrap();
    assert_ne!(first.bundle, second.bundle);
    assert!(node.write(&job(&first, true)).unwrap_err().text.contains("pipe that is gone"));
    let wrong = Job { version: "2.0".into(), ..job(&second, true) };
    let trouble = node.write(&wrong).unwrap_err();
    assert!(trouble.text.contains("has version 2,") && !trouble.again, "{trouble}");
    node.untouched("none of them");
}

#[test]
fn the_floor_follows_what_was_kept() {
    let new = newer();
    let node = OneNode::new(None);
    let offer =
        node.open(&pack(&new, &[1], |manifest| manifest.floor = Version::parse("1.5").unwrap()), None);
    node.bundles.kept("2").unwrap();
    node.write(&job(&offer.unwrap(), true)).unwrap();
    assert_eq!(Stock::load(&node.bundles.place).unwrap().floor, None, "written is not kept");
    node.bundles.kept("1").unwrap();
    assert_eq!(Stock::load(&node.bundles.place).unwrap().floor, None, "another version");
    node.bundles.kept("2").unwrap();
    assert_eq!(Stock::load(&node.bundles.place).unwrap().floor.as_deref(), Some("1.5"));
}

#[test]
fn a_plan_under_way_outlives_the_expiry_of_its_bundle() {
    let new = newer();
    let bundle = pack(&new, &[1], |manifest| manifest.expires = Some(Time(1_900_000_001)));
    let node = OneNode::new(None);
    let file = node.files.path().join("2.bundle");
    atomic::write(&file, &bundle, 0o600).unwrap();
    let offer = node.open(&bundle, file.to_str()).unwrap();
    node.bundles.write(&job(&offer, true), &mut |_, _| Err(SlotError::Missing(1))).unwrap_err();
    node.write(&job(&offer, true)).unwrap();
    let later = Some(Time(1_900_000_001));
    let late = node.bundles.open(Some(Body(Box::new(Cursor::new(bundle)))), None, later).unwrap_err();
    assert!(late.text.contains("installed before"), "{late}");
}
