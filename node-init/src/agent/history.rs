//! What was decided and why, over boots: one JSON object a line on the state partition, for `node-init status --history`.
//!
//! Only what changes something is noted, so that the card it lies on does not wear: decisions with their cause, changes
//! of the role, alarms, refusals. When the file is full its older half goes.
//!
//! A thread of its own writes: between a decision and its effects nothing waits for a disk that is slow or hangs, but an
//! alarm for a moment, since a reset may follow it.

use crate::agent::log;
use crate::member::Place;
use edgepair_host_io::atomic;
use edgepair_layout::path;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes that the file takes.
const MOST: u64 = 256 << 10;
/// Lines that wait for the disk; more than these are lost, and counted.
const WAITING: usize = 64;
/// So long an alarm is waited for, and the last lines when the agent ends.
const PATIENCE: Duration = Duration::from_millis(200);
/// The last millisecond that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LAST_MS: u64 = 253_402_300_799_999;

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
        // The file may hold anything, and the formatter refuses later years.
        let time = Duration::from_millis(self.time_ms.min(LAST_MS));
        let time = UNIX_EPOCH.checked_add(time).unwrap_or(UNIX_EPOCH);
        let mark = match self.kind {
            Kind::Start => "start     ",
            Kind::Decision => "decision  ",
            Kind::State => "now       ",
            Kind::Alarm => "ALARM     ",
        };
        format!("{}  {mark}{}", humantime::format_rfc3339_seconds(time), self.text)
    }
}

/// A line on its way to the disk.
#[derive(Debug)]
struct Note {
    entry: Entry,
    /// How many before it were lost.
    lost: u64,
    /// Told when it is on the disk; for alarms.
    done: Option<SyncSender<()>>,
}

/// The file, for the agent.
#[derive(Debug)]
pub struct History {
    boot: String,
    /// Absent when there is no thread.
    notes: Option<SyncSender<Note>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    lost: u64,
}

impl History {
    /// The history of this node.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let (notes, receiver) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let mut pen = Pen { path: place.path(path::HISTORY), told: false };
        let thread =
            std::thread::Builder::new().name("history".to_owned()).stack_size(256 << 10).spawn(move || {
                let _end = end;
                for note in receiver {
                    pen.take(note);
                }
            });
        let notes = match thread {
            Ok(_) => Some(notes),
            Err(error) => {
                log::warn(&format!("no history is kept: its thread cannot be started: {error}"));
                None
            }
        };
        Self { boot: id.chars().take(8).collect(), notes, ended, lost: 0 }
    }

    /// Hands a line over to be written. Never waits for the disk, but for an alarm up to a fifth of a second; what finds
    /// no room is lost, and how much that was is said in the file later.
    pub fn note(&mut self, kind: Kind, text: &str) {
        let Some(notes) = &self.notes else { return };
        let entry = Entry { time_ms: now_ms(), boot: self.boot.clone(), kind, text: text.to_owned() };
        let (done, written) = sync_channel(1);
        let done = (kind == Kind::Alarm).then_some(done);
        let waits = done.is_some();
        match notes.try_send(Note { entry, lost: self.lost, done }) {
            Ok(()) => self.lost = 0,
            Err(_) => {
                if self.lost == 0 {
                    log::warn("the history's disk does not keep up: lines are lost");
                }
                self.lost += 1;
                return;
            }
        }
        if waits {
            let _ = written.recv_timeout(PATIENCE);
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // Without a sender the thread ends after its last line.
        if self.notes.take().is_some() {
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

/// Writes the file, in the thread.
#[derive(Debug)]
struct Pen {
    path: PathBuf,
    told: bool,
}

impl Pen {
    fn take(&mut self, note: Note) {
        let Note { entry, lost, done } = note;
        let mut result = Ok(());
        if lost > 0 {
            let text = format!("{lost} lines before this one were lost: the disk did not keep up");
            result = self.append(&Entry { text, kind: Kind::State, ..entry.clone() });
        }
        // What cannot be written is told once: a full disk must not stop a failover.
        match result.and_then(|()| self.append(&entry)) {
            Ok(()) => self.told = false,
            Err(_) if self.told => {}
            Err(error) => {
                self.told = true;
                log::warn(&format!("{}: {error}", self.path.display()));
            }
        }
        if let Some(done) = done {
            let _ = done.try_send(());
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = Vec::new();
        let size = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if size > MOST {
            let entries = parse(&fs::read(&self.path)?);
            let mut text = Vec::new();
            for entry in entries.iter().skip(entries.len() / 2) {
                serde_json::to_writer(&mut text, entry).map_err(io::Error::other)?;
                text.push(b'\n');
            }
            atomic::write(&self.path, &text, 0o600)?;
        } else if size > 0 && !ends_with_a_line(&self.path)? {
            // A power cut, or a full disk, has halved the last line: this one must not be glued to it.
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, entry).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&line)?;
        if entry.kind == Kind::Alarm { file.sync_data() } else { Ok(()) }
    }
}

fn ends_with_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
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
    use std::io::BufRead;

    fn place() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/lib/edgepair")).unwrap();
        let place = Place::at(root.path());
        (root, place)
    }

    fn texts(place: &Place) -> Vec<String> {
        read(place).unwrap().into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn what_was_noted_is_read_and_a_halved_line_takes_nothing_with_it() {
        let (_root, place) = place();
        assert_eq!(read(&place).unwrap(), []);
        let path = place.path(path::HISTORY);
        let pen = Pen { path: path.clone(), told: false };
        let entry =
            |kind, text: &str| Entry { time_ms: 1, boot: "b".to_owned(), kind, text: text.to_owned() };
        pen.append(&entry(Kind::State, "active, alone")).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"time_ms\":1,\"bo").unwrap();
        pen.append(&entry(Kind::Alarm, "the disk failed")).unwrap();
        assert_eq!(texts(&place), ["active, alone", "the disk failed"]);
        assert!(read(&place).unwrap()[1].line().contains("ALARM"));
    }

    #[test]
    fn a_time_that_no_clock_has_shown_is_still_a_line() {
        for time_ms in [0, LAST_MS, LAST_MS + 1, u64::MAX] {
            let entry = Entry { time_ms, boot: String::new(), kind: Kind::State, text: "paired".to_owned() };
            let line = entry.line();
            assert!(line.ends_with("now       paired"), "{line}");
            assert_eq!(line.starts_with("9999-12-31T23:59:59Z"), time_ms >= LAST_MS, "{line}");
        }
    }

    #[test]
    fn a_full_file_loses_its_older_half() {
        let (_root, place) = place();
        let pen = Pen { path: place.path(path::HISTORY), told: false };
        let text = "x".repeat(1000);
        for number in 0..600 {
            let text = format!("{number} {text}");
            pen.append(&Entry { time_ms: 1, boot: "b".to_owned(), kind: Kind::Decision, text }).unwrap();
        }
        let size = fs::metadata(place.path(path::HISTORY)).unwrap().len();
        assert!(size < MOST + 4096, "{size}");
        let texts = texts(&place);
        assert!(texts.len() > 100 && texts.last().unwrap().starts_with("599 "));
    }

    #[test]
    fn an_alarm_and_what_was_before_it_are_on_disk_when_it_was_noted() {
        let (_root, place) = place();
        let mut history = History::new(&place);
        history.note(Kind::State, "active, alone");
        history.note(Kind::Alarm, "the disk failed");
        // A machine that is busy may need more than the agent's patience.
        drop(history);
        assert_eq!(texts(&place), ["active, alone", "the disk failed"]);
    }

    /// A pipe that nobody reads from hangs like a disk that does not answer.
    #[test]
    fn a_disk_that_hangs_holds_nothing_up_and_what_was_lost_is_counted() {
        let (_root, place) = place();
        let path = place.path(path::HISTORY);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (done, ended) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let mut history = History::new(&place);
            for number in 0..200 {
                history.note(Kind::Decision, &number.to_string());
            }
            history.note(Kind::Alarm, "one that finds no room");
            done.send(()).unwrap();
            history
        });
        ended.recv_timeout(Duration::from_secs(60)).expect("a note waits for the disk");
        let mut history = thread.join().unwrap();
        let reader = std::thread::spawn(move || {
            // Open for writing as well, so that it does not end between two lines.
            let pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut lines = Vec::new();
            for line in io::BufReader::new(pipe).lines() {
                let entry: Entry = serde_json::from_str(&line.unwrap()).unwrap();
                let last = entry.text == "later";
                lines.push(entry.text);
                if last {
                    break;
                }
            }
            lines
        });
        let mut told = 201;
        while history.lost > 0 {
            history.note(Kind::State, "later");
            told += 1;
            std::thread::yield_now();
        }
        let lines = reader.join().unwrap();
        // The thread that writes may take its first line before or after the others find no room.
        let lost = |line: &String| {
            line.split_once(' ').filter(|(_, rest)| rest.contains("were lost"))?.0.parse().ok()
        };
        let gaps: Vec<usize> = lines.iter().filter_map(lost).collect();
        let kept: Vec<&String> = lines.iter().filter(|line| lost(line).is_none()).collect();
        assert_eq!(kept.len() + gaps.iter().sum::<usize>(), told, "{lines:?}");
        assert!(!gaps.is_empty() && kept.len() > WAITING, "{lines:?}");
        // In order, and each gap is told where it is and as large as it is.
        let mut next = 0;
        for line in &lines {
            match (lost(line), line.parse::<usize>()) {
                (Some(gap), _) => next += gap,
                (None, Ok(number)) => {
                    assert_eq!(number, next, "{lines:?}");
                    next += 1;
                }
                (None, Err(_)) => {}
            }
        }
        assert_eq!(kept.last().map(|line| line.as_str()), Some("later"));
    }
}
