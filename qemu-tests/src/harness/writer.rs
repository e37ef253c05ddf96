//! A client at the virtual IP that numbers rows and writes down what was acknowledged.
//!
//! A number is tried once: when its answer is lost nobody knows whether it was stored, and both are right. What was
//! acknowledged must be there, once, whatever happened since.

use super::Deadline;
use super::site::Site;
use anyhow::{Context, bail};
use edgepair_seed::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Config, NoTls};

/// Role and database of the datastore.
const KINE: &str = edgepair_render::names::KINE;
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS lab_numbers (number bigint NOT NULL, at timestamptz NOT NULL DEFAULT now())";

/// How much sooner than others a writer gives an answer up: while it waits for a node that is dead it sees nothing of the
/// one that serves, and its gap would be its own.
const HASTE: u32 = 5;

/// How to reach the datastore from this computer.
#[derive(Debug, Clone)]
pub struct Reach {
    port: u16,
    password: Secret,
    /// How long one answer may take.
    patience: Duration,
}

impl Reach {
    /// Through a pair's door.
    pub fn new(port: u16, site: &Site, patience: Duration) -> Self {
        Self { port, password: site.database_password(), patience }
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user(KINE).dbname(KINE).application_name("edgepair lab");
        config.password(self.password.expose_secret());
        let (client, connection) = tokio::time::timeout(self.patience, config.connect(NoTls))
            .await
            .context("no answer from the datastore")?
            .context("the datastore")?;
        tokio::spawn(async move {
            // Its error is the client's as well, who says it.
            let _ = connection.await;
        });
        Ok(client)
    }

    async fn within<T>(
        &self,
        what: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> anyhow::Result<T> {
        Ok(tokio::time::timeout(self.patience, what).await.context("no answer from the datastore")??)
    }

    /// Runs statements; rows come back as text, `NULL` as `None`.
    ///
    /// # Errors
    /// The server's, or that it does not answer.
    pub fn query(&self, sql: &str) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        runtime()?.block_on(async {
            let client = self.connect().await?;
            let messages = self.within(client.simple_query(sql)).await?;
            let rows = messages.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            });
            Ok(rows.collect())
        })
    }

    /// Waits until the datastore takes a write.
    ///
    /// # Errors
    /// When it does not by the deadline, with its last words.
    pub fn wait(&self, deadline: Deadline) -> anyhow::Result<()> {
        loop {
            match self.query(TABLE) {
                Ok(_) => return Ok(()),
                Err(error) if deadline.passed() => {
                    return Err(error.context("nothing can be written at the virtual IP"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")
}

/// An acknowledged row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its number.
    pub number: i64,
    /// When the answer came, since the writer began.
    pub at: Duration,
}

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Writer {
    /// Starts it. Numbers begin at `first`; each acknowledgement is also appended to a file.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn start(reach: &Reach, first: i64, log: &Path) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
        let file = File::options().create(true).append(true).open(log)?;
        let reach = Reach { patience: reach.patience / HASTE, ..reach.clone() };
        let thread = std::thread::spawn({
            let (reach, stop, acknowledged) = (reach, Arc::clone(&stop), Arc::clone(&acknowledged));
            move || runtime()?.block_on(write(&reach, first, &stop, &acknowledged, file))
        });
        Ok(Self { stop, acknowledged, thread: Some(thread) })
    }

    /// How many rows were acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().map_or(0, |list| list.len())
    }

    /// Waits for more acknowledged rows.
    ///
    /// # Errors
    /// When they do not come by the deadline.
    pub fn wait_for(&self, more: usize, deadline: Deadline) -> anyhow::Result<()> {
        let goal = self.count() + more;
        while self.count() < goal {
            if deadline.passed() {
                bail!("the writer got {} of {goal} acknowledgements in time", self.count());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Stops it; returns what was acknowledged, in order.
    ///
    /// # Errors
    /// When it broke off.
    pub fn stop(mut self) -> anyhow::Result<Vec<Acknowledged>> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the writer broke off"))??;
        }
        Ok(self.acknowledged.lock().map(|list| list.clone()).unwrap_or_default())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "gaps between acknowledgements are what is measured")]
async fn write(
    reach: &Reach,
    first: i64,
    stop: &AtomicBool,
    acknowledged: &Mutex<Vec<Acknowledged>>,
    mut log: File,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut client: Option<Client> = None;
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &client else {
            let next = async {
                let client = reach.connect().await?;
                reach.within(client.simple_query(TABLE)).await?;
                anyhow::Ok(client)
            };
            match next.await {
                Ok(open) => client = Some(open),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            continue;
        };
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&number];
        let insert = open.execute("INSERT INTO lab_numbers (number) VALUES ($1)", &values);
        match reach.within(insert).await {
            Ok(_) => {
                let at = begun.elapsed();
                writeln!(log, "{number} {}", at.as_millis())?;
                if let Ok(mut list) = acknowledged.lock() {
                    list.push(Acknowledged { number, at });
                }
            }
            Err(_) => client = None,
        }
        number += 1;
    }
    Ok(())
}

/// What became of the acknowledged rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How many rows were acknowledged.
    pub acknowledged: usize,
    /// Numbers that were acknowledged and are not there.
    pub lost: Vec<i64>,
    /// Numbers that are there more than once.
    pub twice: Vec<i64>,
    /// How many rows are there that nobody acknowledged: their answer was lost.
    pub unanswered: usize,
    /// Longest time between two acknowledgements.
    pub gap: Duration,
}

impl Verdict {
    /// Compares what was acknowledged with what the datastore holds, both by number.
    #[must_use]
    pub fn of(acknowledged: &[Acknowledged], stored: &[i64]) -> Self {
        let mut times: BTreeMap<i64, usize> = BTreeMap::new();
        for number in stored {
            *times.entry(*number).or_default() += 1;
        }
        let known: BTreeSet<i64> = acknowledged.iter().map(|row| row.number).collect();
        Self {
            acknowledged: acknowledged.len(),
            lost: acknowledged
                .iter()
                .map(|row| row.number)
                .filter(|number| !times.contains_key(number))
                .collect(),
            twice: times.iter().filter(|(_, count)| **count > 1).map(|(number, _)| *number).collect(),
            unanswered: times.keys().filter(|number| !known.contains(number)).count(),
            gap: acknowledged.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default(),
        }
    }

    /// Reads the rows and compares.
    ///
    /// # Errors
    /// When the datastore does not answer, or a row is lost or there twice.
    pub fn check(reach: &Reach, acknowledged: &[Acknowledged]) -> anyhow::Result<Self> {
        let rows = reach.query("SELECT number FROM lab_numbers")?;
        let stored: Vec<i64> = rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect();
        let verdict = Self::of(acknowledged, &stored);
        if !verdict.lost.is_empty() || !verdict.twice.is_empty() {
            bail!(
                "of {} acknowledged rows {:?} are lost and {:?} are there twice",
                verdict.acknowledged,
                verdict.lost,
                verdict.twice
            );
        }
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_or_there_twice_is_named() {
        let row = |number, at| Acknowledged { number, at: Duration::from_millis(at) };
        let acknowledged = [row(1, 10), row(2, 15), row(4, 95), row(5, 100)];
        let verdict = Verdict::of(&acknowledged, &[1, 2, 2, 3, 5]);
        assert_eq!(verdict.lost, [4]);
        assert_eq!(verdict.twice, [2]);
        assert_eq!(verdict.unanswered, 1);
        assert_eq!(verdict.gap, Duration::from_millis(80));
        assert_eq!(Verdict::of(&[], &[]).gap, Duration::ZERO);
    }
}
