//! Our pair, with a witness, as the scenarios form it.

use super::{Bench, COMMITS, CPU, CUT, RSS, SWITCH, cost};
use edgepair_layout::path::NODE_INIT;
use qemu_tests::harness::Image;
use qemu_tests::scenarios::{Context, Kind, Shared};

const NAME: &str = "ours";

pub fn measure(bench: &mut Bench, image: &Image) -> anyhow::Result<()> {
    let common = tempfile::Builder::new().prefix("edgepair-").tempdir()?;
    let shared = Shared::default();
    let context = Context {
        image,
        dir: common.path(),
        common: common.path(),
        shared: &shared,
        accel: bench.accel,
        secure_boot: None,
        updates: None,
        extensions: None,
    };
    let log = common.path().join("acknowledged.log");
    for what in [RSS, SWITCH] {
        if bench.has(NAME, what, 1) {
            continue;
        }
        context.with_kind(Kind::Watched, |lab| {
            let active = lab.active;
            if what == RSS {
                let guest = &mut lab.pair.node(active)?.guest;
                let pid = guest.run("systemctl show --property=MainPID --value edgepair-agent.service")?;
                let (rss, cpu) = cost::of(guest, &pid)?;
                bench.journal.add(NAME, RSS, rss)?;
                bench.journal.add(NAME, CPU, cpu)?;
                let rate = cost::commits(&mut lab.pair.node(active)?.guest, bench.seconds(60))?;
                return bench.journal.add(NAME, COMMITS, rate);
            }
            let pair = &mut lab.pair;
            let gap = bench.switch(&lab.reach, &log, || {
                pair.node(active)?.guest.run(&format!("{NODE_INIT} switchover --no-wait")).map(drop)
            })?;
            bench.journal.add(NAME, SWITCH, gap)
        })?;
    }
    while !bench.has(NAME, CUT, bench.runs) {
        context.with_kind(Kind::Watched, |lab| {
            let took = bench.cut(&mut lab.pair, &lab.reach, lab.active, &log)?;
            bench.journal.add(NAME, CUT, took)
        })?;
    }
    Ok(())
}
