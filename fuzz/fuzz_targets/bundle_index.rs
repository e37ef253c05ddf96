//! A block index that belongs to a signed manifest and is wrong: the signer's mistake, and no reason to panic.
//!
//! `cargo +nightly fuzz run bundle_index corpus/bundle_index seeds/bundle_index -- -max_total_time=600`

#![no_main]

use edgepair_bundle::{Index, Manifest};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
    Manifest::parse("x", include_str!("../../libs/bundle/tests/golden/manifest.toml")).expect("a good manifest")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = Index::parse(bytes, &MANIFEST) {
        for (payload, rows) in index.payloads() {
            assert_eq!(rows.len() as u64, payload.blocks());
            let mut next = 0;
            for row in rows {
                assert_eq!(row.start, next);
                next = row.range(0).end;
            }
            assert_eq!(next, payload.stored);
        }
    }
});
