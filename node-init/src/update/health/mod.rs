//! May a version that is on trial stay? What is looked at, and what follows from it.
//!
//! [`judge`] is pure: it makes findings of what was [`Observed`]. [`Gate`] waits: a version is well when several looks in a
//! row found nothing, and it is judged as it is when the trial's time is over. [`host`] looks.

pub mod host;

use serde::{Deserialize, Serialize};

/// Looks in a row that must find nothing: a service that starts, fails and is started again is seen in one of them.
const STEADY: u32 = 3;
/// Least free space of a file system, in percent.
const FREE_PERCENT: u64 = 3;

/// How a node and its pair are, as far as its agent knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// This node holds storage and datastore.
    pub active: bool,
    /// Its own disk holds current data.
    pub current: bool,
    /// Connected to the other node, both disks current, nothing frozen.
    pub paired: bool,
    /// The other node's agent answers.
    pub peer: bool,
    /// The witness answers, where there is one.
    pub witness: bool,
    /// The datastore takes writes; `None` where this node has none to run now.
    pub datastore: Option<bool>,
}

impl Seen {
    /// Fit for the next step of an update.
    pub fn ready(&self) -> bool {
        self.paired && self.peer && self.witness
    }
}

/// A file system's room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Where it is mounted.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that can still be written.
    pub free: u64,
    /// It can be written to at all.
    pub writable: bool,
}

/// How a check of the user's ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCheck {
    /// Its file name.
    pub name: String,
    /// Why it is not content, in its own words; `None` when it is.
    pub says: Option<String>,
}

/// Everything that a verdict rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// What could not be looked at, and why.
    pub blind: Vec<String>,
    /// Units that failed.
    pub failed_units: Vec<String>,
    /// Units that have still to start or stop.
    pub jobs: Vec<String>,
    /// The pair.
    pub seen: Seen,
    /// Whether this node is alone by an operator's word.
    pub solo: bool,
    /// Whether the API server answers that it is ready; `None` without Kubernetes.
    pub api: Option<Result<(), String>>,
    /// File systems.
    pub rooms: Vec<Room>,
    /// Seconds since 1970 by this node's clock.
    pub now: u64,
    /// Seconds since 1970 at which the image was made: no clock that is right says less.
    pub built: u64,
    /// Checks of the user.
    pub checks: Vec<UserCheck>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What, in a sentence.
    pub text: String,
    /// It does not speak against the version: the other node, the witness or the network may be away.
    pub elsewhere: bool,
}

/// Pure: what is wrong.
pub fn judge(observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut own = |text: String| findings.push(Finding { text, elsewhere: false });
    for unit in &observed.failed_units {
        own(format!("{unit} failed"));
    }
    for unit in &observed.jobs {
        own(format!("{unit} has not started yet"));
    }
    for what in &observed.blind {
        own(what.clone());
    }
    let seen = &observed.seen;
    if seen.datastore == Some(false) {
        own("the datastore takes no writes".to_owned());
    }
    if let Some(Err(why)) = &observed.api {
        own(format!("the API server is not ready: {why}"));
    }
    for room in &observed.rooms {
        if !room.writable {
            own(format!("{} cannot be written to", room.path));
        } else if room.free < room.size / 100 * FREE_PERCENT {
            own(format!("{} has {} MiB free of {}", room.path, room.free >> 20, room.size >> 20));
        }
    }
    if observed.now < observed.built {
        own("the clock says a time before this version was made".to_owned());
    }
    for check in &observed.checks {
        if let Some(says) = &check.says {
            own(format!("{}: {says}", check.name));
        }
    }
    if observed.solo {
        if !seen.current {
            own("this node's replica is not current".to_owned());
        }
    } else if !seen.paired {
        // The own disk is this version's doing. That there is nobody to be connected to is not.
        let elsewhere = !seen.peer;
        let text = match (seen.peer, seen.current) {
            (false, _) => "the other node does not answer",
            (true, false) => "this node's replica is not current",
            (true, true) => "the two replicas are not connected and current",
        };
        findings.push(Finding { text: text.to_owned(), elsewhere });
    } else if !seen.witness {
        findings.push(Finding { text: "the witness does not answer".to_owned(), elsewhere: true });
    }
    findings
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may stay.
    Well,
    /// Too early to say.
    Wait,
    /// It is refused for good.
    Sick,
    /// The time is over, and what is missing is not this version's doing: both go back, and it may be tried again.
    Undecided,
}

/// One trial's waiting.
#[derive(Debug, Clone)]
pub struct Gate {
    limit: u64,
    well: u32,
    /// What the last look found.
    pub findings: Vec<Finding>,
}

impl Gate {
    /// A trial that may take so many seconds until it is judged.
    pub fn new(limit: u64) -> Self {
        Self { limit, well: 0, findings: Vec::new() }
    }

    /// Takes one look, `elapsed` seconds after the trial began.
    pub fn look(&mut self, findings: Vec<Finding>, elapsed: u64) -> Verdict {
        self.well = if findings.is_empty() { self.well + 1 } else { 0 };
        self.findings = findings;
        if self.well >= STEADY {
            return Verdict::Well;
        }
        if elapsed < self.limit {
            return Verdict::Wait;
        }
        match self.findings.iter().all(|finding| finding.elsewhere) {
            // Nothing is wrong now, and was a moment ago: one more look or two are worth it.
            true if self.findings.is_empty() => Verdict::Wait,
            true => Verdict::Undecided,
            false => Verdict::Sick,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Observed {
        let seen = Seen { current: true, paired: true, peer: true, witness: true, ..Seen::default() };
        let room = Room { path: "/var".into(), size: 100 << 30, free: 50 << 30, writable: true };
        Observed { seen, rooms: vec![room], now: 2, built: 1, api: Some(Ok(())), ..Observed::default() }
    }

    fn found(change: impl FnOnce(&mut Observed)) -> Vec<(String, bool)> {
        let mut observed = well();
        change(&mut observed);
        judge(&observed).into_iter().map(|finding| (finding.text, finding.elsewhere)).collect()
    }

    #[test]
    fn each_finding_has_its_words_and_its_blame() {
        assert_eq!(found(|_| {}), []);
        type Change = fn(&mut Observed);
        let rows: [(Change, &str, bool); 13] = [
            (|o| o.failed_units.push("a.service".into()), "a.service failed", false),
            (|o| o.jobs.push("b.service".into()), "b.service has not", false),
            (|o| o.blind.push("systemd does not answer".into()), "systemd", false),
            (|o| o.seen.datastore = Some(false), "datastore", false),
            (|o| o.api = Some(Err("503".into())), "503", false),
            (|o| o.rooms[0].free = 2 << 30, "/var has 2048 MiB free", false),
            (|o| o.rooms[0].writable = false, "/var cannot be written", false),
            (|o| o.now = 0, "clock", false),
            (
                |o| o.checks.push(UserCheck { name: "10-shop".into(), says: Some("no till".into()) }),
                "10-shop: no till",
                false,
            ),
            (|o| (o.seen.paired, o.seen.current) = (false, false), "replica is not current", false),
            (|o| o.seen.paired = false, "not connected", false),
            (|o| (o.seen.paired, o.seen.peer) = (false, false), "other node does not answer", true),
            (|o| o.seen.witness = false, "witness", true),
        ];
        for (change, words, elsewhere) in rows {
            let found = found(change);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0.contains(words) && found[0].1 == elsewhere, "{found:?}");
        }
        let alone = |o: &mut Observed| {
            o.solo = true;
            (o.seen.paired, o.seen.peer, o.seen.witness) = (false, false, false);
        };
        assert_eq!(found(alone), [], "alone by an operator's word");
    }

    #[test]
    fn a_version_is_well_when_it_stays_so_and_judged_at_the_end() {
        let own = || vec![Finding { text: "x".into(), elsewhere: false }];
        let other = || vec![Finding { text: "y".into(), elsewhere: true }];
        let mut gate = Gate::new(60);
        let verdicts: Vec<Verdict> = [vec![], vec![], own(), vec![], vec![], vec![]]
            .into_iter()
            .map(|look| gate.look(look, 10))
            .collect();
        use Verdict::{Sick, Undecided, Wait, Well};
        assert_eq!(verdicts, [Wait, Wait, Wait, Wait, Wait, Well], "flapping starts anew");
        assert_eq!(Gate::new(60).look(own(), 59), Wait);
        assert_eq!(Gate::new(60).look(own(), 60), Sick);
        assert_eq!(Gate::new(60).look(other(), 60), Undecided, "the other node's absence is no verdict");
        assert_eq!(Gate::new(60).look([own(), other()].concat(), 60), Sick);
        assert_eq!(Gate::new(60).look(vec![], 60), Wait, "steady first");
    }
}
