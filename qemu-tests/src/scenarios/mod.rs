//! The scenarios, one file each. A scenario gets a folder for its machines and ends with what it saw.

mod boot;
mod corrupt_root;
mod failover;
mod formed;
mod image_content;
mod kubernetes;
mod pair_forms;
mod pair_kubernetes;
mod pair_kubernetes_external;
mod pair_kubernetes_faults;
mod pair_kubernetes_sqlite;
mod pair_kubernetes_version;
mod pair_kubernetes_worker;
mod pair_ports;
mod pair_power_cuts;
mod pair_promote;
mod pair_reboots;
mod pair_refusals;
mod secure_boot;
mod seed_one_node;
mod seed_refused;
pub mod soak;
mod updates;
mod witness;
mod written_copies;

pub use formed::{Kind, Lab, Shared};

use crate::harness::Image;
use crate::harness::accel::Accel;
use std::path::Path;

/// What a scenario may use.
#[derive(Debug)]
pub struct Context<'a> {
    /// The image under test.
    pub image: &'a Image,
    /// Its own folder; logs in it are kept when it fails.
    pub dir: &'a Path,
    /// A folder for all scenarios of a run.
    pub common: &'a Path,
    /// The pair that scenarios share.
    pub shared: &'a Shared,
    /// How guests run.
    pub accel: Accel,
    /// The keys that the image's boot files are signed with, when they are.
    pub secure_boot: Option<&'a Path>,
    /// Bundles of later versions, with the key that they are signed with.
    pub updates: Option<&'a Path>,
    /// Extensions with later versions of k3s, and the key that they are signed with.
    pub extensions: Option<&'a Path>,
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

/// The scenarios of a test run, the quick ones first; with bundles of later versions also that of an update.
pub fn all(updates: bool) -> impl Iterator<Item = &'static Scenario> {
    BASE.iter().chain(updates.then_some(&updates::pair::SCENARIO)).chain(failover::ESSENTIAL)
}

/// Scenarios that run only when they are named.
pub fn by_name() -> impl Iterator<Item = &'static Scenario> {
    NAMED.iter().chain(failover::MORE)
}

/// Seconds that must be left for a scenario in a run with a time limit, where that is more than a few minutes: what it takes
/// on slow emulated processors.
pub fn needs(scenario: &Scenario) -> u64 {
    match scenario.name {
        "pair-update" => 25 * 60,
        "pair-power-cuts" => 15 * 60,
        _ => 0,
    }
}

const BASE: &[Scenario] = &[
    image_content::SCENARIO,
    written_copies::SCENARIO,
    boot::SCENARIO,
    corrupt_root::SCENARIO,
    seed_one_node::SCENARIO,
    seed_refused::SCENARIO,
    pair_forms::SCENARIO,
    pair_reboots::SCENARIO,
    pair_promote::SCENARIO,
    pair_power_cuts::SCENARIO,
];

/// They need an image of another kind than the default one, or take too long for every test run.
const NAMED: &[Scenario] = &[
    secure_boot::SCENARIO,
    witness::SCENARIO,
    pair_ports::SCENARIO,
    pair_refusals::SCENARIO,
    updates::pair::SCENARIO,
    pair_kubernetes::SCENARIO,
    pair_kubernetes::STANDBY,
    pair_kubernetes_sqlite::SCENARIO,
    pair_kubernetes_external::SCENARIO,
    pair_kubernetes_worker::SCENARIO,
    pair_kubernetes_version::SCENARIO,
    pair_kubernetes_faults::SCENARIO,
];
