//! What a manifest can be before anybody knows who wrote it: its text, and the text of its signatures.
//!
//! `cargo +nightly fuzz run bundle_manifest corpus/bundle_manifest seeds/bundle_manifest -- -max_total_time=600`

#![no_main]

use edgepair_bundle::Manifest;
use edgepair_signature::{PublicKey, Signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse("manifest.toml", text) {
        Ok(manifest) => assert_eq!(Manifest::parse("x", &manifest.text()).expect("its own text"), manifest),
        Err(report) => {
            assert!(report.errors().count() > 0);
            let _ = (report.render(false), report.render_short(), report.to_json());
        }
    }
    if let Ok(signature) = Signature::parse(text) {
        assert_eq!(Signature::parse(&signature.text()).expect("its own text"), signature);
    }
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&key.text()).expect("its own text"), key);
    }
});
