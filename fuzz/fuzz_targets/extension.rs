//! An extension file: nothing unsigned is ever taken for one, whatever its bytes.
//!
//! `cargo +nightly fuzz run extension corpus/extension -- -max_total_time=600`

#![no_main]

use edgepair_extension::{Unverified, Version, parse_signatures};
use edgepair_signature::{PublicKey, TrustedKeys};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEYS: LazyLock<TrustedKeys> = LazyLock::new(|| {
    let key = PublicKey::parse(include_str!("../seeds/bundle_manifest/key.pub")).expect("a key");
    TrustedKeys::new([key]).expect("a set")
});

fuzz_target!(|bytes: &[u8]| {
    for version in Version::found_in(bytes) {
        assert_eq!(Version::parse(&version.to_string()), Some(version));
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = parse_signatures(&text);
    if let Ok(open) = Unverified::open(bytes) {
        assert!(open.head().check().is_ok());
        // The private key of these tests signs no extension.
        let error = open.verify(&KEYS).err().expect("a signature out of nothing");
        assert!(!error.to_string().is_empty() && !error.advice().is_empty());
    }
});
