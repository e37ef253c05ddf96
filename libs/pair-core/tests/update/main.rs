//! A pair that updates, with boot loaders that count tries: exhaustive within stated bounds.
//!
//! `cargo test --release -p pair-core --test update -- --nocapture`
mod picture;
mod world;

use pair_core::{
    rules::{Broken, Rules},
    update::Outcome,
};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Instant,
};
use world::{LAWS, Left, Move, NEW, OLD, ONE, World};

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

    /// Without further faults both nodes end on one version: the new one if it was decided, else the old one.
    fn ends_well(&self, world: &World) -> bool {
        let mut path = Vec::new();
        let mut world = World { left: Left::default(), ..world.clone() };
        for _ in 0..400 {
            let mut hasher = DefaultHasher::new();
            world.hash(&mut hasher);
            let print = hasher.finish();
            if self.good.lock().is_ok_and(|good| good.contains(&print)) {
                break;
            }
            path.push(print);
            let Some(the) = world.moves().first().copied() else {
                if !ended(&world) {
                    return false;
                }
                break;
            };
            world.act(the, self.rules);
        }
        if path.len() == 400 {
            return false;
        }
        if let Ok(mut good) = self.good.lock() {
            good.extend(path);
        }
        true
    }
}

fn ended(world: &World) -> bool {
    let outcomes = world.hosts.each_ref().map(|host| host.memory.facts.map(|facts| facts.outcome));
    let version = if outcomes.contains(&Some(Outcome::Decided)) { NEW } else { OLD };
    let kept = |host: &world::Host| version == OLD || host.entry == world::Entry::Good;
    world.hosts.iter().all(|host| host.booted == version && kept(host))
        && !outcomes.contains(&Some(Outcome::Open))
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
                Move::Answer(_, good) => format!("move answer {good}"),
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

fn env(name: &str, or: u8) -> u8 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

#[test]
fn the_pair_ends_on_one_version() {
    let soak = env("EDGEPAIR_SOAK", 0);
    let pair =
        Pair::new(Rules::default(), Left { cut: 2 + soak, sick: 1, panic: 1, lose: 1, start: 1, limit: 1 });
    let found = explore("2 cuts, 1 bad answer, 1 panic, 1 loss, 1 limit", &pair);
    if let Some((law, moves)) = &found {
        println!("{law}\n{}", draw(&pair, moves));
    }
    assert!(found.is_none());
    let twice = Pair::new(Rules::default(), Left { cut: 1, sick: 1, panic: 0, lose: 0, start: 2, limit: 1 });
    let again = explore("started twice, 1 cut, 1 bad answer, 1 limit", &twice);
    if let Some((law, moves)) = &again {
        println!("{law}\n{}", draw(&twice, moves));
    }
    assert!(again.is_none());
    let fired = pair.fired.lock().map(|map| map.clone()).unwrap_or_default();
    for (name, n) in &fired {
        println!("{n:>12}  {name}");
    }
    let effects =
        ["Arm", "Bless", "Check", "MarkBad", "Prove", "Reboot", "Store", "Switchover", "Tell", "Write"];
    let moves = ["Boot", "Cut", "Lose", "Mail", "Observe", "Panic", "Repeat", "Retry", "Start", "Limit"];
    let moves = moves.map(|name| format!("move {name}")).into_iter();
    let wanted = effects.map(|name| format!("effect {name}")).into_iter().chain(moves);
    let never: Vec<String> = wanted.filter(|name| !fired.contains_key(name)).collect();
    assert!(never.is_empty(), "never fired: {never:?}");
}

fn caught(name: &str, rule: Broken, left: Left) {
    let pair = Pair::new(Rules::without(rule), left);
    let (law, moves) = explore(name, &pair).expect("the broken variant is caught");
    println!("{law}\n{}", draw(&pair, &moves));
    assert!(explore("  the same with all rules", &Pair::new(Rules::default(), left)).is_none());
}

#[test]
fn bless_before_the_decision() {
    caught("bless before the decision", Broken::BlessEarly, Left { start: 1, ..Left::default() });
}

#[test]
fn health_failure_boots_the_trial_again() {
    caught("a failed trial boots again", Broken::RetryFailed, Left { start: 1, sick: 1, ..Left::default() });
}
