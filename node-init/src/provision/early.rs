//! In the initrd: `/etc` from the kept seed, so that PID 1 starts with the right units, watchdog and journal, and a
//! box that has its seed boots without a single reload.

use anyhow::Context;
use std::path::Path;

use super::configure::files::{self, Manifest};
use crate::member::{Kept, Place, cards};

/// Renders the kept seed below `root`; says for which box, or `None` when there is no seed yet.
///
/// Nothing is checked against the hardware here: the drivers are not loaded. Provisioning does it before the network
/// is up, and takes everything back when this is the wrong box.
///
/// # Errors
/// Why nothing was rendered. Provisioning tries again, and says so to the operator.
pub fn render_before_boot(root: &Path) -> anyhow::Result<Option<String>> {
    let place = Place::at(root);
    let Some(kept) = Kept::load(&place)? else { return Ok(None) };
    let Some(cards) = cards(&place)? else { return Ok(None) };
    let seed = kept.check()?;
    let member = edgepair_seed::Member::parse(&kept.member)
        .with_context(|| format!("\"{}\" is no box of a seed", kept.member))?;
    let rendered = edgepair_render::render(&seed, &member, &cards)?;
    // The manifest goes to the initrd's own /run, which the root takes over.
    let run = Place::default();
    let stale = files::compare(&place, &rendered, &Manifest::default())?;
    files::install_below(&place, &run, &rendered, &Manifest::default(), &stale)?;
    Ok(Some(format!("{member} of {}", seed.pair.name)))
}
