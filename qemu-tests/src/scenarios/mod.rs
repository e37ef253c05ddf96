//! The scenarios, one file each. A scenario gets a folder for its machines and ends with what it saw.

mod boot;
mod corrupt_root;
mod image_content;
mod secure_boot;
mod written_copies;

use crate::harness::Image;
use crate::harness::accel::Accel;
use std::path::Path;

/// What a scenario may use.
#[derive(Debug)]
pub struct Context<'a> {
    /// The image under test.
    pub image: &'a Image,
    /// Its own folder; kept when it fails.
    pub dir: &'a Path,
    /// How guests run.
    pub accel: Accel,
    /// The keys that the image's boot files are signed with, when they are.
    pub secure_boot: Option<&'a Path>,
}

impl Context<'_> {
    /// A time limit that suits how guests run, given what a real machine needs.
    pub fn seconds(&self, on_real_hardware: u64) -> crate::harness::Deadline {
        crate::harness::Deadline::seconds(on_real_hardware * self.accel.patience())
    }
}

/// A scenario.
pub struct Scenario {
    /// Name, for the command line and the report.
    pub name: &'static str,
    /// What it shows, one sentence.
    pub shows: &'static str,
    /// The code.
    pub run: fn(&Context<'_>) -> anyhow::Result<()>,
}

/// Scenarios that need an image of another kind than the default one; they run only when they are named.
pub const BY_NAME: &[Scenario] = &[secure_boot::SCENARIO];

/// All other scenarios, the quick ones first.
pub const ALL: &[Scenario] =
    &[image_content::SCENARIO, written_copies::SCENARIO, boot::SCENARIO, corrupt_root::SCENARIO];
