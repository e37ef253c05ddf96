//! Second half of provisioning: what lies below the replicated storage, up to a disk that is attached to DRBD and not
//! connected. Connecting, and everything that needs the other node, is the agent's.
//!
//! ```text
//! observe ─► plan (pure) ─► one step ─► apply: small acts, durable in order ─► observe again
//! ```

pub mod apply;
pub mod host;
pub mod image;
pub mod kernel;
pub mod plan;
pub mod superblock;

use std::path::{Path, PathBuf};

use edgepair_layout::path;
use edgepair_render::names::BACKING_FILE;
use edgepair_seed::{Member, Seed, StorageMode};

use super::seed::decide::Membership;
use crate::agent::store::Memory;
use crate::member::{DiskFile, Place};
use plan::{Backing, Wanted};

/// What the storage of a box is to be; `None` for a worker, which has none.
pub fn wanted(seed: &Seed, member: &Member) -> Option<Wanted> {
    let Member::Node(_) = member else { return None };
    let backing = match (&seed.storage.mode, seed.storage_device(member)) {
        (StorageMode::Loop { size }, _) => Backing::File(*size),
        (StorageMode::Device { .. }, Some(device)) => Backing::Device(PathBuf::from(device)),
        (StorageMode::Device { .. }, None) => return None,
    };
    let watchdog_ms = seed.watchdog.enabled.then_some(seed.watchdog.timeout_ms);
    Some(Wanted { backing, pair: pair_name(seed), watchdog_ms })
}

/// Name of a pair and fingerprint of its secret: two pairs may have one name.
pub fn pair_name(seed: &Seed) -> String {
    format!("{} ({})", seed.pair.name, seed.pair.secret.fingerprint())
}

/// How far this box has become a member of a pair. When it cannot be told for certain, it is taken to hold data.
///
/// # Errors
/// When the identity of its replica, or what the agent remembers, is damaged.
pub fn membership(place: &Place, kept: Option<(&Seed, &Member)>) -> anyhow::Result<Membership> {
    if Memory::is_member(place)? {
        return Ok(Membership::Formed);
    }
    if DiskFile::load(place)?.is_none() {
        return Ok(Membership::None);
    }
    let device = kept.and_then(|(seed, member)| seed.storage_device(member));
    let metadata = host::superblock_of(&place.path(device.unwrap_or(BACKING_FILE)));
    let unused = metadata.is_some_and(|metadata| metadata.just_created) || lost(place, device);
    Ok(if unused { Membership::Prepared } else { Membership::Formed })
}

/// The backing file was removed, by hand: nothing else removes it.
fn lost(place: &Place, device: Option<&str>) -> bool {
    device.is_none() && !place.path(BACKING_FILE).exists() && Path::new(&place.path(path::STATE_DIR)).exists()
}

#[cfg(test)]
mod world_tests;
