//! The unit file for a plain Debian: systemd finds no fault in it, and it starts what the program understands.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

use clap::Parser;
use node_init::commands::Cli;

const UNIT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../overlays/witness/usr/lib/systemd/system/edgepair-witness.service"
);

#[expect(clippy::disallowed_methods, reason = "the test asks systemd itself")]
fn analyze(arguments: &[&str], unit: &Path) -> std::process::Output {
    std::process::Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .expect("systemd is installed")
}

#[test]
fn systemd_finds_no_fault_and_little_exposure() {
    // verify wants the program to be there; it is not on the machine that builds.
    let text = std::fs::read_to_string(UNIT).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("edgepair-witness.service");
    let here = text.replace("/usr/bin/node-init", env!("CARGO_BIN_EXE_node-init"));
    assert_ne!(here, text);
    std::io::Write::write_all(&mut std::fs::File::create(&unit).unwrap(), here.as_bytes()).unwrap();
    let verified = analyze(&["verify", "--man=no"], &unit);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // 0 is a sealed box, 10 a program with all of root's powers.
    let security = analyze(&["security", "--offline=true", "--threshold=20"], &unit);
    let said = String::from_utf8_lossy(&security.stdout);
    assert!(security.status.success(), "{said}");
}

#[test]
fn it_starts_what_the_program_understands() {
    let text = std::fs::read_to_string(UNIT).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    Cli::try_parse_from(line.split_whitespace()).unwrap();
    for directory in ["edgepair-witness", "edgepair-witness-stamp"] {
        let state = text.lines().find_map(|line| line.strip_prefix("StateDirectory=")).unwrap();
        assert!(state.split(' ').any(|d| d == directory));
        assert!(line.contains(&format!("/var/lib/{directory}")));
    }
}
