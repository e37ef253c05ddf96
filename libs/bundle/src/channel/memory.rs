//! What a pair remembers of the channels it has seen, so that an older file is not taken any more.

use super::Signed;
use crate::Digest;
use thiserror::Error;

/// Most channels that are remembered; the one that was not seen for the longest time is forgotten first.
const CHANNELS: usize = 16;

/// The last file of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its serial number.
    pub serial: u64,
    /// SHA-256 of what was signed.
    pub digest: Digest,
}

/// The last file of each channel, latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(pub Vec<Seen>);

/// Why a signed file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Replayed {
    /// A newer one was here.
    #[error("the channel file is no. {found}, and no. {seen} was here before: somebody hands out an old one")]
    Older {
        /// This one's serial number.
        found: u64,
        /// The one that is remembered.
        seen: u64,
    },
    /// Another one of the same number was here.
    #[error("there are two different channel files of no. {0}: give the next one a higher number")]
    Twin(u64),
}

impl Memory {
    /// Whether a file may be taken; `Ok(true)` when it is newer than what is remembered, which then has to be kept durably
    /// before anything follows from it.
    ///
    /// # Errors
    /// When it is older, or another one of the same number.
    pub fn take(&mut self, signed: &Signed) -> Result<bool, Replayed> {
        let channel = signed.channel();
        let seen = Seen { name: channel.name.clone(), serial: channel.serial, digest: signed.digest() };
        match self.last(&seen.name) {
            Some(last) if last.serial > seen.serial => {
                return Err(Replayed::Older { found: seen.serial, seen: last.serial });
            }
            Some(last) if last.serial == seen.serial && last.digest != seen.digest => {
                return Err(Replayed::Twin(seen.serial));
            }
            Some(last) if last.serial == seen.serial => return Ok(false),
            _ => {}
        }
        self.put(seen);
        Ok(true)
    }

    /// Takes over what the other node has seen; `true` when it is newer than what is remembered here.
    pub fn hear(&mut self, seen: &Seen) -> bool {
        let newer = self.last(&seen.name).is_none_or(|last| last.serial < seen.serial);
        if newer {
            self.put(seen.clone());
        }
        newer
    }

    /// The last file of a channel.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&Seen> {
        self.0.iter().find(|seen| seen.name == name)
    }

    fn put(&mut self, seen: Seen) {
        self.0.retain(|other| other.name != seen.name);
        self.0.push(seen);
        let more = self.0.len().saturating_sub(CHANNELS);
        self.0.drain(..more);
    }
}
