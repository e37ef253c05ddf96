//! What this machine has of a bundle, for the other node.

use super::peer::serve::Shelf;
use super::stock::Stock;
use super::{Bundles, contents};
use crate::update::boot::SystemdBoot;
use crate::update::boot::esp::HostEsp;
use crate::update::slot::{HostVolume, Place, Volume};
use edgepair_bundle::Contents;
use edgepair_bundle::manifest::PayloadName;
use edgepair_host_io::HostRunner;
use edgepair_layout::{boot, path};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Head on state, both slots of the booted disk, kernel images on the boot partition.
#[derive(Debug)]
pub struct HostShelf {
    bundles: Bundles,
}

impl HostShelf {
    /// With the head that these bundles keep.
    pub fn new(bundles: Bundles) -> Self {
        Self { bundles }
    }
}

impl Shelf for HostShelf {
    fn head(&self, bundle: &str) -> Result<(Vec<u8>, Contents), String> {
        let place = &self.bundles.place;
        let stock = Stock::load(place).map_err(|error| error.to_string())?;
        let head = stock.head(place, bundle).map_err(|error| error.to_string())?;
        let head = head.ok_or("it is not on that node yet")?;
        let keys = self.bundles.keys().map_err(|trouble| trouble.text)?;
        let contents = contents(&head, bundle, &keys).map_err(|trouble| trouble.text)?;
        Ok((head, contents))
    }

    fn volumes(&self, payload: PayloadName) -> Vec<Box<dyn Volume>> {
        let at = match payload {
            PayloadName::Root => 0,
            PayloadName::Verity => 1,
            PayloadName::Uki => return Vec::new(),
        };
        let Ok(place) = Place::find() else { return Vec::new() };
        // The version may be in either slot by now.
        let partitions = [&place.inactive[at], &place.booted[at]];
        let open = |partition: &crate::early::disk::Partition| HostVolume::reader(&partition.device()).ok();
        partitions.into_iter().filter_map(open).map(|volume| Box::new(volume) as Box<dyn Volume>).collect()
    }

    fn kernel(&self, version: &str) -> Option<File> {
        let esp = HostEsp::folder(
            Path::new(path::ESP),
            Path::new("/sys/firmware/efi/efivars"),
            Arc::new(HostRunner),
        );
        let listing = SystemdBoot::new(esp).look().ok()?;
        let entry = listing.of(version).next()?;
        File::open(Path::new(path::ESP).join(boot::UKI_DIR).join(&entry.file)).ok()
    }
}
