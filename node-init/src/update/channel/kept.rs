//! What a node remembers of channels over a power cut: one JSON file on the state partition.

use crate::member::{KeptError, Place};
use edgepair_bundle::channel::decide::AGAIN_MOST;
use edgepair_bundle::channel::{Memory, Seen};
use edgepair_bundle::{Digest, Time, Version};
use edgepair_layout::path::CHANNEL_MEMORY;
use serde::{Deserialize, Serialize};

/// Version of the form. An older slot must read what a newer one wrote: fields are only added.
const SCHEMA: u32 = 1;
/// First wait before a version is begun by itself again, in seconds; doubled each time.
const AGAIN: u64 = 3600;

/// The last file of one channel, as it is kept and as the other node is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Name of the channel.
    pub name: String,
    /// Serial number of the file.
    pub serial: u64,
    /// SHA-256 of what was signed.
    pub digest: String,
}

/// A version that was begun by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub version: String,
    /// How often.
    pub times: u32,
    /// Not before this moment again, in seconds since 1970.
    pub again: u64,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    schema: u32,
    /// Files that were seen, latest last.
    #[serde(default)]
    pub seen: Vec<Word>,
    /// The version that was begun last.
    #[serde(default)]
    pub tried: Option<Tried>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { schema: SCHEMA, seen: Vec::new(), tried: None }
    }
}

impl From<&Seen> for Word {
    fn from(seen: &Seen) -> Self {
        Self { name: seen.name.clone(), serial: seen.serial, digest: seen.digest.to_string() }
    }
}

impl Word {
    /// `None` for what no channel can be.
    pub fn seen(&self) -> Option<Seen> {
        let digest = Digest::parse(&self.digest)?;
        let named = edgepair_bundle::channel::is_name(&self.name);
        named.then(|| Seen { name: self.name.clone(), serial: self.serial, digest })
    }
}

impl Kept {
    /// Reads it; a node without it has seen no channel.
    ///
    /// # Errors
    /// When it is damaged: nobody knows then how old a file may be.
    pub fn load(place: &Place) -> Result<Self, KeptError> {
        let kept: Self = place.read(CHANNEL_MEMORY)?.unwrap_or_default();
        let why = if kept.schema != SCHEMA {
            Some(format!("it has form {}, this version reads form {SCHEMA}", kept.schema))
        } else if kept.seen.iter().any(|word| word.seen().is_none()) {
            Some("a channel in it is none".to_owned())
        } else {
            None
        };
        why.map_or(Ok(kept), |why| Err(KeptError::Unreadable { path: place.path(CHANNEL_MEMORY), why }))
    }

    /// Keeps it; durable when this returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(CHANNEL_MEMORY, self)
    }

    /// What was seen.
    pub fn memory(&self) -> Memory {
        Memory(self.seen.iter().filter_map(Word::seen).collect())
    }

    /// When a version may be begun by itself again; `None` when it never was.
    pub fn again(&self, version: &Version) -> Option<Time> {
        let tried = self.tried.as_ref().filter(|tried| tried.version == version.as_str())?;
        Some(Time(tried.again))
    }

    /// A version is begun by itself now.
    pub fn try_at(&mut self, version: &Version, now: Time) {
        let before = self.tried.take().filter(|tried| tried.version == version.as_str());
        let times = before.map_or(0, |tried| tried.times).saturating_add(1);
        let wait = AGAIN.saturating_mul(1 << (times - 1).min(8)).min(AGAIN_MOST);
        self.tried =
            Some(Tried { version: version.as_str().to_owned(), times, again: now.0.saturating_add(wait) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_comes_back_and_damage_is_no_beginning() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let mut kept = Kept::load(&place).unwrap();
        assert_eq!(kept, Kept::default());
        let seen = Seen { name: "stable".into(), serial: 7, digest: Digest::of(b"x") };
        kept.seen = vec![Word::from(&seen)];
        let version = Version::parse("0.2.0").unwrap();
        let mut waits = Vec::new();
        for _ in 0..7 {
            kept.try_at(&version, Time(1000));
            waits.push(kept.again(&version).unwrap().0 - 1000);
        }
        assert_eq!(waits, [3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400]);
        assert_eq!(kept.again(&Version::parse("0.2.1").unwrap()), None, "another version is not held back");
        kept.store(&place).unwrap();
        let back = Kept::load(&place).unwrap();
        assert_eq!(back, kept);
        assert_eq!(back.memory().0, [seen]);
        let path = place.path(CHANNEL_MEMORY);
        let text = std::fs::read_to_string(&path).unwrap();
        let digest = Digest::of(b"x").to_string();
        for bad in [
            text[..text.len() / 2].to_owned(),
            text.replace("\"schema\": 1", "\"schema\": 2"),
            text.replace(&digest, "x"),
            text.replace("stable", "../stable"),
        ] {
            edgepair_host_io::atomic::write(&path, bad.as_bytes(), 0o600).unwrap();
            assert!(Kept::load(&place).is_err(), "{bad}");
        }
    }
}
