//! A pair that updates, with boot loaders that count tries: exhaustive within stated bounds.
//!
//! `cargo test --release -p pair-core --test update -- --nocapture`
mod picture;
mod world;

use pair_core::{
    rules::{Broken, Rules},
    update::{Outcome, UpdateReason, Updater},
};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Instant,
};
use world::{ACTIVE, BLESSED, LATER, LAWS, Left, Move, NEW, OLD, ONCE, ONE, REFUSED, TRIED, WHOLE, World};

#[derive(Clone)]
struct Pair {
    rules: Rules,
    left: Left,
    fired: Arc<Mutex<BTreeMap<String, u64>>>,
    /// States from which the undisturbed run is known to end well.
    good: Arc<Mutex<HashSet<u64>>>,
}

impl Pair {
    fn new(rules: Rules, left: Left) -> Pair {
        Pair { rules, left, fired: Arc::default(), good: Arc::default() }
    }

    /// Without further faults both nodes end on one version: the new one if it was decided, else the old one. Then they
    /// are silent.
    fn ends_well(&self, world: &World) -> bool {
        let mut path = Vec::new();
        let mut world = World { left: Left::default(), ..world.clone() };
        for _ in 0..400 {
            if world.broken.is_some() {
                // Found under its own name.
                return true;
            }
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            let print = hasher.finish();
            if self.good.lock().is_ok_and(|good| good.contains(&print)) {
                return self.remember(path);
            }
            path.push(print);
            let moves = world.moves();
            match moves.iter().find(|the| !matches!(the, Move::Retry(_))) {
                Some(the) => world.act(*the, self.rules),
                None => {
                    let before = world.clone();
                    for the in moves {
                        world.act(the, self.rules);
                    }
                    if world == before {
                        return ended(&world, self.left.solo > 0) && self.remember(path);
                    }
                }
            }
        }
        false
    }

    fn remember(&self, path: Vec<u64>) -> bool {
        if let Ok(mut good) = self.good.lock() {
            good.extend(path);
        }
        true
    }
}

fn ended(world: &World, solo: bool) -> bool {
    let outcomes = world.hosts.each_ref().map(|host| host.memory.facts.map(|facts| facts.outcome));
    let says = |reason| {
        let said = |host: &world::Host| host.updater.as_ref().map(Updater::reason) == Some(reason);
        world.hosts.iter().all(said)
    };
    let version = world.hosts[0].booted;
    let kept = |host: &world::Host| version == OLD || host.entry == world::Entry::Good;
    let one = world.hosts.iter().all(|host| host.booted == version && kept(host));
    let forward = !outcomes.contains(&Some(Outcome::Decided)) || version == NEW;
    let over = !outcomes.contains(&Some(Outcome::Open));
    // What was decided by one node alone may fail on the other one: then both say so.
    over && (one && forward && !says(UpdateReason::Mixed) || solo && !one && says(UpdateReason::Mixed))
}

impl Model for Pair {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.left)]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        if world.broken.is_none() {
            moves.extend(world.moves());
        }
    }

    fn next_state(&self, world: &World, the: Move) -> Option<World> {
        let mut next = world.clone();
        if let (Ok(mut fired), Move::Do(at)) = (self.fired.lock(), the) {
            let text = world.hosts[at].todo.front().map(|effect| format!("{effect:?}")).unwrap_or_default();
            let name = text[..text.find(['(', ' ']).unwrap_or(text.len())].to_owned();
            *fired.entry(format!("effect {name}")).or_default() += 1;
        } else if let Ok(mut fired) = self.fired.lock() {
            let text = format!("{the:?}");
            let name = match the {
                Move::Answer(_, _, good) => format!("move answer {good}"),
                _ => format!("move {}", &text[..text.find('(').unwrap_or(text.len())]),
            };
            *fired.entry(name).or_default() += 1;
        }
        next.act(the, self.rules);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LAWS[0], |_: &Pair, world: &World| world.broken != Some(LAWS[0])),
            Property::always(LAWS[1], |_: &Pair, world: &World| world.broken != Some(LAWS[1])),
            Property::always(LAWS[2], |_: &Pair, world: &World| world.broken != Some(LAWS[2])),
            Property::always(LAWS[3], |_: &Pair, world: &World| world.broken != Some(LAWS[3])),
            Property::always(LAWS[4], |_: &Pair, world: &World| world.broken != Some(LAWS[4])),
            Property::always(LAWS[5], |_: &Pair, world: &World| world.broken != Some(LAWS[5])),
            Property::always(LAWS[6], |_: &Pair, world: &World| world.broken != Some(LAWS[6])),
            Property::always(ONE, |pair: &Pair, world: &World| {
                world.broken.is_some() || pair.ends_well(world)
            }),
        ]
    }
}

#[allow(clippy::disallowed_methods, reason = "a test measures itself")]
fn explore(name: &str, pair: &Pair) -> Option<(&'static str, Vec<Move>)> {
    let begun = Instant::now();
    let checker = pair.clone().checker().threads(2).finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let took = begun.elapsed();
    println!(
        "{name:<44} {:>9} states {:>9} generated  depth {:>3}  {took:>7.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
    let mut found: Vec<_> =
        checker.discoveries().into_iter().map(|(law, path)| (law, path.into_actions())).collect();
    found.sort_by_key(|(_, path)| path.len());
    found.into_iter().next()
}

fn draw(pair: &Pair, moves: &[Move]) -> String {
    let mut world = World::new(pair.left);
    let mut text = format!("{:<40}| {:<38}| {:<38}\n", "", "a", "b");
    for the in moves {
        let effect = match *the {
            Move::Do(at) => world.hosts[at].todo.front().cloned(),
            _ => None,
        };
        world.act(*the, pair.rules);
        let what = match (the, effect) {
            (Move::Do(at), Some(effect)) => {
                let text = format!("{effect:?}");
                format!("{} {}", ["a", "b"][*at], &text[..text.find(['(', ' ']).unwrap_or(text.len())])
            }
            _ => format!("{the:?}"),
        };
        let sides = world.hosts.each_ref().map(|host| {
            let facts = host.memory.facts;
            let outcome = facts.map(|f| format!("{:?}{}", f.outcome, if f.passed { " passed" } else { "" }));
            let up = if host.up { format!("v{}", host.booted) } else { "off".to_owned() };
            format!("{up} {:?} {}", host.entry, outcome.unwrap_or_default())
        });
        text += &format!("{what:<40}| {:<38}| {:<38}\n", sides[0], sides[1]);
    }
    text
}

/// What may go wrong, in bounds that are explored whole.
const BOUNDS: [(&str, Left); 6] = [
    ("1 bad answer, 1 loss, time at any moment", Left { sick: 1, lose: 1, ..START }),
    ("2 cuts, 1 bad answer", Left { cut: 2, sick: 1, hasty: false, ..START }),
    ("1 cut, 1 panic, 1 limit", Left { cut: 1, panic: 1, limit: 1, hasty: false, ..START }),
    ("1 cut, 1 loss", Left { cut: 1, lose: 1, hasty: false, ..START }),
    ("started twice, 1 limit", TWICE),
    ("alone, 1 cut, 1 bad answer", Left { cut: 1, sick: 1, ..SOLO }),
];

/// As much again, which takes minutes: `EDGEPAIR_SOAK=1`.
const SOAK: [(&str, Left); 3] = [
    ("started twice, 1 bad answer, 1 limit (soak)", Left { sick: 1, ..TWICE }),
    (
        "1 cut, 1 panic, 1 loss, 1 limit (soak)",
        Left { cut: 1, panic: 1, lose: 1, limit: 1, hasty: false, ..START },
    ),
    ("3 cuts, 1 bad answer (soak)", Left { cut: 3, sick: 1, hasty: false, ..START }),
];

#[test]
fn the_pair_ends_on_one_version() {
    let soak = if std::env::var_os("EDGEPAIR_SOAK").is_some() { &SOAK[..] } else { &[] };
    let only = std::env::var("EDGEPAIR_RUN").ok();
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let wanted = |(name, _): &&(&str, Left)| only.as_deref().is_none_or(|only| name.contains(only));
    for (name, left) in BOUNDS.iter().chain(soak).filter(wanted) {
        let pair = Pair::new(Rules::default(), *left);
        whole(name, &pair);
        for (what, n) in pair.fired.lock().map(|map| map.clone()).unwrap_or_default() {
            *all.entry(what).or_default() += n;
        }
    }
    for (name, n) in &all {
        println!("{n:>12}  {name}");
    }
    let effects =
        ["Arm", "Bless", "Check", "MarkBad", "Prove", "Reboot", "Store", "Switchover", "Tell", "Write"];
    let moves =
        ["Boot", "Cut", "Lose", "Mail", "Observe", "Panic", "Repeat", "Retry", "Start", "Solo", "Limit"];
    let moves = moves.map(|name| format!("move {name}")).into_iter();
    let wanted = effects.map(|name| format!("effect {name}")).into_iter().chain(moves);
    let never: Vec<String> = wanted.filter(|name| !all.contains_key(name)).collect();
    assert!(only.is_some() || never.is_empty(), "never fired: {never:?}");
}

fn caught(name: &str, rule: Broken, law: &str, left: Left) {
    let pair = Pair::new(Rules::without(rule), left);
    let (found, moves) = explore(name, &pair).expect("the broken variant is caught");
    println!("{found}\n{}", draw(&pair, &moves));
    assert_eq!(found, law);
    whole("  the same with all rules", &Pair::new(Rules::default(), left));
}

/// Explores it, and nothing is found.
fn whole(name: &str, pair: &Pair) {
    if let Some((law, moves)) = explore(name, pair) {
        panic!("{law}\n{}", draw(pair, &moves));
    }
}

const START: Left = Left { cut: 0, sick: 0, panic: 0, lose: 0, start: 1, solo: 0, limit: 0, hasty: true };
const SOLO: Left = Left { start: 0, solo: 1, hasty: false, ..START };
const TWICE: Left = Left { start: 2, limit: 1, hasty: false, ..START };

#[test]
fn bless_before_the_decision() {
    caught("bless before the decision", Broken::BlessEarly, BLESSED, START);
}

#[test]
fn health_failure_boots_the_trial_again() {
    caught("a failed trial boots again", Broken::RetryFailed, REFUSED, Left { sick: 1, ..START });
}

#[test]
fn an_answer_counts_for_any_plan() {
    caught("an answer counts for any plan", Broken::AnyPlan, WHOLE, TWICE);
}

#[test]
fn a_new_plan_does_not_wait_for_the_old_write() {
    caught("a new plan does not wait", Broken::NoWaiting, ONCE, TWICE);
}

#[test]
fn what_is_to_be_kept_is_asked_once() {
    caught("keeping is asked once", Broken::BlessOnce, ONE, Left { sick: 1, ..START });
}

#[test]
fn what_failed_is_tried_at_once() {
    caught("what failed is tried at once", Broken::TryAtOnce, LATER, Left { sick: 1, ..START });
}

#[test]
fn a_switchover_is_asked_at_every_event() {
    caught("a switchover at every event", Broken::SwitchAgain, ONCE, START);
}

#[test]
fn what_was_told_once_counts_as_heard() {
    caught("told once is heard", Broken::TellOnce, ONE, Left { lose: 1, ..START });
}

#[test]
fn a_decision_made_alone_arms_an_unwritten_slot() {
    caught("an unwritten slot is armed", Broken::ArmUnwritten, WHOLE, SOLO);
}

#[test]
fn a_decision_made_alone_counts_as_a_trial() {
    caught("a decision counts as a trial", Broken::DecidedIsTried, TRIED, SOLO);
}

#[test]
fn a_node_goes_on_alone_beside_the_other_one() {
    caught("alone beside the other one", Broken::SoloForever, ACTIVE, SOLO);
}
