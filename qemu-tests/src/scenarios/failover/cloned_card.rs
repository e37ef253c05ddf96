//! The standby's card is copied while the pair is connected, the pair goes on, and the copy is started in another box of the
//! same kind in place of the standby → it is no replica of this pair: it does not connect, is never active, and says why. With
//! the right card and box the pair is whole again.
//!
//! To DRBD such a copy looks current: the generations of a connected pair do not change while it writes.

use super::{Context, Scenario, now, row};
use crate::harness::pair::Extra;
use crate::harness::site::copy_sparse;
use anyhow::{Context as _, ensure};
use edgepair_status::Role;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-cloned-card",
    shows: "an old copy of the standby's card starts in another box in its place: it is refused with an alarm, does not connect \
            and is never active",
    run,
};

const FILES: [&str; 2] = ["disk.qcow2", "vars.qcow2"];

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 0, |watched| {
        let active = watched.lab.active;
        let standby = active.other();
        let folder = watched.lab.folder(standby);
        let (copy, own) = (folder.join("copy"), folder.join("own"));
        for folder in [&copy, &own] {
            std::fs::create_dir_all(folder)?;
        }
        // Both stand still, so neither sees a pause of the other; a machine that stands still has given its disk everything.
        for side in [active, standby] {
            watched.lab.pair.node(side)?.pause(true)?;
        }
        for file in FILES {
            copy_sparse(&folder.join(file), &copy.join(file))?;
        }
        for side in [active, standby] {
            watched.lab.pair.node(side)?.pause(false)?;
        }
        watched.writer.wait_for(20, context.seconds(40)).context("writes after the copy was made")?;
        let fault = now();
        watched.lab.pair.kill(standby);
        watched.wait_written(context, &format!("power of node {standby} (standby) gone"), fault)?;
        for file in FILES {
            std::fs::rename(folder.join(file), own.join(file))?;
            std::fs::rename(copy.join(file), folder.join(file))?;
        }
        // Another box of the same kind; even its network card has the address that the seed names.
        let arguments = ["-smbios", "type=1,serial=LAB-ANOTHER-BOX"].map(str::to_owned).into();
        watched.lab.pair.extra[standby as usize] = Extra { arguments, ..Extra::default() };
        watched.lab.pair.start(standby)?;
        watched.lab.pair.node(standby)?.wait_shell(context.seconds(60))?;
        let deadline = context.seconds(60);
        let line = loop {
            let status = watched.lab.pair.status(standby);
            let problems = status.as_ref().map(|status| status.problems.clone()).unwrap_or_default();
            if let Some(line) = problems.iter().find(|line| line.contains("is a copy or was moved")) {
                break line.clone();
            }
            ensure!(!deadline.passed(), "a copied card says nothing of it: {status:?}");
            std::thread::sleep(Duration::from_millis(500));
        };
        println!("  copy of node {standby}'s card in another box: {line}");
        std::thread::sleep(Duration::from_secs(10 * context.accel.patience()));
        let status = watched.lab.pair.status(standby)?;
        println!("  after a while: {}, {}; {:?}", status.role, status.why, status.problems);
        ensure!(status.role == Role::Waiting, "a copied card is more than waiting: {status:?}");
        let link = status.drbd.map(|drbd| drbd.connection).unwrap_or_default();
        ensure!(link == "StandAlone", "a copied card is connected: {link}");
        let alarm = status.problems.iter().any(|line| line.contains("is not the one it was paired with"));
        ensure!(alarm, "no alarm: {:?}", status.problems);
        watched.writer.wait_for(10, context.seconds(20)).context("writes beside a copied card")?;
        watched.lab.pair.kill(standby);
        for file in FILES {
            std::fs::rename(own.join(file), folder.join(file))?;
        }
        watched.lab.pair.extra[standby as usize] = Extra::default();
        watched.start(context, standby)?;
        let whole = watched.wait_whole(context)?;
        ensure!(whole == active, "the role moved");
        Ok(())
    })
}
