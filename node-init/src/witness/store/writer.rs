//! The one thread that changes records.
//!
//! It takes whatever has queued up, decides every job inside one transaction, makes the transaction durable,
//! raises the stamp, and only then shows the change and answers. So one pair of fsyncs carries as many
//! pairs as are waiting.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use pair_core::record::{Record, Refusal, Swap, decide};
use tokio::sync::{mpsc, oneshot};
use witness_protocol::{PairId, Seen, Verdict};

use super::database::{Batch, Database};
use super::stamp::{Stamp, StampFile, Verdict as StampVerdict, judge};
use super::table::Table;
use super::{Entry, StoreError, mint};
use crate::witness::failpoint;
use crate::witness::metrics::{Metrics, Stopwatch};

/// Jobs that may wait; one more is refused at once, so that a node learns it in time.
const QUEUE: usize = 8192;
/// Jobs in one transaction: bounds how long the first waits for the last.
const BATCH: usize = 1024;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Swap { pair: PairId, request: [u8; 16], swap: Swap, reply: Reply<Option<Verdict>> },
    Behind { pair: PairId, seen: Seen, reply: Reply<Option<Record>> },
    Enrol { pairs: Vec<(String, PairId)>, reply: Reply<usize> },
    Forget { name: String, reply: Reply<()> },
    Restored { reply: Reply<()> },
}

/// The way to the writer. Cheap to clone; the thread ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// What was found at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// There was no database; a new one was made.
    New,
    /// The database that was acknowledged last.
    Same,
    /// A database that had been restored, or lost its stamp: every pair is unknown now.
    Restored,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Where changes go.
    pub writer: Writer,
    /// Where reads come from.
    pub table: Table,
    /// What was found.
    pub opening: Opening,
    /// The thread; it ends with an error when the disk failed in the middle of a commit.
    pub thread: JoinHandle<Result<(), StoreError>>,
}

impl Store {
    /// Opens the database in `data_dir` with its stamp in `stamp_dir` (both must exist), and starts the writer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(data_dir: &Path, stamp_dir: &Path, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let (mut database, new) = Database::open(data_dir)?;
        let stamp = StampFile::open(stamp_dir)?;
        let opening = match (new, judge(database.stamp()?, stamp.read()?)) {
            (true, _) => {
                stamp.begin(database.stamp()?)?;
                Opening::New
            }
            (false, StampVerdict::Same) => Opening::Same,
            (false, StampVerdict::Restored) => {
                forget_what_it_says(&mut database, &stamp)?;
                Opening::Restored
            }
        };
        let table = Table::new(database.load()?);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let state = database.stamp()?;
        // A kill between commit and stamp left the stamp one behind; the next commit would make it two.
        stamp.write(state)?;
        metrics.set_generation(state.generation);
        metrics.set_restores(database.restores()?);
        let worker = Worker { database, stamp, state, table: table.clone(), metrics, queue };
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || worker.run())
            .map_err(|source| StoreError::Io { path: data_dir.to_owned(), source })?;
        Ok(Self { writer: Writer { jobs }, table, opening, thread })
    }
}

fn forget_what_it_says(database: &mut Database, stamp: &StampFile) -> Result<(), StoreError> {
    let batch = database.batch()?;
    batch.restored()?;
    batch.commit()?;
    stamp.begin(database.stamp()?)
}

impl Writer {
    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Returns when the writer has stopped, which is when its disk failed.
    pub async fn closed(&self) {
        self.jobs.closed().await;
    }

    /// One compare-and-swap. The answer comes when it is on disk. `None`: the pair is not enrolled.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] and others: whether the swap happened is then not known to the caller.
    pub async fn swap(
        &self,
        pair: PairId,
        request: [u8; 16],
        swap: Swap,
    ) -> Result<Option<Verdict>, StoreError> {
        self.ask(|reply| Job::Swap { pair, request, swap, reply }).await
    }

    /// A node showed that it has seen a later record than ours: this one is believed no longer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn behind(&self, pair: PairId, seen: Seen) -> Result<Option<Record>, StoreError> {
        self.ask(|reply| Job::Behind { pair, seen, reply }).await
    }

    /// Adds pairs, all or none; returns how many are new.
    ///
    /// # Errors
    /// [`StoreError::Taken`] and others.
    pub async fn enrol(&self, pairs: Vec<(String, PairId)>) -> Result<usize, StoreError> {
        self.ask(|reply| Job::Enrol { pairs, reply }).await
    }

    /// Removes a pair.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPair`] and others.
    pub async fn forget(&self, name: String) -> Result<(), StoreError> {
        self.ask(|reply| Job::Forget { name, reply }).await
    }

    /// The operator says that this database may be an old one: every pair becomes unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn restored(&self) -> Result<(), StoreError> {
        self.ask(|reply| Job::Restored { reply }).await
    }
}

struct Worker {
    database: Database,
    stamp: StampFile,
    state: Stamp,
    table: Table,
    metrics: Arc<Metrics>,
    queue: mpsc::Receiver<Job>,
}

/// What a batch did, to be shown when it is durable.
#[derive(Default)]
struct Done {
    replies: Vec<Box<dyn FnOnce() + Send>>,
    changed: Vec<(PairId, Option<Entry>)>,
    /// Everything changed: read it again from disk.
    reload: bool,
    /// Pairs that showed a later record than ours.
    behind: u64,
}

impl Worker {
    fn run(mut self) -> Result<(), StoreError> {
        while let Some(first) = self.queue.blocking_recv() {
            let mut jobs = vec![first];
            while jobs.len() < BATCH {
                let Ok(job) = self.queue.try_recv() else { break };
                jobs.push(job);
            }
            self.batch(jobs)?;
        }
        Ok(())
    }

    /// One transaction. An error from here ends the witness: the state of the disk is not known, and only a
    /// new start reads it again. An error *inside* the transaction is rolled back and costs these jobs only;
    /// their senders see the reply channel close.
    fn batch(&mut self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let count = jobs.len();
        let watch = Stopwatch::start();
        let batch = self.database.batch()?;
        let done = match perform(&batch, jobs) {
            Ok(done) => done,
            Err(error) => {
                eprintln!("witness: {count} requests failed, nothing was changed: {error}");
                self.metrics.failed_batch();
                return Ok(());
            }
        };
        if done.reload || !done.changed.is_empty() {
            batch.commit()?;
            self.state = if done.reload {
                self.database.stamp()?
            } else {
                Stamp { generation: self.state.generation + 1, ..self.state }
            };
            self.stamp.write(self.state)?;
            failpoint::pass("stamp-synced");
            self.metrics.committed(count, self.state.generation, watch);
        } else {
            drop(batch);
        }
        let reloaded = if done.reload { Some(self.database.load()?) } else { None };
        if done.reload {
            self.metrics.set_restores(self.database.restores()?);
        }
        self.table.change(|table| {
            if let Some(all) = reloaded {
                *table = all;
            }
            for (pair, entry) in done.changed {
                match entry {
                    Some(entry) => table.insert(pair, entry),
                    None => table.remove(&pair),
                };
            }
        });
        self.metrics.behind(done.behind);
        for reply in done.replies {
            reply();
            failpoint::pass("answered");
        }
        Ok(())
    }
}

/// Decides all jobs against the transaction, so that a later one sees what an earlier one did.
fn perform(batch: &Batch<'_>, jobs: Vec<Job>) -> Result<Done, StoreError> {
    let mut done = Done::default();
    for job in jobs {
        match job {
            Job::Swap { pair, request, swap, reply } => {
                let verdict = perform_swap(batch, pair, &request, &swap, &mut done)?;
                done.later(reply, Ok(verdict));
            }
            Job::Behind { pair, seen, reply } => {
                let record = perform_behind(batch, pair, seen, &mut done)?;
                done.later(reply, Ok(record));
            }
            Job::Enrol { pairs, reply } => match perform_enrol(batch, &pairs, &mut done) {
                Err(StoreError::Taken(name)) => done.later(reply, Err(StoreError::Taken(name))),
                other => done.later(reply, Ok(other?)),
            },
            Job::Forget { name, reply } => match batch.forget(&name) {
                Err(StoreError::NoSuchPair(name)) => done.later(reply, Err(StoreError::NoSuchPair(name))),
                other => {
                    done.changed.push((other?, None));
                    done.later(reply, Ok(()));
                }
            },
            Job::Restored { reply } => {
                batch.restored()?;
                // What changed before it in this batch is in the database and comes with the reload.
                done.changed.clear();
                done.reload = true;
                done.later(reply, Ok(()));
            }
        }
    }
    Ok(done)
}

fn perform_swap(
    batch: &Batch<'_>,
    pair: PairId,
    request: &[u8; 16],
    swap: &Swap,
    done: &mut Done,
) -> Result<Option<Verdict>, StoreError> {
    let Some(entry) = batch.entry(pair)? else { return Ok(None) };
    let verdict = match decide(&entry.record, swap) {
        Ok(next) => {
            batch.replace(pair, &next, request)?;
            done.changed.push((pair, Some(Entry { record: next, ..entry })));
            Verdict::Changed(next)
        }
        Err(refusal) => {
            if let Refusal::WitnessBehind { .. } = refusal {
                make_unknown(batch, pair, entry, done)?;
            }
            Verdict::Refused(refusal)
        }
    };
    Ok(Some(verdict))
}

fn perform_behind(
    batch: &Batch<'_>,
    pair: PairId,
    seen: Seen,
    done: &mut Done,
) -> Result<Option<Record>, StoreError> {
    let Some(entry) = batch.entry(pair)? else { return Ok(None) };
    if seen.is_after(&entry.record) {
        make_unknown(batch, pair, entry, done).map(Some)
    } else {
        Ok(Some(entry.record))
    }
}

/// The pair has proof that this database went back in time. Believe nothing of this pair any more; of the
/// others only an operator may say so, or one pair could stop them all.
fn make_unknown(
    batch: &Batch<'_>,
    pair: PairId,
    entry: Entry,
    done: &mut Done,
) -> Result<Record, StoreError> {
    let record = entry.record.restored(mint()?);
    batch.replace(pair, &record, &[0; 16])?;
    done.changed.push((pair, Some(Entry { record, ..entry })));
    done.behind += 1;
    Ok(record)
}

fn perform_enrol(
    batch: &Batch<'_>,
    pairs: &[(String, PairId)],
    done: &mut Done,
) -> Result<usize, StoreError> {
    let mut new = Vec::new();
    for (name, pair) in pairs {
        match batch.enrol(name, *pair) {
            Ok(Some(entry)) => new.push((*pair, entry)),
            Ok(None) => {}
            Err(error) => {
                // All or none: take back what this job added, and only that.
                for (_, entry) in &new {
                    batch.forget(&entry.name)?;
                }
                return Err(error);
            }
        }
    }
    let count = new.len();
    done.changed.extend(new.into_iter().map(|(pair, entry)| (pair, Some(entry))));
    Ok(count)
}

impl Done {
    fn later<T: Send + 'static>(&mut self, reply: Reply<T>, result: Result<T, StoreError>) {
        // Whoever asked may have gone; the change stands all the same.
        self.replies.push(Box::new(move || drop(reply.send(result))));
    }
}
