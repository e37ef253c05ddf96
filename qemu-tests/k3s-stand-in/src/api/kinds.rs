//! The kinds of objects that are served: those that the pair's software and its tests use.

use serde_json::{Value, json};

/// A kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for the core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Name of one.
    pub kind: &'static str,
    /// Name of many, in paths.
    pub plural: &'static str,
    /// Short names.
    pub short: &'static [&'static str],
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether status is written by itself.
    pub status: bool,
    /// Where the API server keeps it in the datastore, below `/registry/`.
    pub prefix: &'static str,
}

const fn core(
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
) -> Kind {
    Kind { group: "", version: "v1", kind, plural, short, namespaced, status, prefix: plural }
}

const fn grouped(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
) -> Kind {
    Kind { group, version: "v1", kind, plural, short, namespaced, status, prefix: plural }
}

/// All of them.
pub const KINDS: &[Kind] = &[
    Kind { prefix: "minions", ..core("Node", "nodes", &["no"], false, true) },
    core("Namespace", "namespaces", &["ns"], false, true),
    core("Pod", "pods", &["po"], true, true),
    core("Event", "events", &["ev"], true, false),
    core("ConfigMap", "configmaps", &["cm"], true, false),
    core("Secret", "secrets", &[], true, false),
    Kind { prefix: "services/specs", ..core("Service", "services", &["svc"], true, true) },
    core("PersistentVolume", "persistentvolumes", &["pv"], false, true),
    core("PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], true, true),
    grouped("apps", "StatefulSet", "statefulsets", &["sts"], true, true),
    grouped("coordination.k8s.io", "Lease", "leases", &[], true, false),
    grouped("policy", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], true, true),
    grouped("storage.k8s.io", "StorageClass", "storageclasses", &["sc"], false, false),
    grouped("storage.k8s.io", "VolumeAttachment", "volumeattachments", &[], false, true),
];

impl Kind {
    /// The kind of that group, version and plural.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// The kind that a user means by a word.
    pub fn meant(word: &str) -> Option<&'static Self> {
        let word = word.split('.').next().unwrap_or(word).to_lowercase();
        KINDS.iter().find(|kind| {
            kind.plural == word || kind.kind.to_lowercase() == word || kind.short.contains(&&*word)
        })
    }

    /// `v1` or `GROUP/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of its objects, or of one.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path += &format!("/namespaces/{namespace}");
        }
        path += &format!("/{}", self.plural);
        if let Some(name) = name {
            path += &format!("/{name}");
        }
        path
    }

    /// Where its objects, or those of a namespace, begin in the datastore.
    pub fn folder(&self, namespace: Option<&str>) -> String {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("/registry/{}/{namespace}/", self.prefix),
            None => format!("/registry/{}/", self.prefix),
        }
    }
}

/// What `/api` and `/apis` say.
pub fn discovery(path: &[&str]) -> Option<Value> {
    match path {
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            let mut groups: Vec<&str> =
                KINDS.iter().map(|kind| kind.group).filter(|group| !group.is_empty()).collect();
            groups.dedup();
            let groups: Vec<Value> = groups.into_iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", version] => resources("", version),
        ["apis", name] if KINDS.iter().any(|kind| kind.group == *name) => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(group)
        }
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Kind> =
        KINDS.iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let first = kinds.first()?;
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let mut all = Vec::new();
    for kind in &kinds {
        let name = kind.plural;
        all.push(json!({
            "name": name, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs, "shortNames": kind.short,
        }));
        if kind.status {
            all.push(json!({
                "name": format!("{name}/status"), "singularName": "", "namespaced": kind.namespaced,
                "kind": kind.kind, "verbs": ["get", "patch", "update"],
            }));
        }
        if name == "pods" {
            all.push(json!({
                "name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy",
                "version": "v1", "kind": "Eviction", "verbs": ["create"],
            }));
            all.push(json!({
                "name": "pods/binding", "singularName": "", "namespaced": true, "kind": "Binding", "verbs": ["create"],
            }));
        }
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": all,
    }))
}

/// The little of the OpenAPI document that `kubectl` looks for: that unknown fields are the server's to judge.
pub fn openapi(path: &[&str]) -> Option<Value> {
    let place = |kind: &Kind| kind.path(None, None).rsplit_once('/').map(|(place, _)| place[1..].to_owned());
    match path {
        ["openapi", "v3"] => {
            let mut paths = serde_json::Map::new();
            for place in KINDS.iter().filter_map(place) {
                paths.insert(place.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{place}") }));
            }
            Some(json!({ "paths": paths }))
        }
        ["openapi", "v3", rest @ ..] => {
            let rest = rest.join("/");
            let mut paths = serde_json::Map::new();
            for kind in KINDS.iter().filter(|kind| place(kind).is_some_and(|place| place == rest)) {
                let path = kind.path(Some("{namespace}"), Some("{name}"));
                let parameters = ["dryRun", "fieldManager", "fieldValidation", "force"]
                    .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }));
                let gvk = json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
                let patch = json!({ "parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": gvk });
                paths.insert(path, json!({ "patch": patch }));
            }
            (!paths.is_empty()).then(|| {
                json!({ "openapi": "3.0.0", "info": { "title": "k3s stand-in", "version": "v1" }, "paths": paths })
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_words_find_kinds() {
        for word in ["no", "node", "nodes", "Node"] {
            assert_eq!(Kind::meant(word).map(|kind| kind.plural), Some("nodes"), "{word}");
        }
        assert_eq!(Kind::meant("leases.coordination.k8s.io").map(|kind| kind.plural), Some("leases"));
        assert!(Kind::meant("deployments").is_none());
    }

    #[test]
    fn paths_and_places_are_kubernetes_own() {
        let node = Kind::find("", "v1", "nodes").unwrap();
        assert_eq!(node.path(None, Some("a")), "/api/v1/nodes/a");
        assert_eq!(node.folder(None), "/registry/minions/");
        let lease = Kind::find("coordination.k8s.io", "v1", "leases").unwrap();
        assert_eq!(
            lease.path(Some("kube-system"), Some("x")),
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x"
        );
        assert_eq!(lease.folder(Some("kube-system")), "/registry/leases/kube-system/");
    }

    #[test]
    fn every_kind_is_discovered() {
        for kind in KINDS {
            let path = kind.path(None, None);
            let words: Vec<&str> = path[1..].split('/').collect();
            let said = discovery(&words[..words.len() - 1]).unwrap();
            let names = said["resources"].as_array().unwrap();
            assert!(names.iter().any(|entry| entry["name"] == kind.plural), "{}", kind.plural);
        }
        assert_eq!(discovery(&["apis", "none", "v1"]), None);
        assert_eq!(discovery(&["apis"]).unwrap()["groups"].as_array().unwrap().len(), 4);
        assert!(openapi(&["openapi", "v3", "api", "v1"]).is_some());
    }
}
