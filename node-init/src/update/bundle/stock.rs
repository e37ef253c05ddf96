//! What a node keeps of the bundle of its present or last plan: its head (manifest, signatures, index), where it came from,
//! and the floor below which nothing is installed any more.
//!
//! The head says what every block must be. With it an interrupted update goes on, and the other node is served.

use crate::member::{KeptError, Place};
use edgepair_bundle::Version;
use edgepair_host_io::atomic;
use edgepair_layout::path::{UPDATE_HEAD, UPDATE_STOCK};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::PathBuf;

/// Version of the form. An older slot must read what a newer one wrote: fields are only added.
const SCHEMA: u32 = 1;
/// Largest head, bytes: what a bundle's manifest, signatures and index may have together.
pub const HEAD_MAX: u64 = 70 << 20;

/// What is kept beside the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    schema: u32,
    /// Which bundle the head is of; see [`super::name`].
    pub bundle: Option<String>,
    /// File or address that it was read from, where it can be read from there again.
    #[serde(default)]
    pub origin: Option<String>,
    /// Highest floor of all versions that were kept here.
    #[serde(default)]
    pub floor: Option<String>,
    /// The last version that was kept and from which nothing goes back.
    #[serde(default)]
    pub one_way: Option<String>,
}

impl Default for Stock {
    fn default() -> Self {
        Self { schema: SCHEMA, bundle: None, origin: None, floor: None, one_way: None }
    }
}

impl Stock {
    /// Reads it; a node without it never had an update.
    ///
    /// # Errors
    /// When it is damaged: nobody knows then how old a version may be.
    pub fn load(place: &Place) -> Result<Self, KeptError> {
        let stock: Self = place.read(UPDATE_STOCK)?.unwrap_or_default();
        let why = if stock.schema != SCHEMA {
            Some(format!("it has form {}, this version reads form {SCHEMA}", stock.schema))
        } else if stock.floor.as_deref().is_some_and(|floor| Version::parse(floor).is_none()) {
            Some("its floor is no version".to_owned())
        } else {
            None
        };
        why.map_or(Ok(stock), |why| Err(KeptError::Unreadable { path: place.path(UPDATE_STOCK), why }))
    }

    /// The floor.
    pub fn floor(&self) -> Option<Version> {
        self.floor.as_deref().and_then(Version::parse)
    }

    /// Raises the floor, durably; it never falls.
    ///
    /// # Errors
    /// The kernel's.
    pub fn raise(&mut self, place: &Place, floor: &Version) -> Result<(), KeptError> {
        if self.floor().is_none_or(|present| present < *floor) {
            self.floor = Some(floor.as_str().to_owned());
            place.write(UPDATE_STOCK, self)?;
        }
        Ok(())
    }

    /// A version is kept from which nothing goes back.
    ///
    /// # Errors
    /// The kernel's.
    pub fn no_way_back_from(&mut self, place: &Place, version: &str) -> Result<(), KeptError> {
        self.one_way = Some(version.to_owned());
        place.write(UPDATE_STOCK, self)
    }

    /// Takes the head of another bundle, durably.
    ///
    /// # Errors
    /// The kernel's.
    pub fn put(
        &mut self,
        place: &Place,
        bundle: &str,
        origin: Option<String>,
        head: &[u8],
    ) -> Result<(), KeptError> {
        // A cut between the two leaves a head that does not have the name that stands here, and is not used.
        let path = place.path(UPDATE_HEAD);
        let unwritable =
            |path: PathBuf| |error: io::Error| KeptError::Unwritable { path, why: error.to_string() };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritable(path.clone()))?;
        }
        atomic::write(&path, head, 0o600).map_err(unwritable(path.clone()))?;
        self.bundle = Some(bundle.to_owned());
        self.origin = origin;
        place.write(UPDATE_STOCK, self)
    }

    /// The head of this bundle, unchecked; `None` when another one is kept, or none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn head(&self, place: &Place, bundle: &str) -> io::Result<Option<Vec<u8>>> {
        if self.bundle.as_deref() != Some(bundle) {
            return Ok(None);
        }
        let file = match std::fs::File::open(place.path(UPDATE_HEAD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut head = Vec::new();
        file.take(HEAD_MAX).read_to_end(&mut head)?;
        Ok(Some(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rises_and_damage_is_no_beginning() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let mut stock = Stock::load(&place).unwrap();
        assert_eq!(stock, Stock::default());
        let version = |text: &str| Version::parse(text).unwrap();
        for (raised, floor) in [("1.9", "1.9"), ("1.10", "1.10"), ("1.9", "1.10")] {
            stock.raise(&place, &version(raised)).unwrap();
            assert_eq!(Stock::load(&place).unwrap().floor().unwrap().as_str(), floor);
        }
        stock.put(&place, "aa", Some("/x".into()), b"head").unwrap();
        let stock = Stock::load(&place).unwrap();
        assert_eq!(stock.floor.as_deref(), Some("1.10"));
        assert_eq!(stock.head(&place, "aa").unwrap().unwrap(), b"head");
        assert_eq!(stock.head(&place, "bb").unwrap(), None);
        let path = place.path(UPDATE_STOCK);
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in [&text[..9], &text.replace("1.10", "+"), &text.replace("\"schema\": 1", "\"schema\": 2")] {
            atomic::write(&path, bad.as_bytes(), 0o600).unwrap();
            assert!(Stock::load(&place).is_err(), "{bad}");
        }
    }
}
