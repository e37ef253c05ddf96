//! The witness's database is restored from an old copy after the role has moved → it does not say what it does not know; the
//! pair goes on, and tells it anew.

use super::{Context, Scenario, now, row};
use anyhow::{Context as _, ensure};

pub const SCENARIO: Scenario = Scenario {
    name: "failover-witness-restored",
    shows: "after a failover the witness is restored from a copy of before it: the node that died may not become active by \
            what that copy says; the pair goes on and becomes whole",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let dead = watched.lab.active;
        let heir = dead.other();
        let witness = watched.lab.pair.witness.as_mut().context("no witness")?;
        witness.kill();
        witness.keep("old", false)?;
        witness.start()?;
        let fault = now();
        watched.lab.pair.kill(dead);
        watched.wait_written(context, &format!("power of node {dead} (active) gone"), fault)?;
        watched.wait_active(heir, context.seconds(20))?;
        let witness = watched.lab.pair.witness.as_mut().context("no witness")?;
        witness.kill();
        witness.restore_database("old")?;
        witness.start()?;
        let seen: serde_json::Value = serde_json::from_str(&witness.status()?)?;
        // How many pairs it knows of each kind; the lab has one.
        let unknown = seen["pairs"]["unknown"].as_u64();
        ensure!(unknown == Some(1), "a restored witness still says who may write:\n{seen:#}");
        watched.writer.wait_for(10, context.seconds(20)).context("writes beside a restored witness")?;
        watched.start(context, dead)?;
        let active = watched.wait_whole(context)?;
        ensure!(active == heir, "the node that died became active");
        Ok(())
    })
}
