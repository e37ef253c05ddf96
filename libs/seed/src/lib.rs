//! The seed: the TOML file that says what a pair of boxes is to be.
//!
//! Pure: text goes in, and either a typed [`Seed`] comes out or a [`Report`] with *everything* that is wrong, each
//! with its place, the reason and what to do. The builder and the node run the same code.
//!
//! ```text
//! text ──shape──▶ flat map with places ──rules──▶ findings ──▶ Report
//!        (table)                        └─build──▶ Seed ──▶ keys, identify, Difference
//! ```
//!
//! - [`check`] is the entry point; [`Companions::load`] gathers the files a seed names.
//! - [`table`] is the schema as data; the walk, [`json_schema`], [`markdown_table`] and [`Difference`] read it.
//! - [`identify`] tells a box which one it is.
//! - [`Purpose`] lists the keys derived from the pair secret.

mod build;
mod companions;
mod diff;
mod docs;
mod identity;
mod keys;
mod model;
mod rules;
mod scalar;
mod schema;
mod secret;
mod shape;
pub mod table;
mod value;

pub use companions::{Companions, names as companion_names};
pub use diff::{Changed, Difference};
pub use docs::markdown_table;
pub use edgepair_findings::{Finding, Position, Report, Severity};
pub use identity::{BoxFacts, FoundBy, IdentityError, identify};
pub use keys::{Key, PairSecret, Purpose, secret_from_random};
pub use model::{
    Access, Bond, Console, Datastore, Failover, FailoverMode, FenceDevice, Kubernetes, Log, Member, Network,
    Node, NodeId, Overlay, Pair, Registry, Seed, Storage, StorageMode, Update, Watchdog, Witness,
    WitnessPlace, Worker,
};
pub use scalar::{Fingerprint, Mac, Port, Protocol, human_size, size as parse_size};
pub use schema::json_schema;
pub use secret::Secret;
pub use shape::SCHEMA;

/// Name of the seed's file on a partition or stick.
pub const SEED_FILE: &str = "seed.toml";
/// Name of the file beside it that says which box this is.
pub const NODE_FILE: &str = "node";
/// Largest seed that is read, in bytes: a hundred workers fit many times over.
pub const SEED_MAX: usize = 1 << 20;

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Name of the file, for messages.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The files it names.
    pub companions: &'a Companions,
    /// Size in bytes of the disk the system is on, where it is known; goes before `storage.disk`.
    pub disk: Option<u64>,
}

/// Checks a seed. The seed is there exactly when the report has no error.
#[must_use]
pub fn check(input: &Input<'_>) -> (Option<Seed>, Report) {
    let too_long = input.text.len() > SEED_MAX;
    let mut shaped = if too_long { too_long_to_read() } else { shape::shape(input.text) };
    let mut findings = std::mem::take(&mut shaped.findings);
    // After a foreign schema nothing of the rest means anything.
    if !too_long && !findings.iter().any(|finding| finding.code == "schema") {
        let mut rules = rules::Rules {
            seed: &shaped,
            companions: input.companions,
            disk: input.disk,
            findings: Vec::new(),
        };
        rules.run();
        findings.extend(rules.findings);
    }
    let mut seed = None;
    if !findings.iter().any(|finding| finding.severity == Severity::Error) {
        seed = build::Builder { seed: &shaped, companions: input.companions }.build();
        if seed.is_none() {
            findings.push(Finding {
                severity: Severity::Error,
                code: "internal",
                key: String::new(),
                span: 0..0,
                reason: "the seed passed every check and still cannot be used; this is a fault of edgepair"
                    .into(),
                fix: "please report it, with the seed and without its secrets".into(),
            });
        }
    }
    let report = Report::new(input.name, if too_long { "" } else { input.text }, findings, &shaped.hidden);
    (seed, report)
}

fn too_long_to_read() -> shape::Shaped {
    let finding = Finding {
        severity: Severity::Error,
        code: "too-long",
        key: String::new(),
        span: 0..0,
        reason: format!("the file has more than {SEED_MAX} bytes; this is no seed"),
        fix: "check that it is the right file".into(),
    };
    shape::Shaped { findings: vec![finding], ..shape::Shaped::default() }
}
