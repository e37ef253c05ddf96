//! The note that this node has begun to switch the other box off: until it is on again, or back, somebody has to.

use crate::member::{KeptError, Place};
use edgepair_layout::path;
use serde::{Deserialize, Serialize};

/// The file [`path::FENCE_NOTE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The switch, for people.
    pub device: String,
    /// Its power was read back as off.
    pub off: bool,
}

impl Note {
    /// Reads it; `None` when there is nothing to do.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn load(place: &Place) -> Result<Option<Self>, KeptError> {
        place.read(path::FENCE_NOTE)
    }

    /// Keeps it: durable when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(path::FENCE_NOTE, self)
    }

    /// The other box has power again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(place: &Place) -> std::io::Result<()> {
        match std::fs::remove_file(place.path(path::FENCE_NOTE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
