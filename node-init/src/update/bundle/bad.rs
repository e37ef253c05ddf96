//! Bad bundles, one kind a test: refused with the reason that is meant, and the slot as it was.
//!
//! What lies before the first payload is refused when the bundle is opened: nothing at all was written. A bad payload is found
//! when its block's turn comes: what was written by then is signed, and nothing boots the slot.

use super::tests::{OneNode, job, pack};
use super::*;
use crate::update::driver::kept::{Failed, Kept};
use crate::update::slot::tests::{System, newer};
use edgepair_bundle::manifest::MANIFEST_MAX;
use std::io::Cursor;

const UNIT: usize = 512;

fn good() -> (System, Vec<u8>) {
    let new = newer();
    let bundle = pack(&new, &[1], |_| {});
    (new, bundle)
}

/// One entry of the tar: where its header, its content and the padding behind that are.
#[derive(Debug, Clone)]
struct Entry {
    header: usize,
    content: std::ops::Range<usize>,
    end: usize,
}

fn entries(bundle: &[u8]) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut at = 0;
    while bundle[at] != 0 {
        let digits = std::str::from_utf8(&bundle[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(digits, 8).unwrap();
        let content = at + UNIT..at + UNIT + size;
        let end = content.end.next_multiple_of(UNIT);
        all.push(Entry { header: at, content, end });
        at = end;
    }
    all
}

/// A header that tar would take: its check sum follows from its content.
fn sealed(header: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = header.to_vec();
    change(&mut header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    header
}

/// Refused when it is opened; nothing was written, nothing is kept of it, and the good one is taken afterwards.
fn refused(bundle: &[u8], prepare: impl Fn(&OneNode), words: &str) {
    let node = OneNode::new(None);
    prepare(&node);
    let trouble = node.open(bundle, None).expect_err(words);
    assert!(trouble.text.contains(words), "{words:?} is not the reason: {trouble}");
    assert!(!trouble.again, "{words}: it does not become right by waiting");
    let changes = (node.machine.disk.borrow().changes, node.machine.esp.0.borrow().changes);
    assert_eq!(changes, (0, 0), "{words}: something was written");
    assert!(Stock::load(&node.bundles.place).unwrap().bundle.is_none(), "{words}: something of it is kept");
    assert!(node.bundles.slot().is_none(), "{words}: it is still open");
}

fn at_once(_: &OneNode) {}

/// Every bit of some bytes.
fn flips(bundle: &[u8], places: impl IntoIterator<Item = usize>, words: &[&str]) {
    for at in places {
        for bit in [0, 3, 7] {
            let mut bad = bundle.to_vec();
            bad[at] ^= 1 << bit;
            let node = OneNode::new(None);
            let trouble = node.open(&bad, None).expect_err(&format!("byte {at}"));
            let named = words.iter().any(|word| trouble.text.contains(word));
            assert!(named && !trouble.again, "byte {at} bit {bit}: {trouble}");
            let changes = (node.machine.disk.borrow().changes, node.machine.esp.0.borrow().changes);
            assert_eq!(changes, (0, 0), "byte {at}");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_header() {
    let (_, good) = good();
    let [manifest, signatures, index] = [0, 1, 2].map(|number| entries(&good)[number].header);
    // Name, mode, owner, size, time, check sum, type, magic, unused end.
    let fields = [0, 100, 108, 124, 134, 136, 148, 156, 157, 257, 263, 265, 345, 511];
    let words = ["tar entry", "tar header", "no update bundle", "at most", "cut off", "in the manifest"];
    flips(&good, fields.map(|field| manifest + field), &words);
    flips(&good, fields.map(|field| signatures + field), &words);
    flips(&good, fields.map(|field| index + field), &words);
}

#[test]
fn a_flipped_byte_of_the_manifest() {
    let (_, good) = good();
    let content = entries(&good)[0].content.clone();
    flips(&good, content.step_by(7), &["not to be trusted: it is not what was signed", "not UTF-8"]);
}

#[test]
fn a_flipped_byte_of_the_signatures() {
    let (_, good) = good();
    let content = entries(&good)[1].content.clone();
    let words = ["manifest.sig", "not to be trusted"];
    flips(&good, content.step_by(3), &words);
}

#[test]
fn a_flipped_byte_of_the_index() {
    let (_, good) = good();
    let content = entries(&good)[2].content.clone();
    flips(&good, content.step_by(11), &["the block index is not the one that the manifest was signed for"]);
}

#[test]
fn a_flipped_byte_of_the_padding() {
    let (_, good) = good();
    for entry in &entries(&good)[..3] {
        let padding = entry.content.end..entry.end;
        flips(&good, padding.step_by(13), &["are not zero"]);
    }
}

/// A bundle whose payloads are bad: refused with these words, no boot entry, and the good one goes on where it ended.
fn refused_in_a_payload(new: &System, bad: &[u8], good: &[u8], words: &[&str]) {
    let node = OneNode::new(None);
    let offer = node.open(bad, None).unwrap();
    let trouble = node.write(&job(&offer, true)).expect_err(words[0]);
    assert!(words.iter().any(|word| trouble.text.contains(word)) && !trouble.again, "{words:?}: {trouble}");
    node.machine.holds(new, words[0]);
    assert_eq!(node.machine.esp.names(), ["edgepair_1.efi"], "{words:?}: it would boot");
    let offer = node.open(good, None).unwrap();
    node.write(&job(&offer, true)).unwrap();
    node.machine.done(new);
}

#[test]
fn a_flipped_byte_of_a_block() {
    let (new, good) = good();
    for entry in &entries(&good)[3..] {
        for at in [entry.content.start, (entry.content.start + entry.content.end) / 2, entry.content.end - 1]
        {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            refused_in_a_payload(&new, &bad, &good, &["is not what was signed"]);
        }
    }
}

#[test]
fn a_flipped_byte_between_payloads() {
    let (new, good) = good();
    for (entry, after) in entries(&good)[3..].iter().zip(&entries(&good)[4..]) {
        for at in (entry.content.end..entry.end).chain([after.header, after.header + 130, after.header + 500])
        {
            let mut bad = good.clone();
            bad[at] ^= 1;
            refused_in_a_payload(
                &new,
                &bad,
                &good,
                &["are not zero", "tar header", "tar entry", "in the manifest"],
            );
        }
    }
}

#[test]
fn two_blocks_that_changed_places() {
    let (new, good) = good();
    let content = entries(&good)[4].content.clone();
    let mut bad = good.clone();
    bad[content.clone()].rotate_left(content.len() / 2);
    refused_in_a_payload(&new, &bad, &good, &["is not what was signed"]);
}

#[test]
fn truncated_in_its_head() {
    let (_, good) = good();
    let head = entries(&good)[2].end;
    for length in (0..head).step_by(97).chain([head - 1]) {
        refused(&good[..length], at_once, "cut off");
    }
}

#[test]
fn truncated_in_its_payloads() {
    let (new, good) = good();
    let kernel = entries(&good)[5].content.clone();
    for length in [entries(&good)[2].end, entries(&good)[3].content.start + 5, kernel.start, kernel.end - 1] {
        let node = OneNode::new(None);
        let offer = node.open(&good[..length], None).unwrap();
        let trouble = node.write(&job(&offer, true)).unwrap_err();
        assert!(trouble.text.contains("cut off"), "{length}: {trouble}");
        node.machine.holds(&new, "cut off");
        assert_eq!(node.machine.esp.names(), ["edgepair_1.efi"]);
    }
}

#[test]
fn not_signed() {
    refused(&pack(&newer(), &[], |_| {}), at_once, "it is not signed");
}

#[test]
fn signed_over_something_else() {
    let (_, good) = good();
    let other = pack(&newer(), &[1], |manifest| manifest.trial_seconds = 61);
    let (ours, theirs) = (entries(&good), entries(&other));
    let mixed =
        [&good[..ours[0].end], &other[theirs[1].header..theirs[1].end], &good[ours[1].end..]].concat();
    refused(&mixed, at_once, "it is not what was signed with key");
}

#[test]
fn signed_with_another_key() {
    refused(&pack(&newer(), &[2], |_| {}), at_once, "it is signed with another key");
}

#[test]
fn signed_with_a_good_key_and_a_forged_one() {
    // A second signature under the trusted number, over something else.
    let (_, good) = good();
    let twice = pack(&newer(), &[1, 2], |_| {});
    let node = OneNode::new(None);
    node.open(&twice, None).expect("one trusted signature is enough");
    let entry = entries(&good)[1].clone();
    let seals = &good[entry.content.clone()];
    let header = sealed(&good[entry.header..entry.content.start], |header| {
        header[124..135].copy_from_slice(format!("{:011o}", 2 * seals.len()).as_bytes());
    });
    let mut content = [seals, seals].concat();
    content.resize(content.len().next_multiple_of(UNIT), 0);
    let doubled = [&good[..entry.header], &header, &content, &good[entry.end..]].concat();
    refused(&doubled, at_once, "at most four signatures, each by another key");
}

#[test]
fn for_another_board() {
    refused(
        &pack(&newer(), &[1], |manifest| manifest.boards = vec!["rpi4".into()]),
        at_once,
        "it is for rpi4",
    );
}

#[test]
fn too_old() {
    let floor = |node: &OneNode| {
        Stock::default().raise(&node.bundles.place, &Version::parse("2.1").unwrap()).unwrap();
    };
    refused(&good().1, floor, "version 2 is older than 2.1");
}

#[test]
fn failed_before() {
    let failed = |node: &OneNode| {
        let mut kept = Kept::default();
        kept.failed.push(Failed { version: "2".into(), why: Vec::new() });
        kept.store(&node.bundles.place).unwrap();
    };
    refused(&good().1, failed, "version 2 failed here before");
}

#[test]
fn expired() {
    let bundle = pack(&newer(), &[1], |manifest| manifest.expires = Some(Time(1_800_000_000)));
    refused(&bundle, at_once, "it was to be installed before 2027-01-15T08:00:00Z");
    let node = OneNode::new(None);
    let body = || Some(Body(Box::new(Cursor::new(bundle.clone()))));
    let trouble = node.bundles.open(body(), None, None).unwrap_err();
    assert!(trouble.text.contains("does not know the time"), "{trouble}");
}

#[test]
fn of_a_format_that_the_running_version_does_not_read() {
    let two = Span { min: 1, max: 2 };
    let bundle = |one_way| {
        pack(&newer(), &[1], |manifest| {
            manifest.compatible.state = two;
            manifest.leaves.state = 2;
            manifest.one_way = one_way;
        })
    };
    refused(&bundle(false), at_once, "to which a failed update goes back");
    refused(&bundle(true), at_once, "nothing goes back from version 2");
    // Confirmed for this version by an operator, and by nobody else.
    let node = OneNode::new(None);
    let bytes = bundle(true);
    let open = |terms: &Terms| {
        let body = Body(Box::new(Cursor::new(bytes.clone())));
        node.bundles.open_on(Some(body), None, Some(Time(1_900_000_000)), terms)
    };
    let said = |version: &str, pair: Option<&str>| Terms {
        one_way: Some(version.into()),
        pair: pair.map(str::to_owned),
        ..Terms::default()
    };
    assert!(open(&said("3", None)).unwrap_err().text.contains("--one-way 2"));
    assert!(open(&said("2", Some("site-042"))).unwrap_err().text.contains("--one-way 2"), "never by itself");
    let offer = open(&said("2", None)).unwrap();
    node.write(&job(&offer, true)).unwrap();
    assert!(node.bundles.may_go_back("2").is_ok(), "while it is on trial it goes back");
    node.bundles.kept("2").unwrap();
    assert!(node.bundles.may_go_back("2").unwrap_err().text.contains("nothing goes back from version 2"));
    assert!(node.bundles.may_go_back("3").is_ok());
}

#[test]
fn an_oversized_manifest() {
    let (_, good) = good();
    let header = sealed(&good[..UNIT], |header| {
        header[124..135].copy_from_slice(format!("{:011o}", MANIFEST_MAX + 1).as_bytes());
    });
    let large = [&header, &good[UNIT..]].concat();
    refused(&large, at_once, "and at most 262144 are read");
}

#[test]
fn an_oversized_index() {
    // What tar says of its size is not what is signed.
    let (_, good) = good();
    let index = entries(&good)[2].clone();
    for size in [index.content.len() + 1, 1 << 27, 0o77_777_777_777] {
        let header = sealed(&good[index.header..index.content.start], |header| {
            header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        });
        let large = [&good[..index.header], &header, &good[index.content.start..]].concat();
        refused(&large, at_once, "index has");
    }
}

#[test]
fn a_tar_with_hostile_paths() {
    let (_, good) = good();
    let index = entries(&good)[2].clone();
    let names =
        ["../../etc/passwd", "/etc/passwd", "index/../x", "./index", "payload/../index", "index\0/../x"];
    for name in names {
        let header = sealed(&good[index.header..index.content.start], |header| {
            header[..100].fill(0);
            header[..name.len()].copy_from_slice(name.as_bytes());
        });
        let hostile = [&good[..index.header], &header, &good[index.content.start..]].concat();
        let words = if name.starts_with("index\0") {
            "tar header of index"
        } else {
            "the tar entry index belongs here"
        };
        refused(&hostile, at_once, words);
    }
    // A folder before the name, in the field that POSIX has for it.
    let header = sealed(&good[index.header..index.content.start], |header| {
        header[345..356].copy_from_slice(b"../../../..");
    });
    let hostile = [&good[..index.header], &header, &good[index.content.start..]].concat();
    refused(&hostile, at_once, "the tar entry index belongs here");
}

#[test]
fn a_tar_with_links_and_devices() {
    let (_, good) = good();
    let index = entries(&good)[2].clone();
    for (kind, words) in [
        (b'1', "is a link"),
        (b'2', "is a link"),
        (b'3', "is a device"),
        (b'5', "is a folder"),
        (b'x', "is an extended header"),
        (b'L', "is a long name"),
        (b'S', "is a sparse file"),
    ] {
        let header = sealed(&good[index.header..index.content.start], |header| {
            header[156] = kind;
            header[157..168].copy_from_slice(b"/etc/shadow");
        });
        let hostile = [&good[..index.header], &header, &good[index.content.start..]].concat();
        refused(&hostile, at_once, words);
    }
}

#[test]
fn something_else_altogether() {
    refused(b"#!/bin/sh\n".repeat(200).as_slice(), at_once, "no update bundle");
    refused(&[0x1f, 0x8b].repeat(4096), at_once, "no update bundle");
    refused(&[0; 4096], at_once, "belongs here");
}
