//! What the Kubernetes scenarios have in common: real `kubectl` and clients that ask all the time, both at the virtual IP;
//! the loss of a node; the mark on it that comes and goes.

use super::Context;
use super::formed::{Lab, now};
use crate::harness::Deadline;
use crate::harness::api::{self, Api, Asked, Asker};
use crate::harness::kubectl::Kubectl;
use crate::harness::site::Side;
use anyhow::{Context as _, bail, ensure};
use edgepair_seed::NodeId;
use std::time::{Duration, Instant};

/// Kubernetes' own mark for a node that is surely off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A cluster under fire.
pub(super) struct Cluster {
    /// kubectl at the virtual IP.
    pub(super) kubectl: Kubectl,
    /// The way of the clients.
    pub(super) api: Api,
    ready: Asker,
    writer: Asker,
}

/// Name of a node in the cluster.
pub(super) fn name(lab: &Lab, side: Side) -> String {
    let id = match side {
        Side::A => NodeId::A,
        Side::B => NodeId::B,
    };
    lab.site.seed.node(id).hostname.clone()
}

/// How long one answer may take: what a client waits for a node that is dead is not the other one's gap.
pub(super) fn patience(context: &Context<'_>) -> Duration {
    Duration::from_millis(400 * context.accel.patience())
}

/// Waits until `kubectl get nodes` at the virtual IP shows both nodes ready.
pub(super) fn wait_ready(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<()> {
    let deadline = context.seconds(60);
    let door = lab.pair.spec.doors.kubernetes;
    loop {
        let seen = Kubectl::of(&mut lab.pair, lab.active, door).and_then(|kubectl| kubectl.nodes());
        let names = Side::BOTH.map(|side| name(lab, side));
        let ready = |name: &String, nodes: &[(String, String)]| {
            nodes.iter().any(|(node, state)| node == name && state == "Ready")
        };
        match seen {
            Ok(nodes) if names.iter().all(|name| ready(name, &nodes)) => return Ok(()),
            seen if deadline.passed() => bail!("Kubernetes is not ready on both nodes: {seen:?}"),
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

impl Cluster {
    /// Starts the clients, and shows the nodes as they are.
    pub(super) fn watch(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<Self> {
        let door = lab.pair.spec.doors.kubernetes;
        let kubectl = Kubectl::of(&mut lab.pair, lab.active, door)?;
        let api = Api::new(&kubectl, door, patience(context))?;
        let (ready, writer) = (Asker::ready(&api), Asker::writer(&api));
        let cluster = Self { kubectl, api, ready, writer };
        cluster.writer.wait_for(5, context.seconds(30)).context("before anything is done")?;
        println!("  before: {}", shown(&cluster.kubectl.nodes()?));
        Ok(cluster)
    }

    /// Pulls a node's plug, and waits for kubectl and for writes at the virtual IP.
    pub(super) fn cut(&self, context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<Instant> {
        let fault = now();
        lab.pair.kill(side);
        let nodes = until(context.seconds(60), "kubectl get nodes", || self.kubectl.nodes())?;
        println!(
            "  during: power of node {side} gone, `kubectl get nodes` answered after {:.1} s: {} ({})",
            fault.elapsed().as_secs_f32(),
            shown(&nodes),
            self.kubectl.what
        );
        self.writer.wait_for(5, context.seconds(60)).context("writes through the API after the fault")?;
        Ok(fault)
    }

    /// Waits until the mark is on a node, or gone.
    pub(super) fn wait_marked(
        &self,
        context: &Context<'_>,
        node: &str,
        marked: bool,
        since: Instant,
    ) -> anyhow::Result<()> {
        until(context.seconds(90), "the mark on the node", || {
            let node = self.kubectl.json(&["get", "node", node])?;
            let taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let there = taints.clone().any(|taint| taint["key"] == OUT_OF_SERVICE);
            ensure!(there == marked, "its taints are {:?}", taints.collect::<Vec<_>>());
            Ok(())
        })?;
        let what = if marked { "is marked as out of service" } else { "is not marked any more" };
        println!("  {node} {what} after {:.1} s ({})", since.elapsed().as_secs_f32(), self.kubectl.what);
        Ok(())
    }

    /// Switches a node on again and waits until the pair and the cluster are whole.
    pub(super) fn bring_back(
        &self,
        context: &Context<'_>,
        lab: &mut Lab,
        side: Side,
    ) -> anyhow::Result<Instant> {
        let begun = now();
        lab.pair.start(side)?;
        lab.active = lab.pair.wait_formed(context.seconds(200), &mut |_| {})?;
        wait_ready(context, lab)?;
        println!(
            "  after: both nodes ready {:.1} s after power-on, node {} is active: {}",
            begun.elapsed().as_secs_f32(),
            lab.active,
            shown(&self.kubectl.nodes()?)
        );
        Ok(begun)
    }

    /// Stops the clients; what they saw, and whether everything that was acknowledged is there.
    pub(super) fn verdict(self) -> anyhow::Result<()> {
        let (ready, written) = (self.ready.stop(), self.writer.stop());
        let kept = api::check(&self.api, &written)?;
        let line = |what: &str, asked: &[Asked]| {
            format!(
                "{what}: longest gap {:.1} s, {} of {} requests failed",
                api::gap(asked).as_secs_f32(),
                api::lost(asked),
                asked.len()
            )
        };
        println!("  {} ({})", line("endpoint", &ready), self.kubectl.what);
        println!(
            "  {}; {kept} objects acknowledged, 0 lost ({})",
            line("datastore behind it", &written),
            self.kubectl.what
        );
        Ok(())
    }
}

/// Tries until it succeeds.
pub(super) fn until<T>(
    deadline: Deadline,
    what: &str,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if deadline.passed() => return Err(error.context(format!("{what}: not in time"))),
            Err(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

fn shown(nodes: &[(String, String)]) -> String {
    nodes.iter().map(|(name, state)| format!("{name} {state}")).collect::<Vec<_>>().join(", ")
}
