//! Load on a witness over loopback, and on an etcd that does the same job. One JSON object per line.
//!
//! `cargo xtask bench witness` builds and runs it. The witness gets one core to itself, this program the
//! rest (`taskset`); what else the machine does is not ours to say, so the load average is reported.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring program: it stops at the first trouble, starts what it measures, and is itself a clock"
)]

mod load;
mod subject;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use load::{Plan, Report};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use subject::Subject;

#[derive(Debug, Parser)]
struct Arguments {
    /// The node-init to be measured.
    #[arg(long)]
    node_init: PathBuf,
    /// Numbers of pairs to try, rising; it ends at the first that misses the goal.
    #[arg(long, value_delimiter = ',', default_value = "10000,19000,40000")]
    pairs: Vec<usize>,
    /// Seconds of load that are measured, after everything is connected.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Each pair polls once in so many seconds; less than 5 stands for more pairs than can be connected here.
    #[arg(long, default_value_t = 5.0)]
    poll: f64,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Pairs for the comparison with etcd.
    #[arg(long, default_value_t = 1000)]
    peer_pairs: usize,
}

/// The promise: the 99th percentile below this.
const GOAL: Duration = Duration::from_millis(50);
/// Claims over a new connection each.
const COLD: usize = 300;
/// One request in so many is a claim.
const CLAIM_EVERY: u64 = 100;

fn main() {
    let arguments = Arguments::parse();
    capacity(&arguments);
    comparison(&arguments);
}

fn capacity(arguments: &Arguments) {
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, files, files).unwrap();
    for &pairs in &arguments.pairs {
        if pairs as u64 + 200 > files {
            eprintln!(
                "skipped: {pairs} pairs need as many open files, this machine lets a process have {files}"
            );
            continue;
        }
        let plan = Plan {
            pairs,
            poll: Duration::from_secs_f64(arguments.poll),
            claim_every: CLAIM_EVERY,
            length: Duration::from_secs(arguments.seconds),
        };
        let mut reports = Vec::new();
        for _ in 0..arguments.runs {
            let mut subject = Subject::witness(&arguments.node_init, pairs);
            reports.push(load::open_loop(&mut subject, &plan));
        }
        let conditions = conditions(&format!(
            "{pairs} pairs, each its own TLS connection on loopback, one signed poll per pair per {} s, 1 in {CLAIM_EVERY} requests a durable claim, latency from the planned instant of sending, {} s after all are connected; witness on one core (taskset), load on another",
            arguments.poll, arguments.seconds
        ));
        let show = |name: &str, unit: &str, value: fn(&Report) -> f64| {
            let runs: Vec<f64> = reports.iter().map(value).collect();
            let line = json!({
                "name": format!("witness/{pairs}-pairs-{}s/{name}", arguments.poll), "unit": unit, "ours": median(&runs),
                "peer": null, "peer_name": null, "ratio": null, "runs": rounded(&runs), "conditions": conditions,
            });
            println!("{line}");
        };
        show("p99", "ms", |r| r.all.p99);
        show("p50", "ms", |r| r.all.p50);
        show("claim-p99", "ms", |r| r.claims.p99);
        show("requests", "1/s", |r| r.rate);
        show("errors", "count", |r| r.errors as f64);
        show("server-cpu", "% of a core", |r| r.cpu_percent);
        show("server-cpu-per-request", "us", |r| r.cpu_micros_per_request);
        show("memory-per-pair-connected", "KiB", |r| r.memory_per_pair_kib);
        show("memory-per-pair-enrolled-only", "KiB", |r| r.memory_enrolled_kib);
        show("handshakes", "1/s", |r| r.handshakes_per_second);
        let missed = reports.iter().any(|r| r.errors > 0 || r.all.p99 > GOAL.as_secs_f64() * 1e3);
        if missed {
            eprintln!("{pairs} pairs miss the goal of p99 < {GOAL:?} without errors");
            return;
        }
    }
}

fn comparison(arguments: &Arguments) {
    let pairs = arguments.peer_pairs;
    let plan = Plan {
        pairs,
        poll: Duration::from_secs_f64(arguments.poll),
        claim_every: CLAIM_EVERY,
        length: Duration::from_secs(arguments.seconds),
    };
    let (mut ours, mut theirs, mut our_claims, mut their_claims) = (vec![], vec![], vec![], vec![]);
    let (mut our_cold, mut their_cold) = (vec![], vec![]);
    for _ in 0..arguments.runs {
        let mut subject = Subject::witness(&arguments.node_init, pairs);
        ours.push(load::open_loop(&mut subject, &plan));
        our_claims.push(load::closed_loop(&mut subject, 64, plan.length / 2));
        our_cold.push(load::cold_claims(&mut subject, COLD).p99);
        drop(subject);
        let Some(mut subject) = Subject::etcd() else {
            eprintln!("skipped: no etcd to compare with (apt-get install etcd-server)");
            return;
        };
        theirs.push(load::open_loop(&mut subject, &plan));
        their_claims.push(load::closed_loop(&mut subject, 64, plan.length / 2));
        their_cold.push(load::cold_claims(&mut subject, COLD).p99);
    }
    let same = "one etcd 3.4 member from Debian, plain HTTP (no TLS, no request signatures at the server), through its JSON gateway, a claim = range + transaction; ours: TLS 1.3, signature checked, a claim = one request; each server on one core, data on the same disk";
    let row = |name: &str, unit: &str, conditions: String, ours: Vec<f64>, theirs: Vec<f64>| {
        let (a, b) = (median(&ours), median(&theirs));
        let line = json!({
            "name": format!("witness/against-etcd/{name}"), "unit": unit, "ours": a, "peer": b,
            "peer_name": "etcd", "ratio": (a / b * 1000.0).round() / 1000.0,
            "runs": rounded(&ours), "peer_runs": rounded(&theirs), "conditions": conditions,
        });
        println!("{line}");
    };
    let open = conditions(&format!(
        "{pairs} pairs, one poll per {} s, 1 in {CLAIM_EVERY} a claim; {same}",
        arguments.poll
    ));
    let closed = conditions(&format!("64 pairs that claim without a pause; {same}"));
    let pick = |all: &[Report], value: fn(&Report) -> f64| all.iter().map(value).collect::<Vec<_>>();
    let cold = conditions(&format!(
        "{COLD} claims one after the other, each over a new connection, as the fence handler makes it; {same}"
    ));
    row("cold-claim-p99", "ms", cold, our_cold, their_cold);
    row("p99", "ms", open.clone(), pick(&ours, |r| r.all.p99), pick(&theirs, |r| r.all.p99));
    row("claim-p99", "ms", open.clone(), pick(&ours, |r| r.claims.p99), pick(&theirs, |r| r.claims.p99));
    row(
        "server-cpu-per-request",
        "us",
        open.clone(),
        pick(&ours, |r| r.cpu_micros_per_request),
        pick(&theirs, |r| r.cpu_micros_per_request),
    );
    row("memory", "MiB", open, pick(&ours, |r| r.memory_mib), pick(&theirs, |r| r.memory_mib));
    row("claims", "1/s", closed.clone(), pick(&our_claims, |r| r.rate), pick(&their_claims, |r| r.rate));
    row(
        "busy-claim-p99",
        "ms",
        closed,
        pick(&our_claims, |r| r.claims.p99),
        pick(&their_claims, |r| r.claims.p99),
    );
}

fn conditions(what: &str) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // proc(5): field 19, the 17th after the name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let nice = stat.rsplit(')').next().and_then(|s| s.split_whitespace().nth(16)).unwrap_or_default();
    format!(
        "{what}; {cores} cores ({}), nice {nice}, load average {}",
        model.trim_start_matches([' ', '\t', ':']),
        load.split(' ').next().unwrap_or_default()
    )
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2] * 1000.0).round() / 1000.0
}

fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| (v * 1000.0).round() / 1000.0).collect()
}
