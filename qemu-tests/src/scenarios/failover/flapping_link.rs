//! The link between the nodes comes and goes for a minute → one node is active, and the role moves once at the most.

use super::{Context, Scenario, now, row};
use crate::harness::pair::Place;
use std::time::Duration;

pub const SCENARIO: Scenario = Scenario {
    name: "failover-flapping-link",
    shows: "the link between the nodes comes and goes for a minute: the role moves once at the most, and the pair becomes \
            whole",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    row(context, 1, |watched| {
        let active = watched.lab.active;
        let fault = now();
        let mut times = 0_u32;
        while fault.elapsed() < Duration::from_secs(60) {
            // From shorter than the detection to longer than the standby waits.
            let pause = Duration::from_millis(700 + 900 * u64::from(times % 5));
            watched.lab.pair.cut(Place::Node(active), Place::Node(active.other()), times.is_multiple_of(2));
            times += 1;
            std::thread::sleep(pause);
        }
        watched.lab.pair.heal()?;
        println!("  the link between the nodes changed {times} times in a minute");
        watched.wait_written(context, "after the last change", now())?;
        watched.wait_whole(context).map(|_| ())
    })
}
