//! The model as stateright explores it.

use crate::{
    act::Act,
    calm::Good,
    laws,
    moves::Move,
    world::{Scenario, World},
};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Clone)]
pub struct Pair {
    pub scenario: Scenario,
    pub good: Arc<Good>,
}

impl Pair {
    pub fn new(scenario: Scenario) -> Pair {
        Pair { scenario, good: Arc::default() }
    }

    pub fn step(&self, world: &World, the: Move) -> World {
        let mut next = world.clone();
        let mut act = Act::new(&self.scenario);
        next.act(the, &mut act);
        next
    }
}

macro_rules! law {
    ($law:expr) => {
        Property::<Pair>::always($law, |pair: &Pair, world: &World| world.holds($law, &pair.scenario))
    };
}

impl Model for Pair {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World::formed(&self.scenario)]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        // A broken state is reported; what follows from it is of no interest.
        if world.breaks(&self.scenario).is_none() {
            moves.extend(world.moves(&self.scenario));
        }
    }

    fn next_state(&self, world: &World, the: Move) -> Option<World> {
        let next = self.step(world, the);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            law!(laws::ONE_WRITER),
            law!(laws::KEPT),
            law!(laws::CURRENT),
            law!(laws::ADDRESS),
            law!(laws::PAIRED),
            law!(laws::BOTH),
            law!(laws::SETTLES),
            Property::<Pair>::always(laws::RECOVERS, |pair: &Pair, world: &World| {
                !pair.scenario.alive || world.recovers(&pair.scenario, None, &pair.good)
            }),
            Property::<Pair>::always(laws::SURVIVES, |pair: &Pair, world: &World| {
                let stands = |at| !world.current(at) || world.recovers(&pair.scenario, Some(at), &pair.good);
                !pair.scenario.alive || (stands(0) && stands(1))
            }),
        ]
    }
}

/// What a run found.
pub struct Found {
    pub states: usize,
    pub generated: usize,
    /// Length of the longest path.
    pub depth: usize,
    pub took: Duration,
    /// The first law broken, and how.
    pub broken: Option<(&'static str, Vec<Move>)>,
    pub complete: bool,
}

/// Explores everything within the scenario's bounds. Depth first: its frontier is a path, where breadth first keeps
/// millions of worlds. What it finds broken is looked for once more breadth first, for the shortest way to it.
#[allow(clippy::disallowed_methods, reason = "a test measures itself")]
pub fn explore(scenario: Scenario, bound: Duration) -> Found {
    let begun = Instant::now();
    let checker = || Pair::new(scenario).checker().threads(2).finish_when(HasDiscoveries::Any).timeout(bound);
    let deep = checker().spawn_dfs().join();
    let mut found = Found {
        states: deep.unique_state_count(),
        generated: deep.state_count(),
        depth: deep.max_depth(),
        took: begun.elapsed(),
        complete: deep.is_done() && begun.elapsed() < bound,
        broken: shortest(&deep),
    };
    drop(deep);
    if found.broken.is_some() {
        found.broken = shortest(&checker().spawn_bfs().join()).or(found.broken);
    }
    found
}

fn shortest(checker: &impl Checker<Pair>) -> Option<(&'static str, Vec<Move>)> {
    let found = checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions()));
    found.min_by_key(|(_, path)| path.len())
}
