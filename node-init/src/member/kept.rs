//! The last good seed, in one file: seed and companions change together or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use edgepair_layout::path;
use edgepair_seed::{Companions, Input, SEED_FILE, Secret, Seed, check};
use serde::{Deserialize, Serialize};

use super::Place;

/// Version of the file's form. A slot that is rolled back to must still read what a newer one wrote.
const SCHEMA: u32 = 1;

/// Why what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file is there and cannot be read.
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file cannot be written.
    #[error("{} cannot be written: {why}", .path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A later version wrote it.
    #[error("the kept seed has form {0}, and this version reads form 1")]
    Schema(u32),
    /// The check of this version refuses it.
    #[error("the kept seed does not pass the check of this version:\n{0}")]
    Refused(String),
    /// It is not the seed that provisioning confirmed.
    #[error("the kept seed is not the one in force; `node-init provision` puts it in force")]
    NotInForce,
}

/// The last good seed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    schema: u32,
    /// Which box of it this is: `a`, `b` or the name of a worker.
    pub member: String,
    /// The `node` file that stood beside it.
    pub node: Option<String>,
    /// Where it was found, in words.
    pub found: String,
    /// The seed's text.
    pub text: String,
    /// Names and contents of the files it names.
    pub companions: BTreeMap<String, String>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold secrets.
        f.debug_struct("Kept")
            .field("member", &self.member)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// A seed as it is to be kept.
    pub fn new(
        text: &str,
        companions: &Companions,
        node: Option<&str>,
        member: &edgepair_seed::Member,
        found: &str,
    ) -> Self {
        let content = |secret: &Secret| secret.expose_secret().to_owned();
        Self {
            schema: SCHEMA,
            member: member.to_string(),
            node: node.map(str::to_owned),
            found: found.to_owned(),
            text: text.to_owned(),
            companions: companions.iter().map(|(name, secret)| (name.to_owned(), content(secret))).collect(),
        }
    }

    /// Reads it; `None` when no seed was ever kept.
    ///
    /// # Errors
    /// When it is damaged or of a later form.
    pub fn load(place: &Place) -> Result<Option<Self>, KeptError> {
        #[derive(Deserialize)]
        struct Form {
            schema: u32,
        }
        let Some(form) = place.read::<Form>(path::KEPT_SEED)? else { return Ok(None) };
        if form.schema != SCHEMA {
            return Err(KeptError::Schema(form.schema));
        }
        place.read(path::KEPT_SEED)
    }

    /// Keeps it: durable when this returns.
    ///
    /// # Errors
    /// The kernel's; then what was kept before is still there.
    pub fn store(&self, place: &Place) -> Result<(), KeptError> {
        place.write(path::KEPT_SEED, self)
    }

    /// Whether this very seed is what is kept.
    pub fn is_stored(&self, place: &Place) -> bool {
        Self::load(place).ok().flatten().is_some_and(|kept| kept == *self)
    }

    /// The files beside it, for the check.
    pub fn companions(&self) -> Companions {
        let missing = || "it was not kept".to_owned();
        Companions::load(&self.text, |name| self.companions.get(name).cloned().ok_or_else(missing))
    }

    /// Checks it again: the check of this version may be stricter than that of the one that kept it.
    ///
    /// # Errors
    /// With every finding.
    pub fn check(&self) -> Result<Seed, KeptError> {
        let companions = self.companions();
        let input = Input { name: SEED_FILE, text: &self.text, companions: &companions, disk: None };
        let (seed, report) = check(&input);
        seed.ok_or_else(|| KeptError::Refused(report.render_short()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub const SEED: &str = include_str!("../../../libs/seed/tests/seeds/minimal.toml");
    pub const SECRET: &str = "qJ4v9TzXn2Lr8sWc5Yb1Kd7H";

    pub fn kept(text: &str) -> Kept {
        let companions = Companions::load(text, |_| Ok(SECRET.to_owned()));
        let member = edgepair_seed::Member::parse("b").unwrap();
        Kept::new(text, &companions, None, &member, "a test")
    }

    #[test]
    fn it_comes_back_with_its_secret_and_shows_it_to_nobody() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        assert!(Kept::load(&place).unwrap().is_none());
        kept(SEED).store(&place).unwrap();
        let back = Kept::load(&place).unwrap().unwrap();
        assert_eq!(back.check().unwrap().hash(), kept(SEED).check().unwrap().hash());
        let mode = std::fs::metadata(place.path(path::KEPT_SEED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{back:?}").contains(SECRET));
    }

    #[test]
    fn damage_and_a_later_form_are_named_without_quoting() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        kept(SEED).store(&place).unwrap();
        let path = place.path(path::KEPT_SEED);
        let text = std::fs::read_to_string(&path).unwrap();
        let put = |text: &str| edgepair_host_io::atomic::write(&path, text.as_bytes(), 0o600).unwrap();
        put(&text.replace("\"schema\": 1", "\"schema\": 2"));
        assert!(matches!(Kept::load(&place), Err(KeptError::Schema(2))));
        put(&text[..text.len() - 20]);
        let error = Kept::load(&place).unwrap_err().to_string();
        assert!(error.contains("damaged") && !error.contains(SECRET), "{error}");
        let without = Kept { companions: BTreeMap::new(), ..kept(SEED) };
        let error = without.check().unwrap_err().to_string();
        assert!(error.contains("pair.secret"), "{error}");
    }
}
