//! Lists as a table, as `kubectl get` asks for them (Kubernetes API concepts, "Receiving resources as Tables").

use super::kinds::Kind;
use crate::clock;
use serde_json::{Value, json};

/// A column: its name, and whether it is shown only with `-o wide`.
type Column = (&'static str, bool);

/// A table of these objects.
pub fn of(kind: &Kind, objects: &[Value], revision: &str, whole: bool) -> Value {
    let columns: Vec<Value> = columns(kind)
        .iter()
        .map(|(name, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({ "name": name, "type": "string", "format": format, "description": "", "priority": i32::from(*wide) })
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let shown = if whole {
                object.clone()
            } else {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
            };
            json!({ "cells": cells(kind, object), "object": shown })
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": { "resourceVersion": revision },
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The columns of a kind.
pub fn columns(kind: &Kind) -> &'static [Column] {
    match kind.kind {
        "Node" => &[
            ("Name", false),
            ("Status", false),
            ("Roles", false),
            ("Age", false),
            ("Version", false),
            ("Internal-IP", true),
            ("OS-Image", true),
            ("Kernel-Version", true),
        ],
        "Pod" => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("Node", true),
        ],
        "Event" => {
            &[("Last Seen", false), ("Type", false), ("Reason", false), ("Object", false), ("Message", false)]
        }
        "Lease" => &[("Name", false), ("Holder", false), ("Age", false)],
        "Namespace" => &[("Name", false), ("Status", false), ("Age", false)],
        "StatefulSet" => &[("Name", false), ("Ready", false), ("Age", false)],
        "PersistentVolume" => &[
            ("Name", false),
            ("Capacity", false),
            ("Status", false),
            ("Claim", false),
            ("StorageClass", false),
            ("Age", false),
        ],
        "PersistentVolumeClaim" => {
            &[("Name", false), ("Status", false), ("Volume", false), ("StorageClass", false), ("Age", false)]
        }
        "StorageClass" => &[("Name", false), ("Provisioner", false), ("Age", false)],
        _ => &[("Name", false), ("Age", false)],
    }
}

/// An object's cells.
pub fn cells(kind: &Kind, object: &Value) -> Vec<String> {
    let meta = &object["metadata"];
    let name = text(&meta["name"]);
    let age = meta["creationTimestamp"].as_str().map_or_else(|| "<unknown>".into(), clock::age);
    let (spec, status) = (&object["spec"], &object["status"]);
    match kind.kind {
        "Node" => {
            let info = &status["nodeInfo"];
            let internal = status["addresses"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|address| address["type"] == "InternalIP");
            vec![
                name,
                node_status(object),
                roles(meta),
                age,
                text(&info["kubeletVersion"]),
                internal.map_or_else(|| "<none>".into(), |address| text(&address["address"])),
                text(&info["osImage"]),
                text(&info["kernelVersion"]),
            ]
        }
        "Pod" => {
            let gone = meta.get("deletionTimestamp").is_some();
            let phase = if gone { "Terminating".into() } else { text(&status["phase"]) };
            let all = spec["containers"].as_array().map_or(0, Vec::len);
            let ready = if status["phase"] == "Running" { all } else { 0 };
            let node = spec["nodeName"].as_str().unwrap_or("<none>").to_owned();
            vec![name, format!("{ready}/{all}"), phase, "0".into(), age, node]
        }
        "Event" => {
            let about = &object["involvedObject"];
            let seen = [&object["lastTimestamp"], &object["eventTime"], &meta["creationTimestamp"]]
                .iter()
                .find_map(|time| time.as_str())
                .map_or_else(|| "<unknown>".into(), clock::age);
            let whom = format!("{}/{}", text(&about["kind"]).to_lowercase(), text(&about["name"]));
            vec![seen, text(&object["type"]), text(&object["reason"]), whom, text(&object["message"])]
        }
        "Lease" => vec![name, text(&spec["holderIdentity"]), age],
        "Namespace" => vec![name, text(&status["phase"]), age],
        "StatefulSet" => {
            let ready = status["readyReplicas"].as_u64().unwrap_or_default();
            vec![name, format!("{ready}/{}", spec["replicas"].as_u64().unwrap_or(1)), age]
        }
        "PersistentVolume" => {
            let claim = &spec["claimRef"];
            let claim = if claim.is_object() {
                format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
            } else {
                String::new()
            };
            vec![
                name,
                text(&spec["capacity"]["storage"]),
                text(&status["phase"]),
                claim,
                text(&spec["storageClassName"]),
                age,
            ]
        }
        "PersistentVolumeClaim" => {
            vec![
                name,
                text(&status["phase"]),
                text(&spec["volumeName"]),
                text(&spec["storageClassName"]),
                age,
            ]
        }
        "StorageClass" => vec![name, text(&object["provisioner"]), age],
        _ => vec![name, age],
    }
}

/// `Ready`, `NotReady`, with `SchedulingDisabled` when it is cordoned.
pub fn node_status(node: &Value) -> String {
    let mut text = match condition(node, "Ready") {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        text += ",SchedulingDisabled";
    }
    text
}

/// Status of a condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

fn roles(meta: &Value) -> String {
    let labels = meta["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> =
        labels.filter_map(|(label, _)| label.strip_prefix("node-role.kubernetes.io/")).collect();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::KINDS;
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_each_column() {
        for kind in KINDS {
            assert_eq!(columns(kind).len(), cells(kind, &json!({})).len(), "{}", kind.kind);
        }
    }

    #[test]
    fn a_node_is_shown_as_kubectl_shows_it() {
        let node = json!({
            "metadata": { "name": "lab-a", "labels": { "node-role.kubernetes.io/control-plane": "true" } },
            "spec": { "unschedulable": true },
            "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] },
        });
        let cells = cells(Kind::meant("node").unwrap(), &node);
        assert_eq!(cells[..3], ["lab-a", "NotReady,SchedulingDisabled", "control-plane"]);
    }
}
