//! Seeds and secrets that several tests share.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

use edgepair_seed::{Companions, Input, Report, Seed, check};

pub const MINIMAL: &str = include_str!("../seeds/minimal.toml");
pub const DUAL_STACK: &str = include_str!("../seeds/dual-stack.toml");
pub const SQLITE_MANUAL: &str = include_str!("../seeds/sqlite-manual.toml");
pub const WORKERS: &str = include_str!("../seeds/workers.toml");
pub const TEN_ERRORS: &str = include_str!("../seeds/ten-errors.toml");
pub const IPV6_ONLY: &str = include_str!("../seeds/ipv6-only.toml");
pub const GOOD: [(&str, &str); 5] = [
    ("minimal", MINIMAL),
    ("dual-stack", DUAL_STACK),
    ("sqlite-manual", SQLITE_MANUAL),
    ("workers", WORKERS),
    ("ipv6-only", IPV6_ONLY),
];

/// The secret of every pair in these tests.
pub const SECRET: &str = "qJ4v9TzXn2Lr8sWc5Yb1Kd7H";

/// Files beside the seed: every name that ends in `.secret` holds one, nothing else is there.
pub fn companions(text: &str) -> Companions {
    Companions::load(text, |name| match name {
        "pair.secret" => Ok(format!("{SECRET}\n")),
        name if name.ends_with(".secret") => Ok(format!("{name}-hunter2\n")),
        _ => Err("no such file".to_owned()),
    })
}

pub fn checked(text: &str) -> (Option<Seed>, Report) {
    let companions = companions(text);
    check(&Input { name: "seed.toml", text, companions: &companions, disk: None })
}

pub fn good(text: &str) -> Seed {
    let (seed, report) = checked(text);
    seed.unwrap_or_else(|| panic!("{}", report.render(false)))
}

/// The codes of all findings with line and key, errors as `E`, warnings as `W`.
pub fn codes(text: &str) -> Vec<String> {
    let (_, report) = checked(text);
    report
        .findings()
        .iter()
        .map(|f| {
            let letter = if f.severity == edgepair_seed::Severity::Error { 'E' } else { 'W' };
            format!("{letter} {} {} {}", report.position(f).line, f.key, f.code)
        })
        .collect()
}
