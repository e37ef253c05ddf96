//! A third box joins the pair's cluster through the virtual IP and rides out the loss of the active node.

use super::formed::{Kind, now};
use super::kubernetes::{Cluster, until};
use super::{Context, Scenario};
use crate::harness::site::WORKER;
use crate::harness::vm::{Begin, Vm};
use anyhow::{Context as _, ensure};

pub const SCENARIO: Scenario = Scenario {
    name: "pair-kubernetes-worker",
    shows: "a worker from the same image and seed joins through the virtual IP, and stays ready when the active node loses \
            power",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_kind(Kind::Postgres, |lab| {
        let cluster = Cluster::watch(context, lab)?;
        let name = lab.site.seed.workers.values().next().context("the seed's worker")?.hostname.clone();
        let disk = lab.pair.spec.dir.join("flashed-worker.img");
        lab.site.flash(&context.image.disk, &disk)?;
        let config = lab.pair.spec.third(WORKER.1, &disk);
        let dir = lab.pair.spec.dir.join("worker");
        Vm::prepare(context.image, &config, &dir)?;
        let begun = now();
        let mut worker = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
        let ready = || {
            let nodes = cluster.kubectl.nodes()?;
            ensure!(nodes.iter().any(|(node, state)| *node == name && state == "Ready"), "{nodes:?}");
            Ok(())
        };
        until(context.seconds(200), "the worker", || {
            worker.unstick()?;
            ready()
        })?;
        println!(
            "  {name} is ready {:.1} s after power-on ({})",
            begun.elapsed().as_secs_f32(),
            cluster.kubectl.what
        );
        let renewed = || {
            cluster.kubectl.run(&[
                "get",
                "lease",
                "-n",
                "kube-node-lease",
                &name,
                "-o",
                "jsonpath={.spec.renewTime}",
            ])
        };
        let dead = lab.active;
        let fault = cluster.cut(context, lab, dead)?;
        // Two heartbeats: the first may have been under way.
        let mut last = renewed()?;
        for _ in 0..2 {
            last = until(context.seconds(60), "a heartbeat of the worker", || {
                let next = renewed()?;
                ensure!(next != last, "none since {last}");
                Ok(next)
            })?;
        }
        ready()?;
        println!(
            "  {name} is heard again and ready {:.1} s after the power cut ({})",
            fault.elapsed().as_secs_f32(),
            cluster.kubectl.what
        );
        worker.kill();
        cluster.verdict()
    })
}
