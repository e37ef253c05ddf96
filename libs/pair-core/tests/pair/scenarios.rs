//! The runs and their bounds.

use crate::{
    diagram::draw,
    model::{Found, Pair, explore},
    table,
    world::{Left, Scenario, Twist},
};
use pair_core::{message::Mode, rules::Rules};
use std::time::Duration;

pub const BASE: Scenario = Scenario {
    name: "base",
    rules: Rules::ALL,
    mode: Mode::Witness,
    late: false,
    next: (Mode::Witness, 0),
    power: false,
    taint: false,
    left: Left {
        crash: 0,
        link: 0,
        outage: 0,
        sleep: 0,
        write: 0,
        loss: 0,
        delay: 0,
        fence: 0,
        agent: 0,
        disk: 0,
        restore: 0,
        replace: 0,
        clone: 0,
        leave: 0,
        switchover: 0,
        policy: 0,
        promote: 0,
        clients: 0,
    },
    alive: false,
    twist: Twist::None,
};

pub fn report(scenario: &Scenario, found: &Found) {
    let per = found.states as f64 / found.took.as_secs_f64();
    println!(
        "{:<34} {:>10} states {:>11} generated  depth {:>3}  {:>7.1?}  {:>8.0}/s{}",
        scenario.name,
        found.states,
        found.generated,
        found.depth,
        found.took,
        per,
        if found.complete { "" } else { "  (stopped)" }
    );
}

#[test]
fn probe() {
    let env =
        |name: &str, or: u8| -> u8 { std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(or) };
    let left = Left {
        crash: env("CRASH", 1),
        link: env("LINK", 1),
        outage: env("OUTAGE", 0),
        sleep: env("SLEEP", 0),
        write: env("WRITE", 1),
        loss: env("LOSS", 0),
        delay: env("DELAY", 0),
        fence: env("FENCE", 0),
        agent: env("AGENT", 0),
        disk: env("DISK", 0),
        restore: env("RESTORE", 0),
        replace: env("REPLACE", 0),
        clone: env("CLONE", 0),
        leave: env("LEAVE", 0),
        switchover: env("SWITCHOVER", 0),
        policy: env("POLICY", 0),
        promote: env("PROMOTE", 0),
        clients: env("CLIENTS", 0),
    };
    let scenario = Scenario { name: "probe", left, alive: env("ALIVE", 0) > 0, ..BASE };
    let found = explore(scenario, Duration::from_secs(env("BOUND", 10) as u64 * 10));
    report(&scenario, &found);
    if let Some((law, moves)) = &found.broken {
        let pair = Pair::new(scenario);
        println!("{law}\n{}", draw(&pair, moves));
    }
    for ((kind, name), n) in table::total() {
        println!("{n:>12}  {kind}: {name}");
    }
}
