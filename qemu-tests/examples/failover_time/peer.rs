//! The peers: two machines of another image, made into a cluster by the script in it (`qemu-tests/peers/`).

use super::{Bench, COMMITS, COMMITS_ALONE, CPU, CUT, RSS, SWITCH, cost};
use anyhow::{Context as _, bail, ensure};
use qemu_tests::harness::Image;
use qemu_tests::harness::pair::{Pair, Spec};
use qemu_tests::harness::site::{Side, Site, Wishes};
use qemu_tests::harness::writer::Reach;
use std::path::Path;
use std::time::Duration;

/// A peer.
pub struct Peer {
    /// Its name in the journal.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Steps of its script, each on these nodes.
    steps: &'static [(&'static str, &'static [Side])],
    /// After this step one node serves without replication.
    alone_after: Option<&'static str>,
    /// Whether its script can move the role.
    switches: bool,
}

const BOTH: &[Side] = &[Side::A, Side::B];

pub const PACEMAKER: Peer = Peer {
    name: "pacemaker",
    title: "Pacemaker + Corosync + DRBD + PostgreSQL",
    steps: &[("disks", BOTH), ("data", &[Side::A]), ("cluster", BOTH), ("resources", &[Side::A])],
    alone_after: None,
    switches: true,
};

pub const REPMGR: Peer = Peer {
    name: "repmgr",
    title: "PostgreSQL + repmgr + keepalived",
    steps: &[("primary", &[Side::A]), ("standby", &[Side::B]), ("watch", BOTH)],
    alone_after: Some("primary"),
    switches: false,
};

const FORMED: &str = "formed";

/// A formed cluster.
struct Cluster {
    pair: Pair,
    reach: Reach,
    password: String,
    active: Side,
}

impl Cluster {
    fn step(&mut self, bench: &Bench, side: Side, step: &str) -> anyhow::Result<String> {
        let number = side as usize + 1;
        let line = format!("NR={number} PASSWORD={} /usr/lib/peer/setup {step} 2>&1", self.password);
        let answer = self.pair.node(side)?.guest.try_run(&line, bench.seconds(150))?;
        ensure!(
            answer.status == 0,
            "`setup {step}` on node {side} ended with {}:\n{}",
            answer.status,
            answer.text
        );
        Ok(answer.text)
    }

    fn find_active(&mut self, bench: &Bench) -> anyhow::Result<Side> {
        for side in Side::BOTH {
            if self.step(bench, side, "active").is_ok() {
                return Ok(side);
            }
        }
        bail!("neither node has the address")
    }
}

pub fn measure(bench: &mut Bench, peer: &Peer, image: &Image) -> anyhow::Result<()> {
    let wanted = [(CUT, bench.runs), (RSS, 1), (COMMITS, 1), (SWITCH, usize::from(peer.switches))];
    if wanted.iter().all(|(what, count)| bench.has(peer.name, what, *count)) {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("edgepair-").tempdir()?;
    let mut cluster = form(bench, peer, image, dir.path()).inspect_err(|_| {
        for side in Side::BOTH {
            let text = std::fs::read_to_string(dir.path().join(side.letter()).join("journal.log"))
                .unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("-- node {side}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    })?;
    let log = dir.path().join("acknowledged.log");
    let active = cluster.active;
    if !bench.has(peer.name, RSS, 1) {
        let pids = cluster.step(bench, active, "cost")?;
        let (rss, cpu) = cost::of(&mut cluster.pair.node(active)?.guest, &pids)?;
        bench.journal.add(peer.name, RSS, rss)?;
        bench.journal.add(peer.name, CPU, cpu)?;
        let rate = cost::commits(&mut cluster.pair.node(active)?.guest, bench.seconds(60))?;
        bench.journal.add(peer.name, COMMITS, rate)?;
    }
    if peer.switches && !bench.has(peer.name, SWITCH, 1) {
        back(bench, &mut cluster)?;
        let reach = cluster.reach.clone();
        let gap = bench.switch(&reach, &log, || cluster.step(bench, active, "switch").map(drop))?;
        bench.journal.add(peer.name, SWITCH, gap)?;
    }
    while !bench.has(peer.name, CUT, bench.runs) {
        back(bench, &mut cluster)?;
        let took = bench.cut(&mut cluster.pair, &cluster.reach, active, &log)?;
        bench.journal.add(peer.name, CUT, took)?;
    }
    Ok(())
}

/// Takes the cluster back to when it was formed, and lets it settle as ours does.
fn back(bench: &Bench, cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.pair.load(FORMED)?;
    std::thread::sleep(Duration::from_secs(2 * bench.accel.patience()));
    cluster.reach.wait(bench.seconds(40)).context("the saved cluster")
}

fn form(bench: &mut Bench, peer: &Peer, image: &Image, dir: &Path) -> anyhow::Result<Cluster> {
    let spec = Spec::new(dir, image, bench.accel, false)?;
    // For its password only: the peers have no seed.
    let site = Site::make(&dir.join("seed"), &Wishes::manual("lab", bench.accel))?;
    for side in Side::BOTH {
        Pair::flash_plain(&spec, side)?;
    }
    let reach = Reach::new(spec.doors.postgres, &site, Duration::from_secs(2 * bench.accel.patience()));
    let password = site.database_password().expose_secret().to_owned();
    let mut cluster = Cluster { pair: Pair::open(&spec)?, reach, password, active: Side::A };
    for side in Side::BOTH {
        cluster.pair.start(side)?;
    }
    for side in Side::BOTH {
        cluster.pair.node(side)?.wait_shell(bench.seconds(120))?;
    }
    for (step, sides) in peer.steps {
        for side in *sides {
            eprintln!("failover_time: {}: {step} on node {side}", peer.name);
            cluster.step(bench, *side, step)?;
        }
        if peer.alone_after == Some(step) && !bench.has(peer.name, COMMITS_ALONE, 1) {
            let rate = cost::commits(&mut cluster.pair.node(sides[0])?.guest, bench.seconds(60))?;
            bench.journal.add(peer.name, COMMITS_ALONE, rate)?;
        }
    }
    cluster.reach.wait(bench.seconds(120)).context("the cluster does not serve")?;
    cluster.active = cluster.find_active(bench)?;
    cluster.pair.save(FORMED)?;
    Ok(cluster)
}
