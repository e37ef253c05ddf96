//! Kubernetes over a database outside the pair: both nodes are servers, and only the virtual IP moves.

use super::formed::Kind;
use super::kubernetes::{Cluster, name};
use super::{Context, Scenario};
use anyhow::ensure;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-kubernetes-external",
    shows: "a database outside the pair: `kubectl get nodes` at the virtual IP before, during and after a power cut of \
            either node; what was acknowledged is there, and is in that database",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_new(Kind::External, |lab| {
        let cluster = Cluster::watch(context, lab)?;
        // First the node with the virtual IP, then the one that has become the standby of the other.
        for dead in [lab.active, lab.active.other()] {
            let node = name(lab, dead);
            let fault = cluster.cut(context, lab, dead)?;
            ensure!(lab.pair.active()? == Some(dead.other()), "node {} is not active", dead.other());
            cluster.wait_marked(context, &node, true, fault)?;
            let back = cluster.bring_back(context, lab, dead)?;
            cluster.wait_marked(context, &node, false, back)?;
        }
        cluster.verdict()?;
        let rows = context.shared.outside(|database| {
            database.query(
                "SELECT count(*) FROM kine WHERE name LIKE '/registry/configmaps/default/%' AND created = 1",
            )
        })?;
        println!("  {rows} of the objects were made in the database outside the pair");
        ensure!(rows != "0", "nothing is in the database outside the pair");
        Ok(())
    })
}
