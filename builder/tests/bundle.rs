//! `edgepair bundle` as a person or a script uses it: from a build's output to a signed bundle, and what is refused.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::{Output, Stdio};

const STEM: &str = "edgepair_0.2.0_amd64";
const ROOT: u64 = 40 * 4096;

fn edgepair_with(folder: &Path, args: &[&str], input: Stdio) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgepair"));
    command.args(args).current_dir(folder).stdin(input).output().expect("starts")
}

fn edgepair(folder: &Path, args: &[&str]) -> Output {
    edgepair_with(folder, args, Stdio::null())
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

fn put(path: &Path, bytes: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "a scratch folder of this test")]
    std::fs::write(path, bytes).expect("writes");
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| Sha256::digest(number.to_le_bytes())).take(length).collect()
}

/// What a build leaves: a disk image with a slot whose partitions are larger than what is in them, and a kernel image.
fn build(folder: &Path) {
    let mut root = noise(ROOT as usize);
    root[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
    root[1024 + 12] = 12;
    root[1024 + 36..1024 + 40].copy_from_slice(&40_u32.to_le_bytes());
    let mut verity = noise(2 * 4096);
    verity[..4096].fill(0);
    verity[..8].copy_from_slice(b"verity\0\0");
    verity[8] = 1;
    verity[32..38].copy_from_slice(b"sha256");
    verity[65] = 16;
    verity[69] = 16;
    verity[72] = 40;
    let mut disk = vec![0; 4 << 20];
    disk[1 << 20..][..root.len()].copy_from_slice(&root);
    disk[2 << 20..][..verity.len()].copy_from_slice(&verity);
    let image = zstd::bulk::compress(&disk, 3).expect("compresses");
    let kernel = noise(10_000);
    std::fs::create_dir(folder.join("out")).expect("mkdir");
    put(&folder.join(format!("out/{STEM}.img.zst")), &image);
    put(&folder.join(format!("out/{STEM}.uki.efi")), &kernel);
    let entry = |bytes: &[u8]| json!({ "sha256": sum(bytes), "size": bytes.len() });
    let row = |label: &str, offset: u64| json!({ "label": label, "offset": offset, "raw_size": 1 << 20 });
    let manifest = json!({
        "schema": 1, "name": "edgepair", "version": "0.2.0", "board": "x86-64", "architecture": "amd64",
        "root_hash": sum(b"root"), "identity": sum(b"build"), "disk_size": disk.len(),
        "partitions": [row("esp", 0), row("root-a", 1 << 20), row("verity-a", 2 << 20), row("root-b", 3 << 20)],
        "files": { format!("{STEM}.img.zst"): entry(&image), format!("{STEM}.uki.efi"): entry(&kernel) },
    });
    put(&folder.join("out/manifest.json"), manifest.to_string().as_bytes());
    for name in ["release", "next"] {
        good(folder, &["key", "new", name]);
    }
}

#[test]
fn from_a_build_to_a_bundle_that_holds() {
    let dir = tempfile::tempdir().expect("tempdir");
    let folder = dir.path();
    build(folder);
    let bundle = format!("out/{STEM}.bundle");
    good(folder, &["bundle", "create", "out", "--sign", "release.key"]);
    let first = std::fs::read(folder.join(&bundle)).expect("reads");
    good(folder, &["bundle", "create", "out", "--sign", "release.key", "--out", "again.bundle"]);
    assert_eq!(std::fs::read(folder.join("again.bundle")).expect("reads"), first, "the same twice");
    let text = good(folder, &["bundle", "verify", &bundle, "--key", "next.pub", "--key", "release.pub"]);
    assert!(text.contains("good") && text.contains("edgepair 0.2.0 for x86-64"), "{text}");

    let shown: Value =
        serde_json::from_slice(&edgepair(folder, &["bundle", "inspect", &bundle, "--json"]).stdout)
            .expect("JSON");
    assert_eq!(shown["version"], "0.2.0");
    // Only what is in use of the partitions.
    let sizes: Vec<u64> =
        shown["payloads"].as_array().expect("list").iter().filter_map(|row| row["size"].as_u64()).collect();
    assert_eq!(sizes, [ROOT, 2 * 4096, 10_000]);
    assert_eq!(shown["compatible"]["datastore"], json!([17, 17]));
    assert!(good(folder, &["bundle", "inspect", &bundle]).contains("not checked"));

    let file = std::fs::File::open(folder.join(&bundle)).expect("opens");
    let piped = edgepair_with(folder, &["bundle", "verify", "-", "--key", "release.pub"], file.into());
    assert_eq!(piped.status.code(), Some(0), "{}", said(&piped));

    refused(folder, &["bundle", "verify", &bundle, "--key", "next.pub"], "signed with another key");
    let mut bad = first.clone();
    let last = bad.len() - 2000;
    bad[last] ^= 1;
    put(&folder.join("bad.bundle"), &bad);
    refused(
        folder,
        &["bundle", "verify", "bad.bundle", "--key", "release.pub"],
        "of uki is not what was signed",
    );
    put(&folder.join("cut.bundle"), &first[..first.len() / 2]);
    refused(folder, &["bundle", "verify", "cut.bundle", "--key", "release.pub"], "cut off");
    refused(folder, &["bundle", "inspect", "release.pub"], "cut off");
    let output = edgepair(folder, &["bundle", "verify", "bad.bundle", "--key", "release.pub", "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &shown["ok"]), (Some(1), &Value::Bool(false)));
}

#[test]
fn a_key_that_stays_elsewhere_signs() {
    let dir = tempfile::tempdir().expect("tempdir");
    let folder = dir.path();
    build(folder);
    let text = good(folder, &["bundle", "create", "out", "--out", "x.bundle", "--floor", "0.1.0"]);
    assert!(text.contains("not signed"), "{text}");
    refused(folder, &["bundle", "verify", "x.bundle", "--key", "release.pub"], "not signed");
    good(folder, &["bundle", "sign", "x.bundle", "--emit", "manifest.toml"]);
    good(folder, &["sign", "manifest.toml", "--key", "release.key"]);
    let attach = ["bundle", "sign", "x.bundle", "--attach", "manifest.toml.minisig", "--public"];
    refused(folder, &[&attach[..], &["next.pub"]].concat(), "is not a signature by next.pub");
    good(folder, &[&attach[..], &["release.pub"]].concat());
    good(folder, &["bundle", "verify", "x.bundle", "--key", "release.pub"]);
    // The next key beside the old one, then alone.
    good(folder, &["bundle", "sign", "x.bundle", "--key", "next.key"]);
    for key in ["release.pub", "next.pub"] {
        good(folder, &["bundle", "verify", "x.bundle", "--key", key]);
    }
    good(folder, &["bundle", "sign", "x.bundle", "--key", "next.key", "--only"]);
    refused(folder, &["bundle", "verify", "x.bundle", "--key", "release.pub"], "another key");
}

#[test]
fn what_is_not_of_one_build_makes_no_bundle() {
    let dir = tempfile::tempdir().expect("tempdir");
    let folder = dir.path();
    build(folder);
    let kernel = folder.join(format!("out/{STEM}.uki.efi"));
    let bytes = std::fs::read(&kernel).expect("reads");
    put(&kernel, b"another");
    refused(folder, &["bundle", "create", "out"], "not the file that the build's manifest names");
    put(&kernel, &bytes);
    let image = folder.join(format!("out/{STEM}.img.zst"));
    let mut more = std::fs::read(&image).expect("reads");
    // An empty frame behind the image: the disk is the same, the file is not.
    more.extend(zstd::bulk::compress(b"", 3).expect("compresses"));
    put(&image, &more);
    refused(folder, &["bundle", "create", "out"], "not the file that the build's manifest names");
    assert!(!folder.join(format!("out/{STEM}.bundle")).exists(), "nothing is left behind");
    assert_eq!(std::fs::read_dir(folder.join("out")).expect("lists").count(), 3);
    refused(folder, &["bundle", "create", "."], "cannot read ./manifest.json");
    let output = edgepair(folder, &["bundle", "create", "out", "--wave", "5@tomorrow"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}
