//! Power cut of the active node to the first acknowledged write at the virtual IP: ours, a pair of Pacemaker and Corosync over
//! DRBD, and PostgreSQL with repmgr and keepalived, in turn, in the same virtual machines with the same kernel and writer. And
//! what the pair costs while nothing happens. One JSON object a line; `cargo xtask bench failover` builds the images.
//!
//! Each system is formed once and saved; each run begins from that state and ends with the first write that the survivor
//! acknowledged. What was measured is kept in a journal, so an interrupted measurement goes on where it was.

mod cost;
mod journal;
mod ours;
mod peer;

use anyhow::Context as _;
use clap::Parser;
use journal::Journal;
use qemu_tests::harness::accel::Accel;
use qemu_tests::harness::pair::Pair;
use qemu_tests::harness::site::Side;
use qemu_tests::harness::writer::{Reach, Verdict, Writer};
use qemu_tests::harness::{Deadline, Image, accel};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, Parser)]
struct Arguments {
    /// What `edgepair build --json` printed of the appliance.
    #[arg(long)]
    image: PathBuf,
    /// The same of qemu-tests/peers/pacemaker.toml.
    #[arg(long)]
    pacemaker: Option<PathBuf>,
    /// The same of qemu-tests/peers/repmgr.toml.
    #[arg(long)]
    repmgr: Option<PathBuf>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Where the journal is.
    #[arg(long, default_value = "target/bench-failover")]
    work: PathBuf,
    /// Only this system: ours, pacemaker or repmgr. The others' figures come from the journal.
    #[arg(long)]
    only: Option<String>,
}

/// What a system is asked; the names of its figures in the journal.
pub(crate) const CUT: &str = "power cut";
pub(crate) const SWITCH: &str = "switchover";
pub(crate) const RSS: &str = "rss";
pub(crate) const CPU: &str = "cpu";
pub(crate) const COMMITS: &str = "commits";
pub(crate) const COMMITS_ALONE: &str = "commits, one node without replication";

/// What all measurements share.
pub(crate) struct Bench {
    pub(crate) accel: Accel,
    pub(crate) runs: usize,
    pub(crate) journal: Journal,
}

impl Bench {
    pub(crate) fn seconds(&self, on_real_hardware: u64) -> Deadline {
        Deadline::seconds(on_real_hardware * self.accel.patience())
    }

    /// Whether there are enough figures of this kind.
    pub(crate) fn has(&self, system: &str, what: &str, wanted: usize) -> bool {
        self.journal.figures(system, what).len() >= wanted
    }

    /// Pulls the active node's plug while a writer goes on; seconds to the first write acknowledged afterwards.
    pub(crate) fn cut(
        &self,
        pair: &mut Pair,
        reach: &Reach,
        active: Side,
        log: &Path,
    ) -> anyhow::Result<f32> {
        let writer = Writer::start(reach, 1, log)?;
        writer.wait_for(20, self.seconds(40))?;
        let begun = now();
        pair.kill(active);
        // What the dead node acknowledged may still be on its way here.
        std::thread::sleep(Duration::from_millis(500));
        writer.wait_for(1, self.seconds(120)).context("no write after the power cut")?;
        let took = begun.elapsed().as_secs_f32();
        drop(writer.stop());
        Ok(took)
    }

    /// Moves the role in order while a writer goes on; the longest time between two acknowledged writes.
    pub(crate) fn switch(
        &self,
        reach: &Reach,
        log: &Path,
        order: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<f32> {
        let writer = Writer::start(reach, 1_000_000, log)?;
        writer.wait_for(20, self.seconds(40))?;
        order()?;
        writer.wait_for(50, self.seconds(60)).context("no writes after the switchover")?;
        Ok(Verdict::of(&writer.stop()?, &[]).gap.as_secs_f32())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let read = |path: &Path| -> anyhow::Result<Image> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).context("this is not what `edgepair build --json` prints")
    };
    let image = read(&arguments.image)?;
    std::fs::create_dir_all(&arguments.work)?;
    let mut bench = Bench {
        accel: accel::probe(&image),
        runs: arguments.runs,
        journal: Journal::open(&arguments.work.join("journal.jsonl"))?,
    };
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    if wanted("ours") {
        ours::measure(&mut bench, &image)?;
    }
    for (system, path) in [(&peer::PACEMAKER, &arguments.pacemaker), (&peer::REPMGR, &arguments.repmgr)] {
        if let (true, Some(path)) = (wanted(system.name), path) {
            peer::measure(&mut bench, system, &read(path)?)?;
        }
    }
    report(&bench);
    Ok(())
}

/// One line for each figure and each peer that has it.
fn report(bench: &Bench) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let conditions = format!(
        "{:?}, 2 processors for both nodes, load {} at the end, median of the runs",
        bench.accel,
        load.split(' ').next().unwrap_or("?")
    );
    let kinds = [
        ("failover/power_cut_to_write", "s", CUT),
        ("failover/switchover_gap", "s", SWITCH),
        ("failover/steady_rss", "MiB", RSS),
        ("failover/steady_cpu", "% of a processor", CPU),
        ("failover/commit_rate", "1/s", COMMITS),
    ];
    for (name, unit, what) in kinds {
        let ours = bench.journal.figures("ours", what);
        let peers = [(&peer::PACEMAKER, what), (&peer::REPMGR, what)]
            .map(|(peer, what)| (peer.title.to_owned(), bench.journal.figures(peer.name, what)));
        let alone = (what == COMMITS).then(|| {
            (
                "one node without replication".to_owned(),
                bench.journal.figures(peer::REPMGR.name, COMMITS_ALONE),
            )
        });
        for (peer_name, peer) in peers.into_iter().chain(alone).filter(|(_, runs)| !runs.is_empty()) {
            let ratio = median(&ours).zip(median(&peer)).map(|(ours, peer)| ours / peer);
            let line = serde_json::json!({
                "name": name, "unit": unit, "ours": median(&ours), "peer": median(&peer), "peer_name": peer_name,
                "ratio": ratio, "runs": { "ours": ours, "peer": peer }, "conditions": conditions,
            });
            println!("{line}");
        }
        if let (Some(value), true) = (median(&ours), peer_is_missing(bench, what)) {
            let line = serde_json::json!({
                "name": name, "unit": unit, "ours": value, "peer": null, "peer_name": null, "ratio": null,
                "runs": { "ours": ours, "peer": [] }, "conditions": conditions,
            });
            println!("{line}");
        }
    }
}

fn peer_is_missing(bench: &Bench, what: &str) -> bool {
    [&peer::PACEMAKER, &peer::REPMGR].iter().all(|peer| bench.journal.figures(peer.name, what).is_empty())
}

fn median(runs: &[f32]) -> Option<f32> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
