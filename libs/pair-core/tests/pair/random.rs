//! Long random schedules over the same world: deeper than any exhaustive run, without its promise.
//!
//! `PROPTEST_CASES=100000` for a soak. What once failed is replayed first, from `random.regressions`.

use crate::{
    act::Act,
    calm::Good,
    diagram::draw,
    model::Pair,
    scenarios::BASE,
    world::{Left, Scenario, World},
};
use pair_core::{
    event::{Answer, Event, Power, RequestId},
    message::Mode,
    rules::{Broken, Rules},
};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence},
};

const MANY: Left = Left {
    crash: 40,
    link: 60,
    outage: 20,
    sleep: 20,
    write: 200,
    loss: 40,
    delay: 40,
    fence: 10,
    agent: 5,
    disk: 3,
    switchover: 10,
    leave: 10,
    clients: 5,
    ..BASE.left
};

/// The model drops answers that nobody waits for. That is right only if they change nothing.
fn strangers_change_nothing(world: &World) -> Result<(), TestCaseError> {
    let request = RequestId(u64::MAX);
    for agent in world.hosts.iter().filter_map(|host| host.agent.as_ref()) {
        for event in [
            Event::Witness { request, answer: Answer::Won(world.witnesses[0].record) },
            Event::Witness { request, answer: Answer::Silence },
            Event::Power { request, power: Power::Off },
        ] {
            let mut after = agent.clone();
            let effects = after.on(event, RequestId(u64::MAX - 1));
            prop_assert!(effects.is_empty(), "{event:?} caused {effects:?}");
            prop_assert_eq!(&after, agent);
        }
    }
    Ok(())
}

fn run(scenario: Scenario, dice: &[u16], judge_end: bool) -> Result<(), TestCaseError> {
    let mut world = World::formed(&scenario);
    let mut path = Vec::new();
    for die in dice {
        // Mostly what needs no fault, or nothing would ever get far between two crashes.
        let quiet = World { left: Left::default(), ..world.clone() }.moves(&scenario);
        let faults = *die % 6 == 0 || quiet.is_empty();
        let moves = if faults { world.moves(&scenario) } else { quiet };
        let Some(the) = moves.get(usize::from(*die / 6) % moves.len().max(1)) else { break };
        path.push(*the);
        world.act(*the, &mut Act::new(&scenario));
        strangers_change_nothing(&world)?;
        if let Some(law) = world.breaks(&scenario) {
            let text = draw(&Pair::new(scenario), &path);
            return Err(TestCaseError::fail(format!("{law}\n{text}")));
        }
    }
    if judge_end {
        let calm = Scenario { left: Left::default(), ..scenario };
        if !world.recovers(&calm, None, &Good::default()) {
            let text = draw(&Pair::new(scenario), &path);
            return Err(TestCaseError::fail(format!("does not recover\n{text}")));
        }
    }
    Ok(())
}

fn config() -> Config {
    Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/pair/random.regressions"))),
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

/// The schedules are wild enough to find what the exhaustive runs find.
#[test]
fn a_broken_rule_does_not_live_long() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) as u16
    };
    for rule in [
        Broken::HandlerAnswers5,
        Broken::ClaimWithoutCompare,
        Broken::ConnectAtOnce,
        Broken::LeaveWithoutClaim,
    ] {
        let scenario = Scenario { left: MANY, rules: Rules::without(rule), ..BASE };
        let found = (0..20_000).any(|_| {
            let dice: Vec<u16> = (0..400).map(|_| next()).collect();
            run(scenario, &dice, false).is_err()
        });
        assert!(found, "{rule:?} was not found");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_long_life_with_a_witness(dice in prop::collection::vec(any::<u16>(), 50..600)) {
        run(Scenario { left: MANY, ..BASE }, &dice, true)?;
    }

    #[test]
    fn a_long_life_with_late_answers(dice in prop::collection::vec(any::<u16>(), 50..600)) {
        run(Scenario { left: MANY, late: true, ..BASE }, &dice, true)?;
    }

    #[test]
    fn a_long_life_with_changes_of_witness(dice in prop::collection::vec(any::<u16>(), 50..600)) {
        let left = Left { policy: 6, disk: 0, ..MANY };
        run(Scenario { left, next: (Mode::Witness, 1), ..BASE }, &dice, false)?;
    }

    #[test]
    fn a_long_life_with_a_restored_witness(dice in prop::collection::vec(any::<u16>(), 50..600)) {
        run(Scenario { left: Left { restore: 1, disk: 0, ..MANY }, ..BASE }, &dice, false)?;
    }

    #[test]
    fn a_long_life_by_fencing(dice in prop::collection::vec(any::<u16>(), 50..600)) {
        let left = Left { disk: 0, agent: 0, ..MANY };
        run(Scenario { left, mode: Mode::Fence, power: true, ..BASE }, &dice, false)?;
    }

    #[test]
    fn a_long_life_by_hand(dice in prop::collection::vec(any::<u16>(), 50..600)) {
        run(Scenario { left: Left { disk: 0, ..MANY }, mode: Mode::Manual, ..BASE }, &dice, false)?;
    }
}
