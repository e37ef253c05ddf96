//! `cargo xtask test`: everything that must hold, the quick checks first.
//!
//! Format, import law, clippy and unit tests; then the image is built and booted in virtual machines.

use crate::run::{command, now, phase, root};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

/// Debian packages that the tests need beyond what a build installs by itself, and the program each is known by.
const PACKAGES: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("uidmap", "newuidmap"),
    ("etcd-server", "etcd"),
    ("strace", "strace"),
    ("iproute2", "ip"),
    ("openssh-client", "ssh"),
    ("kubernetes-client", "kubectl"),
    ("postgresql", "pg_createcluster"),
];

const IMAGE: &str = "images/x86-64.toml";
/// What Kubernetes on the pair shows; the first belongs to each run.
const SCENARIOS: &[&str] = &[
    "pair-kubernetes",
    "pair-kubernetes-standby",
    "pair-kubernetes-sqlite",
    "pair-kubernetes-external",
    "pair-kubernetes-worker",
    "pair-kubernetes-version",
    "pair-kubernetes-faults",
];
/// Versions that come after it: the next minor one, and one that is too far.
const LATER_K3S: [&str; 2] = ["v1.34.1+k3s1", "v1.35.0+k3s1"];
/// Where their extensions are.
const EXTENSIONS: &str = "target/extensions";
/// What the image and the first of them take on slow emulated processors.
const KUBERNETES_SECONDS: u64 = 20 * 60;
/// What the stand-in for k3s says of itself (`qemu-tests/k3s-stand-in/src/version.rs`).
const STAND_IN_VERSION: &str = "v1.33.4+k3s1";

/// Runs everything, or only the phases named. With `--within MINUTES` nothing long is begun after that: what is left out is
/// named and counted as skipped.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let (only, time) = Time::parse(arguments)?;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    let (mut passed, mut skipped) = (0, 0);
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
    if wanted("scenarios") || wanted("updates") {
        done(updates(TESTED))?;
        let words = ["target/release/qemu-tests", "--image", "target/image.json", "--updates", UPDATES];
        let within = time.left().to_string();
        let limit: &[&str] = if time.limited() { &["--within", &within] } else { &[] };
        let only: &[&str] = if wanted("scenarios") { &[] } else { &["pair-update"] };
        done(phase("scenarios", &[&words, limit, only].concat()))?;
    }
    // A second image from the same steps, signed with keys made for it.
    if wanted("secure-boot") {
        if time.left() > 0 {
            done(secure_boot())?;
        } else {
            println!("SKIPPED secure-boot: no time is left for it");
            skipped += 1;
        }
    }
    // A third image, with k3s in it or with what stands in for it. In a whole run one scenario; by name all of them.
    if wanted("kubernetes") {
        if time.left() > KUBERNETES_SECONDS {
            done(kubernetes(if only.is_empty() { &SCENARIOS[..1] } else { SCENARIOS }))?;
        } else {
            println!("SKIPPED kubernetes: no time is left for it");
            skipped += 1;
        }
    }
    let left_out = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, 0 failed{left_out}");
    Ok(())
}

/// How long a run may take.
struct Time {
    begun: Instant,
    limit: Option<Duration>,
}

impl Time {
    /// Takes `--within MINUTES` out of a task's words.
    fn parse(arguments: &[String]) -> Result<(Vec<String>, Self), String> {
        let mut only = arguments.to_vec();
        let mut limit = None;
        if let Some(at) = only.iter().position(|word| word == "--within") {
            let minutes = only.get(at + 1).and_then(|word| word.parse::<u64>().ok());
            limit = Some(Duration::from_secs(60 * minutes.ok_or("--within needs a number of minutes")?));
            only.drain(at..at + 2);
        }
        Ok((only, Self { begun: now(), limit }))
    }

    fn limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Whole seconds.
    fn left(&self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.begun.elapsed()).as_secs())
    }
}

/// Where later versions and the key that signs them are.
pub const UPDATES: &str = "target/updates";

/// A later version of `qemu-tests/updates`: name, and the longest trial in seconds. One that is well must come up on
/// emulated processors within it; one that is not is judged at its end.
type Later = (&'static str, &'static str);

/// Those of each test run.
const TESTED: &[Later] = &[("good", "900"), ("broken", "240")];
/// Those of the long run.
pub const LATER: &[Later] = &[
    ("good", "900"),
    ("panics", "600"),
    ("hangs", "600"),
    ("hangs-early", "600"),
    ("full", "240"),
    ("mute", "240"),
];

/// Builds and signs later versions of the default image.
pub fn updates(versions: &[Later]) -> Result<(), String> {
    std::fs::create_dir_all(root().join(UPDATES)).map_err(|error| format!("{UPDATES}: {error}"))?;
    let (edgepair, key) = ("target/release/edgepair", format!("{UPDATES}/release"));
    // The same key in each run, so that what was built before is built still.
    if !root().join(format!("{key}.key")).exists() {
        phase("key", &[edgepair, "key", "new", &key])?;
    }
    let private = format!("{key}.key");
    for (name, trial) in versions {
        let out = format!("{UPDATES}/{name}");
        phase(name, &[edgepair, "build", &format!("qemu-tests/updates/{name}.toml"), "--out", &out])?;
        let bundle = format!("{out}.bundle");
        let words =
            ["bundle", "create", &out, "--out", &bundle, "--sign", &private, "--trial-seconds", trial];
        phase(name, &[&[edgepair], &words[..]].concat())?;
    }
    Ok(())
}

/// Builds the default image; what it says about it goes to the scenarios.
pub fn image() -> Result<(), String> {
    build("image", IMAGE, "target/image.json", &["--out", "target/image"])
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
    build("signed image", IMAGE, json, &["--out", "target/image-signed", "--secure-boot", &keys])?;
    phase(
        "secure-boot",
        &["target/release/qemu-tests", "--image", json, "--secure-boot", &keys, "secure-boot"],
    )
}

/// The same image with k3s in it, and the scenarios that need it. k3s cannot be fetched: `EDGEPAIR_K3S=FILE` names one, and
/// without it a stand-in of the lab is taken; what was seen through it is said to be.
fn kubernetes(scenarios: &[&str]) -> Result<(), String> {
    let given = std::env::var("EDGEPAIR_K3S");
    let k3s = match &given {
        Ok(file) => vec!["--k3s", file],
        Err(_) => {
            println!("== kubernetes: EDGEPAIR_K3S names no k3s, so everything here is through the stand-in");
            phase("stand-in", &["cargo", "build", "--release", "--quiet", "--package", "k3s-stand-in"])?;
            vec!["--k3s", "target/release/k3s-stand-in", "--k3s-version", STAND_IN_VERSION]
        }
    };
    let json = "target/image-kubernetes.json";
    build("image with k3s", IMAGE, json, &[&["--out", "target/image-kubernetes"], &k3s[..]].concat())?;
    let mut scenarios = scenarios.to_vec();
    if scenarios.contains(&"pair-kubernetes-version") {
        if given.is_ok() {
            // Other releases would have to be given as well.
            println!("SKIPPED pair-kubernetes-version: later versions are made of the stand-in only");
            scenarios.retain(|name| *name != "pair-kubernetes-version");
        } else {
            later_extensions()?;
        }
    }
    let call = ["target/release/qemu-tests", "--image", json, "--extensions", EXTENSIONS];
    phase("kubernetes", &[&call[..], &scenarios].concat())
}

/// Extensions of later versions, each a copy of the stand-in that says so of itself, signed with a key made for them.
fn later_extensions() -> Result<(), String> {
    let folder = root().join(EXTENSIONS);
    let told = |error: std::io::Error| format!("{EXTENSIONS}: {error}");
    std::fs::create_dir_all(&folder).map_err(told)?;
    let (edgepair, key) = ("target/release/edgepair", format!("{EXTENSIONS}/release"));
    if !root().join(format!("{key}.key")).exists() {
        phase("key", &[edgepair, "key", "new", &key])?;
    }
    for version in LATER_K3S {
        let copy = format!("{EXTENSIONS}/k3s-{version}");
        std::fs::copy(root().join("target/release/k3s-stand-in"), root().join(&copy)).map_err(told)?;
        let mut program = File::options().append(true).open(root().join(&copy)).map_err(told)?;
        write!(program, "\nk3s-stand-in-version={version}\n").map_err(told)?;
        let out = format!("{EXTENSIONS}/k3s_{version}_amd64.extension");
        if root().join(&out).exists() {
            std::fs::remove_file(root().join(&out)).map_err(told)?;
        }
        let private = format!("{key}.key");
        let words = ["extension", "build", "--k3s", &copy, "--version", version, "--sign", &private];
        phase(version, &[&[edgepair], &words[..], &["--image", IMAGE, "--out", &out]].concat())?;
    }
    Ok(())
}

/// Builds an image and keeps what the builder says about it.
pub fn build(name: &str, definition: &str, json: &str, more: &[&str]) -> Result<(), String> {
    println!("== {name}: edgepair build {definition} {}", more.join(" "));
    let path = root().join(json);
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let argv = [&["target/release/edgepair", "build", definition, "--json"], more].concat();
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
