//! What is refused, and with which words. The rule behind all: no byte of a bundle can be changed.

mod common;

use common::*;
use edgepair_bundle::manifest::{MANIFEST_MAX, Wave};
use edgepair_bundle::{Admitted, Block, Error, Node, Refusal, Time, Unverified, place};
use edgepair_signature::Untrusted;
use proptest::prelude::*;
use tar::{EntryType, Header};

/// Reads everything; the blocks that came out before an error are handed back as well.
fn read(bundle: &[u8]) -> (Vec<Block>, Result<Admitted, Error>) {
    let mut blocks = Vec::new();
    let result = (|| {
        let verified = Unverified::open(bundle)?.verify(trusted())?;
        let (admitted, rest) = verified.admit(&node()).expect("the same manifest");
        let mut stream = admitted.stream(rest);
        while let Some(block) = stream.next_block()? {
            blocks.push(block);
        }
        Ok(admitted)
    })();
    (blocks, result)
}

fn error(bundle: &[u8]) -> Error {
    read(bundle).1.expect_err("refused")
}

/// Every byte outside of blocks, and every thirty-first inside, with one bit changed: refused, and no wrong block comes out
/// before that.
#[test]
fn every_changed_byte_is_refused() {
    let good = bundle();
    let (right, whole) = read(&good);
    whole.expect("holds");
    let entries = entries(&good);
    let inside = |at: usize| {
        let entry = entries.iter().rev().find(|(start, _)| *start <= at);
        entry.is_some_and(|(start, name)| {
            name.starts_with("payload/") && at > start + 512 && at < good.len() - 2048
        })
    };
    for at in (0..good.len()).filter(|at| !inside(*at) || at % 31 == 0) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let (blocks, result) = read(&bad);
        let error = result.expect_err(&format!("byte {at} does not matter"));
        assert!(right.starts_with(&blocks), "byte {at} let a wrong block out");
        // What is not signed gets neither to the manifest's parser nor to the decompressor.
        assert!(
            !matches!(error, Error::Manifest(_) | Error::Index(_) | Error::Decompress(_)),
            "byte {at}: {error}"
        );
        assert!(!error.to_string().is_empty() && !error.advice().is_empty());
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let good = bundle();
    for end in (0..good.len()).step_by(509).chain((good.len() - 1025..good.len()).step_by(41)) {
        assert!(matches!(error(&good[..end]), Error::Truncated(_)), "cut at {end}");
    }
    let mut more = good.clone();
    more.push(0);
    assert!(matches!(error(&more), Error::Trailing));
    // Another entry in place of the end.
    let mut more = good[..good.len() - 1024].to_vec();
    more.extend(entry("payload/more", b"x"));
    more.extend([0; 1024]);
    assert!(matches!(error(&more), Error::Trailing));
}

/// A tar entry with the header that a bundle has.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    crafted(name, content, |_| ())
}

fn crafted(name: &str, content: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_path(name).expect("short");
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut out = [header.as_bytes(), content].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The parts of the good bundle, as they are on disk: manifest, signatures, index, three payloads, end.
fn parts() -> Vec<Vec<u8>> {
    let good = bundle();
    let mut cuts: Vec<usize> = entries(&good).into_iter().map(|(at, _)| at).collect();
    cuts.extend([good.len() - 1024, good.len()]);
    cuts.windows(2).map(|two| good[two[0]..two[1]].to_vec()).collect()
}

#[test]
fn entries_stand_in_one_order() {
    let parts = parts();
    assert!(read(&parts.concat()).1.is_ok());
    for (order, expected, found) in [
        ([0, 2, 1, 3, 4, 5, 6].as_slice(), "manifest.sig", "index"),
        (&[0, 0, 1, 2, 3, 4, 5, 6], "manifest.sig", "manifest.toml"),
        (&[0, 1, 1, 2, 3, 4, 5, 6], "index", "manifest.sig"),
        (&[0, 1, 2, 4, 3, 5, 6], "payload/root", "payload/verity"),
        (&[0, 1, 2, 3, 3, 4, 5, 6], "payload/verity", "payload/root"),
        (&[0, 1, 2, 3, 4, 6], "payload/uki", "the end of the tar"),
    ] {
        let mixed: Vec<u8> = order.iter().flat_map(|number| parts[*number].clone()).collect();
        let Error::Order { expected: wanted, found: got } = error(&mixed) else { panic!("{order:?}") };
        assert_eq!((wanted, got.as_str()), (expected, found));
    }
    assert!(matches!(error(&parts[1..].concat()), Error::NotABundle));
    assert!(matches!(error(&[0x50; 4096]), Error::NotABundle));
    assert!(matches!(error(&[0; 4096]), Error::Order { .. }));
}

/// Everything that tar can do beside plain files.
#[test]
fn tricks_of_tar_are_refused() {
    let parts = parts();
    let with =
        |entry: Vec<u8>| error(&[parts[0].clone(), parts[1].clone(), entry, parts[3..].concat()].concat());
    let index = &parts[2][512..][..16 + 34 * 7 + 32];
    for (kind, word) in [
        (EntryType::Symlink, "a link"),
        (EntryType::Link, "a link"),
        (EntryType::Directory, "a folder"),
        (EntryType::GNULongName, "a long name"),
        (EntryType::GNULongLink, "a long name"),
        (EntryType::GNUSparse, "a sparse file"),
        (EntryType::XHeader, "an extended header"),
        (EntryType::XGlobalHeader, "an extended header"),
        (EntryType::Char, "a device"),
        (EntryType::Block, "a device"),
        (EntryType::Fifo, "a device"),
        (EntryType::Continuous, "of an unknown kind"),
        (EntryType::new(b'Z'), "of an unknown kind"),
    ] {
        let error = with(crafted("index", index, |header| header.set_entry_type(kind)));
        assert!(
            matches!(error, Error::Kind { expected: "index", kind } if kind == word),
            "{kind:?}: {error}"
        );
    }
    for name in ["Index", "./index", "index/", "a/index", "payload/index"] {
        let error = with(crafted("index", index, |header| {
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes())
        }));
        assert!(matches!(error, Error::Order { .. }), "{name}: {error}");
    }
    type Change = fn(&mut Header);
    let changes: [(&str, Change); 9] = [
        ("mode", |header| header.set_mode(0o4755)),
        ("owner", |header| header.set_uid(1)),
        ("time", |header| header.set_mtime(1)),
        ("owner's name", |header| header.set_username("root").expect("ustar")),
        ("link name", |header| header.set_link_name("/etc/passwd").expect("short")),
        ("old type", |header| header.as_mut_bytes()[156] = 0),
        ("GNU magic", |header| header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0")),
        ("reserved bytes", |header| header.as_mut_bytes()[511] = 1),
        ("spaces in the size", |header| header.as_mut_bytes()[124] = b' '),
    ];
    for (what, change) in changes {
        assert!(matches!(with(crafted("index", index, change)), Error::Header("index")), "{what}");
    }
    // A folder in front of the name, in a field of its own.
    let error =
        with(crafted("index", index, |header| header.as_mut_bytes()[345..348].copy_from_slice(b"../")));
    assert!(matches!(error, Error::Order { .. }), "{error}");
    let error = with(crafted("index", index, |header| header.set_size(1 << 40)));
    assert!(matches!(error, Error::Size { part: "index", .. }), "{error}");
    let mut padded = parts[2].clone();
    padded[1023] = 1;
    assert!(matches!(with(padded), Error::Padding("index")));
}

/// Sizes are bounded before anything is signed, and a size alone takes no memory.
#[test]
fn parts_that_nobody_signed_are_small() {
    let large = crafted("manifest.toml", b"", |header| header.set_size(MANIFEST_MAX + 1));
    assert!(matches!(error(&large), Error::TooLarge { part: "manifest.toml", .. }));
    let short = crafted("manifest.toml", b"x", |header| header.set_size(MANIFEST_MAX));
    assert!(matches!(error(&short), Error::Truncated("manifest.toml")));
    let large =
        [parts()[0].clone(), crafted("manifest.sig", b"", |header| header.set_size(1 << 20))].concat();
    assert!(matches!(error(&large), Error::TooLarge { part: "manifest.sig", .. }));
}

#[test]
fn who_signed_matters() {
    let refused = |keys: &[u8]| error(&pack(template(), &payloads(), keys).expect("packs"));
    assert!(matches!(refused(&[]), Error::Untrusted(Untrusted::Unsigned)));
    assert!(matches!(refused(&[2]), Error::Untrusted(Untrusted::UnknownKey { .. })));
    // Another bundle's signature by the right key.
    let mut other = template();
    other.version = version("0.9.0");
    let other = pack(other, &payloads(), &[1]).expect("packs");
    let signatures = entries(&other);
    let other_signatures = other[signatures[1].0..signatures[2].0].to_vec();
    let parts = parts();
    let mixed = [&parts[0][..], &other_signatures, &parts[2..].concat()].concat();
    assert!(matches!(error(&mixed), Error::Untrusted(Untrusted::Broken(_))));
    let twice = [seal(1, "x").text(), seal(1, "y").text()].concat();
    let mixed = [parts[0].clone(), entry("manifest.sig", twice.as_bytes())].concat();
    assert!(matches!(error(&mixed), Error::SignatureForm));
    let loose = seal(1, "x").text().replace("signature by edgepair", "signature by somebody");
    let mixed = [parts[0].clone(), entry("manifest.sig", loose.as_bytes())].concat();
    assert!(matches!(error(&mixed), Error::SignatureForm));
    let mixed = [parts[0].clone(), entry("manifest.sig", b"nothing")].concat();
    assert!(matches!(error(&mixed), Error::SignatureText(_)));
}

/// A block that is right in another place is wrong in this one.
#[test]
fn blocks_do_not_change_places() {
    let good = bundle();
    let (blocks, result) = read(&good);
    let admitted = result.expect("holds");
    let mut unpacker = admitted.unpacker();
    for block in &blocks {
        for other in &blocks {
            let same = block.bytes() == other.bytes();
            assert_eq!(unpacker.plain(block.id(), other.bytes()).is_ok(), same);
        }
        let range = admitted.range(block.id()).expect("known");
        let stored = &good[range.start as usize..range.end as usize];
        assert_eq!(unpacker.stored(block.id(), stored).expect("is there"), *block);
        assert!(unpacker.stored(block.id(), &stored[1..]).is_err());
        // What is compressed in the bundle is not taken as it would be on a disk, and the other way round.
        assert!(stored.len() == block.bytes().len() || unpacker.plain(block.id(), stored).is_err());
    }
    let nowhere = edgepair_bundle::BlockId { number: 99, ..blocks[0].id() };
    assert!(matches!(unpacker.plain(nowhere, b""), Err(Error::NoSuchBlock(_))));
}

/// Every byte of a compressed block: refused by the digest of what lies in the bundle, before it is decompressed.
#[test]
fn the_decompressor_sees_only_what_was_signed() {
    let good = bundle();
    let admitted = read(&good).1.expect("holds");
    let packed: Vec<_> = admitted.contents().index.blocks().filter(|(_, row)| row.packed.is_some()).collect();
    assert!(!packed.is_empty());
    for (id, _) in packed {
        let range = admitted.range(id).expect("known");
        let stored = &good[range.start as usize..range.end as usize];
        for at in 0..stored.len() {
            for bit in 0..8 {
                let mut bad = stored.to_vec();
                bad[at] ^= 1 << bit;
                let error = admitted.unpacker().stored(id, &bad).expect_err("refused");
                assert!(matches!(error, Error::Block(_)), "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn a_node_says_everything_that_does_not_fit() {
    let refusals = |node: &Node<'_>, manifest| {
        let bundle = pack(manifest, &payloads(), &[1]).expect("packs");
        let verified = Unverified::open(&bundle[..]).expect("opens").verify(trusted()).expect("holds");
        verified.admit(node).map(|_| ()).err().map(|refused| refused.0).unwrap_or_default()
    };
    assert_eq!(refusals(&node(), template()), []);
    let (floor, bad) = (version("0.3.0"), [version("0.2.0")]);
    let other = Node {
        board: "rpi4",
        floor: Some(&floor),
        refused: &bad,
        pair_protocol: edgepair_bundle::manifest::Span { min: 2, max: 3 },
        datastore: Some(15),
        state: 2,
        now: Some(Time(2_000_000_000)),
        ..node()
    };
    let all = refusals(&other, template());
    assert_eq!(all.len(), 7, "{all:?}");
    assert!(all.iter().all(|refusal| refusal.to_string().contains(": ")), "each says what to do");
    assert_eq!(refusals(&Node { now: None, ..node() }, template()), [Refusal::NoClock]);
    // Going back is possible down to the floor.
    let floor = version("0.2.0");
    assert_eq!(refusals(&Node { floor: Some(&floor), ..node() }, template()), []);
    assert_eq!(refusals(&Node { datastore: None, ..node() }, template()), []);

    no_way_back(refusals);

    let wave = |percent, from| Wave { percent, from: Time(from) };
    let mut manifest = template();
    manifest.waves = vec![wave(10, 1_000), wave(50, 2_000), wave(100, 3_000)];
    let of = |from: u32, to: u32| {
        let fits = |name: &String| (from..to).contains(&(place(name, &manifest.version) / 100));
        (0..).map(|number| format!("site-{number}")).find(fits).expect("some pair")
    };
    for (pair, begins) in [(of(0, 10), 1_000), (of(10, 50), 2_000), (of(50, 100), 3_000)] {
        let at = |now, pair| refusals(&Node { now: Some(Time(now)), pair, ..node() }, manifest.clone());
        assert_eq!(at(begins - 1, Some(&pair)), [Refusal::Wave(Time(begins))]);
        assert_eq!(at(begins, Some(&pair)), []);
        assert_eq!(at(0, None), [], "an operator does not wait");
    }
}

/// A change that the slot behind could not read is a step of its own.
fn no_way_back(refusals: impl Fn(&Node<'_>, edgepair_bundle::Manifest) -> Vec<Refusal>) {
    let two = edgepair_bundle::manifest::Span { min: 1, max: 2 };
    let mut manifest = template();
    manifest.compatible.state = two;
    manifest.leaves.state = 2;
    let reads = ALL;
    let irreversible = Refusal::Irreversible { what: "the state partition with schema", leaves: 2, reads };
    assert_eq!(refusals(&node(), manifest.clone()), [irreversible]);
    let both = edgepair_bundle::Reads { state: two, ..node().reads };
    assert_eq!(
        refusals(&Node { reads: both, ..node() }, manifest.clone()),
        [],
        "the running version reads it"
    );
    let mut store = template();
    store.compatible.datastore.max = 18;
    store.leaves.datastore = 18;
    assert!(matches!(refusals(&node(), store.clone())[..], [Refusal::Irreversible { leaves: 18, .. }]));
    assert_eq!(refusals(&Node { datastore: None, ..node() }, store), [], "there is no datastore of ours");
    // Declared: with the word of an operator, for this very version, and never by itself.
    manifest.one_way = true;
    let (own, other) = (version("0.2.0"), version("0.2.1"));
    let refused = [Refusal::OneWay(own.clone())];
    assert_eq!(refusals(&node(), manifest.clone()), refused);
    assert_eq!(refusals(&Node { one_way: Some(&other), ..node() }, manifest.clone()), refused);
    assert_eq!(refusals(&Node { one_way: Some(&own), pair: Some("x"), ..node() }, manifest.clone()), refused);
    assert_eq!(refusals(&Node { one_way: Some(&own), ..node() }, manifest), []);
}

/// A schedule that was published must mean the same in every release.
#[test]
fn places_are_fixed_and_spread() {
    let version = version("0.2.0");
    assert_eq!(place("site-042", &version), PLACE_OF_SITE_042);
    let early = (0..2000).filter(|number| place(&format!("site-{number}"), &version) < 1000).count();
    assert!((140..260).contains(&early), "{early} of 2000 in the first tenth");
}

/// First four bytes of SHA-256("edgepair wave 1", 0, "0.2.0", 0, "site-042"), modulo 10000; computed elsewhere.
const PLACE_OF_SITE_042: u32 = 7487;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// No bytes stop the reader: random ones, and a good bundle with random pieces put in.
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in any::<prop::sample::Index>(), cut in 0..600_usize) {
        let _ = read(&bytes);
        let mut bundle = bundle();
        let at = at.index(bundle.len());
        let end = (at + cut).min(bundle.len());
        let same = bundle[at..end] == bytes[..];
        bundle.splice(at..end, bytes);
        prop_assert_eq!(read(&bundle).1.is_ok(), same);
    }
}
