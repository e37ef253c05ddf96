//! A counterexample as a sequence diagram.

use crate::{
    model::Pair,
    moves::Move,
    names::kind,
    world::{Power, Stage, World},
};
use pair_core::view::{Link, Role};

/// One line per move: what happened, and each party after it.
pub fn draw(pair: &Pair, moves: &[Move]) -> String {
    let mut world = World::formed(&pair.scenario);
    let mut text = String::from(&format!("{:<47}| {:<34}| {:<34}| record\n", "", "a", "b"));
    text += &line("formed", &world);
    for the in moves {
        world = pair.step(&world, *the);
        text += &row(the, &world);
    }
    if let Some(law) = world.breaks(&pair.scenario) {
        text += &format!("  ✗ broken: {law}\n");
    } else if pair.scenario.alive {
        text += &world.stuck(&pair.scenario);
    }
    text
}

/// One move and what it led to.
pub fn row(the: &Move, world: &World) -> String {
    let arrow = match *the {
        Move::Carry(at, _) => format!("{} ◀──▶ witness", name(at)),
        Move::Hold(at, _) | Move::Waste(at, _) => format!("{} ───▶ witness", name(at)),
        Move::Deliver(at, _) => format!("{} ◀─── witness", name(at)),
        Move::Mail(to) => format!("{} ───▶ {}", name(1 - to), name(to)),
        Move::Meet => "a ◀──▶ b".to_owned(),
        Move::Crash(at) | Move::Boot(at) | Move::Sleep(at) | Move::Wake(at) | Move::Watchdog(at) => {
            format!("{} ✕", name(at))
        }
        Move::Write(at)
        | Move::Notice(at)
        | Move::Timer(at, _)
        | Move::Slow(at)
        | Move::Release(at)
        | Move::Lose(at, _)
        | Move::Delay(at, _) => name(at).to_owned(),
        Move::Operator(at, _) | Move::DiskError(at) | Move::Replace(at) | Move::Clone(at) => {
            name(at).to_owned()
        }
        _ => String::new(),
    };
    line(&format!("{arrow:<15}{}", kind(the)), world)
}

fn name(at: usize) -> &'static str {
    ["a", "b"][at]
}

fn line(what: &str, world: &World) -> String {
    let sides = [0, 1].map(|at| {
        let host = &world.hosts[at];
        if host.power == Power::Off {
            return format!("off, writes {:03b}", host.data);
        }
        let kernel = host.kernel;
        let role = if kernel.role == Role::Primary { "PRIMARY" } else { "secondary" };
        let link = match kernel.link {
            Link::StandAlone => "alone",
            Link::Connecting => "connecting",
            Link::Connected => "connected",
            Link::SyncSource => "source",
            Link::SyncTarget => "target",
        };
        let mut more = String::new();
        more += if kernel.frozen { " frozen" } else { "" };
        more += if host.address { " VIP" } else { "" };
        more += if host.power == Power::Asleep { " asleep" } else { "" };
        more += if host.slow { " slow" } else { "" };
        for held in &host.held {
            more += &format!(" {held:?}");
        }
        more += if host.flights.iter().any(|f| matches!(f.stage, Stage::Going(..))) { " asks" } else { "" };
        format!("{role} {:?} {link} {:03b}{more}", kernel.disk, host.data)
    });
    let down = if world.witnesses[0].up { "" } else { " (down)" };
    let wire = if world.wire { "" } else { "  ~cut~" };
    format!(
        "{what:<47}| {:<34}| {:<34}| {}{down}{wire} acked {:03b}\n",
        sides[0], sides[1], world.witnesses[0].record, world.acked
    )
}
