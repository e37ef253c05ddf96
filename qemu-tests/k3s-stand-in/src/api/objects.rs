//! Objects in the datastore: made, read, changed, deleted.

use super::kinds::{KINDS, Kind};
use super::patch::How;
use super::refusal::Refusal;
use super::select;
use crate::clock;
use crate::datastore::kv::{Entry, Kv, Outcome};
use serde_json::{Value, json};

/// How often a change is tried when others change the same object.
const TRIES: usize = 12;

/// Which objects are meant.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Kind.
    pub kind: &'static Kind,
    /// Namespace, when one is named.
    pub namespace: Option<&'a str>,
}

/// What a request may ask of a change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Only tried.
    pub dry: bool,
    /// Only the status is meant.
    pub status: bool,
}

/// The objects.
#[derive(Debug, Clone)]
pub struct Objects {
    /// Where they are.
    pub kv: Kv,
    /// How long a pod stays on a node that is gone, unless it says so itself, seconds.
    pub toleration: u64,
}

impl Objects {
    /// One object.
    pub async fn get(&self, target: Target<'_>, name: &str) -> Result<Value, Refusal> {
        Ok(self.entry(target, name).await?.1)
    }

    async fn entry(&self, target: Target<'_>, name: &str) -> Result<(i64, Value), Refusal> {
        let entry = self.kv.get(&key(target, name)?).await?;
        let entry = entry.ok_or_else(|| Refusal::not_found(target.kind.plural, name))?;
        Ok((entry.revision, object(target.kind, &entry)))
    }

    /// Objects that selectors select, and the revision of the list.
    pub async fn list(
        &self,
        target: Target<'_>,
        labels: &str,
        fields: &str,
    ) -> Result<(i64, Vec<Value>), Refusal> {
        let (revision, entries) = self.kv.list(&target.kind.folder(target.namespace)).await?;
        let all = entries.iter().map(|entry| object(target.kind, entry));
        Ok((
            revision,
            all.filter(|object| select::labels(labels, object) && select::fields(fields, object)).collect(),
        ))
    }

    /// Makes an object.
    pub async fn create(&self, target: Target<'_>, mut new: Value, wishes: Wishes) -> Result<Value, Refusal> {
        let kind = target.kind;
        if !new.is_object() || new["kind"].as_str().is_some_and(|word| word != kind.kind) {
            return Err(Refusal::bad(format!("this is no {}", kind.kind)));
        }
        if new["metadata"]["name"].as_str().unwrap_or_default().is_empty() {
            let stem = new["metadata"]["generateName"].as_str().unwrap_or_default();
            if stem.is_empty() {
                return Err(Refusal::invalid(
                    "metadata.name: Required value: name or generateName is required",
                ));
            }
            new["metadata"]["name"] = format!("{stem}{}", letters(5)).into();
        }
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(namespace) = target.namespace.filter(|_| kind.namespaced) {
            new["metadata"]["namespace"] = namespace.into();
            let home = Target { kind: &KINDS[1], namespace: None };
            self.get(home, namespace).await?;
        }
        new["metadata"]["uid"] = uid().into();
        new["metadata"]["creationTimestamp"] = clock::stamp().into();
        self.defaults(kind, &mut new);
        if wishes.dry {
            return Ok(dressed(kind, new, 0));
        }
        match self.kv.create(&key(target, &name)?, &bytes(&new)).await? {
            Outcome::Done(revision) => Ok(dressed(kind, new, revision)),
            Outcome::Changed => Err(Refusal::exists(kind.plural, &name)),
        }
    }

    fn defaults(&self, kind: &Kind, new: &mut Value) {
        match kind.kind {
            "Pod" => {
                new["status"] = json!({ "phase": "Pending" });
                let spec = &mut new["spec"];
                default(spec, "restartPolicy", "Always".into());
                default(spec, "terminationGracePeriodSeconds", 30.into());
                default(spec, "schedulerName", "default-scheduler".into());
                let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
                for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
                    if !tolerations.iter().any(|toleration| toleration["key"] == key) {
                        tolerations.push(json!({
                            "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": self.toleration,
                        }));
                    }
                }
                spec["tolerations"] = tolerations.into();
            }
            "Namespace" => new["status"] = json!({ "phase": "Active" }),
            "PersistentVolume" => default(new, "status", json!({ "phase": "Available" })),
            "PersistentVolumeClaim" => default(new, "status", json!({ "phase": "Pending" })),
            "StatefulSet" => default(&mut new["spec"], "replicas", 1.into()),
            _ => {}
        }
    }

    /// Changes an object by a function of what it is, as often as others come first.
    pub async fn change(
        &self,
        target: Target<'_>,
        name: &str,
        wishes: Wishes,
        change: impl Fn(&Value) -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        let kind = target.kind;
        for _ in 0..TRIES {
            let (revision, old) = self.entry(target, name).await?;
            let mut new = change(&old)?;
            for field in ["name", "namespace", "uid", "creationTimestamp", "resourceVersion"] {
                if let Some(value) = old["metadata"].get(field) {
                    new["metadata"][field] = value.clone();
                }
            }
            if wishes.status {
                let status = new["status"].take();
                let annotations = new["metadata"]["annotations"].take();
                new = old.clone();
                new["status"] = status;
                if !annotations.is_null() {
                    new["metadata"]["annotations"] = annotations;
                }
            } else if kind.status {
                match old.get("status") {
                    Some(status) => new["status"] = status.clone(),
                    None => drop(new.as_object_mut().map(|fields| fields.remove("status"))),
                }
            }
            if new == old || wishes.dry {
                return Ok(new);
            }
            if let Outcome::Done(revision) =
                self.kv.update(&key(target, name)?, &bytes(&new), revision).await?
            {
                return Ok(dressed(kind, new, revision));
            }
        }
        Err(Refusal::conflict(kind.plural, name))
    }

    /// Puts an object in the place of the one of its name.
    pub async fn replace(
        &self,
        target: Target<'_>,
        name: &str,
        new: Value,
        wishes: Wishes,
    ) -> Result<Value, Refusal> {
        self.change(target, name, wishes, |old| {
            let known = new["metadata"]["resourceVersion"].as_str().filter(|known| !known.is_empty());
            if known.is_some_and(|known| old["metadata"]["resourceVersion"] != known) {
                return Err(Refusal::conflict(target.kind.plural, name));
            }
            Ok(new.clone())
        })
        .await
    }

    /// Changes parts of an object.
    pub async fn patch(
        &self,
        target: Target<'_>,
        name: &str,
        how: How,
        patch: &Value,
        wishes: Wishes,
    ) -> Result<Value, Refusal> {
        let changed = self
            .change(target, name, wishes, |old| {
                let known = patch["metadata"]["resourceVersion"].as_str();
                if known.is_some_and(|known| old["metadata"]["resourceVersion"] != known) {
                    return Err(Refusal::conflict(target.kind.plural, name));
                }
                let mut new = old.clone();
                how.apply(&mut new, patch).map_err(Refusal::invalid)?;
                Ok(new)
            })
            .await;
        match changed {
            Err(refusal) if refusal.code == 404 && how == How::Apply => {
                self.create(target, patch.clone(), wishes).await
            }
            other => other,
        }
    }

    /// Deletes an object. A pod on a node is deleted by its node, unless it is not to be waited for.
    pub async fn delete(
        &self,
        target: Target<'_>,
        name: &str,
        options: &Value,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let (_, old) = self.entry(target, name).await?;
        let precondition = &options["preconditions"]["uid"];
        if !precondition.is_null() && *precondition != old["metadata"]["uid"] {
            return Err(Refusal::conflict(target.kind.plural, name));
        }
        if dry {
            return Ok(old);
        }
        let grace = options["gracePeriodSeconds"]
            .as_u64()
            .or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_u64())
            .unwrap_or(30);
        let runs = target.kind.kind == "Pod"
            && old["spec"]["nodeName"].is_string()
            && !matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if runs && grace > 0 {
            return self
                .change(target, name, Wishes::default(), |old| {
                    let mut new = old.clone();
                    if new["metadata"]["deletionTimestamp"].is_null() {
                        new["metadata"]["deletionTimestamp"] = clock::stamp_in(grace).into();
                        new["metadata"]["deletionGracePeriodSeconds"] = grace.into();
                    }
                    Ok(new)
                })
                .await;
        }
        for _ in 0..TRIES {
            let (revision, old) = self.entry(target, name).await?;
            if let Outcome::Done(_) = self.kv.delete(&key(target, name)?, revision).await? {
                if target.kind.kind == "Namespace" {
                    self.empty(name).await?;
                }
                if target.kind.kind == "Pod" {
                    return Ok(old);
                }
                let details =
                    json!({ "name": name, "kind": target.kind.plural, "uid": old["metadata"]["uid"] });
                return Ok(json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                }));
            }
        }
        Err(Refusal::conflict(target.kind.plural, name))
    }

    /// Takes away what is in a namespace.
    async fn empty(&self, namespace: &str) -> Result<(), Refusal> {
        for kind in KINDS.iter().filter(|kind| kind.namespaced) {
            let (_, entries) = self.kv.list(&kind.folder(Some(namespace))).await?;
            for entry in entries {
                self.kv.delete(&entry.key, entry.revision).await?;
            }
        }
        Ok(())
    }

    /// Deletes a pod unless a disruption budget forbids it (Kubernetes, "API-initiated Eviction").
    pub async fn evict(
        &self,
        namespace: &str,
        name: &str,
        eviction: &Value,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let at = |word: &str| Kind::meant(word).map(|kind| Target { kind, namespace: Some(namespace) });
        let (Some(pods), Some(budgets)) = (at("pods"), at("poddisruptionbudgets")) else {
            return Err(Refusal::no_such_path());
        };
        let pod = self.get(pods, name).await?;
        for budget in self.list(budgets, "", "").await?.1 {
            let selector = &budget["spec"]["selector"];
            if !select::matches(selector, &pod) {
                continue;
            }
            let all: Vec<Value> = self.list(pods, "", "").await?.1;
            let all: Vec<&Value> = all.iter().filter(|pod| select::matches(selector, pod)).collect();
            let well = |pod: &&&Value| {
                pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
            };
            let healthy = all.iter().filter(well).count();
            let needed = match (
                amount(&budget["spec"]["minAvailable"], all.len()),
                amount(&budget["spec"]["maxUnavailable"], all.len()),
            ) {
                (Some(least), _) => least,
                (None, Some(most)) => all.len().saturating_sub(most),
                (None, None) => 0,
            };
            if healthy <= needed {
                return Err(Refusal::too_many(
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                ));
            }
        }
        self.delete(pods, name, &eviction["deleteOptions"], dry).await?;
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }))
    }

    /// Gives a pod to a node.
    pub async fn bind(&self, namespace: &str, name: &str, node: &str) -> Result<Value, Refusal> {
        let Some(kind) = Kind::meant("pods") else { return Err(Refusal::no_such_path()) };
        let target = Target { kind, namespace: Some(namespace) };
        self.change(target, name, Wishes::default(), |old| {
            if old["spec"]["nodeName"].is_string() {
                return Err(Refusal::conflict("pods", name));
            }
            let mut new = old.clone();
            new["spec"]["nodeName"] = node.into();
            Ok(new)
        })
        .await
    }
}

/// A number of pods, or a share of them, rounded up.
fn amount(value: &Value, of: usize) -> Option<usize> {
    if let Some(number) = value.as_u64() {
        return usize::try_from(number).ok();
    }
    let percent: usize = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    Some((of * percent).div_ceil(100))
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

fn key(target: Target<'_>, name: &str) -> Result<String, Refusal> {
    let fits = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c))
    };
    match target.namespace {
        None if target.kind.namespaced => Err(Refusal::bad("an object of this kind is in a namespace")),
        namespace => {
            if let Some(bad) = namespace.into_iter().chain([name]).find(|name| !fits(name)) {
                return Err(Refusal::invalid(format!("metadata.name: Invalid value: \"{bad}\"")));
            }
            Ok(target.kind.folder(namespace) + name)
        }
    }
}

fn bytes(object: &Value) -> Vec<u8> {
    let mut stored = object.clone();
    if let Some(meta) = stored["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    stored.to_string().into_bytes()
}

/// An object as it is served.
pub fn object(kind: &Kind, entry: &Entry) -> Value {
    let stored = serde_json::from_slice(&entry.value).unwrap_or_default();
    dressed(kind, stored, entry.revision)
}

fn dressed(kind: &Kind, mut object: Value, revision: i64) -> Value {
    object["kind"] = kind.kind.into();
    object["apiVersion"] = kind.api_version().into();
    if revision > 0 {
        object["metadata"]["resourceVersion"] = revision.to_string().into();
    }
    object
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Names of objects are no secrets: without random numbers they are merely all the same, and refused.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// A random UUID (RFC 9562, version 4).
pub fn uid() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// So many letters that make no words.
fn letters(count: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes: [u8; 16] = random();
    bytes.iter().take(count).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests;
