//! What the witness counts, and how Prometheus reads it (text format 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::store::table::Holders;

/// Measures a span of time.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one clock of the witness: durations for metrics and limits"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A read was answered.
    Read,
    /// A swap happened.
    Changed,
    /// A swap was refused by the rules.
    Refused,
    /// Not a request.
    Malformed,
    /// Not signed by an enrolled pair for this connection.
    Unauthentic,
    /// Too many of one pair.
    Limited,
    /// The disk could not be written, or the queue is full.
    Unavailable,
}

const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Read, "read"),
    (Outcome::Changed, "changed"),
    (Outcome::Refused, "refused"),
    (Outcome::Malformed, "malformed"),
    (Outcome::Unauthentic, "unauthentic"),
    (Outcome::Limited, "limited"),
    (Outcome::Unavailable, "unavailable"),
];

/// Upper bounds of the commit time histogram, in microseconds.
const BOUNDS: [u64; 9] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000];

/// All counters.
#[derive(Debug)]
pub struct Metrics {
    started: Stopwatch,
    outcomes: [AtomicU64; OUTCOMES.len()],
    connections: AtomicU64,
    connections_total: AtomicU64,
    connections_refused: AtomicU64,
    generation: AtomicU64,
    restores: AtomicU64,
    behind: AtomicU64,
    failed_batches: AtomicU64,
    commits: AtomicU64,
    commit_jobs: AtomicU64,
    commit_micros: AtomicU64,
    commit_buckets: [AtomicU64; BOUNDS.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Stopwatch::start(),
            outcomes: Default::default(),
            connections: AtomicU64::default(),
            connections_total: AtomicU64::default(),
            connections_refused: AtomicU64::default(),
            generation: AtomicU64::default(),
            restores: AtomicU64::default(),
            behind: AtomicU64::default(),
            failed_batches: AtomicU64::default(),
            commits: AtomicU64::default(),
            commit_jobs: AtomicU64::default(),
            commit_micros: AtomicU64::default(),
            commit_buckets: Default::default(),
        }
    }
}

/// Counts a connection while it lives.
#[derive(Debug)]
pub struct Connected<'a>(&'a Metrics);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// One request ended.
    pub fn request(&self, outcome: Outcome) {
        for ((known, _), count) in OUTCOMES.iter().zip(&self.outcomes) {
            if *known == outcome {
                count.fetch_add(1, Relaxed);
            }
        }
    }

    /// A connection begins; it ends with the value returned.
    pub fn connected(&self) -> Connected<'_> {
        self.connections.fetch_add(1, Relaxed);
        self.connections_total.fetch_add(1, Relaxed);
        Connected(self)
    }

    /// A connection was closed before its handshake: limits.
    pub fn refused_connection(&self) {
        self.connections_refused.fetch_add(1, Relaxed);
    }

    /// Connections at the moment.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// A batch of `jobs` became durable.
    pub fn committed(&self, jobs: usize, generation: u64, watch: Stopwatch) {
        let micros = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.commit_jobs.fetch_add(jobs as u64, Relaxed);
        self.commit_micros.fetch_add(micros, Relaxed);
        self.generation.store(generation, Relaxed);
        for (bound, bucket) in BOUNDS.iter().zip(&self.commit_buckets) {
            if micros <= *bound {
                bucket.fetch_add(1, Relaxed);
            }
        }
    }

    /// A batch was rolled back.
    pub fn failed_batch(&self) {
        self.failed_batches.fetch_add(1, Relaxed);
    }

    /// The generation found at start.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Relaxed);
    }

    /// How often everything became unknown.
    pub fn set_restores(&self, restores: u64) {
        self.restores.store(restores, Relaxed);
    }

    /// Pairs showed later records than ours.
    pub fn behind(&self, pairs: u64) {
        self.behind.fetch_add(pairs, Relaxed);
    }

    /// The counters that `witness status` shows.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            uptime_seconds: self.started.elapsed().as_secs(),
            connections: self.connections.load(Relaxed),
            generation: self.generation.load(Relaxed),
            restores: self.restores.load(Relaxed),
            behind: self.behind.load(Relaxed),
            commits: self.commits.load(Relaxed),
            requests: OUTCOMES
                .iter()
                .zip(&self.outcomes)
                .map(|((_, name), count)| ((*name).to_owned(), count.load(Relaxed).into()))
                .collect(),
        }
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self, holders: Holders) -> String {
        let mut out = String::with_capacity(4096);
        let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
            // Writing to a String cannot fail.
            let _ =
                writeln!(out, "# HELP edgepair_witness_{name} {help}\n# TYPE edgepair_witness_{name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "edgepair_witness_{name}{labels} {value}");
            }
        };
        let one = |value: &AtomicU64| vec![(String::new(), value.load(Relaxed) as f64)];
        let holder = |name: &str, n: u64| (format!("{{holder=\"{name}\"}}"), n as f64);
        family(
            "pairs",
            "gauge",
            "Enrolled pairs by what their record says.",
            &[
                holder("unknown", holders.unknown),
                holder("paired", holders.paired),
                holder("solo", holders.solo),
            ],
        );
        let requests: Vec<_> = OUTCOMES
            .iter()
            .zip(&self.outcomes)
            .map(|((_, name), count)| (format!("{{outcome=\"{name}\"}}"), count.load(Relaxed) as f64))
            .collect();
        family("requests_total", "counter", "Requests by how they ended.", &requests);
        family("connections", "gauge", "Open connections.", &one(&self.connections));
        family("connections_total", "counter", "Connections taken.", &one(&self.connections_total));
        family(
            "connections_refused_total",
            "counter",
            "Connections closed because of a limit.",
            &one(&self.connections_refused),
        );
        family("generation", "gauge", "Commits in the life of the database.", &one(&self.generation));
        family("restores_total", "counter", "How often every pair became unknown.", &one(&self.restores));
        family(
            "behind_total",
            "counter",
            "Pairs that showed a later record than ours. More than 0: this database was rolled back.",
            &one(&self.behind),
        );
        family(
            "failed_batches_total",
            "counter",
            "Batches that could not be written.",
            &one(&self.failed_batches),
        );
        family(
            "commit_jobs_total",
            "counter",
            "Requests that were in a committed batch.",
            &one(&self.commit_jobs),
        );
        let commits = self.commits.load(Relaxed) as f64;
        let mut rows: Vec<_> = BOUNDS
            .iter()
            .zip(&self.commit_buckets)
            .map(|(bound, count)| {
                (format!("_bucket{{le=\"{}\"}}", *bound as f64 / 1e6), count.load(Relaxed) as f64)
            })
            .collect();
        rows.push(("_bucket{le=\"+Inf\"}".into(), commits));
        rows.push(("_sum".into(), self.commit_micros.load(Relaxed) as f64 / 1e6));
        rows.push(("_count".into(), commits));
        family(
            "commit_seconds",
            "histogram",
            "Time from the first request of a batch to its durability.",
            &rows,
        );
        out
    }
}

/// A part of the counters, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Open connections.
    pub connections: u64,
    /// Commits in the life of the database.
    pub generation: u64,
    /// How often every pair became unknown.
    pub restores: u64,
    /// Pairs that showed a later record than ours.
    pub behind: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Requests since the start, by how they ended.
    pub requests: serde_json::Map<String, serde_json::Value>,
}
