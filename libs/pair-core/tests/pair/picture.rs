//! The pictures in `docs/protocol.md` are what the code does: every arrow was seen in the model, and every
//! change of phase that the model sees is an arrow.

use crate::{
    act::Act,
    scenarios::BASE,
    world::{Left, Scenario, World},
};
use pair_core::{
    effect::Code,
    event::{Event, Timer},
    reason::Reason,
    record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Side, Swap, decide},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

type Edges = BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>;

thread_local! {
    static SEEN: RefCell<Option<Edges>> = const { RefCell::new(None) };
}

/// Reasons, coarse enough to draw.
pub fn phase(reason: Reason) -> &'static str {
    match reason {
        Reason::ActivePaired => "ActivePaired",
        Reason::ActiveAlone => "ActiveAlone",
        Reason::Frozen => "Frozen",
        Reason::StandbyPaired => "Standby",
        Reason::Synchronising => "Synchronising",
        Reason::HandingOver => "HandingOver",
        Reason::Leaving => "Leaving",
        Reason::Resetting => "Resetting",
        _ => "Waiting",
    }
}

/// One event took a node from one reason to another.
pub fn edge(from: Reason, event: &Event, to: Reason) {
    SEEN.with_borrow_mut(|seen| {
        let Some(edges) = seen else { return };
        let (from, to) = (phase(from), phase(to));
        if from != to {
            edges.entry((from, to)).or_default().insert(label(event));
        }
    });
}

fn label(event: &Event) -> &'static str {
    match event {
        Event::Drbd { .. } => "drbd",
        Event::Question { .. } => "question",
        Event::SplitBrain => "split brain",
        Event::Witness { .. } => "witness",
        Event::Power { .. } => "power",
        Event::Peer(_) => "peer",
        Event::Timer(Timer::SelfFence) => "self-fence time",
        Event::Timer(_) => "timer",
        Event::Operator(_) => "operator",
        Event::Service(_) | Event::Clients(_) => "service",
    }
}

fn walk(scenario: &Scenario) {
    let mut known = HashSet::new();
    let mut next = VecDeque::from([World::formed(scenario)]);
    while let Some(world) = next.pop_front() {
        for the in world.moves(scenario) {
            let mut after = world.clone();
            after.act(the, &mut Act::new(scenario));
            let mut hasher = DefaultHasher::new();
            after.hash(&mut hasher);
            if known.insert(hasher.finish()) {
                next.push_back(after);
            }
        }
    }
}

fn mermaid(edges: &Edges) -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> Waiting: power on\n");
    for ((from, to), labels) in edges {
        let labels: Vec<_> = labels.iter().copied().collect();
        text += &format!("    {from} --> {to}: {}\n", labels.join(", "));
    }
    text
}

fn documented(name: &str) -> String {
    let page = include_str!("../../../../docs/protocol.md");
    let begin = format!("<!-- {name} -->\n```mermaid\n");
    let after = page.split_once(&begin).map(|(_, after)| after).unwrap_or_default();
    after.split_once("```").map(|(block, _)| block.to_owned()).unwrap_or_default()
}

#[test]
fn the_node_is_drawn_as_it_is() {
    SEEN.with_borrow_mut(|seen| *seen = Some(Edges::new()));
    let none = BASE.left;
    for left in [
        Left { crash: 1, link: 1, outage: 1, write: 1, ..none },
        Left { crash: 1, link: 1, fence: 1, disk: 1, write: 1, ..none },
        Left { crash: 1, switchover: 1, ..none },
        Left { link: 2, leave: 1, ..none },
    ] {
        walk(&Scenario { left, ..BASE });
    }
    let drawn = SEEN.with_borrow_mut(Option::take).map(|edges| mermaid(&edges)).unwrap_or_default();
    assert_eq!(documented("node"), drawn, "docs/protocol.md should say:\n{drawn}");
}

#[test]
fn the_record_is_drawn_as_it_is() {
    let (a, b, lineage) = (DiskId([1; 16]), DiskId([2; 16]), Lineage([3; 16]));
    let holders = [
        ("unknown", Holder::Unknown),
        ("paired", Holder::Paired { a, b }),
        ("solo_a", Holder::Solo { side: Side::A, disk: a }),
        ("solo_b", Holder::Solo { side: Side::B, disk: b }),
    ];
    let floor = Epoch(0);
    let mut edges: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for (from, holder) in holders {
        let current = Record { lineage, epoch: Epoch(4), holder };
        for (side, disk, peer) in [(Side::A, a, b), (Side::B, b, a)] {
            for (claim, name) in [
                (Claim::Solo, "claim"),
                (Claim::GiveAway, "give-away"),
                (Claim::Pair { peer }, "pair"),
                (Claim::Adopt { peer, floor }, "adopt"),
                (Claim::Appoint { floor }, "appoint"),
            ] {
                let swap = Swap { lineage, expect: Epoch(4), side, disk, claim };
                if let Ok(after) = decide(&current, &swap) {
                    let to =
                        holders.iter().find(|(_, holder)| *holder == after.holder).map(|(name, _)| *name);
                    let to = to.expect("every holder is drawn");
                    edges.entry((from, to)).or_default().insert(format!("{name} by {side}"));
                }
            }
        }
    }
    let mut drawn = String::from("stateDiagram-v2\n    [*] --> unknown: new or restored database\n");
    for ((from, to), labels) in edges {
        let labels: Vec<_> = labels.into_iter().collect();
        drawn += &format!("    {from} --> {to}: {}\n", labels.join(", "));
    }
    assert_eq!(documented("record"), drawn, "docs/protocol.md should say:\n{drawn}");
}

#[test]
fn the_exit_codes_are_the_documented_ones() {
    let page = include_str!("../../../../docs/protocol.md");
    for (code, words) in [
        (Code::Stay, "stay frozen"),
        (Code::PeerOutdated, "go on alone"),
        (Code::PeerActive, "the other is active"),
        (Code::PeerFenced, "the other is verified off"),
        (Code::Unreachable, "never"),
    ] {
        let line = format!("| {} | {words}", code.number());
        assert!(page.contains(&line), "docs/protocol.md lacks `{line}`");
    }
}
