//! What goes wrong with k3s itself: each fault has an answer that is bounded, and a sentence in `status` that says what it is.
//! The other node's API server goes on behind the virtual IP meanwhile.

use super::formed::{Kind, Lab, now};
use super::kubernetes::{Cluster, until};
use super::{Context, Scenario};
use crate::harness::Deadline;
use crate::harness::site::Side;
use anyhow::{Context as _, bail, ensure};
use edgepair_status::Role;

pub const SCENARIO: Scenario = Scenario {
    name: "pair-kubernetes-faults",
    shows: "wrong token, a k3s that ends at once, one that never gets ready, a full disk below its images, storage that is \
            slow, certificates that expire in a jump of the clock: each said in words, the role stays, and k3s comes back by \
            itself when the fault is gone",
    run,
};

const UNIT: &str = "edgepair-k3s-server.service";
const CONFIG: &str = "/etc/rancher/k3s/server.yaml";
/// Where k3s has its images.
const IMAGES: &str = "/var/lib/rancher";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    context.with_kind(Kind::Postgres, |lab| {
        let cluster = Cluster::watch(context, lab)?;
        let (active, standby) = (lab.active, lab.active.other());
        // Most of them on the standby: whoever is active goes on to serve, which the cluster's clients see.
        changed(
            context,
            lab,
            standby,
            "the wrong token",
            r#"s/"token": "[^"]*"/"token": "another"/"#,
            "token",
        )?;
        changed(
            context,
            lab,
            standby,
            "an option that k3s has not",
            // With the token in its name, so that k3s says it: `status` must not.
            r#"s/"token": "\([^"]*\)"/"no-such-option-\1": true, "token": "\1"/"#,
            "ends by itself",
        )?;
        full_disk(context, lab, standby)?;
        slow_storage(context, lab, active)?;
        cluster.verdict()?;
        // Behind the clients' back: their own certificates end with it.
        clock(context, lab)?;
        hangs(lab, standby)?;
        ensure!(lab.pair.active()? == Some(active), "the role moved");
        Ok(())
    })
}

/// Waits until a node says something with these words; returns all of it.
fn said(lab: &mut Lab, side: Side, words: &str, deadline: Deadline) -> anyhow::Result<String> {
    loop {
        let status = lab.pair.status(side)?;
        let why = status.kubernetes.as_ref().and_then(|kubernetes| kubernetes.why.clone());
        if let Some(text) = status.problems.iter().chain(&why).find(|text| text.contains(words)) {
            return Ok(text.clone());
        }
        if deadline.passed() {
            bail!("node {side} does not say `{words}`: {:?}, Kubernetes: {why:?}", status.problems);
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// Waits until Kubernetes on a node is well again and the node says so.
fn well(lab: &mut Lab, side: Side, deadline: Deadline) -> anyhow::Result<()> {
    until(deadline, "Kubernetes is well again", || {
        let status = lab.pair.status(side)?;
        let kubernetes = status.kubernetes.as_ref().context("no Kubernetes")?;
        let told = status.problems.iter().find(|text| text.starts_with("Kubernetes:"));
        ensure!(kubernetes.ready && told.is_none(), "{:?}, {told:?}", kubernetes.why);
        Ok(())
    })
}

/// k3s starts with another configuration, and later again with its own.
fn changed(
    context: &Context<'_>,
    lab: &mut Lab,
    side: Side,
    what: &str,
    edit: &str,
    words: &str,
) -> anyhow::Result<()> {
    let begun = now();
    let again = format!("systemctl restart --no-block {UNIT}");
    let guest = &mut lab.pair.node(side)?.guest;
    guest.run(&format!("cp -p {CONFIG} /run/own-config && sed -i '{edit}' {CONFIG} && ! cmp -s {CONFIG} /run/own-config && {again}"))?;
    let text = said(lab, side, words, context.seconds(60))?;
    let guest = &mut lab.pair.node(side)?.guest;
    let token = guest.run(r#"sed -n 's/.*"token": "\([^"]*\)".*/\1/p' /run/own-config"#)?;
    ensure!(token.len() > 16, "`{CONFIG}` has no token: {token}");
    ensure!(!text.contains(token.trim()), "the token is in `status`: {text}");
    println!("  {what} on node {side}, said after {:.0} s: {text}", begun.elapsed().as_secs_f32());
    let begun = now();
    let guest = &mut lab.pair.node(side)?.guest;
    guest.run(&format!("cp -p /run/own-config {CONFIG} && rm /run/own-config && {again}"))?;
    well(lab, side, context.seconds(90))?;
    println!("    mended, ready again after {:.0} s", begun.elapsed().as_secs_f32());
    Ok(())
}

/// The disk that containerd unpacks images on is full.
fn full_disk(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    let fill = format!(
        "free=$(stat -f -c '%a * %S' {IMAGES}); fallocate -l $(( free - 64 * 1048576 )) {IMAGES}/filler"
    );
    lab.pair.node(side)?.guest.run(&fill)?;
    let text = said(lab, side, "own disk is nearly full", context.seconds(20))?;
    println!("  a full disk below the images of node {side}: {text}");
    ensure!(lab.pair.status(side)?.role == Role::Standby, "node {side} is no standby any more");
    lab.pair.node(side)?.guest.run(&format!("rm {IMAGES}/filler"))?;
    gone(context, lab, side, "own disk is nearly full")
}

/// Every write to a node's disk takes long. The datastore's too: a commit is on both disks. The kernel's account is a mean
/// over a minute, on any machine.
fn slow_storage(context: &Context<'_>, lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    lab.pair.node(side)?.throttle(4)?;
    let result = said(lab, side, "storage is slow", Deadline::seconds(300));
    lab.pair.node(side)?.throttle(0)?;
    println!("  storage of node {side} with 4 operations a second: {}", result?);
    gone(context, lab, side, "storage is slow")?;
    well(lab, side, context.seconds(90))
}

/// k3s stands still before it is ready.
fn hangs(lab: &mut Lab, side: Side) -> anyhow::Result<()> {
    let begun = now();
    let guest = &mut lab.pair.node(side)?.guest;
    guest.run(&format!(
        "systemctl restart --no-block {UNIT}; for i in $(seq 600); do pid=$(systemctl show -P MainPID {UNIT}); \
         [ \"$(systemctl show -P SubState {UNIT})\" = start ] && [ \"$pid\" -gt 0 ] && kill -STOP $pid && break; sleep 0.1; done; \
         [ \"$(systemctl show -P ActiveState {UNIT})\" = activating ]"
    ))?;
    // The sentence comes after eight minutes and after ten systemd starts it anew, however fast the machine is.
    let text = said(lab, side, "has not become ready in", Deadline::seconds(11 * 60))?;
    ensure!(!text.contains("no-such-option"), "words about an earlier fault: {text}");
    println!(
        "  k3s that never gets ready on node {side}, said after {:.0} s: {text}",
        begun.elapsed().as_secs_f32()
    );
    well(lab, side, Deadline::seconds(6 * 60))?;
    println!(
        "    started anew by itself, ready {:.0} s after it began to hang",
        begun.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Both clocks jump two years: every certificate has expired. Each node's k3s is started anew, and renews its own.
fn clock(context: &Context<'_>, lab: &mut Lab) -> anyhow::Result<()> {
    let begun = now();
    for side in Side::BOTH {
        lab.pair.node(side)?.guest.run("date -s '+2 years'")?;
    }
    for side in Side::BOTH {
        until(context.seconds(60), "k3s is started anew for its certificates", || {
            let line = "a certificate of k3s has expired: k3s is started anew and renews it";
            ensure!(lab.pair.journal(side).contains(line), "node {side} does not say so");
            Ok(())
        })?;
    }
    for side in Side::BOTH {
        well(lab, side, context.seconds(90))?;
        let check = "k3s kubectl get nodes --no-headers";
        let nodes = lab.pair.node(side)?.guest.run(check)?;
        ensure!(nodes.lines().count() == 2, "node {side}: {nodes}");
    }
    println!(
        "  both clocks two years ahead: certificates renewed, both ready after {:.0} s",
        begun.elapsed().as_secs_f32()
    );
    Ok(())
}

fn gone(context: &Context<'_>, lab: &mut Lab, side: Side, words: &str) -> anyhow::Result<()> {
    until(context.seconds(60), "the sentence is gone", || {
        let problems = lab.pair.status(side)?.problems;
        ensure!(!problems.iter().any(|text| text.contains(words)), "{problems:?}");
        Ok(())
    })
}
