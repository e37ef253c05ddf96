//! The picture of the update machine in `docs/protocol.md` is what the code does.

use crate::world::{Left, Move, World};
use pair_core::{rules::Rules, update::Updater};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

fn label(the: &Move) -> &'static str {
    match the {
        Move::Answer(_, _, true) => "done",
        Move::Answer(_, _, false) => "failed",
        Move::Mail(_) | Move::Repeat(_) => "peer",
        Move::Observe(_) => "pair",
        Move::Limit(_) => "limit",
        Move::Retry(_) => "time",
        Move::Start(_) | Move::Solo(_) => "start",
        Move::Boot(_) => "boot",
        _ => "pair",
    }
}

#[test]
fn the_update_is_drawn_as_it_is() {
    // Everything at once would only draw the same again.
    let start = Left { start: 1, ..Left::default() };
    let bounds = [
        Left { cut: 1, ..start },
        Left { panic: 1, ..start },
        Left { sick: 1, limit: 1, ..start },
        Left { solo: 1, sick: 1, ..Left::default() },
    ];
    let rules = Rules::default();
    let mut edges: BTreeMap<(String, String), BTreeSet<&'static str>> = BTreeMap::new();
    let mut known = HashSet::new();
    let mut next = VecDeque::from(bounds.map(World::new));
    let reason = |world: &World, at: usize| {
        let updater = world.hosts[at].updater.as_ref();
        updater.map(Updater::reason).map(|reason| format!("{reason:?}"))
    };
    while let Some(world) = next.pop_front() {
        for the in world.moves() {
            let mut after = world.clone();
            after.act(the, rules);
            for at in 0..2 {
                let from = reason(&world, at).unwrap_or_else(|| "[*]".to_owned());
                let Some(to) = reason(&after, at) else { continue };
                if from != to {
                    edges.entry((from, to)).or_default().insert(label(&the));
                }
            }
            let mut hasher = DefaultHasher::new();
            after.hash(&mut hasher);
            if known.insert(hasher.finish()) {
                next.push_back(after);
            }
        }
    }
    let mut drawn = String::from("stateDiagram-v2\n");
    for ((from, to), labels) in edges {
        let labels: Vec<_> = labels.into_iter().collect();
        drawn += &format!("    {from} --> {to}: {}\n", labels.join(", "));
    }
    let page = include_str!("../../../../docs/protocol.md");
    let after = page.split_once("<!-- update -->\n```mermaid\n").map(|(_, after)| after).unwrap_or_default();
    let block = after.split_once("```").map(|(block, _)| block).unwrap_or_default();
    assert_eq!(block, drawn, "docs/protocol.md should say:\n{drawn}");
}
