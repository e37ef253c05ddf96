//! Every row of the fault table, three times over.

use super::{Context, ESSENTIAL, MORE, Scenario};
use crate::scenarios::soak::Soak;
use anyhow::Context as _;

/// How often each row is run.
const ROUNDS: u32 = 3;

/// The long run.
pub const SOAK: Soak =
    Soak { name: "faults", shows: "every row of the fault table, three times", cases, run };

fn rows() -> impl Iterator<Item = &'static Scenario> {
    ESSENTIAL.iter().chain(MORE)
}

fn cases(_: &Context<'_>) -> anyhow::Result<Vec<String>> {
    Ok((1..=ROUNDS).flat_map(|round| rows().map(move |row| format!("{}-{round}", row.name))).collect())
}

fn run(context: &Context<'_>, case: &str) -> anyhow::Result<String> {
    let name = case.rsplit_once('-').map_or(case, |(name, _)| name);
    let row = rows().find(|row| row.name == name).context("there is no such row")?;
    (row.run)(context)?;
    Ok(row.shows.to_owned())
}
