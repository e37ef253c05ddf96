//! The real command layer with a scripted fence agent: a test double of the program, not of the runner, so that standard
//! input, exit codes, time limits and process groups are the real ones.

use super::device::{Action, Device, Said};
use super::switch::{Pace, look, off, on};
use edgepair_host_io::HostRunner;
use edgepair_seed::{FenceDevice, Secret};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const PASSWORD: &str = "Zq7-very-secret";

/// A fence agent of Debian's form around the file `power` in its folder; `$manner` is how it misbehaves.
const DOUBLE: &str = r#"#!/bin/bash
cd "$(dirname "$0")"
echo "$# $*" >>arguments
while IFS='=' read -r name value; do declare "got_$name=$value"; done
echo "$got_action" >>actions
manner=$(cat manner)
if [ "$manner" = unknown-option ]; then echo "Parse error: Ignoring unknown option 'password=$got_password'" >&2; exit 1; fi
if [ "$manner" = dead ]; then echo "Failed: [Errno 113] No route to host" >&2; exit 1; fi
if [ "$manner" = late ]; then (sleep 3; echo alive >survivor) & wait; fi
if [ "$manner" = usage ]; then echo "usage: fence_x [options]"; exit 2; fi
if [ "$manner" = garbage ]; then head -c 300 /dev/urandom; exit 0; fi
if [ "$got_password" != "$(cat password)" ]; then echo "Unable to connect/login to fencing device" >&2; exit 1; fi
case $got_action in
  off) case $manner in lies | slow) ;; *) echo off >power ;; esac; echo "Success: Powered OFF" ;;
  on) echo on >power; echo "Success: Powered ON" ;;
  status) if [ "$manner" = slow ] && [ "$(wc -l <actions)" -gt 5 ]; then echo off >power; fi
    if [ "$(cat power)" = off ]; then echo "Status: OFF"; exit 2; fi; echo "Status: ON" ;;
esac
"#;

struct Board {
    folder: tempfile::TempDir,
    device: Device,
}

impl Board {
    fn new(manner: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("fence_double");
        put(&program, DOUBLE);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in [("manner", manner), ("password", PASSWORD), ("power", "on"), ("actions", "")] {
            put(&folder.path().join(name), text);
        }
        Self { device: Device::of(&seed(PASSWORD)).with_program(&program), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().trim().to_owned()
    }

    fn off(&self, limit: u64) -> Result<(), String> {
        off(&HostRunner, &self.device, pace(limit), false, &AtomicBool::new(false))
    }
}

fn put(path: &Path, text: &str) {
    edgepair_host_io::atomic::write(path, text.as_bytes(), 0o644).unwrap();
}

fn pace(limit: u64) -> Pace {
    Pace {
        limit: Duration::from_millis(limit),
        run: Duration::from_millis(limit),
        pause: Duration::from_millis(20),
    }
}

fn seed(password: &str) -> FenceDevice {
    FenceDevice {
        agent: "fence_redfish".into(),
        address: "192.0.2.11".into(),
        port: Some(8443),
        username: Some("edge".into()),
        password: Some(Secret::new(password.into())),
        plug: None,
        options: vec!["ssl_insecure=1".into()],
    }
}

/// Long enough for a machine that is busy with something else.
const AMPLE: u64 = 300_000;

#[test]
fn off_is_what_was_read_back_and_on_again_as_well() {
    let board = Board::new("");
    assert_eq!(look(&HostRunner, &board.device, pace(AMPLE)), Ok(Said::On));
    assert_eq!(board.off(AMPLE), Ok(()));
    assert_eq!(board.read("power"), "off");
    assert_eq!(board.read("actions"), "status\noff\nstatus", "a look, an order, a look");
    assert_eq!(look(&HostRunner, &board.device, pace(AMPLE)), Ok(Said::Off));
    assert_eq!(on(&HostRunner, &board.device, pace(AMPLE)), Ok(()));
    assert_eq!(board.read("power"), "on");
}

#[test]
fn a_box_that_was_left_off_is_only_looked_at() {
    let board = Board::new("");
    put(&board.path("power"), "off");
    let never = AtomicBool::new(false);
    assert_eq!(off(&HostRunner, &board.device, pace(AMPLE), true, &never), Ok(()));
    assert_eq!(board.read("actions"), "status");
    // Somebody has switched it on meanwhile.
    put(&board.path("power"), "on");
    assert_eq!(off(&HostRunner, &board.device, pace(AMPLE), true, &never), Ok(()));
    assert_eq!(board.read("power"), "off");
}

#[test]
fn the_secret_goes_over_standard_input_and_nowhere_else() {
    let board = Board::new("");
    board.off(AMPLE).unwrap();
    assert!(board.read("arguments").lines().all(|line| line.trim() == "0"), "it was given arguments");
    let call = board.device.call(Action::Off, Duration::from_secs(1));
    let shown = format!("{:?} {call:?} {}", board.device, call.shell_line());
    assert!(!shown.contains(PASSWORD), "{shown}");
    let fed = String::from_utf8(call.stdin.unwrap()).unwrap();
    assert_eq!(
        fed,
        format!(
            "action=off\nip=192.0.2.11\nipport=8443\nusername=edge\nssl_insecure=1\npassword={PASSWORD}\n"
        )
    );
}

#[test]
fn an_agent_that_prints_what_it_was_given_tells_no_secret() {
    let board = Board::new("unknown-option");
    let why = board.off(AMPLE).unwrap_err();
    assert!(why.contains("[redacted]") && !why.contains(PASSWORD), "{why}");
}

#[test]
fn a_wrong_password_is_no_proof_and_is_not_tried_for_long() {
    let board = Board::new("");
    put(&board.path("password"), "another");
    let why = board.off(AMPLE).unwrap_err();
    assert!(why.contains("login"), "{why}");
    assert_eq!(board.read("power"), "on");
    assert_eq!(board.read("actions").lines().count(), 3, "boards lock a login that is wrong too often");
}

#[test]
fn an_order_that_was_taken_is_no_proof() {
    let board = Board::new("lies");
    // Whether the time is over in a look or between two depends on how busy this machine is.
    assert!(board.off(5_000).is_err());
    assert_eq!(board.read("power"), "on");
}

#[test]
fn a_box_that_takes_its_time_is_looked_at_until_it_is_off() {
    let board = Board::new("slow");
    assert_eq!(board.off(AMPLE), Ok(()));
    assert_eq!(board.read("actions"), "off\nstatus\nstatus\nstatus\nstatus\nstatus", "told once");
}

#[test]
fn a_dead_board_and_garbage_are_no_proof() {
    for (manner, words) in
        [("dead", "No route to host"), ("garbage", "not understood"), ("usage", "not understood")]
    {
        let board = Board::new(manner);
        let why = board.off(AMPLE).unwrap_err();
        // The parser of a program that does not like its options ends with the code that means off.
        assert!(why.contains(words) || manner == "usage", "{manner}: {why}");
        assert!(look(&HostRunner, &board.device, pace(AMPLE)).unwrap_err().contains(words), "{manner}");
        assert_eq!(board.read("power"), "on");
    }
}

#[test]
fn a_program_that_is_late_is_killed_with_what_it_started() {
    let board = Board::new("late");
    let why = board.off(600).unwrap_err();
    assert!(why.contains("no answer within"), "{why}");
    std::thread::sleep(Duration::from_millis(3500));
    assert!(!board.path("survivor").exists());
}

#[test]
fn who_is_connected_again_is_not_switched_off() {
    let board = Board::new("");
    let why = off(&HostRunner, &board.device, pace(AMPLE), false, &AtomicBool::new(true)).unwrap_err();
    assert!(why.contains("connected again"), "{why}");
    assert_eq!((board.read("power").as_str(), board.read("actions").as_str()), ("on", ""));
}

#[test]
fn an_agent_that_is_not_there_is_named() {
    let device = Device::of(&seed(PASSWORD)).with_program(Path::new("/nowhere/fence_none"));
    let why = off(&HostRunner, &device, pace(AMPLE), false, &AtomicBool::new(false)).unwrap_err();
    assert!(why.contains("/nowhere/fence_none"), "{why}");
}
