//! What was packed comes out again, and only that; and what a reader is made of.

mod common;

use common::*;
use edgepair_bundle::manifest::{BLOCK, PayloadName};
use edgepair_bundle::{
    Admitted, Have, Holdings, Inventory, PackError, Packer, REQUEST_MAX, Source, Unverified,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

fn admitted(bundle: &[u8]) -> Admitted {
    let verified = Unverified::open(bundle).expect("opens").verify(trusted()).expect("holds");
    verified.admit(&node()).expect("fits").0
}

/// A reader that gives a few bytes at a time, as a pipe may.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

fn unpack(bundle: &[u8], step: usize) -> BTreeMap<PayloadName, Vec<u8>> {
    let verified = Unverified::open(Drip(bundle, step)).expect("opens").verify(trusted()).expect("holds");
    let (admitted, rest) = verified.admit(&node()).expect("fits");
    let mut blocks = admitted.stream(rest);
    let mut out: BTreeMap<PayloadName, Vec<u8>> = BTreeMap::new();
    while let Some(block) = blocks.next_block().expect("holds") {
        let payload = out.entry(block.id().payload).or_default();
        assert_eq!(payload.len() as u64, block.id().offset());
        payload.extend(block.bytes());
    }
    assert!(blocks.next_block().expect("stays at the end").is_none());
    out
}

#[test]
fn the_same_payloads_give_the_same_bundle_twice() {
    assert_eq!(bundle(), bundle());
}

/// The bytes of the format: a change here is another format, which needs another schema.
#[test]
fn the_format_is_fixed() {
    let bundle = bundle();
    let text = Unverified::open(&bundle[..]).expect("opens").text().to_owned();
    assert_eq!(text, include_str!("golden/manifest.toml"));
    let names = entries(&bundle);
    let names: Vec<(usize, &str)> = names.iter().map(|(at, name)| (*at, name.as_str())).collect();
    assert_eq!(
        names,
        [
            (0, "manifest.toml"),
            (2048, "manifest.sig"),
            (3072, "index"),
            (4096, "payload/root"),
            (17408, "payload/verity"),
            (22016, "payload/uki"),
        ]
    );
    assert_eq!(bundle.len() % 512, 0);
}

/// The fuzz targets begin with these: a bundle, its manifest and signature, its index, the key.
#[test]
fn the_seeds_of_the_fuzz_targets_are_of_this_format() {
    let bundle = bundle();
    let open = Unverified::open(&bundle[..]).expect("opens");
    let index = entries(&bundle)[2].0 + 512;
    let files = [
        ("bundle_tar/good", bundle.clone()),
        ("bundle_manifest/good", open.text().as_bytes().to_vec()),
        ("bundle_manifest/signature", open.signatures()[0].text().into_bytes()),
        ("bundle_manifest/key.pub", key(1).text().into_bytes()),
        ("bundle_index/good", bundle[index..index + 286].to_vec()),
        ("bundle_channel/good", include_bytes!("golden/stable.channel").to_vec()),
    ];
    for (name, bytes) in files {
        let path = format!("{}/../../fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("EDGEPAIR_WRITE_SEEDS").is_some() {
            #[expect(clippy::disallowed_methods, reason = "a file of the repository, asked for")]
            std::fs::write(&path, &bytes).expect("writes");
        }
        assert!(
            std::fs::read(&path).expect("is there") == bytes,
            "{path}: EDGEPAIR_WRITE_SEEDS=1 writes it anew"
        );
    }
}

#[test]
fn a_bundle_can_be_signed_again() {
    let other = pack(template(), &payloads(), &[]).expect("packs");
    let open = Unverified::open(&other[..]).expect("opens");
    assert!(open.signatures().is_empty());
    let signature = seal(1, open.text());
    let mut signed = Vec::new();
    open.resign(&[signature], &mut signed).expect("writes");
    assert_eq!(signed, bundle());
    // With an old and a new key: nodes that know either take it.
    let mut twice = Vec::new();
    let open = Unverified::open(&signed[..]).expect("opens");
    let keys = [seal(1, open.text()), seal(2, open.text())];
    open.resign(&keys, &mut twice).expect("writes");
    for number in [1, 2] {
        let keys = edgepair_signature::TrustedKeys::new([key(number)]).expect("set");
        let verified = Unverified::open(&twice[..]).expect("opens").verify(&keys).expect("holds");
        assert_eq!(verified.check_rest(|_| ()).expect("holds").signed_by, key(number).id());
    }
    let open = Unverified::open(&twice[..]).expect("opens");
    let same = [seal(1, open.text()), seal(1, open.text())];
    assert!(matches!(open.resign(&same, Vec::new()), Err(PackError::Signatures(_))));
}

#[test]
fn a_packer_refuses_what_a_reader_would() {
    let mut packer = Packer::new(Cursor::new(Vec::new())).expect("packer");
    assert!(matches!(packer.add(PayloadName::Uki, &b"x"[..]), Err(PackError::Order(PayloadName::Uki))));
    assert!(matches!(packer.add(PayloadName::Root, &b""[..]), Err(PackError::Empty(PayloadName::Root))));
    let mut manifest = template();
    manifest.floor = version("0.3.0");
    let error = pack(manifest, &payloads(), &[1]).expect_err("refused").to_string();
    assert!(error.contains("the floor 0.3.0 is above the version 0.2.0"), "{error}");
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    // Blocks of few kinds, so that some are alike; a tail of any length.
    let block = prop_oneof![
        (0..6_u32).prop_map(|seed| noise(BLOCK, seed)),
        any::<u8>().prop_map(|byte| vec![byte; BLOCK])
    ];
    (prop::collection::vec(block, 0..6), prop::collection::vec(any::<u8>(), 1..BLOCK))
        .prop_map(|(blocks, tail)| [blocks.concat(), tail].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_went_in_comes_out(root in payload(), verity in payload(), uki in payload(), step in 1..5000_usize) {
        let all = [root, verity, uki];
        let bundle = pack(template(), &all, &[1]).expect("packs");
        let out: Vec<Vec<u8>> = unpack(&bundle, step).into_values().collect();
        prop_assert_eq!(&out[..], &all[..]);
    }

    /// A plan names every block once, its requests are apart and hold what they say, and carrying it out gives the payload.
    #[test]
    fn a_plan_makes_the_payload(
        old in payload(), new in payload(), halfway in 0..7_usize, gap in prop::sample::select(vec![0, 4096, 1 << 20]),
    ) {
        let all = [new.clone(), noise(100, 1), noise(5000, 2)];
        let bundle = pack(template(), &all, &[1]).expect("packs");
        let admitted = admitted(&bundle);
        let running = Inventory::scan(&old[..]).expect("scans");
        // A slot that was written in part before the power went.
        let mut slot = vec![0; new.len()];
        let written = (halfway * BLOCK).min(new.len());
        slot[..written].copy_from_slice(&new[..written]);
        let target = Inventory::scan(&slot[..]).expect("scans");
        let holdings = Holdings { target: Some(&target), running: Some(&running) };
        let have = Have { payloads: BTreeMap::from([(PayloadName::Root, holdings)]), gap };
        let plan = admitted.plan(&have);
        let index: Vec<_> = admitted.contents().index.blocks().map(|(id, _)| id).collect();
        prop_assert_eq!(&plan.sources.iter().map(|(id, _)| *id).collect::<Vec<_>>(), &index);
        prop_assert!(plan.requests.windows(2).all(|two| two[0].range.end + gap < two[1].range.start));

        let mut unpacker = admitted.unpacker();
        let mut fetched = BTreeMap::new();
        for request in &plan.requests {
            prop_assert!(request.range.end - request.range.start <= REQUEST_MAX);
            let answer = &bundle[request.range.start as usize..request.range.end as usize];
            for (id, bytes) in &request.blocks {
                let block = unpacker.stored(*id, &answer[bytes.clone()]).expect("is in the answer");
                fetched.insert(*id, block);
            }
        }
        for (id, source) in plan.sources.iter().filter(|(id, _)| id.payload == PayloadName::Root) {
            let at = id.offset() as usize;
            let size = BLOCK.min(new.len() - at);
            let block = match source {
                Source::InPlace => unpacker.plain(*id, &slot[at..at + size]).expect("is there"),
                Source::Running { offset } => {
                    let offset = *offset as usize;
                    unpacker.plain(*id, &old[offset..offset + size]).expect("is there")
                }
                Source::Fetch => fetched.remove(id).expect("was asked for"),
            };
            slot[at..at + size].copy_from_slice(block.bytes());
        }
        prop_assert_eq!(slot, new);
        let whole = Inventory::scan(&all[0][..]).expect("scans");
        let parts = [Inventory::scan(&all[1][..]).expect("scans"), Inventory::scan(&all[2][..]).expect("scans")];
        let holds = |target| Holdings { target: Some(target), running: None };
        let have = Have {
            payloads: BTreeMap::from([
                (PayloadName::Root, holds(&whole)), (PayloadName::Verity, holds(&parts[0])), (PayloadName::Uki, holds(&parts[1])),
            ]),
            gap,
        };
        prop_assert_eq!(admitted.plan(&have).fetched(), 0, "nothing is fetched twice");
    }
}
