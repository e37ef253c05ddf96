//! Pods on nodes that are tainted, silent or gone (kube-controller-manager, "taint-eviction-controller" and
//! "pod-garbage-collector-controller").

use super::nodes::items;
use crate::api::table::condition;
use crate::client::Client;
use crate::clock;
use crate::log;
use serde_json::{Value, json};
use std::time::Duration;

/// How often the garbage collector looks (Kubernetes' own period).
pub const PERIOD: Duration = Duration::from_secs(20);
/// The taint that says that a node is off (Kubernetes, "Non-graceful node shutdown").
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// How long events are kept, seconds.
const EVENTS: f64 = 3600.0;

/// Deletes pods that do not tolerate a taint of their node, or not for so long.
pub async fn evict(client: &Client) -> anyhow::Result<()> {
    let nodes = client.get("/api/v1/nodes").await?;
    let tainted: Vec<&Value> =
        items(&nodes).filter(|node| taints(node, "NoExecute").next().is_some()).collect();
    if tainted.is_empty() {
        return Ok(());
    }
    let pods = client.get("/api/v1/pods").await?;
    for pod in items(&pods).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        let node = tainted.iter().find(|node| node["metadata"]["name"] == pod["spec"]["nodeName"]);
        if node.is_some_and(|node| taints(node, "NoExecute").any(|taint| !stays(pod, taint))) {
            log::info(&format!("Marking pod for deletion: {}", path(pod)));
            client.delete(&path(pod), &json!({})).await?;
        }
    }
    Ok(())
}

/// Takes away pods that nobody will end any more: those of a node that is not ready and said to be out of service, once
/// they are to end, and those of a node that is gone.
pub async fn collect(client: &Client) -> anyhow::Result<()> {
    let nodes = client.get("/api/v1/nodes").await?;
    let pods = client.get("/api/v1/pods").await?;
    for pod in items(&pods).filter(|pod| pod["spec"]["nodeName"].is_string()) {
        let node = items(&nodes).find(|node| node["metadata"]["name"] == pod["spec"]["nodeName"]);
        let lost = match node {
            None => true,
            Some(node) => ends_unattended(node, pod),
        };
        if lost {
            log::info(&format!("PodGC is force deleting Pod {}", path(pod)));
            client.delete(&path(pod), &json!({ "gracePeriodSeconds": 0 })).await?;
        }
    }
    Ok(())
}

fn ends_unattended(node: &Value, pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
        && condition(node, "Ready") != Some("True")
        && node["spec"]["taints"].as_array().into_iter().flatten().any(|taint| taint["key"] == OUT_OF_SERVICE)
}

/// Deletes events that are old.
pub async fn forget_events(client: &Client) -> anyhow::Result<()> {
    let events = client.get("/api/v1/events").await?;
    for event in items(&events) {
        let made = event["metadata"]["creationTimestamp"].as_str().and_then(clock::since);
        if made.is_some_and(|age| age > EVENTS) {
            let word = |field: &str| event["metadata"][field].as_str().unwrap_or_default();
            client
                .delete(
                    &format!("/api/v1/namespaces/{}/events/{}", word("namespace"), word("name")),
                    &json!({}),
                )
                .await?;
        }
    }
    Ok(())
}

fn path(pod: &Value) -> String {
    let word = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/{}/pods/{}", word("namespace"), word("name"))
}

fn taints<'a>(node: &'a Value, effect: &'a str) -> impl Iterator<Item = &'a Value> {
    node["spec"]["taints"].as_array().into_iter().flatten().filter(move |taint| taint["effect"] == effect)
}

/// Whether a pod stays on a node with this taint for now.
fn stays(pod: &Value, taint: &Value) -> bool {
    let matching: Vec<&Value> = tolerations(pod).filter(|toleration| tolerates(toleration, taint)).collect();
    let limits = matching.iter().map(|toleration| toleration["tolerationSeconds"].as_f64());
    let age = taint["timeAdded"].as_str().and_then(clock::since).unwrap_or_default();
    !matching.is_empty() && limits.into_iter().all(|limit| limit.is_none_or(|limit| age < limit))
}

/// Tolerations of a pod.
pub fn tolerations(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["tolerations"].as_array().into_iter().flatten()
}

/// Whether a toleration is for a taint (Kubernetes, "Taints and Tolerations").
pub fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let same = |field: &str| {
        toleration[field].is_null() || toleration[field] == "" || toleration[field] == taint[field]
    };
    let exists = toleration["operator"] == "Exists";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    same("effect")
        && if text(&toleration["key"]).is_empty() { exists } else { toleration["key"] == taint["key"] }
        && (exists || text(&toleration["value"]) == text(&taint["value"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_tolerate() {
        let taint = json!({ "key": "a", "value": "x", "effect": "NoExecute" });
        for yes in [
            json!({ "key": "a", "operator": "Exists" }),
            json!({ "key": "a", "value": "x", "effect": "NoExecute" }),
            json!({ "operator": "Exists" }),
        ] {
            assert!(tolerates(&yes, &taint), "{yes}");
        }
        for no in [
            json!({ "key": "b", "operator": "Exists" }),
            json!({ "key": "a", "value": "y" }),
            json!({ "key": "a", "operator": "Exists", "effect": "NoSchedule" }),
            json!({ "value": "x" }),
        ] {
            assert!(!tolerates(&no, &taint), "{no}");
        }
    }

    #[test]
    fn a_pod_stays_for_as_long_as_it_tolerates() {
        let unreachable = |added: &str| json!({ "key": "u", "effect": "NoExecute", "timeAdded": added });
        let pod = json!({ "spec": { "tolerations": [{ "key": "u", "operator": "Exists", "tolerationSeconds": 300 }] } });
        assert!(stays(&pod, &unreachable(&clock::stamp())));
        assert!(!stays(&pod, &unreachable("2001-01-01T00:00:00Z")));
        assert!(!stays(&pod, &json!({ "key": OUT_OF_SERVICE, "effect": "NoExecute" })));
    }

    #[test]
    fn out_of_service_counts_only_when_the_node_is_silent_and_the_pod_is_to_end() {
        let node = |ready: &str, key: &str| json!({ "spec": { "taints": [{ "key": key }] }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        let ends = json!({ "metadata": { "deletionTimestamp": "2001-01-01T00:00:00Z" } });
        assert!(ends_unattended(&node("Unknown", OUT_OF_SERVICE), &ends));
        assert!(!ends_unattended(&node("True", OUT_OF_SERVICE), &ends));
        assert!(!ends_unattended(&node("Unknown", "another"), &ends));
        assert!(!ends_unattended(&node("Unknown", OUT_OF_SERVICE), &json!({ "metadata": {} })));
    }
}
