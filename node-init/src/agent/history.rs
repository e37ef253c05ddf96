//! What was decided and why, over boots: one JSON object a line on the state partition, for `node-init status --history`.
//!
//! Only what changes something is noted, so that the card it lies on does not wear: decisions with their cause, changes
//! of the role, alarms, refusals. When the file is full its older half goes.

use crate::agent::log;
use crate::member::Place;
use edgepair_host_io::atomic;
use edgepair_layout::path;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes that the file takes.
const MOST: u64 = 256 << 10;

/// What kind of line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The agent began.
    Start,
    /// Something happened and something is done.
    Decision,
    /// What the node is doing now, or why it is not active.
    State,
    /// Something is wrong that somebody should look at.
    Alarm,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970 by the node's own clock, which may be wrong early in a boot.
    pub time_ms: u64,
    /// The boot in which it was, the first eight characters of its id (random(4), `boot_id`).
    pub boot: String,
    /// Which kind.
    pub kind: Kind,
    /// In words.
    pub text: String,
}

impl Entry {
    /// For a person: `2026-03-01T04:05:06Z  text`, alarms marked.
    #[must_use]
    pub fn line(&self) -> String {
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(self.time_ms)).unwrap_or(UNIX_EPOCH);
        let mark = match self.kind {
            Kind::Start => "start     ",
            Kind::Decision => "decision  ",
            Kind::State => "now       ",
            Kind::Alarm => "ALARM     ",
        };
        format!("{}  {mark}{}", humantime::format_rfc3339_seconds(time), self.text)
    }
}

/// The file, for the agent.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    boot: String,
    told: bool,
}

impl History {
    /// The history of this node.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { path: place.path(path::HISTORY), boot: id.chars().take(8).collect(), told: false }
    }

    /// Notes a line. What cannot be written is told once: a full disk must not stop a failover.
    pub fn note(&mut self, kind: Kind, text: &str) {
        let entry = Entry { time_ms: now_ms(), boot: self.boot.clone(), kind, text: text.to_owned() };
        match self.append(&entry) {
            Ok(()) => self.told = false,
            Err(_) if self.told => {}
            Err(error) => {
                self.told = true;
                log::warn(&format!("{}: {error}", self.path.display()));
            }
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        if fs::metadata(&self.path).is_ok_and(|meta| meta.len() > MOST) {
            let entries = parse(&fs::read(&self.path)?);
            let mut text = Vec::new();
            for entry in entries.iter().skip(entries.len() / 2) {
                serde_json::to_writer(&mut text, entry).map_err(io::Error::other)?;
                text.push(b'\n');
            }
            atomic::write(&self.path, &text, 0o600)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        // A line that a power cut has halved ends here, and is left out when the file is read.
        file.write_all(&line)?;
        if entry.kind == Kind::Alarm { file.sync_data() } else { Ok(()) }
    }
}

/// All lines that are kept, the oldest first.
///
/// # Errors
/// The kernel's; no file is no history.
pub fn read(place: &Place) -> io::Result<Vec<Entry>> {
    match fs::read(place.path(path::HISTORY)) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A line that cannot be read, because a power cut halved it, takes nothing else with it.
fn parse(bytes: &[u8]) -> Vec<Entry> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[expect(clippy::disallowed_methods, reason = "for people to read; nothing is decided by it")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/lib/edgepair")).unwrap();
        let place = Place::at(root.path());
        (root, place)
    }

    #[test]
    fn what_was_noted_is_read_and_a_halved_line_takes_nothing_with_it() {
        let (_root, place) = place();
        assert_eq!(read(&place).unwrap(), []);
        let mut history = History::new(&place);
        history.note(Kind::State, "active, alone");
        let path = place.path(path::HISTORY);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"time_ms\":1,\"bo\n").unwrap();
        history.note(Kind::Alarm, "the disk failed");
        let entries = read(&place).unwrap();
        let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["active, alone", "the disk failed"]);
        assert!(entries[1].line().contains("ALARM"), "{}", entries[1].line());
    }

    #[test]
    fn a_full_file_loses_its_older_half() {
        let (_root, place) = place();
        let mut history = History::new(&place);
        let text = "x".repeat(1000);
        for number in 0..600 {
            history.note(Kind::Decision, &format!("{number} {text}"));
        }
        let size = fs::metadata(place.path(path::HISTORY)).unwrap().len();
        assert!(size < MOST + 4096, "{size}");
        let entries = read(&place).unwrap();
        assert!(entries.len() > 100 && entries.last().unwrap().text.starts_with("599 "));
    }
}
