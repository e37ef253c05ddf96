//! Small bundles, keys and nodes for the tests.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use edgepair_bundle::manifest::{Compatible, Leaves, Part, PayloadName, Span};
use edgepair_bundle::{Digest, Manifest, Node, PackError, Packer, Reads, Time, Version};
use edgepair_signature::{KeyId, Prehash, PublicKey, Signature, TrustedKeys, sign};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::io::Cursor;
use std::sync::LazyLock;

pub const ALL: Span = Span { min: 1, max: 1 };

pub fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

pub fn key(number: u8) -> PublicKey {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("pair");
    PublicKey::new(KeyId([number; 8]), pair.public_key().as_ref().try_into().expect("32 bytes"))
}

pub fn trusted() -> &'static TrustedKeys {
    static KEYS: LazyLock<TrustedKeys> = LazyLock::new(|| TrustedKeys::new([key(1)]).expect("set"));
    &KEYS
}

pub fn seal(number: u8, text: &str) -> Signature {
    sign(&[number; 32], KeyId([number; 8]), &Prehash::of_bytes(text.as_bytes()), "file:manifest.toml")
        .expect("signs")
}

/// Bytes that do not compress.
pub fn noise(length: usize, seed: u32) -> Vec<u8> {
    (0_u32..)
        .flat_map(|number| Digest::of(&[number, seed].map(u32::to_le_bytes).concat()).0)
        .take(length)
        .collect()
}

/// Three payloads: blocks as they are, compressed ones, a short last one.
pub fn payloads() -> [Vec<u8>; 3] {
    let root = [noise(2 * 4096, 1), vec![7; 4096], noise(4096, 2)].concat();
    [root, noise(4096, 3), [noise(4096, 4), b"short".to_vec()].concat()]
}

/// A manifest without index and payloads.
pub fn template() -> Manifest {
    Manifest {
        name: "edgepair".into(),
        version: version("0.2.0"),
        architecture: "amd64".into(),
        boards: vec!["x86-64".into()],
        root_hash: Digest::of(b"root"),
        build: Some(Digest::of(b"build")),
        floor: version("0.1.0"),
        expires: Some(Time(2_000_000_000)),
        trial_seconds: 900,
        extension: Some("v1.33.4+k3s1".into()),
        compatible: Compatible { pair_protocol: ALL, datastore: Span { min: 17, max: 17 }, state: ALL },
        leaves: Leaves { datastore: 17, state: 1 },
        one_way: false,
        waves: Vec::new(),
        index: Part { size: 0, sha256: Digest::of(b"") },
        payloads: Vec::new(),
    }
}

pub fn pack(manifest: Manifest, payloads: &[Vec<u8>; 3], keys: &[u8]) -> Result<Vec<u8>, PackError> {
    let mut packer = Packer::new(Cursor::new(Vec::new()))?;
    for (name, payload) in PayloadName::ALL.into_iter().zip(payloads) {
        packer.add(name, &payload[..])?;
    }
    let mut out = Vec::new();
    packer.finish(
        manifest,
        |text| Ok::<_, PackError>(keys.iter().map(|number| seal(*number, text)).collect()),
        &mut out,
    )?;
    Ok(out)
}

/// The bundle of [`template`] and [`payloads`], signed with key 1.
pub fn bundle() -> Vec<u8> {
    pack(template(), &payloads(), &[1]).expect("packs")
}

pub fn node() -> Node<'static> {
    Node {
        board: "x86-64",
        floor: None,
        refused: &[],
        pair_protocol: ALL,
        datastore: Some(17),
        state: 1,
        reads: Reads { datastore: Span { min: 17, max: 17 }, state: ALL },
        one_way: None,
        now: Some(Time(1_900_000_000)),
        pair: None,
    }
}

/// Where the entries of a bundle begin, and their names.
pub fn entries(bundle: &[u8]) -> Vec<(usize, String)> {
    (0..bundle.len() / 512)
        .map(|unit| unit * 512)
        .filter(|at| bundle[at + 257..].starts_with(b"ustar"))
        .map(|at| {
            let name = bundle[at..at + 100].split(|byte| *byte == 0).next().expect("name");
            (at, String::from_utf8(name.to_vec()).expect("text"))
        })
        .collect()
}
