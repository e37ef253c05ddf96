//! Destructive steps that were begun: the proof that their target was empty, durable before the first write.
//!
//! ```text
//! observe ─► seen() ─► EmptyTarget::prove ─► record() ─► the step writes ─► its result is durable ─► finish()
//!               ▲                                  power cut anywhere here │
//!               └──────── "unfinished", on the same target or not ◄────────┘
//! ```
//!
//! A record names its target (a file's inode, a device's number of metadata), so that another disk in the same place
//! is not taken for the one that was proven empty.

use edgepair_layout::path;
use edgepair_render::plan::{EmptyTarget, Seen, Target};
use serde::{Deserialize, Serialize};

use crate::member::{KeptError, Place};

/// The record of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Which target in particular: text that another target of the same kind does not have.
    pub identity: String,
    /// What the step chose before it began and must choose again, for example the number it mints.
    pub chosen: Option<String>,
}

const fn name(target: Target) -> &'static str {
    match target {
        Target::BackingFile => "backing-file",
        Target::BackingDevice => "backing-device",
        Target::BothNodesData => "both-nodes-data",
        Target::ReplicatedDevice => "replicated-device",
        Target::DatabaseFolder => "database-folder",
    }
}

fn file(target: Target) -> String {
    format!("{}/{}.json", path::BEGUN_DIR, name(target))
}

impl Begun {
    /// The record of a target; `None` when no step on it is unfinished.
    ///
    /// # Errors
    /// When it is damaged. Then nothing is proven, and the step must not run.
    pub fn load(place: &Place, target: Target) -> Result<Option<Self>, KeptError> {
        place.read(&file(target))
    }

    /// What an unfinished step means for the proof: to be used in place of looking at the target.
    pub fn seen(&self, identity: &str) -> Seen {
        Seen::Unfinished { same_target: self.identity == identity }
    }

    /// Records the proof; durable when this returns.
    ///
    /// # Errors
    /// The kernel's. Then the step must not run.
    pub fn record(&self, place: &Place, proof: &EmptyTarget) -> Result<(), KeptError> {
        place.write(&file(proof.target()), self)
    }

    /// The step is done, and its result durable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish(place: &Place, target: Target) -> Result<(), KeptError> {
        let path = place.path(&file(target));
        let result = match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => path.parent().map_or(Ok(()), |folder| match std::fs::File::open(folder) {
                Ok(folder) => folder.sync_all(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }),
        };
        result.map_err(|source| KeptError::Unwritable { path, why: source.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Seen = Seen::Device { signatures: Vec::new(), ends_are_zero: true };

    #[test]
    fn a_record_proves_only_its_own_target_and_only_until_it_is_finished() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let target = Target::BackingDevice;
        assert_eq!(Begun::load(&place, target).unwrap(), None);
        Begun::finish(&place, target).unwrap();
        let begun = Begun { identity: "wwid 1".into(), chosen: Some("id".into()) };
        begun.record(&place, &EmptyTarget::prove(target, &EMPTY).unwrap()).unwrap();
        let back = Begun::load(&place, target).unwrap().unwrap();
        assert_eq!(back, begun);
        assert_eq!(Begun::load(&place, Target::ReplicatedDevice).unwrap(), None);
        assert!(EmptyTarget::prove(target, &back.seen("wwid 1")).is_ok());
        assert!(EmptyTarget::prove(target, &back.seen("wwid 2")).is_err(), "another disk");
        Begun::finish(&place, target).unwrap();
        assert_eq!(Begun::load(&place, target).unwrap(), None);
    }
}
