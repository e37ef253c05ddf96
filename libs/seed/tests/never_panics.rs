//! Nothing that a file can contain stops the check: bounded random texts and random edits of good seeds.

mod common;

use common::{GOOD, checked};
use edgepair_seed::{Difference, Position, Severity};
use proptest::prelude::*;

/// Whatever was found can be printed, lies inside the text, and decides whether there is a seed.
fn holds(text: &str) {
    let (seed, report) = checked(text);
    assert_eq!(seed.is_some(), report.errors().count() == 0);
    assert!(!report.findings().iter().any(|finding| finding.code == "internal"), "{}", report.render(false));
    let lines = text.matches('\n').count() + 1;
    for finding in report.findings() {
        assert!(finding.span.end <= text.len() && !finding.reason.is_empty() && !finding.fix.is_empty());
        assert!(report.position(finding).line <= lines);
    }
    let count = report.findings().len();
    assert!(report.render_short().lines().count() >= count);
    assert_eq!(report.render(true).is_empty(), count == 0);
    assert_eq!(report.to_json()["findings"].as_array().map(Vec::len), Some(count));
    if let Some(seed) = seed {
        assert!(Difference::between(&seed, &seed).is_empty());
        assert!((1..=255).contains(&seed.pair.vrrp_id));
    }
}

fn good() -> impl Strategy<Value = &'static str> {
    prop::sample::select(GOOD.map(|(_, text)| text).to_vec())
}

/// Pieces of TOML and of seeds that random letters would hardly ever form.
fn fragment() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        "\"",
        "'''",
        "\"\"\"",
        "\n",
        ",",
        ".",
        "#",
        "\\u0000",
        "\\uD800",
        "é",
        "🜨",
        "\r",
        "\0",
        "\t",
        "a",
        "node",
        "worker",
        "[node.a]\n",
        "[worker.\"x.y\"]\n",
        "[registry.'*']\n",
        "schema = 1\n",
        "mac = ",
        "address = ",
        "secret = ",
        "-1",
        "1e9",
        "0x7f",
        "99999999999999999999",
        "true",
        "1979-05-27",
        "nan",
        "\"::/0\"",
        "\"0.0.0.0/0\"",
        "\"255.255.255.255/32\"",
        "\"ffff::/128\"",
        "\"18446744073709551615TiB\"",
        "\"9999999999999h\"",
        "[failover]\nmode = \"witness\"\n",
        "witness = { url = \"https://[\" }\n",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_texts(text in "\\PC{0,200}") {
        holds(&text);
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        holds(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_fragments(parts in prop::collection::vec(fragment(), 0..60)) {
        holds(&parts.concat());
    }

    #[test]
    fn edited_seeds(text in good(), at in any::<prop::sample::Index>(), drop in 0_usize..40, put in fragment()) {
        let mut letters: Vec<char> = text.chars().collect();
        let start = at.index(letters.len());
        let end = (start + drop).min(letters.len());
        letters.splice(start..end, put.chars());
        holds(&letters.into_iter().collect::<String>());
    }

    #[test]
    fn lines_of_seeds_in_any_order(text in good(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let lines: Vec<&str> = text.lines().collect();
        let mixed: Vec<&str> = order.iter().map(|index| lines[index.index(lines.len())]).collect();
        holds(&mixed.join("\n"));
    }

    #[test]
    fn positions_are_where_an_editor_says(text in "[a-zé\n]{0,60}", offset in 0_usize..80) {
        let at = Position::of(&text, offset);
        let line = text.split('\n').nth(at.line - 1).expect("the line is there");
        prop_assert!(at.column <= line.chars().count() + 1);
    }
}

#[test]
fn deep_nesting_and_size_are_bounded() {
    for text in ["[".repeat(100_000), "a = ".to_owned() + &"[".repeat(100_000), "a.".repeat(50_000) + "a = 1"]
    {
        holds(&text);
    }
    let (seed, report) = checked(&" ".repeat(edgepair_seed::SEED_MAX + 1));
    assert!(seed.is_none());
    let codes: Vec<_> = report.findings().iter().map(|finding| (finding.severity, finding.code)).collect();
    assert_eq!(codes, [(Severity::Error, "too-long")]);
}
