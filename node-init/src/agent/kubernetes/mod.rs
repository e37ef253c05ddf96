//! Kubernetes around the pair: how it is, pods of a lost node, pods of a node that hands over.
//!
//! One task looks every few seconds with `k3s kubectl` and does, on the active node, what is left to do: set or remove the
//! `out-of-service` taint, take back a cordon of ours. Everything is bounded and tried again; nothing of the pair waits for
//! it. What it needs to remember is in the cluster itself (the taint's value, an annotation), so an agent that is started
//! anew goes on where the last one stopped.
//!
//! - [`kubectl`]: pure: the calls, and what they answer. [`course`]: pure: when a start that takes long is a fault.
//! - [`deeds`]: pure: what follows from what was seen. [`renew`]: certificates, before they expire.
//! - [`volumes`]: those that are in use here.

pub mod course;
pub mod deeds;
pub mod kubectl;
pub mod renew;
pub mod volumes;

use super::config::{Config, Kubernetes};
use super::log;
use super::ports::Ports;
use crate::extension::decide::Layout;
use course::{Course, Waiting};
use deeds::{Deed, Wants};
use edgepair_host_io::{Invocation, Output};
use edgepair_render::names::{IMAGES_UNIT, K3S, K3S_AGENT_UNIT, K3S_SERVER_UNIT};
use kubectl::Nodes;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::Instant;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(15);
/// Between two looks while something is left to do.
const SOON: Duration = Duration::from_secs(3);
/// What k3s is given: secrets among it, which are not to be quoted.
const CONFIGS: [&str; 2] = ["/etc/rancher/k3s/server.yaml", "/etc/rancher/k3s/agent.yaml"];
/// All of cordon and drain before a switchover.
const DRAIN: Duration = Duration::from_secs(30);

/// How Kubernetes is on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// This node runs a server.
    pub server: bool,
    /// It answers: the API server, or on a node that is only an agent its unit.
    pub ready: bool,
    /// Why not, or what is not as it should be though it answers.
    pub why: Option<String>,
}

/// A handle on the task.
#[derive(Debug)]
pub struct Keeper {
    wants: watch::Sender<Wants>,
}

impl Keeper {
    /// Starts the task on the current [`tokio::task::LocalSet`].
    #[must_use]
    pub fn start(ports: Ports, config: &Rc<Config>, reports: mpsc::Sender<State>) -> Option<Self> {
        let kubernetes = config.kubernetes?;
        let (wants, receiver) = watch::channel(Wants::default());
        let worker = Worker {
            ports,
            kubernetes,
            names: config.names.clone(),
            reports,
            wants: receiver,
            tainted: false,
            certificates: Certificates::default(),
            course: Course::default(),
        };
        spawn_local(worker.run());
        Some(Self { wants })
    }

    /// Changes what is wanted.
    pub fn set(&self, change: impl FnOnce(&mut Wants)) {
        self.wants.send_if_modified(|wants| {
            let before = *wants;
            change(wants);
            *wants != before
        });
    }
}

struct Worker {
    ports: Ports,
    kubernetes: Kubernetes,
    /// Of this node, of the other.
    names: (String, String),
    reports: mpsc::Sender<State>,
    wants: watch::Receiver<Wants>,
    /// The present wish for a taint has been carried out.
    tainted: bool,
    certificates: Certificates,
    course: Course,
}

/// What is known of k3s's certificates.
#[derive(Debug, Default)]
struct Certificates {
    /// When they were looked at last.
    seen: Option<Instant>,
    /// The first of them expires then, in seconds since 1970.
    expiry: Option<i64>,
    /// When k3s was started anew for them last.
    renewed: Option<Instant>,
    /// How often it was, while one of them had expired.
    attempts: u32,
    /// One that is not renewed by that, in words.
    stuck: Option<String>,
}

impl Worker {
    async fn run(mut self) {
        let mut said = String::new();
        loop {
            let wants = *self.wants.borrow_and_update();
            self.tainted &= wants.taint == Some(true);
            let (state, nodes) = self.look(&wants).await;
            let mut left = false;
            if let (Some(nodes), true) = (&nodes, state.ready) {
                for deed in deeds::of(&wants, nodes, &self.names, self.tainted) {
                    match self.carry_out(&deed).await {
                        Ok(()) => log::info(&deed.to_string()),
                        Err(error) => {
                            left = true;
                            let text = format!("{deed}: not done yet: {error:#}");
                            if text != said {
                                log::warn(&text);
                                said = text;
                            }
                            // Two labels are no two deeds: it must be off one node before it is on the other.
                            if matches!(deed, Deed::Label(..)) {
                                break;
                            }
                        }
                    }
                }
            }
            self.renew(&wants, &state).await;
            let pending = left || wants.taint == Some(true) && wants.active && !self.tainted;
            if self.reports.send(state).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(if pending { SOON } else { LOOK }) => {}
                change = self.wants.changed() => if change.is_err() { return },
            }
        }
    }

    async fn look(&mut self, wants: &Wants) -> (State, Option<Nodes>) {
        let server = wants.primary || self.kubernetes.layout == Layout::TwoServers;
        let not = |why: String| (State { server, ready: false, why: Some(why) }, None);
        if !self.ports.place.path(K3S).exists() {
            self.course.stopped();
            return not("there is no k3s on this node".to_owned());
        }
        let unit = if server { K3S_SERVER_UNIT } else { K3S_AGENT_UNIT };
        match self.ports.units.state(unit).await.as_deref() {
            Ok("active") => {}
            Ok("activating") => return not(self.why_not_yet(unit).await),
            Ok(state) => return not(self.why_stopped(unit, state).await),
            Err(error) => return not(format!("systemd: {error:#}")),
        }
        if !server {
            self.course.ready(Duration::ZERO);
            return (State { server, ready: true, why: None }, None);
        }
        let asked = Instant::now();
        match self.run_one(kubectl::nodes()).await.map(|output| Nodes::parse(&output.text())) {
            Ok(Some(nodes)) => {
                let slow = self.course.ready(asked.elapsed());
                let why = nodes.get(&self.names.0).map_or_else(
                    || Some("the API server does not know this node yet".to_owned()),
                    |node| node.trouble.clone(),
                );
                let stuck = self.certificates.stuck.clone();
                (State { server, ready: true, why: why.or(slow).or(stuck) }, Some(nodes))
            }
            Ok(None) => not("kubectl said something that is not understood".to_owned()),
            Err(error) => not(format!("the API server does not answer: {error:#}")),
        }
    }

    /// k3s is being started: since when, how often, and what it says about it.
    async fn why_not_yet(&mut self, unit: &str) -> String {
        // Nothing follows from an answer that is missing.
        let Ok((restarts, result)) = self.ports.units.ended(unit).await else {
            return Waiting::Starting.sentence(unit, "", None);
        };
        let waiting = self.course.not_ready(Instant::now(), restarts);
        let said = match waiting {
            Waiting::Starting => None,
            Waiting::Ends(_, long) | Waiting::Never(long) => {
                let journal = self.run_one(kubectl::journal(unit, long)).await;
                let read = |path| std::fs::read_to_string(self.ports.place.path(path)).unwrap_or_default();
                let secrets: Vec<String> =
                    CONFIGS.into_iter().map(read).flat_map(|text| course::secrets(&text)).collect();
                journal.ok().and_then(|output| course::last_words(&output.text(), &secrets))
            }
        };
        waiting.sentence(unit, &result, said.as_deref())
    }

    /// It is neither started nor being started.
    async fn why_stopped(&mut self, unit: &str, state: &str) -> String {
        self.course.stopped();
        let copies = self.ports.units.state(IMAGES_UNIT).await.is_ok_and(|state| state == "activating");
        match state {
            _ if copies => "archives of container images are being copied; k3s starts after that".to_owned(),
            "failed" => format!("k3s failed; journalctl -u {unit}"),
            state => format!("k3s is {state}"),
        }
    }

    /// Starts k3s anew where its certificates are about to expire: it renews them then.
    async fn renew(&mut self, wants: &Wants, state: &State) {
        let now = kubectl::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let left = |expiry: i64| expiry.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
        let known = &mut self.certificates;
        if wants.moving || !renew::look(known.seen.map(|at| at.elapsed()), known.expiry.map(left)) {
            return;
        }
        known.seen = Some(Instant::now());
        let first = renew::first_expiry(&self.ports.place);
        known.expiry = first.as_ref().map(|(expiry, _)| *expiry);
        known.stuck = None;
        let Some((left, name)) = first.map(|(expiry, name)| (left(expiry), name)) else { return };
        if left > 0 {
            known.attempts = 0;
        }
        known.stuck = (known.attempts >= renew::ATTEMPTS).then(|| {
            format!("the certificate {name} has expired, and k3s was started anew and has not renewed it")
        });
        if !renew::due(left, wants.active, wants.other_ready)
            || !renew::again(known.renewed.map(|at| at.elapsed()), left, known.attempts)
        {
            return;
        }
        let unit = if state.server { K3S_SERVER_UNIT } else { K3S_AGENT_UNIT };
        let units = &self.ports.units;
        // One that is starting renews them itself.
        if !units.state(unit).await.is_ok_and(|state| state == "active") {
            return;
        }
        self.certificates.renewed = Some(Instant::now());
        self.certificates.attempts = self.certificates.attempts.saturating_add(1);
        let when =
            if left > 0 { format!("expires in {} days", left / 86_400) } else { "has expired".to_owned() };
        log::info(&format!("a certificate of k3s {when} ({name}): k3s is started anew and renews it"));
        let again = async {
            units.stop(unit).await?;
            // On the active node of a pair with one server its service starts it again.
            let changed = self.wants.borrow().primary != wants.primary;
            if self.kubernetes.layout == Layout::TwoServers || !state.server && !changed {
                units.begin(unit).await
            } else {
                Ok(())
            }
        };
        if let Err(error) = again.await {
            log::warn(&format!("{unit} was not started anew: {error:#}"));
        }
    }

    /// Beside the agent's other programs: an API server that is slow holds nothing up.
    async fn run_one(&self, call: Invocation) -> anyhow::Result<Output> {
        run(&self.ports, call).await
    }

    /// Calls take time, and the other node may be back by now.
    fn still_wanted(&self, deed: &Deed) -> anyhow::Result<()> {
        let over = matches!(deed, Deed::Taint(_)) && self.wants.borrow().taint != Some(true);
        anyhow::ensure!(!over, "the other node is back");
        Ok(())
    }

    async fn carry_out(&mut self, deed: &Deed) -> anyhow::Result<()> {
        if let Deed::Taint(node) = deed {
            let pods = self.run_one(kubectl::pods_of(node)).await?.text();
            for call in kubectl::stay_behind(&pods) {
                // One that cannot be asked to stay, or is gone by now, holds the others up no longer.
                if let Err(error) = self.run_one(call).await {
                    log::warn(&format!("a pod that asked to stay: {error:#}"));
                }
            }
        }
        for call in deed.calls() {
            self.still_wanted(deed)?;
            self.run_one(call).await?;
        }
        if let Deed::Taint(node) = deed {
            // What Kubernetes would wait for, though it is known here: the node's grace period, and the leases of controllers
            // that ran on it.
            self.still_wanted(deed)?;
            self.run_one(kubectl::silent(node, kubectl::now())).await?;
            let leases = self.run_one(kubectl::leaders()).await?.text();
            for call in kubectl::release(&leases, node) {
                self.still_wanted(deed)?;
                self.run_one(call).await?;
            }
            self.tainted = true;
        }
        // People look for it, and nothing depends on it.
        if let Some(call) = deed.event(kubectl::now()) {
            if let Err(error) = self.run_one(call).await {
                log::warn(&format!("no event about it: {error:#}"));
            }
        }
        Ok(())
    }
}

async fn run(ports: &Ports, call: Invocation) -> anyhow::Result<Output> {
    let runner = Arc::clone(&ports.runner);
    let work = tokio::task::spawn_blocking(move || runner.run(&call));
    let result = work.await?;
    result.map_err(|error| {
        let said = error.tail().lines().last().map(str::trim).unwrap_or_default().to_owned();
        if said.is_empty() { anyhow::Error::from(error) } else { anyhow::anyhow!(said) }
    })
}

/// Moves this node's pods away before it hands over: cordon, then drain, as long as disruption budgets and [`DRAIN`] allow.
/// What is not done by then is not waited for.
pub async fn drain(ports: &Ports, node: &str) {
    if !ports.place.path(K3S).exists()
        || ports.units.state(K3S_SERVER_UNIT).await.as_deref().ok() != Some("active")
    {
        return;
    }
    let all = async {
        let nodes = Nodes::parse(&run(ports, kubectl::nodes()).await?.text());
        // A cordon of somebody else's stays theirs: it is not taken back afterwards.
        let theirs = nodes.as_ref().and_then(|nodes| nodes.get(node)).is_some_and(|node| node.cordoned);
        for call in kubectl::drain(node, theirs) {
            run(ports, call).await?;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(DRAIN, all).await {
        Ok(Ok(())) => log::info(&format!("the pods of {node} have moved away")),
        Ok(Err(error)) => log::warn(&format!("not all pods of {node} have moved away: {error:#}")),
        Err(_) => log::warn(&format!("not all pods of {node} have moved away in {} s", DRAIN.as_secs())),
    }
}
