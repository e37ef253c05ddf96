//! A channel file before anybody knows who wrote it, and its text; and what a pair would do about it.
//!
//! `cargo +nightly fuzz run bundle_channel corpus/bundle_channel seeds/bundle_channel -- -max_total_time=600`

#![no_main]

use edgepair_bundle::channel::{Channel, Decision, Local, Unverified, decide, file::assemble};
use edgepair_bundle::{Time, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = Unverified::read(bytes) {
        // There is one form for one content.
        let again = assemble(file.text(), file.signatures()).expect("its own signatures");
        assert_eq!(again.as_bytes(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Channel::parse("channel", text) {
        Ok(channel) => {
            assert_eq!(Channel::parse("x", &channel.text()).expect("its own text"), channel);
            let _ = channel.bundle.address("https://updates.example/a/stable.channel");
            let running = Version::parse("0~").expect("a version");
            for now in [None, Some(Time(0)), Some(channel.issued), Some(channel.expires), Some(Time(u64::MAX))] {
                let local = Local {
                    pair: "site-042",
                    running: &running,
                    failed: &[],
                    now,
                    offset: 3600,
                    windows: &[],
                    automatic: true,
                    whole: true,
                    busy: false,
                    again: None,
                };
                let decision = decide(&channel, &local);
                let early = now.is_none_or(|now| now < channel.issued || now >= channel.expires);
                assert!(!early || !matches!(decision, Decision::Start { .. }));
            }
        }
        Err(report) => {
            assert!(report.errors().count() > 0);
            let _ = (report.render(false), report.render_short(), report.to_json());
        }
    }
});
