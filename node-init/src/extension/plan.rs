//! The version of k3s that the pair runs, kept on both nodes.

use crate::member::{KeptError, Place};
use edgepair_extension::Version;
use edgepair_layout::path::EXTENSION_PLAN;
use serde::{Deserialize, Serialize};

/// The pair's choice. Revision 0 is none: each node runs what its image brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Counts the choices of the pair.
    pub revision: u64,
    /// `v1.33.4+k3s1`; empty at revision 0.
    pub version: String,
}

impl Plan {
    /// The choice after this one.
    #[must_use]
    pub fn next(&self, version: &Version) -> Self {
        Self { revision: self.revision + 1, version: version.to_string() }
    }

    /// The version, once the pair has chosen one.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.version).filter(|_| self.revision > 0)
    }

    /// What both nodes hold after each has heard the other: the later choice. Of two that were made at the same time,
    /// apart from each other, the newer version: what it has stored cannot be taken back.
    #[must_use]
    pub fn agreed(own: &Self, theirs: &Self) -> Self {
        let order = |plan: &Self| (plan.revision, plan.version());
        if order(theirs) > order(own) { theirs.clone() } else { own.clone() }
    }

    /// Reads it; absent is no choice.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn load(place: &Place) -> Result<Self, KeptError> {
        Ok(place.read(EXTENSION_PLAN)?.unwrap_or_default())
    }

    /// Keeps it, durably.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(EXTENSION_PLAN, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(revision: u64, version: &str) -> Plan {
        Plan { revision, version: version.to_owned() }
    }

    #[test]
    fn it_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        assert_eq!(Plan::load(&place).unwrap(), Plan::default());
        assert_eq!(Plan::default().version(), None);
        let kept = Plan::default().next(&Version::parse("v1.33.4+k3s1").unwrap());
        kept.store(&place).unwrap();
        assert_eq!(Plan::load(&place).unwrap(), kept);
        assert_eq!((kept.revision, kept.version().unwrap().minor()), (1, (1, 33)));
    }

    proptest! {
        #[test]
        fn both_nodes_agree(r1 in 0..3_u64, r2 in 0..3_u64, v1 in 30..34_u32, v2 in 30..34_u32) {
            let text = |minor: u32| format!("v1.{minor}.0+k3s1");
            let (a, b) = (plan(r1, &text(v1)), plan(r2, &text(v2)));
            prop_assert_eq!(Plan::agreed(&a, &b).version(), Plan::agreed(&b, &a).version());
            prop_assert_eq!(Plan::agreed(&a, &b).revision, r1.max(r2));
        }
    }
}
