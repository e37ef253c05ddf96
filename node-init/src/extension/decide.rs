//! Pure: may the pair change its k3s, and whose turn is it?
//!
//! Two rules of Kubernetes decide the order ("Version Skew Policy"): an agent (kubelet) is never newer than its server, and
//! two servers are at most one minor version apart. One of ours: nothing changes while the system itself is on trial.

use super::plan::Plan;
use edgepair_extension::{Step, Version};
use serde::{Deserialize, Serialize};

/// Who runs what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Both nodes run a server; the database is elsewhere or on the active node.
    TwoServers,
    /// The active node runs the server, the other one its agent.
    OneServer,
}

/// How one node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The pair's choice, as this node has it.
    pub plan: Plan,
    /// Version in use.
    pub running: Option<String>,
    /// Versions that it could use.
    pub have: Vec<String>,
    /// Its k3s is ready.
    pub ready: bool,
}

impl Node {
    fn running(&self) -> Option<Version> {
        self.running.as_deref().and_then(Version::parse)
    }

    fn has(&self, version: &Version) -> bool {
        self.have.iter().any(|text| Version::parse(text).as_ref() == Some(version))
    }

    /// It runs what it knows to be the pair's choice.
    fn follows(&self) -> bool {
        self.plan.version().is_none_or(|version| self.running() == Some(version))
    }
}

/// What a node does next about its k3s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it runs what it should.
    Stay,
    /// Put this version in use, and start k3s anew with it.
    Change(Version),
    /// Not its turn yet, and why.
    Wait(&'static str),
    /// It cannot: this version is not here.
    Missing(Version),
}

/// What a node knows when it decides.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Who runs what.
    pub layout: Layout,
    /// This node.
    pub own: &'a Node,
    /// The other one, while it answers.
    pub peer: Option<&'a Node>,
    /// This node is the active one.
    pub active: bool,
    /// An update of the system is under way.
    pub trial: bool,
}

impl View<'_> {
    /// What this node does next.
    #[must_use]
    pub fn next(self) -> Next {
        let Some(wanted) = self.own.plan.version() else { return Next::Stay };
        let running = self.own.running();
        if running.as_ref() == Some(&wanted) {
            return Next::Stay;
        }
        if !self.own.has(&wanted) {
            return Next::Missing(wanted);
        }
        if self.trial {
            return Next::Wait("an update of the system is under way");
        }
        // What was heard before the other node knew of this choice says nothing about it.
        let peer = self.peer.filter(|peer| peer.plan == self.own.plan);
        let there = |peer: &Node| peer.running() == Some(wanted.clone());
        let older = running.as_ref().is_some_and(|running| wanted < *running);
        let wait = match (self.layout, self.active) {
            // The other one serves meanwhile.
            (Layout::TwoServers, false) => None,
            (Layout::TwoServers, true) => match (self.peer, peer) {
                (None, _) => None,
                (Some(_), Some(peer)) if there(peer) && peer.ready => None,
                _ => Some("the other node changes first, and must be ready with it"),
            },
            // The server goes first to a newer version, the agent to an older one.
            (Layout::OneServer, true) if !older => None,
            (Layout::OneServer, false) if older => None,
            (Layout::OneServer, true) => match (self.peer, peer) {
                (None, _) => None,
                (Some(_), Some(peer)) if there(peer) => None,
                _ => Some("the agent on the other node goes to the older version first"),
            },
            (Layout::OneServer, false) => match peer {
                Some(peer) if there(peer) => None,
                _ => Some("the server on the active node goes to the newer version first"),
            },
        };
        wait.map_or(Next::Change(wanted), Next::Wait)
    }

    /// Whether the pair may choose a version now: the new choice, or why not and what to do.
    ///
    /// # Errors
    /// In words.
    pub fn propose(self, version: &Version) -> Result<Plan, String> {
        let Some(peer) = self.peer else {
            return Err("the other node does not answer, and both must have the version".to_owned());
        };
        if self.trial {
            return Err(
                "an update of the system is under way; choose a version of k3s when it is over".to_owned()
            );
        }
        for (whose, node) in [("this", self.own), ("the other", peer)] {
            if !node.has(version) {
                return Err(format!(
                    "{whose} node does not have k3s {version}; `node-init extension install FILE` there first"
                ));
            }
        }
        if peer.plan != self.own.plan || !self.own.follows() || !peer.follows() {
            return Err(
                "the pair is still on its way to the version that it has chosen; `node-init extension list`"
                    .to_owned(),
            );
        }
        for node in [self.own, peer] {
            let Some(running) = node.running() else { continue };
            match running.step_to(version) {
                Step::Same | Step::Allowed => {}
                Step::TooFar => {
                    let (major, minor) = running.minor();
                    return Err(format!(
                        "from {running} to {version} is more than one minor version; go to a version v{major}.{} first",
                        minor + 1
                    ));
                }
                Step::Backwards => {
                    return Err(format!(
                        "{version} is an earlier minor version than {running}, which has written the datastore already"
                    ));
                }
            }
        }
        Ok(self.own.plan.next(version))
    }

    /// The pair's first choice, made by the active node when it knows the other one: the newest that both have.
    #[must_use]
    pub fn first(self) -> Option<Plan> {
        let peer = self.peer.filter(|peer| peer.plan.revision == 0)?;
        if !self.active || self.trial || self.own.plan.revision > 0 {
            return None;
        }
        let both = self.own.have.iter().filter_map(|text| Version::parse(text));
        let newest = both.filter(|version| peer.has(version)).max()?;
        Some(self.own.plan.next(&newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(minor: u32, patch: u32) -> Version {
        Version::parse(&format!("v1.{minor}.{patch}+k3s1")).unwrap()
    }

    fn node(plan: Option<(u64, &Version)>, running: Option<&Version>, have: &[Version]) -> Node {
        let plan = plan
            .map_or(Plan::default(), |(revision, version)| Plan { revision, version: version.to_string() });
        let have = have.iter().map(ToString::to_string).collect();
        Node { plan, running: running.map(ToString::to_string), have, ready: true }
    }

    #[test]
    fn servers_change_one_after_the_other_the_standby_first() {
        let (old, new) = (version(33, 4), version(34, 1));
        let both = [old.clone(), new.clone()];
        let own = node(Some((2, &new)), Some(&old), &both);
        let view = View { layout: Layout::TwoServers, own: &own, peer: None, active: false, trial: false };
        assert_eq!(view.next(), Next::Change(new.clone()));
        let behind = node(Some((1, &old)), Some(&old), &both);
        let there = node(Some((2, &new)), Some(&new), &both);
        let sick = Node { ready: false, ..there.clone() };
        for (peer, wanted) in [(&behind, false), (&sick, false), (&there, true)] {
            let next = View { active: true, peer: Some(peer), ..view }.next();
            assert_eq!(next == Next::Change(new.clone()), wanted, "{next:?}");
        }
        assert!(matches!(View { trial: true, ..view }.next(), Next::Wait(_)));
        let without = node(Some((2, &new)), Some(&old), std::slice::from_ref(&old));
        assert_eq!(View { own: &without, ..view }.next(), Next::Missing(new));
    }

    #[test]
    fn an_agent_is_never_newer_than_its_server() {
        let (old, new) = (version(33, 4), version(34, 1));
        let both = [old.clone(), new.clone()];
        let own = node(Some((2, &new)), Some(&old), &both);
        let view = View { layout: Layout::OneServer, own: &own, peer: None, active: false, trial: false };
        assert!(matches!(view.next(), Next::Wait(_)), "nothing is known of the server");
        assert_eq!(View { active: true, ..view }.next(), Next::Change(new.clone()), "the server goes first");
        let server = node(Some((2, &new)), Some(&new), &both);
        assert_eq!(View { peer: Some(&server), ..view }.next(), Next::Change(new));
        // Back by a patch: the other way round.
        let (newer, older) = (version(33, 5), version(33, 4));
        let have = [newer.clone(), older.clone()];
        let own = node(Some((3, &older)), Some(&newer), &have);
        let peer = node(Some((3, &older)), Some(&newer), &have);
        let view = View { own: &own, peer: Some(&peer), ..view };
        assert_eq!(view.next(), Next::Change(older));
        assert!(matches!(View { active: true, ..view }.next(), Next::Wait(_)));
    }

    #[test]
    fn what_the_pair_may_choose() {
        let (old, new, far) = (version(33, 4), version(34, 1), version(35, 0));
        let all = [old.clone(), new.clone(), far.clone(), version(32, 9)];
        let own = node(Some((1, &old)), Some(&old), &all);
        let view =
            View { layout: Layout::TwoServers, own: &own, peer: Some(&own), active: true, trial: false };
        assert_eq!(view.propose(&new).unwrap(), Plan { revision: 2, version: new.to_string() });
        assert!(view.propose(&far).unwrap_err().contains("v1.34 first"));
        assert!(view.propose(&version(32, 9)).unwrap_err().contains("earlier minor"));
        assert!(view.propose(&version(33, 9)).unwrap_err().contains("this node does not have"));
        let poor = node(Some((1, &old)), Some(&old), std::slice::from_ref(&old));
        assert!(
            View { peer: Some(&poor), ..view }
                .propose(&new)
                .unwrap_err()
                .contains("the other node does not have")
        );
        assert!(View { peer: None, ..view }.propose(&new).unwrap_err().contains("does not answer"));
        assert!(View { trial: true, ..view }.propose(&new).unwrap_err().contains("update of the system"));
        let late = node(Some((1, &old)), None, &all);
        assert!(View { peer: Some(&late), ..view }.propose(&new).unwrap_err().contains("on its way"));
        let (fresh, other) =
            (node(None, Some(&old), &all), node(None, Some(&old), &[old.clone(), new.clone()]));
        let first = View { own: &fresh, peer: Some(&other), ..view };
        assert_eq!(first.first().unwrap().version, new.to_string());
        assert_eq!(View { active: false, ..first }.first(), None);
    }

    /// Two nodes, each with what it last heard of the other.
    #[derive(Debug, Clone)]
    struct World {
        layout: Layout,
        nodes: [Node; 2],
        heard: [Option<Node>; 2],
        active: usize,
        trial: bool,
    }

    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Talk(usize),
        Act(usize),
        Choose(usize, u32, u32),
        FailOver,
        Reboot(usize),
        Trial(bool),
        Silence(usize),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            4 => (0..2_usize).prop_map(Happens::Talk),
            6 => (0..2_usize).prop_map(Happens::Act),
            2 => (0..2_usize, 32..36_u32, 0..2_u32).prop_map(|(at, minor, patch)| Happens::Choose(at, minor, patch)),
            1 => Just(Happens::FailOver),
            1 => (0..2_usize).prop_map(Happens::Reboot),
            1 => any::<bool>().prop_map(Happens::Trial),
            1 => (0..2_usize).prop_map(Happens::Silence),
        ]
    }

    impl World {
        fn new(layout: Layout) -> Self {
            let have: Vec<Version> =
                (32..36).flat_map(|minor| [version(minor, 0), version(minor, 1)]).collect();
            let own = node(Some((1, &version(32, 0))), Some(&version(32, 0)), &have);
            Self { layout, nodes: [own.clone(), own], heard: [None, None], active: 0, trial: false }
        }

        fn view(&self, at: usize) -> View<'_> {
            View {
                layout: self.layout,
                own: &self.nodes[at],
                peer: self.heard[at].as_ref(),
                active: self.active == at,
                trial: self.trial,
            }
        }

        fn step(&mut self, happens: Happens) {
            match happens {
                Happens::Talk(at) => {
                    let other = self.nodes[1 - at].clone();
                    self.nodes[at].plan = Plan::agreed(&self.nodes[at].plan, &other.plan);
                    self.heard[at] = Some(other);
                }
                Happens::Act(at) => {
                    if let Next::Change(version) = self.view(at).next() {
                        assert!(!self.trial, "nothing changes during a trial");
                        self.nodes[at].running = Some(version.to_string());
                    }
                }
                Happens::Choose(at, minor, patch) => {
                    if let Ok(plan) = self.view(at).propose(&version(minor, patch)) {
                        self.nodes[at].plan = plan;
                    }
                }
                // A server starts with the pair's choice, as its unit says; both are connected, so both know it.
                Happens::FailOver => {
                    let known = Plan::agreed(&self.nodes[0].plan, &self.nodes[1].plan);
                    self.active = 1 - self.active;
                    let (new, old) = (self.active, 1 - self.active);
                    for node in &mut self.nodes {
                        node.plan = known.clone();
                    }
                    if self.layout == Layout::OneServer {
                        let wanted = known.version().unwrap();
                        // The former server stops before its agent starts; it may be the newer one.
                        if self.nodes[old].running() > Some(wanted.clone()) {
                            self.nodes[old].running = None;
                        }
                        self.nodes[new].running = Some(wanted.to_string());
                    }
                    self.heard = [None, None];
                }
                Happens::Reboot(at) => {
                    self.nodes[at].running = None;
                    self.heard[at] = None;
                }
                Happens::Trial(on) => self.trial = on,
                Happens::Silence(at) => self.heard[at] = None,
            }
        }

        fn check(&self) -> Result<(), TestCaseError> {
            let [a, b] = &self.nodes;
            if let (Some(x), Some(y)) = (a.running(), b.running()) {
                prop_assert!(x.minor().1.abs_diff(y.minor().1) <= 1, "too far apart: {x} {y}");
                if self.layout == Layout::OneServer {
                    let server = if self.active == 0 { &x } else { &y };
                    let agent = if self.active == 0 { &y } else { &x };
                    prop_assert!(
                        agent.minor() <= server.minor(),
                        "the agent {agent} is newer than its server {server}"
                    );
                }
            }
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_rules_of_skew_hold(one in any::<bool>(), list in prop::collection::vec(happens(), 1..60)) {
            let mut world = World::new(if one { Layout::OneServer } else { Layout::TwoServers });
            for happens in list {
                world.step(happens);
                world.check()?;
            }
            // Left alone with an open line, both come to one version.
            world.trial = false;
            for _ in 0..6 {
                for at in 0..2 {
                    world.step(Happens::Talk(at));
                    world.step(Happens::Act(at));
                    world.check()?;
                }
            }
            prop_assert_eq!(world.nodes[0].running(), world.nodes[1].running());
            prop_assert_eq!(world.nodes[0].running(), world.nodes[0].plan.version());
        }
    }
}
