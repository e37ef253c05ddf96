//! What a node remembers of updates over a power cut: one JSON file on the state partition.

use crate::member::{KeptError, Place};
use edgepair_layout::path::UPDATE_MEMORY;
use pair_core::record::Side;
use pair_core::update::{Memory, Outcome, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Version of the form. An older slot must read what a newer one wrote: fields are only added.
const SCHEMA: u32 = 1;
/// Plans that history keeps.
const HISTORY: usize = 20;
/// Unless the operator says otherwise, a plan waits so many seconds for a healthy pair.
pub const LIMIT: u64 = 4 * 3600;

/// The number that stands for a version in the pair core: the first four bytes of its text's SHA-256, so that both nodes
/// have the same one without having to agree. The core compares numbers for being equal only.
pub fn number(version: &str) -> Version {
    let digest: [u8; 32] = Sha256::digest(version).into();
    Version(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// The shell's part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its serial number.
    pub serial: u32,
    /// What to update to.
    pub version: String,
    /// Which bundle holds it, in the words of whoever opened it.
    pub bundle: String,
    /// An operator has said that this node goes on without the other.
    pub solo: bool,
    /// Seconds that the plan may take.
    pub limit: u64,
    /// Seconds that a trial may take until it is judged.
    pub trial_limit: u64,
    /// Seconds that agents of this node have worked on it. No clock is asked: it may be wrong, and jump.
    pub spent: u64,
}

/// A version that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub version: String,
    /// What was found, one sentence each; empty when the other node found it.
    pub why: Vec<String>,
}

/// A plan that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its serial number.
    pub serial: u32,
    /// Version it was for.
    pub version: String,
    /// Node on which it was started.
    pub leader: Side,
    /// How it ended.
    pub outcome: Outcome,
    /// When, by this node's clock: seconds since 1970.
    pub ended: u64,
}

/// How the machine was when a trial was armed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmedIn {
    /// The kernel's name for that boot.
    pub boot: String,
    /// Records of crashes that were there already.
    pub crashes: Vec<String>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    schema: u32,
    /// The pair core's.
    pub memory: Memory,
    /// The present or last plan.
    pub plan: Option<Plan>,
    /// Since the last trial was armed.
    #[serde(default)]
    pub armed: ArmedIn,
    /// Versions that failed.
    #[serde(default)]
    pub failed: Vec<Failed>,
    /// Plans up to this serial number are over, whatever the other node says: an operator has rolled them back here.
    #[serde(default)]
    pub rolled_back: u32,
    /// Latest last.
    #[serde(default)]
    pub history: Vec<Past>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            memory: Memory::default(),
            plan: None,
            armed: ArmedIn::default(),
            failed: Vec::new(),
            rolled_back: 0,
            history: Vec::new(),
        }
    }
}

impl Kept {
    /// Reads it; a node without it never had an update.
    ///
    /// # Errors
    /// When it is damaged, or of a form that this version does not know: nothing is updated then.
    pub fn load(place: &Place) -> Result<Self, KeptError> {
        let kept: Self = place.read(UPDATE_MEMORY)?.unwrap_or_default();
        if kept.schema != SCHEMA {
            let why = format!("it has form {}, this version reads form {SCHEMA}", kept.schema);
            return Err(KeptError::Unreadable { path: place.path(UPDATE_MEMORY), why });
        }
        Ok(kept)
    }

    /// Keeps it; durable when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(UPDATE_MEMORY, self)
    }

    /// The highest serial number that was ever used here.
    pub fn last_serial(&self) -> u32 {
        let core = self.memory.facts.map(|facts| facts.plan.serial).unwrap_or_default();
        core.max(self.rolled_back).max(self.plan.as_ref().map(|plan| plan.serial).unwrap_or_default())
    }

    /// The text for a number, as far as it is known.
    pub fn text(&self, version: Version) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.version.as_str()).filter(|text| number(text) == version)
    }

    /// Takes over what the pair core remembers, with what follows for the shell's own lists.
    pub fn take(&mut self, memory: Memory, findings: &[String], now: u64) {
        let before = std::mem::replace(&mut self.memory, memory);
        let text = |version| self.text(version).map_or_else(|| format!("no. {version}"), str::to_owned);
        let new = self.memory.refused.iter().filter(|version| !before.refused.contains(version));
        let failed: Vec<Failed> =
            new.map(|version| Failed { version: text(*version), why: findings.to_vec() }).collect();
        let past = self.memory.facts.map(|facts| text(facts.plan.version)).unwrap_or_default();
        self.failed.extend(failed);
        let Some(facts) = self.memory.facts else { return };
        let open = before.facts.is_some_and(|old| old.plan == facts.plan && old.outcome != facts.outcome);
        if open {
            self.history.push(Past {
                serial: facts.plan.serial,
                version: past,
                leader: facts.plan.leader,
                outcome: facts.outcome,
                ended: now,
            });
            let more = self.history.len().saturating_sub(HISTORY);
            self.history.drain(..more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pair_core::update::{Facts, PlanId};

    #[test]
    fn what_was_kept_comes_back_and_damage_is_no_beginning() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let mut kept = Kept::load(&place).unwrap();
        assert_eq!(kept, Kept::default());
        let plan = PlanId { serial: 7, leader: Side::B, version: number("2.0") };
        let facts = Facts { plan, written: true, passed: false, outcome: Outcome::Open };
        kept.plan = Some(Plan {
            serial: 7,
            version: "2.0".into(),
            bundle: "b".into(),
            solo: false,
            limit: LIMIT,
            trial_limit: 600,
            spent: 3,
        });
        kept.take(Memory { facts: Some(facts), ..Memory::default() }, &[], 1);
        let refused = Facts { outcome: Outcome::Refused, ..facts };
        let memory = Memory { facts: Some(refused), refused: vec![number("2.0")], ..Memory::default() };
        kept.take(memory.clone(), &["a.service failed".into()], 2);
        kept.take(memory, &[], 3);
        assert_eq!((kept.failed.len(), kept.history.len(), kept.last_serial()), (1, 1, 7));
        assert_eq!((kept.failed[0].version.as_str(), kept.history[0].ended), ("2.0", 2));
        kept.store(&place).unwrap();
        assert_eq!(Kept::load(&place).unwrap(), kept);
        let path = place.path(UPDATE_MEMORY);
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in [&text[..text.len() / 2], &text.replace("\"schema\": 1", "\"schema\": 2")] {
            edgepair_host_io::atomic::write(&path, bad.as_bytes(), 0o600).unwrap();
            assert!(Kept::load(&place).is_err());
        }
    }
}
