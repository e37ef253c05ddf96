//! Pure: what is to be done in the cluster, from what is wanted and what was seen.

use super::kubectl::{self, Nodes};
use edgepair_host_io::Invocation;
use std::fmt;

/// What the agent wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// This node is active and not frozen: only such a one changes anything in the cluster.
    pub active: bool,
    /// It has the active role, frozen or not: with one server for both nodes, that is here.
    pub primary: bool,
    /// Both nodes are there and current.
    pub healthy: bool,
    /// This node is about to hand over, or an update is under way: a cordon of ours stays.
    pub moving: bool,
    /// The other node's k3s answers.
    pub other_ready: bool,
    /// The other node is surely silent (true), or back (false), since this agent runs.
    pub taint: Option<bool>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Kubernetes may take this node's pods for ended.
    Taint(String),
    /// It is back.
    Untaint(String),
    /// It was cordoned for a switchover that is over.
    Uncordon(String),
    /// Volumes on the replicated storage are to be used there from now on, or no more.
    Label(String, bool),
}

/// What is to be done, in this order. `names`: this node's, the other's. `tainted`: the present wish was carried out.
#[must_use]
pub fn of(wants: &Wants, nodes: &Nodes, names: &(String, String), tainted: bool) -> Vec<Deed> {
    if !wants.active {
        return Vec::new();
    }
    let mut deeds = Vec::new();
    let other = nodes.get(&names.1);
    if wants.taint == Some(true) && !tainted && other.is_some() {
        deeds.push(Deed::Taint(names.1.clone()));
    }
    // Also one that an earlier agent has set: both are here, so nobody is out of service.
    let back = wants.taint == Some(false) || wants.healthy && wants.taint.is_none();
    if back && other.is_some_and(|node| node.out_of_service) {
        deeds.push(Deed::Untaint(names.1.clone()));
    }
    // This node serves: whatever was said of it by the other one is over.
    if nodes.get(&names.0).is_some_and(|node| node.out_of_service) {
        deeds.push(Deed::Untaint(names.0.clone()));
    }
    if !wants.moving {
        // This node itself takes its pods back also without the other one: nobody else could.
        let over = |node: &&kubectl::Node| wants.healthy || node.name == names.0;
        let ours = nodes.all().iter().filter(|node| node.cordoned_by_us && node.trouble.is_none());
        deeds.extend(ours.filter(over).map(|node| Deed::Uncordon(node.name.clone())));
    }
    // Away from the one before it is with the other: at no time do two have it.
    if other.is_some_and(|node| node.active) {
        deeds.push(Deed::Label(names.1.clone(), false));
    }
    if nodes.get(&names.0).is_some_and(|node| !node.active) {
        deeds.push(Deed::Label(names.0.clone(), true));
    }
    deeds
}

impl Deed {
    /// The calls that do it. Each may be repeated.
    #[must_use]
    pub fn calls(&self) -> Vec<Invocation> {
        match self {
            Self::Taint(node) => vec![kubectl::taint(node)],
            Self::Untaint(node) => vec![kubectl::untaint(node)],
            Self::Uncordon(node) => kubectl::uncordon(node),
            Self::Label(node, active) => vec![kubectl::label(node, *active)],
        }
    }

    /// The event that tells why.
    #[must_use]
    pub fn event(&self, now: std::time::SystemTime) -> Option<Invocation> {
        match self {
            Self::Taint(node) => Some(kubectl::event(
                node,
                "Warning",
                "EdgepairOutOfService",
                "the node is without power or has reset itself: edgepair lets its pods start elsewhere at once",
                now,
            )),
            Self::Untaint(node) => {
                let message = "the node is back and its copy of the data is current";
                Some(kubectl::event(node, "Normal", "EdgepairBackInService", message, now))
            }
            Self::Uncordon(_) | Self::Label(..) => None,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taint(node) => {
                write!(f, "{node} is marked as out of service, so that its pods start elsewhere")
            }
            Self::Untaint(node) => write!(f, "{node} is back in service"),
            Self::Uncordon(node) => write!(f, "{node} takes pods again"),
            Self::Label(node, true) => write!(f, "volumes of the pair are used on {node}"),
            Self::Label(node, false) => write!(f, "volumes of the pair are not used on {node} any more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::kubernetes::kubectl::Node;

    fn nodes(change: impl FnOnce(&mut [Node; 2])) -> Nodes {
        let node = |name: &str| Node { name: name.into(), ..Node::default() };
        let mut both = [Node { active: true, ..node("a") }, node("b")];
        change(&mut both);
        Nodes::from(both.to_vec())
    }

    fn done(wants: &Wants, nodes: &Nodes, tainted: bool) -> Vec<Deed> {
        of(wants, nodes, &("a".into(), "b".into()), tainted)
    }

    #[test]
    fn only_the_active_node_acts_and_only_once() {
        let lost = Wants { active: true, taint: Some(true), ..Wants::default() };
        assert_eq!(done(&lost, &nodes(|_| {}), false), [Deed::Taint("b".into())]);
        assert_eq!(done(&lost, &nodes(|_| {}), true), []);
        assert_eq!(done(&Wants { active: false, ..lost }, &nodes(|_| {}), false), []);
        let alone = Nodes::from(vec![Node { name: "a".into(), active: true, ..Node::default() }]);
        assert_eq!(done(&lost, &alone, false), [], "a node that never joined has no pods");
    }

    #[test]
    fn a_taint_goes_when_the_node_is_back_also_one_of_an_earlier_agent() {
        let tainted = nodes(|both| both[1].out_of_service = true);
        let untaint = [Deed::Untaint("b".into())];
        let wants = Wants { active: true, taint: Some(false), ..Wants::default() };
        assert_eq!(done(&wants, &tainted, false), untaint);
        let fresh = Wants { active: true, healthy: true, ..Wants::default() };
        assert_eq!(done(&fresh, &tainted, false), untaint);
        assert_eq!(done(&Wants { healthy: false, ..fresh }, &tainted, false), [], "nothing is known yet");
        // Both died; the one that was marked came back first and serves.
        let own = nodes(|both| both[0].out_of_service = true);
        assert_eq!(done(&Wants { healthy: false, ..fresh }, &own, false), [Deed::Untaint("a".into())]);
    }

    #[test]
    fn the_label_moves_with_the_role() {
        let wants = Wants { active: true, ..Wants::default() };
        let before = nodes(|both| (both[0].active, both[1].active) = (false, true));
        assert_eq!(
            done(&wants, &before, false),
            [Deed::Label("b".into(), false), Deed::Label("a".into(), true)]
        );
        assert_eq!(done(&wants, &nodes(|_| {}), false), []);
    }

    #[test]
    fn a_cordon_of_ours_ends_with_the_move_and_others_stay() {
        let cordoned = nodes(|both| both[1].cordoned_by_us = true);
        let wants = Wants { active: true, healthy: true, ..Wants::default() };
        assert_eq!(done(&wants, &cordoned, false), [Deed::Uncordon("b".into())]);
        assert_eq!(done(&Wants { moving: true, ..wants }, &cordoned, false), []);
        let sick = nodes(|both| (both[1].cordoned_by_us, both[1].trouble) = (true, Some("not ready".into())));
        assert_eq!(done(&wants, &sick, false), []);
        assert_eq!(done(&wants, &nodes(|_| {}), false), []);
        let own = nodes(|both| both[0].cordoned_by_us = true);
        let alone = Wants { healthy: false, ..wants };
        assert_eq!(done(&alone, &own, false), [Deed::Uncordon("a".into())], "a switchover that was refused");
        assert_eq!(done(&alone, &cordoned, false), []);
    }
}
