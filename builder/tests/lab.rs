//! `edgepair lab` where there is no lab: what it says, and that it leaves nothing.

use std::path::Path;
use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "the program itself is under test")]
fn program(name: &str) -> Command {
    Command::new(name)
}

fn lab(cache: &Path, words: &[&str]) -> Output {
    program(env!("CARGO_BIN_EXE_edgepair"))
        .arg("lab")
        .args(words)
        .env("EDGEPAIR_CACHE", cache)
        .output()
        .expect("edgepair runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn without_a_lab_it_says_what_to_do() {
    let cache = tempfile::tempdir().expect("tempdir");
    for words in [
        &["status"][..],
        &["ssh", "a"],
        &["shell", "b", "true"],
        &["psql"],
        &["update", "x.bundle"],
        &["kill", "a"],
        &["start", "witness"],
        &["pause", "b"],
        &["cut"],
        &["heal"],
    ] {
        let output = lab(cache.path(), words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let said = said(&output);
        assert!(
            said.contains("no lab `default` is up") && said.contains("edgepair lab up"),
            "{words:?}: {said}"
        );
    }
    assert!(!cache.path().join("lab/default").exists(), "a command that failed made a lab");
}

#[test]
fn down_of_nothing_is_fine() {
    let cache = tempfile::tempdir().expect("tempdir");
    let output = lab(cache.path(), &["down", "--name", "other"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("there is no lab `other`"));
}

#[test]
fn wrong_words_are_wrong_use() {
    let cache = tempfile::tempdir().expect("tempdir");
    for words in [
        &["ssh", "c"][..],
        &["kill", "host"],
        &["cut", "moon"],
        &["cut", "--carrier"],
        &["cut", "a", "b", "--carrier"],
        &["up", "--mode", "fence"],
    ] {
        assert_eq!(lab(cache.path(), words).status.code(), Some(2), "{words:?}");
    }
    for name in ["", "../x", "a/b", "a-name-that-is-far-too-long"] {
        let output = lab(cache.path(), &["status", "--name", name]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(said(&output).contains("cannot be a lab's name"), "{name}");
    }
}

/// A process that has the number of a supervisor of long ago is somebody else's.
#[test]
fn another_process_of_the_same_number_is_left_alone() {
    let cache = tempfile::tempdir().expect("tempdir");
    let dir = cache.path().join("lab/default");
    std::fs::create_dir_all(&dir).expect("folder");
    let mut other = program("sleep").arg("60").spawn().expect("sleep");
    let note = format!("{{\"pid\":{},\"started\":1}}", other.id());
    edgepair_host_io::atomic::write(&dir.join("supervisor.json"), note.as_bytes(), 0o644).expect("note");
    let output = lab(cache.path(), &["down"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(matches!(other.try_wait(), Ok(None)), "the other process was ended");
    other.kill().expect("sleep ends");
    other.wait().expect("sleep ended");
}
