//! What is published about the keys agrees with the table that the check runs on.

mod common;

use edgepair_seed::{Companions, Input, check, json_schema, markdown_table, table};

const SCHEMA: &str = include_str!("../../../docs/seed.schema.json");
const MANUAL: &str = include_str!("../../../docs/seed.md");

#[test]
fn the_json_schema_is_current() {
    let current = serde_json::to_string_pretty(&json_schema()).expect("a JSON value prints") + "\n";
    assert_eq!(SCHEMA, current, "write it anew: cargo run -- seed schema > docs/seed.schema.json");
}

#[test]
fn the_manual_has_the_current_table() {
    let (_, rest) = MANUAL.split_once("<!-- keys: begin -->\n").expect("the begin marker");
    let (held, _) = rest.split_once("<!-- keys: end -->").expect("the end marker");
    assert_eq!(held.trim(), markdown_table().trim(), "write it anew: cargo run -- seed schema --markdown");
}

/// Every value that the documentation calls a default is taken by the parser of its key.
#[test]
fn defaults_are_valid_values() {
    for row in table::keys().filter(|row| !row.default.is_empty()) {
        let path = row.path.replace('*', "a");
        let (parent, name) = path.rsplit_once('.').expect("no key at the top has a default");
        let text = format!("schema = 1\n[{parent}]\n{name} = {}\n", row.default);
        let companions = Companions::default();
        let (_, report) = check(&Input { name: "s", text: &text, companions: &companions, disk: None });
        let about_it: Vec<_> = report.errors().filter(|finding| finding.key == path).collect();
        assert!(about_it.is_empty(), "{path}: {about_it:?}");
    }
}

/// The schema accepts the seeds of the tests: types, known keys and required keys, checked by a small walk.
#[test]
fn the_schema_takes_good_seeds_and_refuses_unknown_keys() {
    let schema = json_schema();
    for (name, text) in common::GOOD {
        let value: serde_json::Value = toml::from_str(text).expect("the seed is TOML");
        assert_eq!(mismatch(&schema, &value, "$"), None, "{name}");
    }
    for broken in [
        common::MINIMAL.replace("gateway", "gatewya"),
        common::MINIMAL.replace("\"8GiB\"", "8"),
        common::MINIMAL.replace("name = \"site-042\"\n", ""),
        common::MINIMAL.replace("mode = \"loop\"", "mode = \"lop\""),
    ] {
        let value: serde_json::Value = toml::from_str(&broken).expect("the seed is TOML");
        assert!(mismatch(&schema, &value, "$").is_some(), "{broken}");
    }
}

/// The first place where a value does not fit a schema; knows the words that the generator uses, patterns aside.
fn mismatch(schema: &serde_json::Value, value: &serde_json::Value, at: &str) -> Option<String> {
    if let Some(choices) = schema["oneOf"].as_array() {
        let all: Vec<_> = choices.iter().filter_map(|choice| mismatch(choice, value, at)).collect();
        return (all.len() == choices.len()).then(|| all.join(" / "));
    }
    if let Some(words) = schema["enum"].as_array() {
        return (!words.contains(value)).then(|| format!("{at}: not one of {words:?}"));
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        return Some(format!("{at}: not {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
        if value.get(name).is_none() {
            return Some(format!("{at}: {name} is missing"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        if let Some(wrong) = mismatch(&schema["items"], item, at) {
            return Some(wrong);
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{at}.{name}");
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        match known {
            Some(serde_json::Value::Bool(false)) => return Some(format!("{place}: unknown")),
            Some(known) => {
                if let Some(wrong) = mismatch(known, inner, &place) {
                    return Some(wrong);
                }
            }
            None => {}
        }
    }
    None
}
