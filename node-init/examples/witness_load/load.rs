//! Open loop: requests at planned instants, however slow the answers. Closed loop: the next as soon as the last
//! is answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use node_init::witness::client::Keeper;
use pair_core::record::{Claim, DiskId, Epoch, Holder, Record, Side, Swap};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use witness_protocol::{Seen, Verdict};

use crate::subject::{Subject, key};

pub struct Plan {
    pub pairs: usize,
    pub poll: Duration,
    pub claim_every: u64,
    pub length: Duration,
}

/// Milliseconds.
#[derive(Default)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Default)]
pub struct Report {
    pub all: Percentiles,
    pub claims: Percentiles,
    pub rate: f64,
    pub errors: u64,
    pub cpu_percent: f64,
    pub cpu_micros_per_request: f64,
    pub memory_per_pair_kib: f64,
    pub memory_enrolled_kib: f64,
    pub memory_mib: f64,
    pub handshakes_per_second: f64,
}

#[derive(Default)]
struct Samples {
    all: Vec<f64>,
    claims: Vec<f64>,
    errors: u64,
}

/// Connections that are being made at once.
const CONNECTING: usize = 64;
const LIMIT: Duration = Duration::from_secs(20);
const A: DiskId = DiskId([0xa; 16]);
const B: DiskId = DiskId([0xb; 16]);

struct Pair {
    keeper: Keeper,
    record: Record,
}

impl Pair {
    /// Connected, and paired.
    async fn join(mut keeper: Keeper) -> Self {
        let mut record = keeper.read(None, LIMIT).await.unwrap().record();
        if record.holder == Holder::Unknown {
            let swap = next(&record);
            record = keeper.claim(&swap, LIMIT).await.unwrap().record();
        }
        Self { keeper, record }
    }

    async fn poll(&mut self) -> bool {
        let seen = Seen { lineage: self.record.lineage, epoch: self.record.epoch };
        matches!(self.keeper.read(Some(seen), LIMIT).await, Ok(v) if v.record() == self.record)
    }

    async fn claim(&mut self) -> bool {
        let swap = next(&self.record);
        match self.keeper.claim(&swap, LIMIT).await {
            Ok(Verdict::Changed(record)) => {
                self.record = record;
                true
            }
            _ => false,
        }
    }
}

/// The change that the record allows: adopt, go alone, pair again, …
fn next(record: &Record) -> Swap {
    let claim = match record.holder {
        Holder::Unknown => Claim::Adopt { peer: B, floor: Epoch(0) },
        Holder::Paired { .. } => Claim::Solo,
        Holder::Solo { .. } => Claim::Pair { peer: B },
    };
    Swap { lineage: record.lineage, expect: record.epoch, side: Side::A, disk: A, claim }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

pub fn open_loop(subject: &mut Subject, plan: &Plan) -> Report {
    run(async {
        let samples = Rc::new(RefCell::new(Samples::default()));
        let begin = Instant::now();
        let pairs = connect(subject, plan.pairs).await;
        let connecting = begin.elapsed();
        let start = Instant::now() + Duration::from_secs(2);
        let end = start + plan.length;
        let tasks: Vec<_> = pairs
            .into_iter()
            .enumerate()
            .map(|(n, pair)| {
                let share = n as f64 / plan.pairs as f64;
                let samples = Rc::clone(&samples);
                let first = start + plan.poll.mul_f64(share);
                tokio::task::spawn_local(drive(
                    pair,
                    first,
                    end,
                    plan.poll,
                    n as u64,
                    plan.claim_every,
                    samples,
                ))
            })
            .collect();
        sleep_until(start).await;
        let cpu_before = subject.cpu();
        sleep_until(end).await;
        let cpu = subject.cpu() - cpu_before;
        let memory = subject.resident_kib();
        for task in tasks {
            task.await.unwrap();
        }
        let samples = samples.take();
        let requests = samples.all.len() as f64;
        let per_pair = |now: u64, before: u64| now.saturating_sub(before) as f64 / plan.pairs as f64;
        Report {
            rate: requests / plan.length.as_secs_f64(),
            errors: samples.errors,
            cpu_percent: 100.0 * cpu.as_secs_f64() / plan.length.as_secs_f64(),
            cpu_micros_per_request: cpu.as_secs_f64() * 1e6 / requests,
            memory_per_pair_kib: per_pair(memory, subject.empty_kib),
            memory_enrolled_kib: per_pair(subject.enrolled_kib, subject.empty_kib),
            memory_mib: memory as f64 / 1024.0,
            // Each joins with a handshake, a read and a durable claim.
            handshakes_per_second: plan.pairs as f64 / connecting.as_secs_f64(),
            all: percentiles(samples.all),
            claims: percentiles(samples.claims),
        }
    })
}

async fn connect(subject: &Subject, pairs: usize) -> Vec<Pair> {
    let places = Arc::new(Semaphore::new(CONNECTING));
    let tasks: Vec<_> = (0..pairs)
        .map(|n| {
            let keeper = subject.keeper(n, key(n));
            let places = Arc::clone(&places);
            tokio::task::spawn_local(async move {
                let _place = places.acquire().await.unwrap();
                Pair::join(keeper).await
            })
        })
        .collect();
    let mut all = Vec::with_capacity(pairs);
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

async fn drive(
    mut pair: Pair,
    first: Instant,
    end: Instant,
    poll: Duration,
    n: u64,
    claim_every: u64,
    samples: Rc<RefCell<Samples>>,
) {
    let mut planned = first;
    let mut turn = n;
    while planned < end {
        sleep_until(planned).await;
        let is_claim = turn % claim_every == 0;
        let good = if is_claim { pair.claim().await } else { pair.poll().await };
        let took = planned.elapsed().as_secs_f64() * 1e3;
        let mut samples = samples.borrow_mut();
        samples.all.push(took);
        samples.errors += u64::from(!good);
        if is_claim {
            samples.claims.push(took);
        }
        planned += poll;
        // Another pair's turn to claim in each round, so that claims go round among all.
        turn += 1;
    }
}

pub fn closed_loop(subject: &mut Subject, pairs: usize, length: Duration) -> Report {
    run(async {
        let pairs = connect(subject, pairs).await;
        let samples = Rc::new(RefCell::new(Samples::default()));
        let (begin, cpu_before) = (Instant::now(), subject.cpu());
        let tasks: Vec<_> = pairs
            .into_iter()
            .map(|mut pair| {
                let samples = Rc::clone(&samples);
                tokio::task::spawn_local(async move {
                    while begin.elapsed() < length {
                        let asked = Instant::now();
                        let good = pair.claim().await;
                        let mut samples = samples.borrow_mut();
                        samples.errors += u64::from(!good);
                        if good {
                            samples.claims.push(asked.elapsed().as_secs_f64() * 1e3);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let samples = samples.take();
        let cpu = subject.cpu() - cpu_before;
        Report {
            rate: samples.claims.len() as f64 / length.as_secs_f64(),
            errors: samples.errors,
            cpu_percent: 100.0 * cpu.as_secs_f64() / length.as_secs_f64(),
            cpu_micros_per_request: cpu.as_secs_f64() * 1e6 / samples.claims.len() as f64,
            claims: percentiles(samples.claims),
            ..Report::default()
        }
    })
}

/// What the fence handler does: a new process, so a new connection, and one claim. One after the other.
pub fn cold_claims(subject: &mut Subject, times: usize) -> Percentiles {
    run(async {
        let mut pair = Pair::join(subject.keeper(0, key(0))).await;
        let mut samples = Vec::with_capacity(times);
        for _ in 0..times {
            pair.keeper = subject.keeper(0, key(0));
            let asked = Instant::now();
            assert!(pair.claim().await, "nobody else claims");
            samples.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        percentiles(samples)
    })
}

fn percentiles(mut samples: Vec<f64>) -> Percentiles {
    samples.sort_by(f64::total_cmp);
    let at = |share: f64| samples.get((samples.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Percentiles { p50: at(0.5), p99: at(0.99) }
}
