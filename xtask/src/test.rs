//! `cargo xtask test`: everything that must hold, the quick checks first.
//!
//! Format, import law, clippy and unit tests; then the image is built and booted in virtual machines.

use crate::run::{command, phase, root};
use std::fs::File;

/// Debian packages that the tests need beyond what a build installs by itself, and the program each is known by.
const PACKAGES: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("uidmap", "newuidmap"),
    ("etcd-server", "etcd"),
    ("strace", "strace"),
    ("iproute2", "ip"),
    ("openssh-client", "ssh"),
];

/// Runs everything, or only the phases named.
pub fn run(only: &[String]) -> Result<(), String> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    let mut passed = 0;
    let mut done = |result: Result<(), String>| -> Result<(), String> {
        result?;
        passed += 1;
        Ok(())
    };
    if wanted("packages") {
        done(packages())?;
    }
    if wanted("format") {
        done(phase("format", &["cargo", "fmt", "--all", "--check"]))?;
    }
    if wanted("layout") {
        done(crate::layout_law::run())?;
    }
    if wanted("clippy") {
        done(phase(
            "clippy",
            &["cargo", "clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
        ))?;
    }
    if wanted("unit") {
        let what = ["cargo", "test", "--workspace", "--exclude", "pair-core", "--no-fail-fast"];
        done(phase("unit", &[&what[..], &["--features", "node-init/failpoints", "--quiet"]].concat()))?;
    }
    if wanted("model") {
        // Optimised: the model checker visits millions of states. What it says (states, how often each transition fired,
        // the counterexample of each known-bad variant) belongs into the log.
        let what = ["cargo", "test", "--release", "--quiet", "--package", "pair-core", "--", "--nocapture"];
        done(phase("model", &what))?;
    }
    if wanted("image") {
        done(phase(
            "compile",
            &["cargo", "build", "--release", "--quiet", "--package", "edgepair", "--package", "qemu-tests"],
        ))?;
        done(image())?;
        // Builds that must fail or are killed; they need the tools tree that the image's build has made.
        done(phase(
            "faults",
            &[
                "env",
                "EDGEPAIR_TEST_FAULTS=1",
                "cargo",
                "test",
                "--quiet",
                "--package",
                "edgepair",
                "--test",
                "faults",
                "--test",
                "killed",
            ],
        ))?;
    }
    if wanted("scenarios") {
        done(phase("scenarios", &["target/release/qemu-tests", "--image", "target/image.json"]))?;
    }
    // A second image from the same steps, signed with keys made for it.
    if wanted("secure-boot") {
        done(secure_boot())?;
    }
    // Only by name: it builds three later versions, and the pair reboots eight times or so.
    if only.iter().any(|word| word == "update") {
        done(update())?;
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

/// The later versions of `qemu-tests/updates`: name, and the longest trial in seconds. One that is well must come up on
/// emulated processors within it; one that is not is judged at its end.
const UPDATES: &[(&str, &str)] = &[("good", "900"), ("broken", "240"), ("panics", "600")];

/// Builds and signs later versions of the default image, and updates a pair to them.
fn update() -> Result<(), String> {
    let folder = "target/updates";
    std::fs::create_dir_all(root().join(folder)).map_err(|error| format!("{folder}: {error}"))?;
    let (edgepair, key) = ("target/release/edgepair", format!("{folder}/release"));
    // The same key in each run, so that what was built before is built still.
    if !root().join(format!("{key}.key")).exists() {
        phase("key", &[edgepair, "key", "new", &key])?;
    }
    let private = format!("{key}.key");
    for (name, trial) in UPDATES {
        let out = format!("{folder}/{name}");
        phase(name, &[edgepair, "build", &format!("qemu-tests/updates/{name}.toml"), "--out", &out])?;
        let bundle = format!("{out}.bundle");
        let words =
            ["bundle", "create", &out, "--out", &bundle, "--sign", &private, "--trial-seconds", trial];
        phase(name, &[&[edgepair], &words[..]].concat())?;
    }
    let json = "target/image.json";
    phase("update", &["target/release/qemu-tests", "--image", json, "--updates", folder, "pair-update"])
}

/// Builds the default image; what it says about it goes to the scenarios.
pub fn image() -> Result<(), String> {
    build("image", "target/image.json", &["--out", "target/image"])
}

/// The same image signed with keys made for it, and the scenario that enrols them.
fn secure_boot() -> Result<(), String> {
    let keys = root().join("target/secure-boot-keys");
    if keys.exists() {
        std::fs::remove_dir_all(&keys).map_err(|error| format!("{}: {error}", keys.display()))?;
    }
    let keys = keys.to_string_lossy().into_owned();
    phase("keys", &["target/release/edgepair", "key", "new", &keys, "--secure-boot"])?;
    let json = "target/image-signed.json";
    build("signed image", json, &["--out", "target/image-signed", "--secure-boot", &keys])?;
    phase(
        "secure-boot",
        &["target/release/qemu-tests", "--image", json, "--secure-boot", &keys, "secure-boot"],
    )
}

fn build(name: &str, json: &str, more: &[&str]) -> Result<(), String> {
    println!("== {name}: edgepair build images/x86-64.toml {}", more.join(" "));
    let path = root().join(json);
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let argv = [&["target/release/edgepair", "build", "images/x86-64.toml", "--json"], more].concat();
    let status = command(&argv).stdout(file).status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed")) }
}

/// Installs what the tests need, with sudo where the user is not root.
fn packages() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, program)| !places.iter().any(|dir| dir.join(program).is_file()))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        println!("== packages: nothing is missing");
        return Ok(());
    }
    println!("== packages: installing {}", missing.join(" "));
    let root_prefix: &[&str] = if is_root() { &[] } else { &["sudo"] };
    let call = |words: &[&str]| phase("packages", &[root_prefix, words].concat());
    call(&["apt-get", "-qq", "update"])?;
    let install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends"];
    call(&[&install[..], &missing].concat())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}
