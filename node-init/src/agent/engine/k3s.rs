//! k3s of the pair: the version that both nodes run, and what the cluster is told of the pair.

use super::{Agent, GREET, Input};
use crate::agent::control::Reply;
use crate::agent::history::Kind;
use crate::agent::kubernetes::State;
use crate::agent::log;
use crate::extension::architecture;
use crate::extension::decide::{Layout, Next, Node, View};
use crate::extension::mount::InUse;
use crate::extension::plan::Plan;
use crate::extension::shelf::Shelf;
use crate::facts::Facts;
use crate::member::{KeptError, Place};
use edgepair_extension::Version;
use edgepair_layout::path::RUN_DIR;
use edgepair_render::names::{EXTENSION_KEEP_UNIT, EXTENSION_UNIT, K3S_AGENT_UNIT, K3S_SERVER_UNIT};
use edgepair_status::Kubernetes;
use pair_core::view::Role;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::Instant;

/// Versions that the other node is told of: the newest. A frame of the channel has room for some more.
const TOLD: usize = 8;
/// A switchover has happened by then, or will not.
const MOVE: Duration = Duration::from_secs(120);
/// After a change that failed, the next try.
const AGAIN: Duration = Duration::from_secs(60);

/// What the agent knows of k3s.
#[derive(Debug, Default)]
pub(super) struct K3s {
    plan: Plan,
    shelf: Shelf,
    running: Option<String>,
    /// How it is here; nothing before the first look.
    pub(super) state: Option<State>,
    changing: bool,
    again: Option<Instant>,
    /// Since when a switchover is being prepared.
    moving: Option<Instant>,
}

impl K3s {
    pub(super) fn load(place: &Place) -> Result<Self, KeptError> {
        Ok(Self { plan: Plan::load(place)?, ..Self::default() })
    }
}

impl Agent {
    /// How this node's k3s is, for the other node.
    pub(super) fn own_k3s(&self) -> Option<Node> {
        self.config.kubernetes?;
        let versions = self.k3s.shelf.versions();
        let newest = versions.iter().rev().take(TOLD).map(ToString::to_string);
        Some(Node {
            plan: self.k3s.plan.clone(),
            running: self.k3s.running.clone(),
            have: newest.collect(),
            ready: self.k3s.state.as_ref().is_some_and(|state| state.ready),
        })
    }

    fn with_view<T>(&self, ask: impl FnOnce(View<'_>) -> T) -> Option<T> {
        let layout = self.config.kubernetes?.layout;
        let own = self.own_k3s()?;
        let greeting = self.peer.greeting.as_ref().filter(|_| self.peer.heard.is_some());
        let trial = self.update.as_ref().is_some_and(crate::update::driver::Driver::busy);
        let active = self.node.view().role == Role::Primary;
        let peer = greeting.and_then(|greeting| greeting.k3s.as_deref());
        Some(ask(View { layout, own: &own, peer, active, trial }))
    }

    pub(super) fn k3s_tick(&mut self) {
        if self.config.kubernetes.is_none() {
            return;
        }
        let view = self.node.view();
        let (active, healthy, writes) = (view.role == Role::Primary, view.healthy(), view.writes());
        self.apart_tick();
        if !active || self.k3s.moving.is_some_and(|since| since.elapsed() > MOVE) {
            self.k3s.moving = None;
        }
        let moving = self.k3s.moving.is_some() || self.update.as_ref().is_some_and(|update| update.busy());
        let heard = self.peer.greeting.as_ref().filter(|_| self.peer.heard.is_some());
        let other_ready = heard.and_then(|greeting| greeting.k3s.as_ref()).is_some_and(|k3s| k3s.ready);
        if let Some(keeper) = &self.keeper {
            keeper.set(|wants| {
                // One that is frozen may have been replaced: it says nothing about the pair.
                (wants.active, wants.healthy, wants.moving) = (writes, healthy, moving);
                wants.primary = active;
                wants.other_ready = other_ready;
            });
        }
        if self.ticks % GREET != 0 {
            return;
        }
        self.k3s.shelf = Shelf::look(&self.ports.place, architecture());
        let facts = Facts::at(&self.ports.place.path(RUN_DIR));
        self.k3s.running = InUse::load(&facts).map(|in_use| in_use.version);
        if let Some(plan) = self.with_view(|view| view.first()).flatten() {
            self.keep_choice(plan);
        }
        self.k3s_next();
    }

    /// The other node has said how its k3s is.
    pub(super) fn k3s_heard(&mut self) {
        let theirs = self.peer.greeting.as_ref().and_then(|greeting| greeting.k3s.as_ref());
        let Some(theirs) = theirs.map(|node| node.plan.clone()) else { return };
        let agreed = Plan::agreed(&self.k3s.plan, &theirs);
        if agreed != self.k3s.plan {
            self.keep_choice(agreed);
        }
    }

    /// Keeps the pair's choice, durably, before anything is done about it.
    fn keep_choice(&mut self, plan: Plan) -> bool {
        if let Err(error) = plan.store(&self.ports.place) {
            self.problem("k3s-choice", &format!("the pair's version of k3s cannot be kept: {error}"));
            return false;
        }
        self.clear("k3s-choice");
        self.history
            .note(Kind::Decision, &format!("the pair runs k3s {} (choice {})", plan.version, plan.revision));
        self.k3s.plan = plan;
        let units = std::rc::Rc::clone(&self.ports.units);
        // A copy that outlives the image; nothing waits for it.
        spawn_local(async move { drop(units.begin(EXTENSION_KEEP_UNIT).await) });
        true
    }

    fn k3s_next(&mut self) {
        let Some(next) = self.with_view(|view| view.next()) else { return };
        match next {
            Next::Stay => self.clear("k3s"),
            Next::Wait(why) => {
                let text = format!("k3s {} was chosen and waits: {why}", self.k3s.plan.version);
                self.problem("k3s", &text);
            }
            Next::Missing(version) => {
                let text = format!(
                    "the pair has chosen k3s {version}, and this node cannot run it: {}; `node-init extension install FILE` \
                     brings it",
                    self.k3s.shelf.why_not(&version)
                );
                self.problem("k3s", &text);
                // And no other version either: its datastore is the pair's.
                self.run_no_other();
            }
            Next::Change(version) => self.change_k3s(&version),
        }
    }

    /// Puts the chosen version in use, and starts k3s anew with it.
    fn change_k3s(&mut self, version: &Version) {
        if self.k3s.changing || self.k3s.again.is_some_and(|again| again > Instant::now()) {
            return;
        }
        let Some(kubernetes) = self.config.kubernetes else { return };
        self.k3s.changing = true;
        log::info(&format!("k3s {version} is put in use"));
        let active = self.node.view().role == Role::Primary;
        let (units, inputs) = (std::rc::Rc::clone(&self.ports.units), self.inputs.clone());
        let (facts, version) = (Facts::at(&self.ports.place.path(RUN_DIR)), version.to_string());
        let goal = self.service.watch_goal();
        spawn_local(async move {
            let work = async {
                units.start(EXTENSION_UNIT).await?;
                // What runs is not stopped for one that could not be mounted.
                if InUse::load(&facts).map(|in_use| in_use.version) != Some(version) {
                    let why =
                        facts.get::<crate::facts::Problem>("problem-extension").map(|problem| problem.what);
                    anyhow::bail!(why.unwrap_or_else(|| format!("journalctl -u {EXTENSION_UNIT} says why")));
                }
                match (kubernetes.layout, active) {
                    (Layout::OneServer, true) => {
                        units.stop(K3S_SERVER_UNIT).await?;
                        // The service of the active node starts it again, but not one that had nothing to start until now.
                        if *goal.borrow() == Some(true) { units.begin(K3S_SERVER_UNIT).await } else { Ok(()) }
                    }
                    (Layout::OneServer, false) => {
                        units.stop(K3S_AGENT_UNIT).await?;
                        // A node that has become active meanwhile has a server, and the agent would stop it.
                        if *goal.borrow() == Some(true) {
                            return Ok(());
                        }
                        units.begin(K3S_AGENT_UNIT).await
                    }
                    (Layout::TwoServers, _) => {
                        units.stop(K3S_SERVER_UNIT).await?;
                        units.begin(K3S_SERVER_UNIT).await
                    }
                }
            };
            let result: anyhow::Result<()> = work.await;
            let _ = inputs.send(Input::K3sChanged(result.map_err(|error| format!("{error:#}")))).await;
        });
    }

    /// What runs here is not what the pair has chosen, and that is not here.
    fn run_no_other(&mut self) {
        if self.k3s.running.is_none()
            || self.k3s.changing
            || self.k3s.again.is_some_and(|at| at > Instant::now())
        {
            return;
        }
        self.k3s.changing = true;
        let (units, inputs) = (std::rc::Rc::clone(&self.ports.units), self.inputs.clone());
        spawn_local(async move {
            let work = async {
                // It takes the version that is not the pair's out of use, so that the units have nothing to start.
                units.start(EXTENSION_UNIT).await?;
                units.stop(K3S_SERVER_UNIT).await?;
                units.stop(K3S_AGENT_UNIT).await
            };
            let result: anyhow::Result<()> = work.await;
            let _ = inputs.send(Input::K3sChanged(result.map_err(|error| format!("{error:#}")))).await;
        });
    }

    pub(super) fn k3s_changed(&mut self, result: Result<(), String>) {
        self.k3s.changing = false;
        self.k3s.again = None;
        if let Err(error) = result {
            self.k3s.again = Some(Instant::now() + AGAIN);
            self.problem("k3s", &format!("k3s {} cannot be put in use: {error}", self.k3s.plan.version));
        }
    }

    /// Somebody has brought or removed a version: the other node is told now, so that it may be chosen at once.
    pub(super) fn shelf_changed(&mut self) {
        if self.config.kubernetes.is_some() {
            self.k3s.shelf = Shelf::look(&self.ports.place, architecture());
            self.greet();
        }
    }

    /// An operator chooses a version for the pair.
    pub(super) fn choose_k3s(&mut self, version: &str) -> Reply {
        let Some(version) = Version::parse(version) else {
            return Reply::Refused(format!("`{version}` is no version of k3s"));
        };
        self.k3s.shelf = Shelf::look(&self.ports.place, architecture());
        match self.with_view(|view| view.propose(&version)) {
            None => Reply::Refused("the seed has no table [kubernetes]".to_owned()),
            Some(Err(why)) => Reply::Refused(why),
            Some(Ok(plan)) => {
                if !self.keep_choice(plan) {
                    return Reply::Refused("it cannot be kept; node-init status says why".to_owned());
                }
                self.greet();
                Reply::Accepted
            }
        }
    }

    pub(super) fn kubernetes_is(&mut self, state: State) {
        match &state.why {
            Some(why) if self.k3s.running.is_some() => {
                self.problem("kubernetes", &format!("Kubernetes: {why}"))
            }
            _ => self.clear("kubernetes"),
        }
        self.k3s.state = Some(state);
    }

    /// For `status`.
    pub(super) fn kubernetes_status(&self) -> Option<Kubernetes> {
        let layout = self.config.kubernetes?.layout;
        let server = layout == Layout::TwoServers || self.node.view().role == Role::Primary;
        let state = self.k3s.state.clone().unwrap_or_default();
        Some(Kubernetes {
            version: self.k3s.running.clone(),
            chosen: self.k3s.plan.version().map(|version| version.to_string()),
            role: if server { "server" } else { "agent" }.to_owned(),
            ready: state.ready,
            why: state.why,
        })
    }

    /// A switchover is being prepared: what is cordoned for it stays so until it has happened.
    pub(super) fn moves(&mut self) {
        self.k3s.moving = Some(Instant::now());
        if let Some(keeper) = &self.keeper {
            keeper.set(|wants| wants.moving = true);
        }
    }

    /// The switchover was refused after all.
    pub(super) fn stays(&mut self) {
        self.k3s.moving = None;
    }

    /// The pair core: the other node is surely silent, or is back.
    pub(super) fn taint(&mut self, on: bool) {
        let wanted = self.config.kubernetes.is_some_and(|kubernetes| kubernetes.taint);
        log::info(match (on, wanted) {
            (true, true) => "the other node is surely silent: its pods are started elsewhere",
            (true, false) => "the other node is surely silent",
            (false, _) => "the other node is back",
        });
        if let (true, Some(keeper)) = (wanted, &self.keeper) {
            keeper.set(|wants| wants.taint = Some(on));
        }
    }
}
