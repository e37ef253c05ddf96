//! Seeds that several tests share.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod netns;

use edgepair_render::{Context, Facts, Rendered, checks, render};
use edgepair_seed::{Companions, Input, Member, Seed, check};

pub const SEEDS: [(&str, &str); 5] = [
    ("minimal", include_str!("../../../seed/tests/seeds/minimal.toml")),
    ("dual-stack", include_str!("../../../seed/tests/seeds/dual-stack.toml")),
    ("sqlite-manual", include_str!("../../../seed/tests/seeds/sqlite-manual.toml")),
    ("workers", include_str!("../../../seed/tests/seeds/workers.toml")),
    ("ipv6-only", include_str!("../../../seed/tests/seeds/ipv6-only.toml")),
];

/// The secret of every pair in these tests.
pub const SECRET: &str = "qJ4v9TzXn2Lr8sWc5Yb1Kd7H";

pub fn seed(text: &str) -> Seed {
    let companions = Companions::load(text, |name| match name {
        "pair.secret" => Ok(SECRET.to_owned()),
        name if name.ends_with(".secret") => Ok(format!("{name}-hunter2")),
        _ => Err("no such file".to_owned()),
    });
    let (seed, report) = check(&Input { name: "seed.toml", text, companions: &companions, disk: None });
    seed.unwrap_or_else(|| panic!("{}", report.render(false)))
}

pub fn named(name: &str) -> Seed {
    let text = SEEDS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).expect("a known seed");
    seed(text)
}

/// Every box of every seed, rendered as on the desk.
pub fn each_box(mut see: impl FnMut(&str, &Context<'_>, &Rendered)) {
    for (name, text) in SEEDS {
        let seed = seed(text);
        for member in checks::members(&seed) {
            let facts = Facts::assumed(&seed, &member);
            let rendered = render(&seed, &member, &facts).expect("renders");
            let context = Context::new(&seed, &member, &facts).expect("a context");
            see(name, &context, &rendered);
        }
    }
}

pub fn rendered(seed: &Seed, node: &str) -> Rendered {
    let member = Member::parse(node).expect("a member");
    render(seed, &member, &Facts::assumed(seed, &member)).expect("renders")
}
