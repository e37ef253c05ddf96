//! Builds that are killed: the next run is correct, and nothing half-made has a final name.
//!
//! Uses the real cache, like `faults.rs`: all but the last steps of the default image come from there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a test runs the real program")]
fn start(dir: &Path) -> Child {
    use std::os::unix::process::CommandExt;
    Command::new(env!("CARGO_BIN_EXE_edgepair"))
        .args(["build", "x.toml"])
        .current_dir(dir)
        .env("EDGEPAIR_SOURCE", workspace())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("starts")
}

/// Builds to the end and returns the digests that the build wrote, after checking them against the files.
fn whole(dir: &Path) -> String {
    let mut child = start(dir);
    let said: Vec<String> =
        BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok).collect();
    assert!(child.wait().expect("ends").success(), "{}", said.join("\n"));
    verified(&dir.join("out")).expect("a finished build has digests")
}

/// The digests in `out`, each compared with its file. Without any there must be no file either.
fn verified(out: &Path) -> Option<String> {
    let names: BTreeSet<String> = fs::read_dir(out)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let Ok(sums) = fs::read_to_string(out.join("SHA256SUMS")) else {
        assert!(names.is_empty(), "files with final names and no digests: {names:?}");
        return None;
    };
    for line in sums.lines() {
        let (digest, name) = line.split_once("  ").expect("a line of sha256sum");
        let found = edgepair_host_io::digest::of_file(&out.join(name)).expect("the file is there");
        assert_eq!(found, digest, "{name} is half-made");
    }
    Some(sums)
}

fn results(cache: &Path) -> BTreeSet<PathBuf> {
    ["uki", "disk"]
        .iter()
        .flat_map(|step| fs::read_dir(cache.join("steps").join(step)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect()
}

fn cache() -> PathBuf {
    std::env::var_os("EDGEPAIR_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/edgepair"),
        PathBuf::from,
    )
}

#[test]
fn a_killed_build_leaves_nothing_and_the_next_one_is_the_same() {
    if std::env::var_os("EDGEPAIR_TEST_FAULTS").is_none() {
        return println!("skipped: needs a built image; `cargo xtask test` runs this after building it");
    }
    let dir = tempfile::tempdir().expect("tempdir");
    // An argument that no other build has: the last steps are not in the cache.
    let text = format!(
        "schema = 1\ninclude = [\"{}\"]\n[kernel]\narguments = [\"edgepair.test=killed-{}\"]\n",
        workspace().join("images/x86-64.toml").display(),
        std::process::id()
    );
    edgepair_host_io::atomic::write(&dir.path().join("x.toml"), text.as_bytes(), 0o644).expect("write");
    let before = results(&cache());
    let undisturbed = whole(dir.path());
    let made: Vec<PathBuf> = results(&cache()).difference(&before).cloned().collect();
    assert_eq!(made.len(), 2, "{made:?}");
    let forget = || {
        for result in &made {
            let _ = fs::remove_dir_all(result);
        }
        let _ = fs::remove_dir_all(dir.path().join("out"));
    };

    // Where: as soon as a step says that it began, and some way into it. How: the power button and Ctrl-C.
    let points = [("uki", 200), ("disk", 0), ("disk", 1500), ("output", 700)];
    for (index, (step, wait)) in points.into_iter().enumerate() {
        let signal =
            if index % 2 == 0 { nix::sys::signal::Signal::SIGKILL } else { nix::sys::signal::Signal::SIGINT };
        forget();
        let mut child = start(dir.path());
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let began = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with(&format!("{step} ")));
        assert!(began, "step {step} never began");
        std::thread::sleep(Duration::from_millis(wait));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("pid"));
        // Ctrl-C reaches the whole process group; a killed builder takes its children along by itself.
        let target = if signal == nix::sys::signal::Signal::SIGINT {
            nix::unistd::Pid::from_raw(-pid.as_raw())
        } else {
            pid
        };
        let _ = nix::sys::signal::kill(target, signal);
        let status = child.wait().expect("ends");
        let left = verified(&dir.path().join("out")).is_some();
        println!("{signal} {wait} ms into {step}: {status}, output {}", if left { "whole" } else { "none" });
    }
    assert_eq!(whole(dir.path()), undisturbed, "a build after four killed ones differs");
    forget();
    assert_eq!(two_at_once(dir.path(), &text), [undisturbed.clone(), undisturbed], "two builds at once");
    forget();
}

/// Two builds of the same thing on one cache; while they run, nothing is pruned.
#[expect(clippy::disallowed_methods, reason = "a test runs the real program")]
fn two_at_once(dir: &Path, text: &str) -> [String; 2] {
    let other = tempfile::tempdir().expect("tempdir");
    edgepair_host_io::atomic::write(&other.path().join("x.toml"), text.as_bytes(), 0o644).expect("write");
    let mut builds = [start(dir), start(other.path())];
    let mut lines = BufReader::new(builds[0].stderr.take().expect("piped")).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("uki ")), "no step began");
    let pruned =
        Command::new(env!("CARGO_BIN_EXE_edgepair")).args(["cache", "prune"]).output().expect("starts");
    let said = String::from_utf8_lossy(&pruned.stderr);
    assert!(!pruned.status.success() && said.contains("a build is using the cache"), "{said}");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let second = builds[1].stderr.take().expect("piped");
    let second: Vec<String> = BufReader::new(second).lines().map_while(Result::ok).collect();
    for (build, said) in builds.iter_mut().zip([rest, second]) {
        assert!(build.wait().expect("ends").success(), "{}", said.join("\n"));
    }
    [dir, other.path()].map(|dir| verified(&dir.join("out")).expect("a finished build has digests"))
}
