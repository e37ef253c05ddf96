//! Another version of k3s: the pair changes to it node by node while clients ask; what Kubernetes does not allow is refused;
//! an extension that was changed on the disk or is gone is not run, and neither is another version in its place.

use super::formed::{Kind, Lab, now};
use super::kubernetes::{Cluster, name, until};
use super::{Context, Scenario};
use crate::harness::site::Side;
use crate::harness::ssh::{self, words};
use anyhow::{Context as _, ensure};
use edgepair_extension::IMAGE;
use edgepair_layout::path::{EXTENSIONS_STATE, NODE_INIT};
use std::path::{Path, PathBuf};

pub const SCENARIO: Scenario = Scenario {
    name: "pair-kubernetes-version",
    shows: "a signed extension with the next minor version is taken by both nodes, which change to it one after the other; \
            two minor versions at once and the way back are refused; changed or gone on one node, that node runs no k3s and says \
            why, until it is brought again",
    run,
};

const UNITS: &str = "edgepair-extension.service edgepair-k3s-server.service";

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let folder = context.extensions.context(
        "this scenario needs --extensions with extension files and release.pub\n  to do: `cargo xtask test kubernetes` makes them",
    )?;
    let files = extensions(folder)?;
    let [next, far] = &files[..] else {
        anyhow::bail!("{} needs two extension files, and has {}", folder.display(), files.len());
    };
    context.with_kind(Kind::Postgres, |lab| {
        let cluster = Cluster::watch(context, lab)?;
        let old = running(lab, lab.active)?;
        ssh::trust(&mut lab.pair, &folder.join("release.pub"))?;
        for side in Side::BOTH {
            for (_, file) in &files {
                let begun = now();
                let text = install(lab, side, file)?;
                println!("  node {side} took it in {:.0} s: {text}", begun.elapsed().as_secs_f32());
            }
        }
        let answer = use_version(lab, &far.0)?;
        ensure!(answer.contains("more than one minor version"), "two steps at once: {answer}");
        println!("  {} at once: {answer}", far.0);

        let begun = now();
        use_version(lab, &next.0)?;
        for side in Side::BOTH {
            until(context.seconds(120), "the next version", || {
                let status = lab.pair.status(side)?.kubernetes.context("no Kubernetes")?;
                ensure!(status.ready && status.version.as_deref() == Some(&next.0), "{status:?}");
                Ok(())
            })?;
        }
        println!("  both nodes run {} after {:.0} s", next.0, begun.elapsed().as_secs_f32());
        for side in Side::BOTH {
            let node = name(lab, side);
            until(context.seconds(60), "the version that the cluster shows", || {
                let node = cluster.kubectl.json(&["get", "node", &node])?;
                let shown = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
                ensure!(shown == next.0, "{shown}");
                Ok(())
            })?;
        }
        let answer = use_version(lab, &old)?;
        ensure!(answer.contains("earlier minor version"), "the way back: {answer}");
        println!("  back to {old}: {answer}");
        cluster.verdict()?;

        let standby = lab.active.other();
        let own = format!("'{EXTENSIONS_STATE}/{}'", next.0);
        // Where its file system begins, and in the middle of its program. Each byte becomes the next one, so it is another one
        // whatever it was; that the file did change is asked afterwards.
        let file = format!("{own}/{IMAGE}");
        let middle = format!("$(( $(stat -c %s {file}) / 2 ))");
        for (what, place) in [("changed at its beginning", "1048576"), ("changed in its middle", &middle)] {
            let part = format!("dd if={file} bs=1 skip={place} count=4 status=none");
            let change = format!(
                "{part} > /run/before; tr '\\000-\\377' '\\001-\\377\\000' < /run/before \
                 | dd of={file} bs=1 seek={place} conv=notrunc status=none && sync && ! {part} | cmp -s - /run/before"
            );
            refused(context, lab, standby, next, what, &change)?;
        }
        refused(context, lab, standby, next, "gone from the disk", &format!("rm -r {own}"))?;
        Ok(())
    })
}

/// The extension files of a folder with their versions, the lowest first.
fn extensions(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let middle = name.strip_prefix("k3s_").and_then(|rest| rest.strip_suffix(".extension"));
        if let Some((version, _)) = middle.and_then(|middle| middle.rsplit_once('_')) {
            files.push((version.to_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}

fn running(lab: &mut Lab, side: Side) -> anyhow::Result<String> {
    lab.pair.status(side)?.kubernetes.and_then(|status| status.version).context("no version of k3s runs")
}

fn install(lab: &mut Lab, side: Side, file: &Path) -> anyhow::Result<String> {
    let command = format!("{NODE_INIT} extension install -");
    let said = ssh::begin(&mut lab.pair, side, &command, file)?.wait_with_output()?;
    ensure!(said.status.success(), "node {side} does not take {}: {}", file.display(), words(&said));
    Ok(words(&said))
}

fn use_version(lab: &mut Lab, version: &str) -> anyhow::Result<String> {
    let side = lab.active;
    let deadline = lab.pair.spec.seconds(10);
    Ok(lab.pair.node(side)?.guest.try_run(&format!("{NODE_INIT} extension use {version}"), deadline)?.text)
}

/// A node whose copy is no good runs no k3s, and no other version in its place, until it is brought again.
fn refused(
    context: &Context<'_>,
    lab: &mut Lab,
    side: Side,
    (version, file): &(String, PathBuf),
    what: &str,
    fault: &str,
) -> anyhow::Result<()> {
    // As at a boot: nothing is mounted of it yet.
    lab.pair.node(side)?.guest.run(&format!(
        "systemctl stop {UNITS}; \
         for m in /run/edgepair/extensions/*; do for i in $(seq 100); do mountpoint -q $m || break; umount $m || sleep 0.2; done; \
         ! mountpoint -q $m || exit 9; done; \
         for map in $(ls /dev/mapper | grep ^edgepair-k3s-); do /usr/lib/systemd/systemd-veritysetup detach $map || exit 8; done; \
         ( {fault} ) || exit 7; echo 3 > /proc/sys/vm/drop_caches; systemctl start --no-block {UNITS}"
    ))?;
    let begun = now();
    let text = until(context.seconds(60), "what node-init says about it", || {
        let status = lab.pair.status(side)?;
        let kubernetes = status.kubernetes.as_ref().context("no Kubernetes")?;
        ensure!(kubernetes.version.is_none() && !kubernetes.ready, "{kubernetes:?}");
        let text = status.problems.iter().find(|text| text.contains(version.as_str()));
        text.cloned().with_context(|| format!("{:?}", status.problems))
    })?;
    println!("  {what} on node {side}: {text}");
    let units = lab.pair.node(side)?.guest.run("pgrep -c '^k3s' || true")?;
    ensure!(units.trim() == "0", "k3s runs: {units}");
    install(lab, side, file)?;
    until(context.seconds(120), "k3s runs again", || {
        let status = lab.pair.status(side)?.kubernetes.context("no Kubernetes")?;
        ensure!(status.ready && status.version.as_ref() == Some(version), "{status:?}");
        Ok(())
    })?;
    println!("    brought again, ready after {:.0} s", begun.elapsed().as_secs_f32());
    Ok(())
}
