//! A manifest's mistakes: all at once, each with its place.

mod common;

use common::*;
use edgepair_bundle::manifest::Wave;
use edgepair_bundle::{Manifest, Time, Unverified};
use proptest::prelude::*;

fn good() -> String {
    Unverified::open(&bundle()[..]).expect("opens").text().to_owned()
}

/// `line:column code` of each finding.
fn findings(text: &str) -> Vec<String> {
    let report = Manifest::parse("manifest.toml", text).expect_err("refused");
    report
        .findings()
        .iter()
        .map(|finding| {
            let at = report.position(finding);
            assert!(!finding.reason.is_empty() && !finding.fix.is_empty());
            format!("{}:{} {}", at.line, at.column, finding.code)
        })
        .collect()
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let text = good()
        .replace("version = \"0.2.0\"", "version = \"0 2\"")
        .replace("boards = [\"x86-64\"]", "boards = []")
        .replace("trial_seconds = 900", "trial_second = 900")
        .replace("state = [1, 1]", "state = [2, 1]")
        .replace("name = \"uki\"", "name = \"ukj\"");
    assert_eq!(
        findings(&text),
        [
            "1:1 missing-key",
            "4:11 bad-value",
            "6:10 bad-value",
            "11:1 unknown-key",
            "17:9 bad-value",
            "40:8 bad-value"
        ]
    );
    let report = Manifest::parse("manifest.toml", &text).expect_err("refused").render_short();
    assert!(report.contains("did you mean trial_seconds?"), "{report}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let good = good();
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        findings(&good.replacen(from, to, 1))
    };
    assert_eq!(change("floor = \"0.1.0\"", "floor = \"0.2.1\""), ["9:9 floor"]);
    assert_eq!(change("schema = 1", "schema = 2"), ["2:10 schema"]);
    assert_eq!(change("[leaves]\ndatastore = 17", "[leaves]\ndatastore = 18"), ["20:13 leaves"]);
    assert_eq!(change("\nstate = 1\n", "\nstate = 0\n"), ["21:9 leaves"]);
    assert_eq!(change("[leaves]\ndatastore = 17\nstate = 1\n", ""), ["1:1 missing-key"]);
    assert_eq!(change("name = \"root\"", "name = \"verity\""), ["39:1 payloads"]);
    assert_eq!(change("size = 16384", "size = 0"), ["24:8 index-size", "29:8 too-large"]);
    assert_eq!(change("size = 16384", "size = 9223372036854775807"), ["29:8 too-large", "39:1 too-large"]);
    assert_eq!(change("size = 286", "size = 285999"), ["24:8 index-size"]);
    assert_eq!(change("name = \"edgepair\"", "name = \"edge\\npair\""), ["3:8 bad-value"]);
    assert_eq!(change("datastore = [17, 17]", "datastore = [-1, 17]"), ["16:13 bad-value"]);
    assert_eq!(change("expires = 2033-05-18T03:33:20Z", "expires = 2033-05-18"), ["10:11 bad-value"]);
    assert_eq!(change("[index]", "[index"), findings(&good.replacen("[index]", "[index", 1)));
    let long = format!("{good}#{}", "x".repeat(1 << 18));
    assert_eq!(findings(&long), ["1:1 too-long"]);
}

#[test]
fn waves_rise_and_end_with_everybody() {
    let with = |waves: &[(u32, u64)]| {
        let mut manifest = Manifest::parse("x", &good()).expect("good");
        manifest.waves =
            waves.iter().map(|(percent, from)| Wave { percent: *percent, from: Time(*from) }).collect();
        let text = manifest.text();
        Manifest::parse("x", &text)
            .map(|read| assert_eq!(read, manifest))
            .map_err(|report| report.findings().iter().map(|finding| finding.code).collect::<Vec<_>>())
    };
    assert_eq!(with(&[(5, 100), (100, 200)]), Ok(()));
    assert_eq!(with(&[(100, 100)]), Ok(()));
    assert_eq!(with(&[(5, 100), (50, 200)]), Err(vec!["wave-rest"]));
    assert_eq!(with(&[(50, 100), (50, 200), (100, 150)]), Err(vec!["wave-order", "wave-order"]));
    assert_eq!(with(&[(101, 100)]), Err(vec!["bad-value"]));
    assert_eq!(with(&[(100, 2_000_000_000)]), Err(vec!["wave-expired"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No text stops the parser, and what it takes is written and read the same again.
    #[test]
    fn never_panics(at in any::<prop::sample::Index>(), length in 0..40_usize, piece in "[ -~\n]{0,20}", text in "\\PC{0,200}") {
        let mut changed = good();
        let start = at.index(changed.len());
        changed.replace_range(start..(start + length).min(changed.len()), &piece);
        for text in [changed, text] {
            match Manifest::parse("x", &text) {
                Ok(manifest) => prop_assert_eq!(Manifest::parse("x", &manifest.text()).expect("reads"), manifest),
                Err(report) => {
                    prop_assert!(report.errors().count() > 0);
                    prop_assert!(!report.render(false).is_empty());
                }
            }
        }
    }
}
