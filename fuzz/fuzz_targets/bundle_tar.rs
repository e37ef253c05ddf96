//! A whole bundle: whatever is taken to its end is the one good bundle.
//!
//! `cargo +nightly fuzz run bundle_tar corpus/bundle_tar seeds/bundle_tar -- -max_total_time=600`

#![no_main]

use edgepair_bundle::Unverified;
use edgepair_signature::{PublicKey, TrustedKeys};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// Signed with the key of the library's tests.
static GOOD: &[u8] = include_bytes!("../seeds/bundle_tar/good");
static KEYS: LazyLock<TrustedKeys> = LazyLock::new(|| {
    let key = PublicKey::parse(include_str!("../seeds/bundle_manifest/key.pub")).expect("a key");
    TrustedKeys::new([key]).expect("a set")
});

fuzz_target!(|bytes: &[u8]| {
    let result = Unverified::open(bytes).and_then(|open| {
        let _ = open.manifest();
        open.verify(&KEYS)
    });
    match result.and_then(|verified| verified.check_rest(|_| ())) {
        Ok(_) => assert_eq!(bytes, GOOD),
        Err(error) => assert!(!error.to_string().is_empty() && !error.advice().is_empty()),
    }
    // What only a whole bundle reaches: the good one with these bytes put in somewhere.
    if let [a, b, rest @ ..] = bytes {
        let at = usize::from(u16::from_le_bytes([*a, *b])) % GOOD.len();
        let end = (at + rest.len()).min(GOOD.len());
        let changed = [&GOOD[..at], &rest[..end - at], &GOOD[end..]].concat();
        let result = Unverified::open(&changed[..]).and_then(|open| open.verify(&KEYS));
        assert_eq!(result.and_then(|verified| verified.check_rest(|_| ())).is_ok(), changed == GOOD);
    }
});
