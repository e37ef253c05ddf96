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
        lag: 0,
        restart: 0,
        rollback: 0,
    },
    alive: false,
    twist: Twist::None,
};

pub fn report(scenario: &Scenario, found: &Found) {
    let per = found.states as f64 / found.took.as_secs_f64();
    println!(
        "{:<34} {:>10} states {:>11} generated  path {:>4}  {:>7.1?}  {:>8.0}/s{}",
        scenario.name,
        found.states,
        found.generated,
        found.depth,
        found.took,
        per,
        if found.complete { "" } else { "  (stopped)" }
    );
}

const NONE: Left = BASE.left;

/// What the runs below must have fired, together: every name that `table` can give, but those that all rules
/// forbid or that need a witness no run has: exits 5 and other, "frozen meets Consistent", and the witness's
/// refusals HolderUnknown (a new database in a known lineage), SameDisk and EpochsExhausted.
const WANTED: &str = include_str!("wanted.txt");

fn runs() -> Vec<Scenario> {
    let run = |name, left| Scenario { name, left, alive: true, ..BASE };
    let mode = |name, mode, left| Scenario { name, mode, left, ..BASE };
    let promised = Scenario { taint: true, ..BASE };
    vec![
        run("2 crashes, 2 link changes", Left { crash: 2, link: 2, write: 3, ..NONE }),
        run("2 crashes, outage", Left { crash: 2, outage: 1, write: 3, ..NONE }),
        run("2 crashes, late wake", Left { crash: 2, sleep: 1, write: 3, ..NONE }),
        run("2 link changes, outage, late wake", Left { link: 2, outage: 1, sleep: 1, write: 3, ..NONE }),
        run("crash, 2 link changes, outage", Left { crash: 1, link: 2, outage: 1, write: 3, ..NONE }),
        run("crash, 2 link changes, late wake", Left { crash: 1, link: 2, sleep: 1, write: 3, ..NONE }),
        run("crash, link, delay, loss", Left { crash: 1, link: 1, delay: 1, loss: 1, write: 1, ..NONE }),
        run("crash, 2 delays", Left { crash: 1, delay: 2, write: 1, ..NONE }),
        run(
            "crash, link, agent dies, self-fence",
            Left { crash: 1, link: 1, agent: 1, fence: 1, write: 1, ..NONE },
        ),
        run("crash, link, disk error", Left { crash: 1, link: 1, disk: 1, write: 1, ..NONE }),
        run("crash, link, witness restored", Left { crash: 1, link: 1, restore: 1, write: 1, ..NONE }),
        run("crash, link, witness rolled back", Left { crash: 1, link: 1, rollback: 1, write: 1, ..NONE }),
        run("crash, 2 link changes, slow command", Left { crash: 1, link: 2, lag: 1, write: 1, ..NONE }),
        run("crash, leave, slow command", Left { crash: 1, link: 1, leave: 1, lag: 1, write: 1, ..NONE }),
        run(
            "crash, 2 link changes, agent restarts",
            Left { crash: 1, link: 2, agent: 1, restart: 1, write: 1, ..NONE },
        ),
        run("crash, leave", Left { crash: 1, leave: 1, write: 2, ..NONE }),
        run("crash, link, switchover", Left { crash: 1, link: 1, switchover: 1, write: 2, ..NONE }),
        run("crash, link, clients lost", Left { crash: 1, link: 1, clients: 1, write: 1, ..NONE }),
        Scenario {
            next: (Mode::Witness, 1),
            ..run("crash, link, other witness", Left { crash: 1, link: 1, policy: 1, write: 1, ..NONE })
        },
        Scenario {
            next: (Mode::Manual, 0),
            ..run("crash, link, witness to manual", Left { crash: 1, link: 1, policy: 1, write: 1, ..NONE })
        },
        Scenario {
            next: (Mode::Witness, 1),
            ..mode(
                "crash, link, manual to witness",
                Mode::Manual,
                Left { crash: 1, link: 1, policy: 1, write: 1, ..NONE },
            )
        },
        Scenario {
            left: Left { crash: 2, replace: 1, write: 1, ..NONE },
            name: "2 crashes, box replaced",
            ..BASE
        },
        Scenario {
            left: Left { crash: 2, clone: 1, write: 1, ..NONE },
            name: "2 crashes, clone put in",
            ..BASE
        },
        Scenario {
            left: Left { crash: 2, outage: 1, promote: 1, write: 1, ..NONE },
            name: "2 crashes, outage, operator promotes",
            ..BASE
        },
        Scenario {
            left: Left { crash: 1, link: 1, promote: 1, write: 1, ..NONE },
            name: "operator promotes",
            ..BASE
        },
        Scenario { left: Left { crash: 1, link: 1, write: 1, ..NONE }, name: "taints", ..promised },
        Scenario {
            power: true,
            ..mode("fence: crash, link, late wake", Mode::Fence, Left { crash: 1, link: 2, write: 2, ..NONE })
        },
        mode(
            "manual: 2 crashes, 2 link changes, promote",
            Mode::Manual,
            Left { crash: 2, link: 2, write: 2, promote: 1, ..NONE },
        ),
        mode(
            "availability-first: crash, link",
            Mode::AvailabilityFirst,
            Left { crash: 1, link: 1, write: 1, ..NONE },
        ),
    ]
}

fn check(scenario: Scenario) {
    check_within(scenario, Duration::from_secs(3600));
}

fn check_within(scenario: Scenario, bound: Duration) {
    let found = explore(scenario, bound);
    report(&scenario, &found);
    if let Some((law, moves)) = &found.broken {
        println!("{law}\n{}", draw(&Pair::new(scenario), moves));
    }
    assert!(found.broken.is_none(), "{}", scenario.name);
    assert!(found.complete, "{}: not everything was explored in time", scenario.name);
}

/// Every run with at most one fault of each kind: what a mutation test can afford for each mutant.
#[test]
fn the_laws_in_small() {
    for run in runs() {
        let one = |n: u8| n.min(1);
        let l = run.left;
        let left =
            Left { crash: one(l.crash), link: one(l.link), write: one(l.write), delay: one(l.delay), ..l };
        check(Scenario { left, ..run });
    }
}

#[test]
fn the_pair_keeps_its_laws() {
    let only = std::env::var("EDGEPAIR_RUN").ok();
    for scenario in
        runs().into_iter().filter(|run| only.as_ref().is_none_or(|only| run.name.contains(only.as_str())))
    {
        check(scenario);
    }
    let total = table::total();
    for ((kind, name), n) in &total {
        println!("{n:>12}  {kind}: {name}");
    }
    let fired: Vec<String> = total.keys().map(|(kind, name)| format!("{kind}: {name}")).collect();
    let never: Vec<&str> = WANTED.lines().filter(|line| !fired.iter().any(|fired| fired == line)).collect();
    assert!(only.is_some() || never.is_empty(), "never fired: {never:#?}");
}

/// All faults of the first runs in one: what two of them hide from each other shows here. Safety only; minutes in a release
/// build.
#[test]
#[cfg_attr(debug_assertions, ignore = "hours without optimisation")]
fn all_faults_together() {
    check(Scenario {
        name: "2 crashes, 2 links, outage, wake",
        left: Left { crash: 2, link: 2, outage: 1, sleep: 1, write: 3, ..NONE },
        ..BASE
    });
}

/// Any bound, by environment: `CRASH=2 LINK=2 LAG=1 WRITE=2 BOUND=90 …` (BOUND in tens of seconds). Without any it is the
/// smallest: one crash, one change of the link, one write.
#[test]
fn any_bound() {
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
        lag: env("LAG", 0),
        restart: env("RESTART", 0),
        rollback: env("ROLLBACK", 0),
    };
    let scenario = Scenario { name: "any bound", left, alive: env("ALIVE", 0) > 0, ..BASE };
    check_within(scenario, Duration::from_secs(u64::from(env("BOUND", 60)) * 10));
    for ((kind, name), n) in table::total() {
        println!("{n:>12}  {kind}: {name}");
    }
}
