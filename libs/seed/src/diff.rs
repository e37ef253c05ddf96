//! The difference between two seeds, key by key, and what it takes to put each change into effect.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::companions::Companions;
use crate::keys::PairSecret;
use crate::model::Seed;
use crate::shape::Shaped;
use crate::table::{self, Change, Kind};
use crate::value::Value;

/// One key whose value in effect differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: String,
    /// Value before; `None` when there was none. Secrets are fingerprints.
    pub before: Option<String>,
    /// Value after; `None` when there is none any more.
    pub after: Option<String>,
    /// What it takes.
    pub change: Change,
}

/// All keys that differ between two seeds, ordered by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    changes: Vec<Changed>,
}

impl Difference {
    /// Compares what is in effect: a default that is now written out is no change.
    #[must_use]
    pub fn between(before: &Seed, after: &Seed) -> Self {
        let keys: std::collections::BTreeSet<&String> = before.flat.keys().chain(after.flat.keys()).collect();
        let changes = keys
            .into_iter()
            .filter(|key| before.flat.get(*key) != after.flat.get(*key))
            .map(|key| Changed {
                key: key.clone(),
                before: before.flat.get(key).cloned(),
                after: after.flat.get(key).cloned(),
                change: takes(key, before.flat.contains_key(key) && after.flat.contains_key(key)),
            })
            .collect();
        Self { changes }
    }

    /// Nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All changes.
    #[must_use]
    pub fn changes(&self) -> &[Changed] {
        &self.changes
    }

    /// The changes of one class.
    pub fn of(&self, change: Change) -> impl Iterator<Item = &Changed> {
        self.changes.iter().filter(move |changed| changed.change == change)
    }

    /// What it takes to put all of it into effect: the hardest of its changes. `None` when nothing differs.
    #[must_use]
    pub fn hardest(&self) -> Option<Change> {
        self.changes.iter().map(|changed| changed.change).max()
    }

    /// Whether one node may apply it by itself, at once or at its next boot.
    #[must_use]
    pub fn is_one_nodes_business(&self) -> bool {
        self.hardest().is_none_or(|change| change <= Change::Reboot)
    }

    /// One line for each change, for people.
    #[must_use]
    pub fn render(&self) -> String {
        if self.is_empty() {
            return "no difference\n".to_owned();
        }
        let mut out = String::new();
        for changed in &self.changes {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{}: {} -> {}  [{}]",
                changed.key,
                value(&changed.before),
                value(&changed.after),
                changed.change.word()
            );
        }
        out
    }

    /// For scripts.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.changes
            .iter()
            .map(|changed| {
                serde_json::json!({
                    "key": changed.key, "before": changed.before, "after": changed.after,
                    "takes": changed.change.word(),
                })
            })
            .collect()
    }
}

/// What a changed key takes; `both` says whether it has a value before and after.
fn takes(key: &str, both: bool) -> Change {
    // A key that the table does not know cannot be in a valid seed; the careful answer costs nothing.
    let change = table::find(key).map_or(Change::Pair, |row| row.change);
    // Kubernetes can be added to a pair, and taken away, without making its storage anew. The datastore, which would
    // have to be, has a value in either case.
    if change == Change::Rebuild && !both && key.starts_with("kubernetes.") { Change::Pair } else { change }
}

/// Every key with its value in effect as text, defaults filled in, secrets as fingerprints.
pub(crate) fn flatten(seed: &Shaped, companions: &Companions, pair: &PairSecret) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    for row in table::keys().filter(|row| !row.default.is_empty()) {
        for parent in parents(seed, row.path) {
            // Defaults of a table that is absent are in effect only where its absence has no meaning of its own.
            let name = row.path.rsplit('.').next().unwrap_or_default();
            flat.insert(format!("{parent}.{name}"), normal_default(row));
        }
    }
    for (path, entry) in &seed.values {
        let Some(row) = table::find(path) else { continue };
        let text = match (row.kind, &entry.value) {
            // Where the secret stands does not matter, only what it is; see `pair.secret` below.
            (Kind::Secret | Kind::SecretFile, _) if path.starts_with("pair.secret") => continue,
            (Kind::Secret, Value::Secret(secret)) => fingerprint(secret.expose_secret()),
            (Kind::SecretFile | Kind::File, Value::Text(name)) => match companions.whole(name) {
                Some(content) => fingerprint(content.expose_secret().trim_end()),
                None => continue,
            },
            (_, value) => show(value),
        };
        // A secret moved from the seed to a file is the same secret.
        let path = path.strip_suffix("password_file").map_or(path.clone(), |stem| format!("{stem}password"));
        flat.insert(path.replace("kubernetes.endpoint_file", "kubernetes.endpoint"), text);
    }
    flat.insert("pair.secret".to_owned(), format!("(secret {})", pair.fingerprint()));
    let id = seed.integer("pair.vrrp_id").unwrap_or_else(|| i64::from(pair.vrrp_id()));
    flat.insert("pair.vrrp_id".to_owned(), id.to_string());
    // Without Kubernetes it is PostgreSQL that runs.
    flat.entry("kubernetes.datastore".to_owned()).or_insert_with(|| "postgres".to_owned());
    // Meaningless for what runs: it only helps the check.
    flat.remove("storage.disk");
    flat
}

/// Concrete tables in which a row's default is in effect.
fn parents(seed: &Shaped, path: &str) -> Vec<String> {
    let Some((parent, _)) = path.rsplit_once('.') else { return Vec::new() };
    const MEANINGFUL: &[&str] = &[
        "network.bond",
        "network.replication",
        "failover.witness",
        "kubernetes",
        "kubernetes.balancer",
        "update",
    ];
    if !parent.contains('*') && !MEANINGFUL.contains(&parent) {
        return vec![parent.to_owned()];
    }
    seed.tables.keys().filter(|table| table::matches(parent, table)).cloned().collect()
}

/// A default in the form in which a written value is shown.
fn normal_default(row: &table::Key) -> String {
    let text = format!("x = {}", row.default);
    let (document, _) = toml::de::DeTable::parse_recoverable(&text);
    let value =
        document.get_ref().iter().next().and_then(|(_, value)| crate::value::parse(row.kind, value).ok());
    value.as_ref().map_or_else(|| row.default.to_owned(), show)
}

fn fingerprint(secret: &str) -> String {
    // Sixteen bits tell an edit from none and give nothing away about a short password.
    let digest = Sha256::digest(secret.as_bytes());
    format!("(secret {:02x}{:02x})", digest[0], digest[1])
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Secret(secret) => secret.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Address(address) => address.to_string(),
        Value::Net(net) => net.to_string(),
        Value::Mac(mac) => mac.to_string(),
        Value::Size(bytes) => crate::scalar::human_size(*bytes),
        Value::Millis(millis) => format!("{millis} ms"),
        Value::Fingerprint(fingerprint) => fingerprint.to_string(),
        Value::Port(port) => port.to_string(),
        Value::Window(window) => window.to_string(),
        Value::List(items) => items.iter().map(|(item, _)| show(item)).collect::<Vec<_>>().join(", "),
        Value::Anything(value) => value.to_string(),
    }
}
