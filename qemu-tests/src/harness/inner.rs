//! A second writer inside each node: it tries the node's own datastore all the time, whatever the virtual IP does. What
//! it got acknowledged comes out through the journal and is timed by this computer's clock, so that two nodes can be
//! compared without trusting theirs.

use super::Deadline;
use super::pair::Pair;
use super::site::Side;
use anyhow::{Context, bail, ensure};
use edgepair_render::names::KINE;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Name of the unit, and of its lines in the journal.
const UNIT: &str = "lab-inner";
/// The writer inside is the datastore's superuser; what it wrote is read from outside as the datastore's user.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS lab_inner (node text NOT NULL, number bigint NOT NULL); \
                     GRANT SELECT ON lab_inner TO PUBLIC";

/// One acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inside {
    /// Which node's datastore gave it.
    pub side: Side,
    /// The row's number, counted on each node.
    pub number: i64,
    /// When its line arrived here, since the watch began.
    pub at: Duration,
    /// When the node logged it, seconds of its own time since its boot. That time stands still while a node is suspended.
    pub uptime: f64,
}

/// Watches the journals of both nodes for acknowledgements.
#[derive(Debug)]
pub struct InnerWriters {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Inside>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl InnerWriters {
    /// Starts the watch. The writers themselves are started with [`start_in`], in each boot of a node anew.
    #[must_use]
    pub fn watch(pair: &Pair) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::<Mutex<Vec<Inside>>>::default();
        let mut tails = Side::BOTH.map(|side| Tail::new(side, pair.spec.node(side).join("journal.log")));
        let thread = std::thread::spawn({
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            move || {
                let begun = now();
                while !stop.load(Ordering::Relaxed) {
                    for tail in &mut tails {
                        let numbers = tail.numbers();
                        let at = begun.elapsed();
                        if let Ok(mut seen) = seen.lock() {
                            seen.extend(numbers.into_iter().map(|(uptime, number)| Inside {
                                side: tail.side,
                                number,
                                at,
                                uptime,
                            }));
                        }
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// What was seen so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Inside> {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    /// Waits for another acknowledgement of this node's datastore.
    ///
    /// # Errors
    /// When none comes by the deadline.
    pub fn wait_for(&self, side: Side, deadline: Deadline) -> anyhow::Result<()> {
        let count = || self.seen().iter().filter(|inside| inside.side == side).count();
        let before = count();
        while count() == before {
            ensure!(!deadline.passed(), "the writer inside node {side} gets nothing acknowledged");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for InnerWriters {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the writer inside a node. Its numbers begin at `first`.
///
/// # Errors
/// When the node does not answer.
pub fn start_in(pair: &mut Pair, side: Side, first: i64) -> anyhow::Result<()> {
    // A number is tried once, as outside. psql is a process each time: a session that survives in a frozen server would
    // hide what a new one gets.
    let psql = format!(
        "timeout 5 setpriv --reuid=postgres --regid=postgres --init-groups -- /usr/lib/postgresql/17/bin/psql -X -q -h /run/postgresql -d {KINE} -v ON_ERROR_STOP=1"
    );
    let script = format!(
        "cd /; n={first}; until {psql} -c \"{TABLE}\" 2>/dev/null; do sleep 0.3; done; \
         while :; do \
         if {psql} -c \"INSERT INTO lab_inner VALUES ('{side}', $n)\" 2>/dev/null; then echo acknowledged $n; else sleep 0.2; fi; \
         n=$((n+1)); done"
    );
    let quoted = script.replace('\'', "'\\''");
    pair.node(side)?
        .guest
        .run(&format!(
            "systemd-run --quiet --collect --unit={UNIT} --property=SyslogIdentifier={UNIT} --property=Nice=5 \
             --property=TimeoutStopSec=1 --property=SendSIGKILL=yes -- /bin/bash -c '{quoted}'"
        ))
        .map(drop)
        .with_context(|| format!("the writer inside node {side}"))
}

/// How often the datastore that acknowledges changed from one node to the other.
#[must_use]
pub fn moves(seen: &[Inside]) -> usize {
    seen.windows(2).filter(|two| two[0].side != two[1].side).count()
}

/// Compares what was acknowledged inside with what the datastore holds (`node`, `number`).
///
/// # Errors
/// When a row is lost or there twice.
pub fn check(seen: &[Inside], rows: &[Vec<Option<String>>]) -> anyhow::Result<()> {
    let mut stored: BTreeMap<(String, i64), usize> = BTreeMap::new();
    for row in rows {
        if let [Some(node), Some(number)] = &row[..] {
            *stored.entry((node.clone(), number.parse()?)).or_default() += 1;
        }
    }
    let key = |inside: &Inside| (inside.side.letter().to_owned(), inside.number);
    let lost: Vec<_> = seen.iter().map(key).filter(|key| !stored.contains_key(key)).collect();
    let twice: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).map(|(key, _)| key).collect();
    if !lost.is_empty() || !twice.is_empty() {
        bail!(
            "of {} rows acknowledged inside the nodes {lost:?} are lost and {twice:?} are there twice",
            seen.len()
        );
    }
    Ok(())
}

/// The end of a file that grows.
#[derive(Debug)]
struct Tail {
    side: Side,
    path: PathBuf,
    at: u64,
    half: String,
}

impl Tail {
    fn new(side: Side, path: PathBuf) -> Self {
        let at = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        Self { side, path, at, half: String::new() }
    }

    /// Numbers in the lines that came since the last look.
    fn numbers(&mut self) -> Vec<(f64, i64)> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_end(&mut bytes)
        });
        let Ok(count) = read else { return Vec::new() };
        self.at += count as u64;
        self.half.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.half.rfind('\n') else { return Vec::new() };
        let whole: String = self.half.drain(..=end).collect();
        whole.lines().filter_map(number).collect()
    }
}

/// Time and number in `[   61.2] lab-inner[401]: acknowledged 17`.
fn number(line: &str) -> Option<(f64, i64)> {
    let (head, said) = line.split_once(&format!(" {UNIT}["))?;
    let uptime = head.trim_start_matches('[').trim_end_matches(']').trim().parse().ok()?;
    Some((uptime, said.split_once("]: acknowledged ")?.1.trim().parse().ok()?))
}

#[expect(clippy::disallowed_methods, reason = "this computer's clock is what both nodes are compared by")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(side: Side, number: i64) -> Inside {
        Inside { side, number, at: Duration::ZERO, uptime: 0.0 }
    }

    #[test]
    fn a_line_of_the_writer_is_told_from_others() {
        assert_eq!(number("[   61.2] lab-inner[401]: acknowledged 17"), Some((61.2, 17)));
        assert_eq!(number("[   61.2] postgres[401]: acknowledged 17"), None);
        assert_eq!(number("[   61.2] lab-inner[401]: psql: error"), None);
    }

    #[test]
    fn two_nodes_that_take_turns_are_seen() {
        let seen = [(Side::A, 1), (Side::A, 2), (Side::B, 1), (Side::A, 3)].map(|(side, n)| inside(side, n));
        assert_eq!(moves(&seen[..2]), 0);
        assert_eq!(moves(&seen[..3]), 1);
        assert_eq!(moves(&seen), 2);
    }

    #[test]
    fn what_is_lost_or_there_twice_is_named() {
        let row = |node: &str, number: i64| vec![Some(node.to_owned()), Some(number.to_string())];
        let seen = [inside(Side::A, 1), inside(Side::B, 1)];
        assert!(check(&seen, &[row("a", 1), row("b", 1), row("b", 2)]).is_ok());
        assert!(check(&seen, &[row("a", 1)]).unwrap_err().to_string().contains("(\"b\", 1)"));
        assert!(check(&seen, &[row("a", 1), row("b", 1), row("a", 1)]).is_err());
    }
}
