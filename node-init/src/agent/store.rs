//! What the agent remembers over a power cut: one JSON file on the state partition.

use super::form::{Formation, Note};
use crate::member::{KeptError, Place};
use edgepair_layout::path;
use pair_core::message::Policy;
use pair_core::node::Durable;
use pair_core::record::{DiskId, Side};
use serde::{Deserialize, Serialize};

/// Version of the form. An older slot must read what a newer one wrote: fields are only added.
const SCHEMA: u32 = 1;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    schema: u32,
    /// Name of the pair it is about.
    pub pair: String,
    /// The pair core's.
    pub durable: Durable,
    /// The first forming.
    pub formation: Note,
    /// Who was active last: where both could become active, it does again.
    pub last_active: Option<Side>,
}

/// Why what is remembered cannot be used. Nothing is decided then.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file.
    #[error(transparent)]
    File(#[from] KeptError),
    /// It is about another pair.
    #[error(
        "this box was a member of the pair \"{found}\" and its seed says \"{wanted}\"; `node-init reset` makes it a new box"
    )]
    OtherPair {
        /// What the file says.
        found: String,
        /// What the seed says.
        wanted: String,
    },
    /// A newer version wrote it.
    #[error("{} has form {found}, and this version reads form {SCHEMA}", path::PAIR_MEMORY)]
    Schema {
        /// The form.
        found: u32,
    },
}

impl Memory {
    /// A box that has never been in a pair.
    #[must_use]
    pub fn new(pair: &str, policy: Policy) -> Self {
        Self {
            schema: SCHEMA,
            pair: pair.to_owned(),
            durable: Durable::new(policy),
            formation: Note::default(),
            last_active: None,
        }
    }

    /// Reads it; a box without it is new. As long as the box was in no pair, the seed's policy holds.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn load(place: &Place, pair: &str, policy: Policy) -> Result<Self, MemoryError> {
        let Some(memory) = place.read::<Self>(path::PAIR_MEMORY)? else {
            return Ok(Self::new(pair, policy));
        };
        if memory.schema != SCHEMA {
            return Err(MemoryError::Schema { found: memory.schema });
        }
        // Until then nothing binds it, and its seed may still be corrected, the pair's name included.
        if !memory.joined() {
            return Ok(Self::new(pair, policy));
        }
        if memory.pair != pair {
            return Err(MemoryError::OtherPair { found: memory.pair, wanted: pair.to_owned() });
        }
        Ok(memory)
    }

    /// Whether this box was ever in a pair: what is remembered then binds it.
    fn joined(&self) -> bool {
        self.formation.formation > Formation::None
            || self.durable.record.is_some()
            || self.durable.enrolled.is_some()
    }

    /// Whether what is kept here says that this box is a member of a pair, whichever it is.
    ///
    /// # Errors
    /// When the file is damaged: then it may well be.
    pub fn is_member(place: &Place) -> Result<bool, KeptError> {
        Ok(place.read::<Self>(path::PAIR_MEMORY)?.is_some_and(|memory| memory.joined()))
    }

    /// Whether the forming of the pair was begun with this disk and nothing was written to it since.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn is_only_begun(place: &Place, disk: DiskId) -> Result<bool, KeptError> {
        let memory = place.read::<Self>(path::PAIR_MEMORY)?;
        Ok(memory.is_some_and(|memory| memory.formation.about(disk) == Formation::Begun))
    }

    /// Keeps it; durable when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(path::PAIR_MEMORY, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pair_core::message::{Mode, WitnessId};
    use pair_core::record::{Epoch, Holder, Lineage, Record};

    #[test]
    fn what_was_kept_comes_back_and_damage_is_no_new_box() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let policy = Policy { revision: 1, mode: Mode::Witness, witness: WitnessId(3) };
        let manual = Policy { mode: Mode::Manual, ..policy };
        let mut memory = Memory::load(&place, "p", policy).unwrap();
        assert_eq!(memory, Memory::new("p", policy));
        memory.store(&place).unwrap();
        assert_eq!(Memory::load(&place, "p", manual).unwrap().durable.policy, manual, "in no pair yet");
        assert_eq!(Memory::load(&place, "q", policy).unwrap().pair, "q", "its seed was corrected");
        assert!(!Memory::is_member(&place).unwrap());
        let holder = Holder::Solo { side: Side::A, disk: DiskId([1; 16]) };
        let record = Record { lineage: Lineage([2; 16]), epoch: Epoch(7), holder };
        memory.durable = Durable { record: Some(record), enrolled: Some(DiskId([1; 16])), ..memory.durable };
        memory.last_active = Some(Side::B);
        memory.store(&place).unwrap();
        assert!(Memory::is_member(&place).unwrap());
        assert_eq!(Memory::load(&place, "p", manual).unwrap(), memory, "the pair's policy, not the seed's");
        assert!(matches!(Memory::load(&place, "q", policy), Err(MemoryError::OtherPair { .. })));
        let path = place.path(path::PAIR_MEMORY);
        let half = std::fs::read(&path).unwrap();
        edgepair_host_io::atomic::write(&path, &half[..half.len() / 2], 0o600).unwrap();
        assert!(Memory::load(&place, "p", policy).is_err(), "half a file is an error, not a new box");
    }
}
