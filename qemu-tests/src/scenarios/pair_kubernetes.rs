//! Kubernetes over PostgreSQL on the pair: either node loses power, a pod's volume follows, the API server behind a healthy
//! virtual IP dies.

use super::formed::{Kind, Lab};
use super::kubernetes::{Cluster, name, patience, until};
use super::{Context, Scenario};
use crate::harness::api::{self, Api, Asker};
use crate::harness::kubectl::Kubectl;
use anyhow::ensure;
use edgepair_layout::path::NODE_INIT;
use serde_json::json;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-kubernetes",
    shows: "`kubectl get nodes` at the virtual IP before, during and after a power cut of the active node; gaps of endpoint \
            and datastore; the mark on the lost node; a volume that follows; requests lost when an API server dies behind the \
            balancer",
    run,
};

/// The same for the other node; not in each test run, where the loss of the active one says more.
pub const STANDBY: Scenario = Scenario {
    name: "pair-kubernetes-standby",
    shows: "`kubectl get nodes` at the virtual IP before, during and after a power cut of the standby; gaps of endpoint and \
            datastore; the mark on the lost node",
    run: |context| context.with_kind(Kind::Postgres, |lab| standby(context, lab)),
};

const UNIT: &str = "edgepair-k3s-server.service";
const VOLUME: &str = "shop";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_kind(Kind::Postgres, |lab| balancer(context, lab))?;
    context.with_kind(Kind::Postgres, |lab| active(context, lab))
}

/// The API server of the active node is killed: through the balancer the other one answers.
fn balancer(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<()> {
    let doors = lab.pair.spec.doors.clone();
    let kubectl = Kubectl::of(&mut lab.pair, lab.active, doors.balancer)?;
    let asker = |door| anyhow::Ok(Asker::ready(&Api::new(&kubectl, door, patience(context))?));
    let (through, direct) = (asker(doors.balancer)?, asker(doors.kubernetes)?);
    for client in [&through, &direct] {
        client.wait_for(5, context.seconds(30))?;
    }
    println!("  through the balancer: {} nodes", kubectl.nodes()?.len());
    let side = lab.active;
    lab.pair.node(side)?.guest.run(&format!("systemctl kill --kill-whom=main --signal=KILL {UNIT}"))?;
    through.wait_for(20, context.seconds(30))?;
    direct.wait_for(5, context.seconds(60))?;
    let (through, direct) = (through.stop(), direct.stop());
    println!(
        "  API server of node {side} (active) killed: through the balancer {} of {} requests lost, longest gap {:.1} s; \
         without it {} of {}, {:.1} s ({})",
        api::lost(&through),
        through.len(),
        api::gap(&through).as_secs_f32(),
        api::lost(&direct),
        direct.len(),
        api::gap(&direct).as_secs_f32(),
        kubectl.what
    );
    ensure!(
        api::lost(&direct) > 0,
        "the API server was killed, and nobody noticed: the count counts nothing"
    );
    // One that was under way, and one that met the closed port before the first check.
    ensure!(api::lost(&through) <= 2, "the balancer lost {} requests", api::lost(&through));
    Ok(())
}

fn standby(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<()> {
    let cluster = Cluster::watch(context, lab)?;
    let dead = lab.active.other();
    let node = name(lab, dead);
    let fault = cluster.cut(context, lab, dead)?;
    cluster.wait_marked(context, &node, true, fault)?;
    let back = cluster.bring_back(context, lab, dead)?;
    cluster.wait_marked(context, &node, false, back)?;
    cluster.verdict()
}

fn active(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<()> {
    let cluster = Cluster::watch(context, lab)?;
    let dead = lab.active;
    let (node, heir) = (name(lab, dead), name(lab, dead.other()));
    lab.pair.node(dead)?.guest.run(&format!("{NODE_INIT} volume create {VOLUME} --size 64"))?;
    cluster.kubectl.fed(&["create", "-f", "-"], &set())?;
    let runs = |on: &str| {
        let pod = cluster.kubectl.json(&["get", "pod", "shop-0"])?;
        let gone = pod["metadata"]["deletionTimestamp"].is_string();
        ensure!(
            !gone && pod["status"]["phase"] == "Running" && pod["spec"]["nodeName"] == on,
            "{}",
            pod["status"]
        );
        Ok(pod["status"]["message"].as_str().unwrap_or_default().to_owned())
    };
    until(context.seconds(60), "the pod on the active node", || runs(&node))?;

    let fault = cluster.cut(context, lab, dead)?;
    ensure!(lab.pair.active()? == Some(dead.other()), "the standby is not active");
    cluster.wait_marked(context, &node, true, fault)?;
    // Kubernetes' own periods pass here: whoever led the controllers may have died, and its lease has to run out.
    let said = until(context.seconds(120), "the pod on the other node", || runs(&heir))?;
    println!(
        "  pod shop-0 is on {heir} after {:.1} s, volume: {said} ({})",
        fault.elapsed().as_secs_f32(),
        cluster.kubectl.what
    );
    if cluster.kubectl.what.contains("stand-in") {
        ensure!(said.contains(&format!("used before on {node}")), "the volume's past is not there: {said}");
    }
    let back = cluster.bring_back(context, lab, dead)?;
    cluster.wait_marked(context, &node, false, back)?;
    cluster.verdict()
}

/// One pod with a volume of the pair.
fn set() -> String {
    let labels = json!({ "app": "shop" });
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "shop" },
        "spec": {
            "serviceName": "shop", "replicas": 1, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{
                    "name": "shop", "image": "docker.io/rancher/mirrored-pause:3.6",
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "storageClassName": "edgepair-replicated", "accessModes": ["ReadWriteOnce"], "volumeName": VOLUME,
                    "resources": { "requests": { "storage": "64Mi" } },
                },
            }],
        },
    })
    .to_string()
}
