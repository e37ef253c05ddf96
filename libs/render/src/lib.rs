//! From a valid seed to everything a node needs: files, units, and the steps on an empty box. Pure.
//!
//! ```text
//! Seed + Member + Facts ──Links::resolve──▶ Context ──one renderer per program──▶ Rendered { files, units }
//!                                            │
//!                                            ├─ plan::steps        what provisioning does, each with "done when"
//!                                            └─ timing::self_fence how long until a lost node is surely silent
//! ```
//!
//! - [`render`] is the entry point; the order of files is fixed, so two calls give the same.
//! - [`checks::checks`] lists, for every rendered file, how its own program checks it.
//! - Nothing here reads the machine: what has to be known of it is in [`Facts`].

mod agent;
pub mod checks;
mod conf;
mod context;
mod database_key;
mod drbd;
mod facts;
mod firewall;
mod haproxy;
mod k3s;
mod keepalived;
mod name;
pub mod names;
mod networkd;
mod output;
pub mod plan;
mod postgres;
mod registries;
mod ssh;
mod storage;
mod system;
pub mod timing;

pub use context::Context;
pub use facts::{Card, Facts, Links};
pub use output::{File, Rendered, Start, Unit};
pub use storage::backing_device;

use edgepair_seed::{Datastore, Member, Purpose, Secret, Seed};

/// Why nothing can be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The seed has no such box.
    #[error("the seed has no box \"{0}\"; it has a, b and its workers")]
    NoSuchMember(String),
    /// A network card is not there.
    #[error(
        "{what}: no such card in this box; it has {have}. Correct the MAC address in the seed, or plug the card"
    )]
    NoCard {
        /// Which card was looked for.
        what: String,
        /// What is there.
        have: String,
    },
    /// The database's certificate cannot be made.
    #[error("the database's certificate cannot be made of the pair's secret: {0}")]
    Certificate(String),
}

/// Renders all files and units of one box.
///
/// # Errors
/// When the seed has no such box, or a card it names is not among the facts.
pub fn render(seed: &Seed, member: &Member, facts: &Facts) -> Result<Rendered, RenderError> {
    let context = Context::new(seed, member, facts)?;
    let mut out = Rendered::default();
    // Units start in the order of this list: no address before its firewall.
    firewall::render(&context, &mut out);
    name::render(&context, &mut out);
    networkd::render(&context, &mut out);
    system::render(&context, &mut out);
    ssh::render(&context, &mut out);
    if context.node().is_some() {
        storage::render(&context, &mut out);
        drbd::render(&context, &mut out);
        keepalived::render(&context, &mut out);
        postgres::render(&context, &mut out)?;
        haproxy::render(&context, &mut out);
        agent::render(&mut out);
    }
    k3s::render(&context, &mut out);
    registries::render(&context, &mut out);
    out.notes.extend(context.links.notes.iter().cloned());
    Ok(out)
}

/// Every secret that rendered files can contain, for those who print them with [`File::redacted`].
#[must_use]
pub fn secrets(seed: &Seed) -> Vec<Secret> {
    let derived = Purpose::ALL.into_iter().map(|purpose| seed.pair.secret.text(purpose));
    let registries = seed.registries.values().filter_map(|registry| registry.password.clone());
    let fences = [&seed.a, &seed.b].into_iter().filter_map(|node| node.fence.as_ref()?.password.clone());
    let kubernetes = seed.kubernetes.as_ref();
    let endpoint = kubernetes.and_then(|kubernetes| match &kubernetes.datastore {
        Datastore::External(endpoint) => Some(endpoint.clone()),
        Datastore::Postgres | Datastore::Sqlite => None,
    });
    // k3s has options that are secrets; what looks like one is taken for one.
    let options =
        kubernetes.into_iter().flat_map(|kubernetes| &kubernetes.config).filter_map(|(name, value)| {
            let secret = ["secret", "token", "passw", "-key"].iter().any(|word| name.contains(word));
            value.as_str().filter(|_| secret).map(|text| Secret::new(text.to_owned()))
        });
    // In the file of a private key it is part of a longer line.
    let key = std::iter::once(Secret::new(database_key::secret_line(&seed.pair.secret)));
    derived.chain(key).chain(registries).chain(fences).chain(endpoint).chain(options).collect()
}
