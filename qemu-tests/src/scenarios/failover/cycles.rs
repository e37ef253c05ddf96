//! Rows of the fault table in random order, again and again. Which row a cycle is follows from its number and a seed that is
//! drawn once and kept in the journal, so an interrupted run goes on with what was to come.

use super::{Context, ESSENTIAL, MORE, Scenario, dropped_writes};
use crate::scenarios::soak::Soak;
use anyhow::Context as _;

/// How many cycles a new journal plans: `cargo xtask soak cycles --cycles N`.
pub const COUNT: &str = "EDGEPAIR_CYCLES";
const USUAL: usize = 50;

/// The long run.
pub const SOAK: Soak = Soak {
    name: "cycles",
    shows: "rows of the fault table in random order, with both writers on, so many as --cycles says",
    cases,
    run,
};

/// Rows that a cycle may be: not the one that makes a pair of its own each time.
fn rows() -> Vec<&'static Scenario> {
    ESSENTIAL.iter().chain(MORE).filter(|row| row.name != dropped_writes::SCENARIO.name).collect()
}

fn cases(_: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let count = std::env::var(COUNT).ok().map_or(Ok(USUAL), |text| text.parse().context(COUNT))?;
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
    let names: Vec<&str> = rows().iter().map(|row| row.name).collect();
    Ok(plan(&names, count, u64::from_le_bytes(random)))
}

/// Deals the rows out: each round has every row once, in an order of its own.
fn plan(names: &[&str], count: usize, seed: u64) -> Vec<String> {
    let mut state = seed;
    // SplitMix64: enough to shuffle a list, and the same on every computer.
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let mut all = Vec::new();
    while all.len() < count {
        let mut round = names.to_vec();
        for last in (1..round.len()).rev() {
            round.swap(last, usize::try_from(next() % (last as u64 + 1)).unwrap_or(0));
        }
        all.extend(round.into_iter().take(count - all.len()));
    }
    all.iter().enumerate().map(|(index, name)| format!("{:03}-{name}", index + 1)).collect()
}

fn run(context: &Context<'_>, case: &str) -> anyhow::Result<String> {
    let name = case.split_once('-').map_or(case, |(_, name)| name);
    let row = rows().into_iter().find(|row| row.name == name).context("there is no such row")?;
    (row.run)(context)?;
    Ok(row.shows.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_row_once_and_the_seed_says_in_which_order() {
        let names = ["a", "b", "c", "d", "e"];
        let cases = plan(&names, 12, 7);
        assert_eq!((cases.len(), cases[0].split_once('-').unwrap().0), (12, "001"));
        for round in cases.chunks(5).take(2) {
            let mut seen: Vec<&str> = round.iter().map(|case| case.split_once('-').unwrap().1).collect();
            seen.sort_unstable();
            assert_eq!(seen, names);
        }
        assert_eq!(cases, plan(&names, 12, 7));
        assert_ne!(cases, plan(&names, 12, 8));
        assert!(plan(&names, 0, 1).is_empty());
    }
}
