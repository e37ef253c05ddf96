//! `edgepair channel` as a person or a script uses it: from a signed bundle to a channel file, and what is refused.

use edgepair_bundle::manifest::{Compatible, Leaves, Manifest, Part, PayloadName, Span};
use edgepair_bundle::{Digest, PackError, Packer, Version};
use serde_json::Value;
use std::io::Cursor;
use std::path::Path;
use std::process::Output;

fn edgepair(folder: &Path, args: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgepair"));
    command.args(args).current_dir(folder).stdin(std::process::Stdio::null()).output().expect("starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn good(folder: &Path, args: &[&str]) -> String {
    let output = edgepair(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    said(&output)
}

fn refused(folder: &Path, args: &[&str], words: &str) {
    let output = edgepair(folder, args);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.contains(words) && said.contains("to do: "), "{args:?}: {said}");
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let output = edgepair(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn put(path: &Path, bytes: &[u8]) {
    edgepair_host_io::atomic::write(path, bytes, 0o644).expect("writes");
}

/// Two keys, and a small bundle that is signed with the first one.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    let folder = dir.path();
    for name in ["release", "next"] {
        good(folder, &["key", "new", name]);
    }
    let mut packer = Packer::new(Cursor::new(Vec::new())).expect("packer");
    for (name, byte) in PayloadName::ALL.into_iter().zip(1_u8..) {
        packer.add(name, &vec![byte; 8192][..]).expect("packs");
    }
    let one = Span { min: 1, max: 1 };
    let version = |text: &str| Version::parse(text).expect("a version");
    let manifest = Manifest {
        name: "edgepair".into(),
        version: version("0.2.0"),
        architecture: "amd64".into(),
        boards: vec!["x86-64".into()],
        root_hash: Digest::of(b"root"),
        build: None,
        floor: version("0"),
        expires: None,
        trial_seconds: 900,
        extension: None,
        compatible: Compatible { pair_protocol: one, datastore: one, state: one },
        leaves: Leaves { datastore: 1, state: 1 },
        one_way: false,
        waves: Vec::new(),
        index: Part { size: 0, sha256: Digest::of(b"") },
        payloads: Vec::new(),
    };
    let mut out = Vec::new();
    packer.finish(manifest, |_| Ok::<_, PackError>(Vec::new()), &mut out).expect("packs");
    put(&folder.join("x.bundle"), &out);
    dir
}

const CREATE: &[&str] =
    &["channel", "create", "stable.channel", "--bundle", "x.bundle", "--key", "release.pub"];
const TIMES: &[&str] = &["--issued", "2027-01-04T00:00:00Z", "--days", "90"];

#[test]
fn from_a_bundle_to_a_channel_that_holds() {
    let dir = folder();
    let folder = dir.path();
    let create = [CREATE, TIMES, &["--sign", "release.key"]].concat();
    refused(folder, &create, "it is not signed");
    good(folder, &["bundle", "sign", "x.bundle", "--key", "release.key"]);
    good(folder, &create);
    let verify = ["channel", "verify", "stable.channel", "--key", "release.pub", "--at"];
    let text = good(folder, &[&verify[..], &["2027-01-04T00:00:00Z"]].concat());
    assert!(text.contains("channel stable no. 1, version 0.2.0, until 2027-04-04T00:00:00Z"), "{text}");
    refused(folder, &[&verify[..], &["2027-01-03T23:59:59Z"]].concat(), "look at the clock");
    refused(folder, &[&verify[..], &["2027-04-04T00:00:00Z"]].concat(), "it expired at 2027-04-04T00:00:00Z");
    refused(
        folder,
        &["channel", "verify", "stable.channel", "--key", "next.pub", "--at", "2027-01-05T00:00:00Z"],
        "signed with another key",
    );

    let shown = json(folder, &["channel", "inspect", "stable.channel", "--json"]);
    let size = std::fs::metadata(folder.join("x.bundle")).expect("there").len();
    assert_eq!((&shown["serial"], &shown["bundle"]["size"]), (&1.into(), &size.into()));
    assert_eq!(shown["bundle"]["url"], "x.bundle");
    // The next one: its number goes on, and what it says of a pair follows from the pair's name.
    let more = [
        "--wave",
        "5@2027-01-10T06:00:00Z",
        "--wave",
        "100@2027-01-12T06:00:00Z",
        "--window",
        "daily 02:00-05:00 UTC",
    ];
    let made = json(folder, &[&create[..], &more, &["--jitter-seconds", "600", "--json"]].concat());
    assert_eq!(made["serial"], 2);
    let at = |at: &str| {
        let asked = ["channel", "inspect", "stable.channel", "--pair", "site-042", "--json", "--at", at];
        json(folder, &asked)["pair"].as_str().unwrap_or_default().to_owned()
    };
    assert!(at("2027-01-05T00:00:00Z").contains("this pair's wave begins at 2027-01-12T06:00:00Z"));
    assert!(at("2027-01-12T06:00:00Z").contains("windows are closed; this pair begins at 2027-01-13T02:0"));
    assert!(at("2027-01-13T02:10:00Z").contains("the update begins"));
    // A file that was damaged on the way.
    let mut bytes = std::fs::read(folder.join("stable.channel")).expect("reads");
    bytes[80] ^= 1;
    std::fs::create_dir(folder.join("bad")).expect("mkdir");
    put(&folder.join("bad/stable.channel"), &bytes);
    let at = ["--key", "release.pub", "--at", "2027-01-05T00:00:00Z"];
    refused(
        folder,
        &[&["channel", "verify", "bad/stable.channel"], &at[..]].concat(),
        "it is not what was signed",
    );
    let output =
        edgepair(folder, &[&["channel", "verify", "bad/stable.channel", "--json"], &at[..]].concat());
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &shown["ok"]), (Some(1), &Value::Bool(false)));
    // Under another channel's name.
    good(
        folder,
        &["channel", "verify", "stable.channel", "--key", "release.pub", "--at", "2027-01-05T00:00:00Z"],
    );
    std::fs::rename(folder.join("stable.channel"), folder.join("beta.channel")).expect("renames");
    refused(
        folder,
        &[&["channel", "verify", "beta.channel"], &at[..]].concat(),
        "this is the file of channel stable",
    );
}

#[test]
fn a_key_that_stays_elsewhere_signs() {
    let dir = folder();
    let folder = dir.path();
    good(folder, &["bundle", "sign", "x.bundle", "--key", "release.key"]);
    let text = good(folder, &[CREATE, TIMES].concat());
    assert!(text.contains("no node takes it before"), "{text}");
    let verify = |key: &'static str| {
        ["channel", "verify", "stable.channel", "--key", key, "--at", "2027-01-05T00:00:00Z"]
    };
    refused(folder, &verify("release.pub"), "it is not signed");
    good(folder, &["channel", "sign", "stable.channel", "--emit", "channel.toml"]);
    assert_eq!(
        good(folder, &["channel", "inspect", "stable.channel", "--text"]),
        std::fs::read_to_string(folder.join("channel.toml")).expect("reads")
    );
    good(folder, &["sign", "channel.toml", "--key", "release.key"]);
    let attach = ["channel", "sign", "stable.channel", "--attach", "channel.toml.minisig", "--public"];
    refused(folder, &[&attach[..], &["next.pub"]].concat(), "is not a signature by next.pub");
    good(folder, &[&attach[..], &["release.pub"]].concat());
    good(folder, &verify("release.pub"));
    good(folder, &["channel", "sign", "stable.channel", "--key", "next.key"]);
    for key in ["release.pub", "next.pub"] {
        good(folder, &verify(key));
    }
    good(folder, &["channel", "sign", "stable.channel", "--key", "next.key", "--only"]);
    refused(folder, &verify("release.pub"), "another key");
}

#[test]
fn what_no_node_takes_is_not_made() {
    let dir = folder();
    let folder = dir.path();
    good(folder, &["bundle", "sign", "x.bundle", "--key", "release.key"]);
    let create = [CREATE, TIMES, &["--sign", "release.key"]].concat();
    good(folder, &create);
    let before = std::fs::read(folder.join("stable.channel")).expect("reads");
    refused(folder, &[&create[..], &["--serial", "1"]].concat(), "no. 1 is not above no. 1");
    refused(folder, &[&create[..], &["--url", "../x.bundle"]].concat(), "this does not fit here");
    refused(folder, &[&create[..], &["--wave", "50@2027-01-10T00:00:00Z"]].concat(), "would never update");
    refused(folder, &[&create[..], &["--wave", "100@2028-01-10T00:00:00Z"]].concat(), "has expired by then");
    let mut bytes = std::fs::read(folder.join("x.bundle")).expect("reads");
    let last = bytes.len() - 1030;
    bytes[last] ^= 1;
    put(&folder.join("bad.bundle"), &bytes);
    refused(
        folder,
        &[&["channel", "create", "stable.channel", "--bundle", "bad.bundle", "--key", "release.pub"], TIMES]
            .concat(),
        "uki",
    );
    refused(
        folder,
        &[&["channel", "create", "stable.toml", "--bundle", "x.bundle", "--key", "release.pub"], TIMES]
            .concat(),
        "call it NAME.channel",
    );
    assert_eq!(std::fs::read(folder.join("stable.channel")).expect("reads"), before, "it is as it was");
    for wrong in
        [&["--window", "Monday 01:00-02:00"][..], &["--jitter-seconds", "604801"], &["--expires", "tomorrow"]]
    {
        assert_eq!(edgepair(folder, &[&create[..], wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
}
