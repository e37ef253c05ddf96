//! Storage and datastore of the active node, as one thing that runs or does not.
//!
//! The agent sets a goal; this task works towards it, step by step, and reports. A goal that changes is obeyed at the
//! next step. What fails is told and tried again: the pair core decides whether this node stays active, not this task.
//!
//! ```text
//! run:   units of the standby end → file system (made once) → mount → database (made once) → units, in order → a write → ready
//! stop:  units, in reverse order → unmount → stopped → units of the standby begin
//! ```
//!
//! Units of the standby (the k3s agent of a pair with one server) are only begun, not waited for: such an agent is ready
//! when the other node's server is, which may take for ever, and nothing here depends on it.

use super::config::Config;
use super::form::Formation;
use super::form::data::Data;
use super::kubernetes::volumes;
use super::log;
use super::ports::Ports;
use crate::extension::decide::Layout;
use edgepair_render::names::{DATA_MOUNT, K3S, K3S_SERVER_UNIT, PODS_END_UNIT};
use ring::rand::{SecureRandom, SystemRandom};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

/// What the task tells the agent.
#[derive(Debug)]
pub enum Report {
    /// Ready, or (once it was) not ready any more; `false` also when everything is stopped and unmounted.
    Ready(bool),
    /// What it is doing: `starting`, `ready`, `stopping`, `stopped`, `failed`.
    State(&'static str),
    /// What failed; `None` when it works again.
    Trouble(Option<String>),
    /// It has been ready for so long that it counts as well.
    Well,
    /// How often it failed without having been well in between; after [`Report::Trouble`].
    Failed(u32),
    /// Asks how far the forming is.
    Ask(oneshot::Sender<Formation>),
    /// Keep this on both nodes; answered when that is done.
    Note(Formation, oneshot::Sender<()>),
}

/// A handle on the task.
#[derive(Debug)]
pub struct Service {
    goal: watch::Sender<Option<bool>>,
}

impl Service {
    /// Starts the task on the current [`tokio::task::LocalSet`]. It does nothing before the first goal.
    #[must_use]
    pub fn start(ports: Ports, config: Rc<Config>, reports: mpsc::Sender<Report>) -> Self {
        let (goal, receiver) = watch::channel(None);
        tokio::task::spawn_local(
            Worker { ports, config, reports, goal: receiver, well: Cell::new(false) }.run(),
        );
        Self { goal }
    }

    /// Sets the goal.
    pub fn set(&self, run: bool) {
        self.goal.send_if_modified(|goal| goal.replace(run) != Some(run));
    }

    /// The goal, for somebody who waits meanwhile.
    #[must_use]
    pub fn watch_goal(&self) -> watch::Receiver<Option<bool>> {
        self.goal.subscribe()
    }

    /// The present goal.
    #[must_use]
    pub fn goal(&self) -> Option<bool> {
        *self.goal.borrow()
    }
}

struct Worker {
    ports: Ports,
    config: Rc<Config>,
    reports: mpsc::Sender<Report>,
    goal: watch::Receiver<Option<bool>>,
    /// It was well since it failed last.
    well: Cell<bool>,
}

impl Worker {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let goal = *self.goal.borrow_and_update();
            let mut changed = self.goal.clone();
            let work = async {
                match goal {
                    None => std::future::pending().await,
                    Some(true) => self.up().await,
                    Some(false) => self.down().await,
                }
            };
            let result = tokio::select! {
                result = work => result,
                change = changed.changed() => {
                    if change.is_err() {
                        return;
                    }
                    failures = 0;
                    continue;
                }
            };
            match result {
                // It ran, and does not any more.
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = if self.well.take() { 1 } else { failures + 1 };
                    self.report(Report::State("failed")).await;
                    self.report(Report::Trouble(Some(format!("{error:#}")))).await;
                    self.report(Report::Failed(failures)).await;
                }
            }
            let wait = self.config.again.saturating_mul(1 << failures.min(5)).min(Duration::from_secs(60));
            tokio::select! {
                () = sleep(wait) => {}
                change = changed.changed() => if change.is_err() { return },
            }
        }
    }

    async fn report(&self, report: Report) {
        let _ = self.reports.send(report).await;
    }

    fn data(&self) -> Data<'_> {
        Data { ports: &self.ports, config: &self.config }
    }

    async fn formation(&self) -> anyhow::Result<Formation> {
        let (answer, receiver) = oneshot::channel();
        self.report(Report::Ask(answer)).await;
        Ok(receiver.await?)
    }

    async fn note(&self, formation: Formation) -> anyhow::Result<()> {
        let (done, receiver) = oneshot::channel();
        self.report(Report::Note(formation, done)).await;
        Ok(receiver.await?)
    }

    /// Brings everything up, and ends when it is not up any more.
    async fn up(&self) -> anyhow::Result<()> {
        self.report(Report::State("starting")).await;
        for unit in self.config.standby_units.iter().rev() {
            if self.ports.units.state(unit).await? != "inactive" {
                self.ports.units.stop(unit).await?;
            }
        }
        let formation = self.formation().await?;
        let data = self.data();
        data.mount(formation, async |formation| self.note(formation).await).await?;
        let finished = data.finished(formation)?;
        if !finished {
            data.make_database().await?;
        }
        for unit in &self.config.active_units {
            self.ports.units.start(unit).await?;
        }
        if data.unfinished()? {
            let mut salt = [0; 16];
            SystemRandom::new().fill(&mut salt).map_err(|_| anyhow::anyhow!("no random numbers"))?;
            data.finish(salt).await?;
        }
        if formation != Formation::Done {
            self.note(Formation::Done).await?;
        }
        data.prove_writable().await?;
        self.report(Report::Trouble(None)).await;
        self.report(Report::State("ready")).await;
        self.report(Report::Ready(true)).await;
        let mut left = std::pin::pin!(self.watch());
        let left = tokio::select! {
            left = &mut left => left?,
            () = sleep(self.config.well) => {
                self.well.set(true);
                self.report(Report::Well).await;
                left.await?
            }
        };
        self.report(Report::Ready(false)).await;
        anyhow::bail!("{left} stopped by itself; it is started again")
    }

    /// A node without k3s has a server unit with nothing to do; storage and database serve all the same.
    fn has_nothing_to_do(&self, unit: &str) -> bool {
        unit == K3S_SERVER_UNIT && !self.ports.place.path(K3S).exists()
    }

    /// Ends when one of the units is not active any more.
    async fn watch(&self) -> anyhow::Result<String> {
        let units = self.config.active_units.iter().filter(|unit| !self.has_nothing_to_do(unit));
        let mut waits: Vec<_> = units.map(|unit| (unit, self.ports.units.left_active(unit))).collect();
        std::future::poll_fn(move |context| {
            for (unit, wait) in &mut waits {
                if let std::task::Poll::Ready(state) = wait.as_mut().poll(context) {
                    return std::task::Poll::Ready(state.map(|_| unit.clone()));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Pods that have not left by now end, when they use volumes on the storage: it could not be handed over. Whether there
    /// were such.
    async fn let_go_of_volumes(&self) -> anyhow::Result<bool> {
        let pods = self.config.kubernetes.is_some() && !volumes::mounted(&self.ports.place).is_empty();
        if pods {
            log::warn("pods that use volumes of the pair have not left this node: they end");
            // Twice: k3s may have been about to start again in between.
            self.ports.units.start(PODS_END_UNIT).await?;
            self.ports.units.stop(K3S_SERVER_UNIT).await?;
            self.ports.units.start(PODS_END_UNIT).await?;
        }
        Ok(pods)
    }

    async fn down(&self) -> anyhow::Result<()> {
        self.report(Report::State("stopping")).await;
        let pods = self.let_go_of_volumes().await?;
        let units = self.config.active_units.iter().rev().map(String::as_str);
        for unit in units.filter(|unit| *unit != DATA_MOUNT).chain([DATA_MOUNT]) {
            if self.ports.units.state(unit).await? != "inactive" {
                self.ports.units.stop(unit).await?;
            }
        }
        self.report(Report::Trouble(None)).await;
        self.report(Report::State("stopped")).await;
        self.report(Report::Ready(false)).await;
        let servers = self.config.kubernetes.is_some_and(|it| it.layout == Layout::TwoServers);
        let again = (pods && servers).then_some(K3S_SERVER_UNIT);
        for unit in self.config.standby_units.iter().map(String::as_str).chain(again) {
            // Whoever does not come up here is of no help to the pair, and no reason to stop anything either.
            if let Err(error) = self.ports.units.begin(unit).await {
                self.report(Report::Trouble(Some(format!("{error:#}")))).await;
            }
        }
        std::future::pending().await
    }
}
