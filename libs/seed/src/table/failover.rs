//! Keys of failover and witness.

use super::Change::{Live, Pair};
use super::Key;
use super::Kind::{Bool, Duration, File, Fingerprint, List, OneOf, SecretFile, Url};

/// The words of `failover.mode`.
pub const MODES: &[&str] = &["witness", "fence", "manual", "availability-first"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "failover.mode",
        OneOf(MODES),
        Pair,
        "`witness`: a third party decides; `fence`: the other box's power is cut first; `manual`: an operator \
         decides; `availability-first`: go on alone without proof, which can lose data.",
    )
    .required(),
    Key::new(
        "failover.standby_delay",
        Duration,
        Pair,
        "How long the standby waits before it claims, so that a cut cable moves nothing that works.",
    )
    .default("\"1500ms\""),
    Key::new(
        "failover.fence_timeout",
        Duration,
        Pair,
        "How long the power of a box may take to be off before fencing counts as failed.",
    )
    .default("\"60s\""),
    Key::new(
        "failover.taint",
        Bool,
        Live,
        "Set the out-of-service taint on a box that is proven dead, so that its pods move at once.",
    )
    .default("true"),
    Key::new("failover.witness.url", Url, Pair, "Address of the witness; https."),
    Key::new("failover.witness.fingerprint", Fingerprint, Pair, "SHA-256 of the witness' certificate."),
    Key::new("failover.witness.etcd", List(&Url), Pair, "Endpoints of an etcd cluster used as the witness.")
        .default("[]"),
    Key::new("failover.witness.ca_file", File, Pair, "File beside the seed with the CA of the etcd cluster."),
    Key::new("failover.witness.cert_file", File, Pair, "File with the pair's client certificate for etcd."),
    Key::new("failover.witness.key_file", SecretFile, Pair, "File with the key of that certificate."),
    Key::new("failover.witness.timeout", Duration, Pair, "How long one request to the witness may take.")
        .default("\"1500ms\""),
];
