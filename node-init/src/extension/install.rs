//! Takes an extension onto state: from a file, a pipe, or the image.

use super::shelf::{Origin, Shelf, Usable};
use crate::member::Place;
use crate::update::bundle::trust;
use anyhow::{Context, bail};
use edgepair_extension::{HEAD, Head, IMAGE, SIGNATURES, Unverified, Verified, Version};
use edgepair_host_io::{atomic, digest};
use edgepair_layout::path::{EXTENSIONS_STATE, UPDATE_KEYS};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// What is left free on state when an extension has been written, bytes.
const RESERVE: u64 = 256 << 20;

/// Takes an extension. Its signature is checked before a byte of the image is written, the image before it gets its name.
///
/// # Errors
/// Why it is refused, and what to do.
pub fn install(place: &Place, reader: impl Read, architecture: &str) -> anyhow::Result<Head> {
    let refused = |error: edgepair_extension::Error| {
        anyhow::anyhow!("the extension is refused: {error}\n  to do: {}", error.advice())
    };
    let keys = trust::trusted(&place.path(UPDATE_KEYS)).map_err(anyhow::Error::msg)?;
    let verified = Unverified::open(reader).and_then(|found| found.verify(&keys)).map_err(refused)?;
    let head = verified.head().clone();
    if head.architecture != architecture {
        bail!("the extension is for {}, and this machine is {architecture}", head.architecture);
    }
    if let Some(there) = Shelf::look(place, architecture).get(&head.version) {
        if there.head().root_hash != head.root_hash {
            bail!(
                "another k3s {} is {} already; one version has one content\n  to do: `node-init extension remove {}` first, \
                 when it is not the one in use",
                head.version,
                there.origin().word(),
                head.version
            );
        }
        // One that lies here and has lost a byte is written again.
        let whole = || digest::of_file(&there.image()).is_ok_and(|sha256| sha256 == there.head().sha256);
        if there.origin() == Origin::State && whole() {
            return Ok(head);
        }
    }
    put(place, verified, &head.version).map_err(|error| match error.downcast::<edgepair_extension::Error>() {
        Ok(error) => refused(error),
        Err(error) => error,
    })
}

/// Writes head, signatures and image into a folder of another name, and gives it its name when all of it is there.
fn put(place: &Place, verified: Verified<impl Read>, version: &Version) -> anyhow::Result<Head> {
    let shelf = place.path(EXTENSIONS_STATE);
    fs::create_dir_all(&shelf).with_context(|| shelf.display().to_string())?;
    room(&shelf, verified.head().size, RESERVE)
        .context("the extension; `node-init extension list` shows those that can be removed")?;
    let part = shelf.join(format!(".{version}"));
    if part.exists() {
        // Ours by its name: what a power cut has left.
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir(&part)?;
    let written = (|| -> anyhow::Result<Head> {
        let head = verified.head().text();
        atomic::write(&part.join(HEAD), head.as_bytes(), 0o644)?;
        atomic::write(&part.join(SIGNATURES), verified.signatures_text().as_bytes(), 0o644)?;
        let image = File::create(part.join(IMAGE))?;
        let head = verified.unpack(&image)?;
        image.sync_all()?;
        File::open(&part)?.sync_all()?;
        Ok(head)
    })();
    if written.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    let head = written?;
    let own = shelf.join(version.to_string());
    if own.exists() {
        // It was there, and not usable.
        fs::remove_dir_all(&own)?;
    }
    atomic::publish(&part, &own)?;
    Ok(head)
}

/// Whether so many bytes fit, and so many stay free.
pub(super) fn room(folder: &Path, size: u64, reserve: u64) -> anyhow::Result<()> {
    let stat = nix::sys::statvfs::statvfs(folder)?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free < size.saturating_add(reserve) {
        bail!(
            "there is no room for it: it has {} MiB, and {} MiB are free, of which {} stay so",
            size >> 20,
            free >> 20,
            reserve >> 20
        );
    }
    Ok(())
}

/// Keeps a copy of what the image brought, so that it is still there when another version of the image runs. Says
/// whether there is one now: without a signature there is none, since nothing on state is used without.
///
/// # Errors
/// When it cannot be copied.
pub fn keep(place: &Place, usable: &Usable, architecture: &str) -> anyhow::Result<bool> {
    if usable.origin() == Origin::State {
        return Ok(true);
    }
    let shelf = Shelf::look(place, architecture);
    let own = shelf
        .usable
        .iter()
        .any(|other| other.origin() == Origin::State && other.version() == usable.version());
    let seals = fs::read_to_string(usable.folder().join(SIGNATURES)).unwrap_or_default();
    if own || seals.is_empty() {
        return Ok(own);
    }
    let signatures = edgepair_extension::parse_signatures(&seals)?;
    let mut file = Vec::new();
    // The same way in as any other: as the file that it was made of.
    edgepair_extension::write_head(usable.head(), &signatures, &mut file)?;
    let image = File::open(usable.image())?;
    install(place, file.as_slice().chain(image), architecture)?;
    Ok(true)
}

/// Removes a version from state.
///
/// # Errors
/// When it is in use or chosen, or is not there.
pub fn remove(place: &Place, version: &Version, in_use: Option<&Version>) -> anyhow::Result<()> {
    let plan = super::plan::Plan::load(place)?;
    if in_use == Some(version) || plan.version().as_ref() == Some(version) {
        bail!("k3s {version} is the one that the pair runs");
    }
    let own = place.path(EXTENSIONS_STATE).join(version.to_string());
    if !own.exists() {
        bail!("k3s {version} is not on state");
    }
    fs::remove_dir_all(&own).with_context(|| own.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::shelf::tests::{head, image, place_one, seal, trust_key};
    use super::*;

    fn file(version: &str, signed_by: &[u8]) -> Vec<u8> {
        let head = head(version);
        let seals: Vec<_> = signed_by.iter().map(|number| seal(*number, &head.text())).collect();
        let mut out = Vec::new();
        edgepair_extension::write(&head, &seals, image().as_slice(), &mut out).unwrap();
        out
    }

    #[test]
    fn only_what_is_signed_and_whole_gets_onto_state() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let good = file("v1.33.4+k3s1", &[1]);
        let said = install(&place, good.as_slice(), "amd64").unwrap_err().to_string();
        assert!(said.contains("trusts no key"), "{said}");
        trust_key(&place, 1);
        let mut tampered = good.clone();
        let middle = tampered.len() / 2;
        tampered[middle] ^= 1;
        for (file, words) in [
            (file("v1.33.4+k3s1", &[]), "not signed"),
            (file("v1.33.4+k3s1", &[2]), "another key"),
            (tampered, "not what was signed"),
            (good[..good.len() / 2].to_vec(), "cut off"),
        ] {
            let said = install(&place, file.as_slice(), "amd64").unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
            assert_eq!(Shelf::look(&place, "amd64"), Shelf::default(), "{words}: nothing stays");
        }
        assert!(install(&place, good.as_slice(), "arm64").unwrap_err().to_string().contains("is for amd64"));
        install(&place, good.as_slice(), "amd64").unwrap();
        install(&place, good.as_slice(), "amd64").unwrap();
        let shelf = Shelf::look(&place, "amd64");
        assert_eq!(shelf.usable.len(), 1);
        // The disk lost a bit of it: brought again, it is whole again.
        let path = shelf.usable[0].image();
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[5000] ^= 1;
        atomic::write(&path, &bytes, 0o644).unwrap();
        install(&place, good.as_slice(), "amd64").unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn what_the_image_brought_is_kept_when_it_is_signed() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        trust_key(&place, 1);
        place_one(&place, Origin::Image, "v1.33.4+k3s1", &[]);
        let unsigned = Shelf::look(&place, "amd64");
        assert!(!keep(&place, &unsigned.usable[0], "amd64").unwrap());
        place_one(&place, Origin::Image, "v1.33.4+k3s1", &[1]);
        let signed = Shelf::look(&place, "amd64");
        assert!(keep(&place, &signed.usable[0], "amd64").unwrap());
        let shelf = Shelf::look(&place, "amd64");
        assert_eq!((shelf.usable.len(), shelf.versions().len()), (2, 1));
        let version = Version::parse("v1.33.4+k3s1").unwrap();
        assert!(remove(&place, &version, Some(&version)).is_err(), "in use");
        remove(&place, &version, None).unwrap();
        assert_eq!(Shelf::look(&place, "amd64").usable.len(), 1);
    }
}
