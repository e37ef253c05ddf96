//! Kubernetes over SQLite on the pair: the server and its folder move to the other node, which was an agent.

use super::formed::Kind;
use super::kubernetes::{Cluster, name};
use super::{Context, Scenario};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-kubernetes-sqlite",
    shows: "SQLite on the pair: `kubectl get nodes` at the virtual IP before, during and after a power cut of either node; the \
            agent turns into the server and nothing that was acknowledged is lost",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_kind(Kind::Sqlite, |lab| {
        let cluster = Cluster::watch(context, lab)?;
        // First the node with the server, then the one that it is by then the agent on.
        let dead = lab.active;
        for round in 0..2 {
            let node = name(lab, dead);
            let fault = cluster.cut(context, lab, dead)?;
            ensure!(lab.pair.active()? == Some(dead.other()), "node {} is not active", dead.other());
            if round == 0 {
                cluster.wait_marked(context, &node, true, fault)?;
            }
            cluster.bring_back(context, lab, dead)?;
            ensure!(lab.active == dead.other(), "the node that came back is active");
        }
        cluster.verdict()
    })
}
