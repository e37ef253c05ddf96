//! `edgepair seed` as a person or a script uses it: exit codes, what is printed, what is written.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

const MINIMAL: &str = include_str!("../../libs/seed/tests/seeds/minimal.toml");
const TEN_ERRORS: &str = include_str!("../../libs/seed/tests/seeds/ten-errors.toml");
const SECRET: &str = "qJ4v9TzXn2Lr8sWc5Yb1Kd7H";

fn edgepair(folder: &Path, args: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edgepair"));
    command.args(args).current_dir(folder).stdin(std::process::Stdio::null()).output().expect("starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn put(folder: &Path, name: &str, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a scratch folder of this test")]
    std::fs::write(folder.join(name), text).expect("writes");
}

fn folder_with(seed: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    put(folder.path(), "seed.toml", seed);
    put(folder.path(), "pair.secret", SECRET);
    folder
}

const NEW: &[&str] = &[
    "seed",
    "new",
    "--name",
    "site-042",
    "--virtual-ip",
    "192.0.2.50/24",
    "--mac-a",
    "52:54:00:00:00:01",
    "--address-a",
    "192.0.2.60/24",
    "--mac-b",
    "52:54:00:00:00:02",
    "--address-b",
    "192.0.2.61/24",
    "--size",
    "8GiB",
];

#[test]
fn new_makes_a_seed_that_passes_the_check() {
    let folder = tempfile::tempdir().expect("tempdir");
    let args = [NEW, &["--mode", "manual", "--out", "site"]].concat();
    let made = edgepair(folder.path(), &args);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let secret = folder.path().join("site/pair.secret");
    let mode = std::fs::metadata(&secret).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let held = std::fs::read_to_string(&secret).expect("reads");
    assert_eq!(held.trim().len(), 43, "32 random bytes");
    assert!(!said(&made).contains(held.trim()));
    assert_eq!(edgepair(folder.path(), &["seed", "check", "site"]).status.code(), Some(0));
    // A second time nothing is written over.
    let again = edgepair(folder.path(), &args);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert_eq!(std::fs::read_to_string(&secret).expect("reads"), held);
    // Another one has another secret.
    let other = edgepair(folder.path(), &[NEW, &["--mode", "manual", "--out", "other"]].concat());
    assert_eq!(other.status.code(), Some(0));
    assert_ne!(std::fs::read_to_string(folder.path().join("other/pair.secret")).expect("reads"), held);
}

#[test]
fn new_names_what_is_missing_and_writes_nothing_that_is_wrong() {
    let folder = tempfile::tempdir().expect("tempdir");
    let short = edgepair(folder.path(), &["seed", "new", "--name", "site-042"]);
    assert_eq!(short.status.code(), Some(2));
    for option in ["--virtual-ip", "--address-a", "--address-b", "--size", "--mode"] {
        assert!(said(&short).contains(option), "{}", said(&short));
    }
    // Mode witness without a witness, and two boxes with one address.
    let wrong = [&NEW[..NEW.len() - 3], &["192.0.2.60/24", "--size", "8GiB", "--mode", "fence"]].concat();
    let wrong = edgepair(folder.path(), &wrong);
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    assert!(said(&wrong).contains("192.0.2.60"), "{}", said(&wrong));
    assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0);
}

#[test]
fn check_has_exit_codes_and_json() {
    let good = folder_with(MINIMAL);
    let output = edgepair(good.path(), &["seed", "check"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("good, 1 warning"), "{}", said(&output));
    let bad = folder_with(TEN_ERRORS);
    let output = edgepair(bad.path(), &["seed", "check", "seed.toml", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((json["errors"].as_u64(), json["ok"].as_bool()), (Some(10), Some(false)));
    assert!(
        json["findings"]
            .as_array()
            .is_some_and(|list| list.iter().all(|f| f["line"].is_u64() && f["column"].is_u64()))
    );
    assert_eq!(edgepair(bad.path(), &["seed", "check", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(edgepair(bad.path(), &["seed", "check", "nothing.toml"]).status.code(), Some(1));
    let small = edgepair(good.path(), &["seed", "check", "--disk", "8GB"]);
    assert_eq!(small.status.code(), Some(1), "{}", said(&small));
}

#[test]
fn check_says_what_a_change_takes() {
    let folder = folder_with(MINIMAL);
    put(folder.path(), "new.toml", &MINIMAL.replace("192.0.2.61/24", "192.0.2.62/24"));
    let output = edgepair(folder.path(), &["seed", "check", "new.toml", "--against", "seed.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains("node.b.address: 192.0.2.61/24 -> 192.0.2.62/24  [pair transaction]"),
        "{}",
        said(&output)
    );
}

#[test]
fn show_hides_secrets_unless_asked() {
    let folder = folder_with(MINIMAL);
    let file = ["seed", "show", "--node", "a", "--file", "/etc/drbd.d/edgepair.res"];
    let open = edgepair(folder.path(), &[&file[..], &["--show-secrets"]].concat());
    let line =
        said(&open).lines().find(|line| line.contains("shared-secret")).map(str::to_owned).expect("a secret");
    let secret = line.split('"').nth(1).expect("quoted").to_owned();
    assert_eq!(secret.len(), 32);
    for args in
        [vec!["seed", "show", "--node", "a"], vec!["seed", "show", "--node", "a", "--json"], file.to_vec()]
    {
        let output = edgepair(folder.path(), &args);
        assert_eq!(output.status.code(), Some(0));
        assert!(!said(&output).contains(&secret) && !said(&output).contains(SECRET), "{args:?}");
        assert!(said(&output).contains("[redacted]"), "{args:?}");
    }
    let all = said(&edgepair(folder.path(), &["seed", "show", "--node", "b"]));
    for part in
        ["steps on an empty box", "done when", "surely silent after 22 s", "/etc/nftables.conf", "units"]
    {
        assert!(all.contains(part), "{part}");
    }
    assert_eq!(edgepair(folder.path(), &["seed", "show", "--node", "c"]).status.code(), Some(1));
    assert_eq!(edgepair(folder.path(), &["seed", "show"]).status.code(), Some(2));
}

#[test]
fn write_puts_all_files_into_a_folder() {
    let folder = folder_with(MINIMAL);
    let stick = tempfile::tempdir().expect("tempdir");
    let target = stick.path().to_string_lossy();
    let output = edgepair(folder.path(), &["seed", "write", "seed.toml", &target, "--node", "a"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let held = |name: &str| std::fs::read_to_string(stick.path().join(name)).ok();
    assert_eq!((held("seed.toml").as_deref(), held("pair.secret").as_deref()), (Some(MINIMAL), Some(SECRET)));
    assert_eq!(held("node").as_deref(), Some("a\n"));
    // Without --node the old answer goes away; no temporary file stays.
    assert_eq!(edgepair(folder.path(), &["seed", "write", "seed.toml", &target]).status.code(), Some(0));
    assert_eq!(std::fs::read_dir(stick.path()).expect("lists").count(), 2);
}

#[test]
fn write_refuses_bad_seeds_and_wrong_places() {
    let folder = folder_with(TEN_ERRORS);
    let output = edgepair(folder.path(), &["seed", "write", "seed.toml", "."]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("10 errors"), "{}", said(&output));
    let folder = folder_with(MINIMAL);
    put(folder.path(), "holiday.img", &"photo".repeat(100_000));
    put(folder.path(), "appliance.img.zst", "x");
    for (target, words) in [
        ("holiday.img", "no partition named SEED"),
        ("appliance.img.zst", "zstd -d"),
        ("/dev/null", "neither"),
        ("gone", "cannot find"),
    ] {
        let before = std::fs::read(folder.path().join(target)).unwrap_or_default();
        let output = edgepair(folder.path(), &["seed", "write", "seed.toml", target]);
        assert_eq!(output.status.code(), Some(1), "{target}: {}", said(&output));
        assert!(said(&output).contains(words), "{target}: {}", said(&output));
        assert_eq!(std::fs::read(folder.path().join(target)).unwrap_or_default(), before, "{target}");
    }
    let worker = edgepair(folder.path(), &["seed", "write", "seed.toml", ".", "--node", "attic"]);
    assert_eq!(worker.status.code(), Some(1), "{}", said(&worker));
}
