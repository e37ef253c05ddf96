//! What this box is: the seed that is in force, which box of it this is, its network cards, its replica's identity.
//!
//! [`Own::load`] is for whoever runs after provisioning (the agent, `status`): it gives the kept seed, checked again,
//! with every secret it names. [`Kept`] is the file on the state partition, [`OwnDisk`] the identity of the replica.

mod disk;
mod kept;

pub use disk::{DiskFile, Hardware, OwnDisk};
pub use kept::{Kept, KeptError};

use std::fs;
use std::path::{Path, PathBuf};

use edgepair_host_io::atomic;
use edgepair_layout::path;
use edgepair_render::{Card, Context, Facts, RenderError, Rendered, render};
pub use edgepair_seed::Mac;
use edgepair_seed::{Member, Seed};
use serde::{Deserialize, Serialize};

/// Where the durable things lie: `/` on a node, another folder in a test and in the initrd.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Place {
    /// The places below another root.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether this is the running system.
    pub fn is_root(&self) -> bool {
        self.root == Path::new("/")
    }

    /// An absolute path of a node, below this root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Reads a JSON file; absent is `None`.
    ///
    /// # Errors
    /// When it is there and cannot be read or understood.
    pub fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, KeptError> {
        let path = self.path(path);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeptError::Unreadable { path, why: source.to_string() }),
        };
        // The text may hold a secret, so the error says where it stopped and never quotes it.
        let damaged = |error: serde_json::Error| KeptError::Unreadable {
            path: path.clone(),
            why: format!("it is damaged at line {}, column {}", error.line(), error.column()),
        };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Writes a JSON file whole and durably, readable only by root.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write<T: Serialize>(&self, path: &str, value: &T) -> Result<(), KeptError> {
        let path = self.path(path);
        let put = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let text = serde_json::to_string_pretty(value).map_err(std::io::Error::other)?;
            atomic::write(&path, format!("{text}\n").as_bytes(), 0o600)
        };
        put().map_err(|source| KeptError::Unwritable { path: path.clone(), why: source.to_string() })
    }
}

/// Which box this is in this boot, in [`path::MEMBER`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// `a`, `b` or the name of a worker.
    pub member: String,
    /// Name of the pair.
    pub pair: String,
    /// Hash of the seed that is in force.
    pub hash: String,
}

/// The box as the seed in force has it.
#[derive(Debug, Clone)]
pub struct Own {
    /// The checked seed; every key is derived from its `pair.secret`.
    pub seed: Seed,
    /// Which box of it this is.
    pub member: Member,
    /// Its network cards.
    pub facts: Facts,
}

impl Own {
    /// Loads what provisioning has put in force in this boot. `None` when the node waits for a seed.
    ///
    /// # Errors
    /// When the kept seed cannot be read or is no good seed any more.
    pub fn load() -> Result<Option<Self>, KeptError> {
        Self::load_from(&Place::default())
    }

    /// The same below another root.
    ///
    /// # Errors
    /// As [`Own::load`].
    pub fn load_from(place: &Place) -> Result<Option<Self>, KeptError> {
        let Some(confirmed) = place.read::<Confirmed>(path::MEMBER)? else { return Ok(None) };
        let Some(kept) = Kept::load(place)? else { return Ok(None) };
        let seed = kept.check()?;
        if seed.hash() != confirmed.hash {
            return Err(KeptError::NotInForce);
        }
        let member = Member::parse(&confirmed.member).ok_or(KeptError::NotInForce)?;
        let facts = cards(place)?.unwrap_or_else(|| Facts::assumed(&seed, &member));
        Ok(Some(Self { seed, member, facts }))
    }

    /// The seed seen from this box.
    ///
    /// # Errors
    /// When a network card that the seed names is not there.
    pub fn context(&self) -> Result<Context<'_>, RenderError> {
        Context::new(&self.seed, &self.member, &self.facts)
    }

    /// All files and units of this box.
    ///
    /// # Errors
    /// As [`Own::context`].
    pub fn rendered(&self) -> Result<Rendered, RenderError> {
        render(&self.seed, &self.member, &self.facts)
    }
}

/// A network card in [`path::CARDS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CardFile {
    name: String,
    mac: Option<String>,
}

/// Network cards as they were last seen; `None` before the first look.
///
/// # Errors
/// When the file is damaged.
pub fn cards(place: &Place) -> Result<Option<Facts>, KeptError> {
    let Some(list) = place.read::<Vec<CardFile>>(path::CARDS)? else { return Ok(None) };
    let card = |card: CardFile| Card { name: card.name, mac: card.mac.and_then(|text| mac(&text)) };
    Ok(Some(Facts { cards: list.into_iter().map(card).collect() }))
}

/// Keeps the cards for the next boot's first rendering.
///
/// # Errors
/// The kernel's.
pub fn keep_cards(place: &Place, facts: &Facts) -> Result<(), KeptError> {
    let card = |card: &Card| CardFile { name: card.name.clone(), mac: card.mac.map(|mac| mac.to_string()) };
    place.write(path::CARDS, &facts.cards.iter().map(card).collect::<Vec<_>>())
}

/// Reads a MAC address as the kernel prints it.
pub fn mac(text: &str) -> Option<Mac> {
    Mac::parse(text.trim()).ok()
}

#[cfg(test)]
pub(crate) mod tests_support {
    pub use super::kept::tests::{SECRET, SEED, kept};

    pub fn kept_minimal() -> super::Kept {
        kept(SEED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::kept::tests::{SEED, kept};

    #[test]
    fn what_provisioning_put_in_force_is_loaded_with_its_secret() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        assert!(Own::load_from(&place).unwrap().is_none(), "nothing is kept");
        let kept = kept(SEED);
        kept.store(&place).unwrap();
        assert!(Own::load_from(&place).unwrap().is_none(), "kept, and not confirmed in this boot");
        let hash = kept.check().unwrap().hash();
        let confirmed = Confirmed { member: "b".into(), pair: "site-042".into(), hash };
        place.write(path::MEMBER, &confirmed).unwrap();
        keep_cards(
            &place,
            &Facts { cards: vec![Card { name: "ens3".into(), mac: mac("52:54:00:00:00:02") }] },
        )
        .unwrap();
        let own = Own::load_from(&place).unwrap().unwrap();
        assert_eq!(own.member, Member::parse("b").unwrap());
        assert_eq!(own.context().unwrap().lan(), "ens3");
        assert!(own.rendered().unwrap().file("/etc/drbd.d/edgepair.res").is_some());
        place.write(path::MEMBER, &Confirmed { hash: "other".into(), ..confirmed }).unwrap();
        assert!(Own::load_from(&place).is_err(), "a seed that is not the confirmed one");
    }
}
