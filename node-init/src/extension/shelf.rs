//! What extensions this node has, and which of them may be used.

use crate::member::Place;
use crate::update::bundle::trust;
use edgepair_extension::{HEAD, Head, IMAGE, SIGNATURES, Version, check_head};
use edgepair_layout::path::{EXTENSIONS_IMAGE, EXTENSIONS_STATE, UPDATE_KEYS};
use std::fs;
use std::path::{Path, PathBuf};

/// Where an extension lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the image's root, which the kernel checks block by block against what was built.
    Image,
    /// On state: only with a signature.
    State,
}

impl Origin {
    const fn folder(self) -> &'static str {
        match self {
            Self::Image => EXTENSIONS_IMAGE,
            Self::State => EXTENSIONS_STATE,
        }
    }

    /// In words.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Image => "in the image",
            Self::State => "on state",
        }
    }
}

/// An extension that may be used: there is no other way to get one than [`Shelf::look`], which checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usable {
    head: Head,
    folder: PathBuf,
    origin: Origin,
}

impl Usable {
    /// What it is.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> &Version {
        &self.head.version
    }

    /// Where it lies.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.join(IMAGE)
    }
}

/// One that is there and may not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its folder's name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Everything on the shelf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// What may be used, the oldest version first; of one version the copy in the image first.
    pub usable: Vec<Usable>,
    /// What may not.
    pub refused: Vec<Refused>,
}

impl Shelf {
    /// Looks at image and state. `architecture`: this machine's.
    #[must_use]
    pub fn look(place: &Place, architecture: &str) -> Self {
        let mut shelf = Self::default();
        for origin in [Origin::Image, Origin::State] {
            let Ok(entries) = fs::read_dir(place.path(origin.folder())) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                // One that is being written, or was when the power went.
                if name.starts_with('.') {
                    continue;
                }
                match check(place, origin, &entry.path(), &name, architecture) {
                    Ok(head) => shelf.usable.push(Usable { head, folder: entry.path(), origin }),
                    Err(why) => shelf.refused.push(Refused { name, why }),
                }
            }
        }
        shelf.usable.sort_by(|a, b| (a.version(), a.origin).cmp(&(b.version(), b.origin)));
        shelf.refused.sort_by(|a, b| a.name.cmp(&b.name));
        shelf
    }

    /// The one of a version.
    #[must_use]
    pub fn get(&self, version: &Version) -> Option<&Usable> {
        self.usable.iter().find(|usable| usable.version() == version)
    }

    /// The newest that the image brought.
    #[must_use]
    pub fn newest_of_image(&self) -> Option<&Usable> {
        self.usable.iter().rev().find(|usable| usable.origin == Origin::Image)
    }

    /// All versions, each once.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> = self.usable.iter().map(|usable| usable.version().clone()).collect();
        versions.dedup();
        versions
    }

    /// Why a version cannot be used, in words.
    #[must_use]
    pub fn why_not(&self, version: &Version) -> String {
        match self.refused.iter().find(|refused| refused.name == version.to_string()) {
            Some(refused) => format!("k3s {version} may not be used: {}", refused.why),
            None => format!("k3s {version} is not here"),
        }
    }
}

fn check(
    place: &Place,
    origin: Origin,
    folder: &Path,
    name: &str,
    architecture: &str,
) -> Result<Head, String> {
    let read = |file: &str| {
        fs::read_to_string(folder.join(file)).map_err(|error| format!("{file} cannot be read: {error}"))
    };
    let text = read(HEAD)?;
    let head = match origin {
        Origin::Image => Head::parse(&text).map_err(|error| error.to_string())?,
        Origin::State => {
            let keys = trust::trusted(&place.path(UPDATE_KEYS))?;
            check_head(&text, &read(SIGNATURES)?, &keys).map_err(|error| error.to_string())?
        }
    };
    if head.version.to_string() != name {
        return Err(format!("its folder is called {name}, and it is k3s {}", head.version));
    }
    if head.architecture != architecture {
        return Err(format!("it is for {}, and this machine is {architecture}", head.architecture));
    }
    let size = fs::metadata(folder.join(IMAGE)).map_err(|error| format!("{IMAGE}: {error}"))?.len();
    if size == head.size { Ok(head) } else { Err(format!("{IMAGE} has {size} bytes of {}", head.size)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use edgepair_extension::{Span, signatures_text};
    use edgepair_host_io::atomic;
    use edgepair_signature::{KeyId, Prehash, PublicKey, Signature};
    use ring::signature::{Ed25519KeyPair, KeyPair};

    pub(crate) fn image() -> Vec<u8> {
        (0..65536_u32).map(|at| (at % 251) as u8).collect()
    }

    pub(crate) fn head(version: &str) -> Head {
        Head {
            version: Version::parse(version).unwrap(),
            architecture: "amd64".into(),
            root_hash: "0f".repeat(32),
            size: 65536,
            sha256: edgepair_host_io::digest::of_bytes(image()),
            data: Span { offset: 4096, length: 8192 },
            tree: Span { offset: 16384, length: 4096 },
            images: vec!["a.tar".into()],
        }
    }

    pub(crate) fn seal(number: u8, text: &str) -> Signature {
        let hash = Prehash::of_bytes(text.as_bytes());
        edgepair_signature::sign(&[number; 32], KeyId([number; 8]), &hash, "c").unwrap()
    }

    pub(crate) fn trust_key(place: &Place, number: u8) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap();
        let key = PublicKey::new(KeyId([number; 8]), pair.public_key().as_ref().try_into().unwrap());
        put(place, &format!("{UPDATE_KEYS}/{number}.pub"), key.text().as_bytes());
    }

    fn put(place: &Place, path: &str, bytes: &[u8]) {
        let path = place.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        atomic::write(&path, bytes, 0o644).unwrap();
    }

    pub(crate) fn place_one(place: &Place, origin: Origin, version: &str, signed_by: &[u8]) {
        let head = head(version);
        let seals: Vec<Signature> = signed_by.iter().map(|number| seal(*number, &head.text())).collect();
        let folder = format!("{}/{version}", origin.folder());
        put(place, &format!("{folder}/{HEAD}"), head.text().as_bytes());
        put(place, &format!("{folder}/{SIGNATURES}"), signatures_text(&seals).as_bytes());
        put(place, &format!("{folder}/{IMAGE}"), &image());
    }

    #[test]
    fn what_is_on_state_needs_a_trusted_signature_and_what_the_image_brought_does_not() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        assert_eq!(Shelf::look(&place, "amd64"), Shelf::default());
        place_one(&place, Origin::Image, "v1.33.4+k3s1", &[]);
        place_one(&place, Origin::State, "v1.34.1+k3s1", &[1]);
        place_one(&place, Origin::State, "v1.34.2+k3s1", &[]);
        place_one(&place, Origin::State, "v1.34.3+k3s1", &[2]);
        let shelf = Shelf::look(&place, "amd64");
        assert_eq!(shelf.versions().len(), 1, "no key is trusted yet");
        trust_key(&place, 1);
        let shelf = Shelf::look(&place, "amd64");
        let names: Vec<String> = shelf.versions().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["v1.33.4+k3s1", "v1.34.1+k3s1"]);
        assert_eq!(shelf.newest_of_image().unwrap().version().to_string(), "v1.33.4+k3s1");
        let why = |text: &str| shelf.why_not(&Version::parse(text).unwrap());
        assert!(why("v1.34.2+k3s1").contains("not signed"), "{}", why("v1.34.2+k3s1"));
        assert!(why("v1.34.3+k3s1").contains("another key"), "{}", why("v1.34.3+k3s1"));
        assert!(why("v1.35.0+k3s1").contains("is not here"));
    }

    #[test]
    fn a_changed_head_a_short_image_and_a_foreign_machine_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        trust_key(&place, 1);
        place_one(&place, Origin::State, "v1.33.4+k3s1", &[1]);
        assert_eq!(Shelf::look(&place, "amd64").usable.len(), 1);
        assert!(Shelf::look(&place, "arm64").refused[0].why.contains("is for amd64"));
        let folder = place.path(EXTENSIONS_STATE).join("v1.33.4+k3s1");
        let text = fs::read_to_string(folder.join(HEAD)).unwrap();
        let changed = text.replace(&"0f".repeat(32), &"1f".repeat(32));
        atomic::write(&folder.join(HEAD), changed.as_bytes(), 0o644).unwrap();
        assert!(Shelf::look(&place, "amd64").refused[0].why.contains("damaged or changed"));
        atomic::write(&folder.join(HEAD), text.as_bytes(), 0o644).unwrap();
        atomic::write(&folder.join(IMAGE), b"short", 0o644).unwrap();
        assert!(Shelf::look(&place, "amd64").refused[0].why.contains("5 bytes of"));
        fs::rename(&folder, folder.with_file_name("v1.33.5+k3s1")).unwrap();
        assert!(Shelf::look(&place, "amd64").refused[0].why.contains("is called"));
    }
}
