//! Nodes that have gone silent (kube-controller-manager, "node-lifecycle-controller"): Ready becomes Unknown after the
//! grace period, and taints follow the condition.

use crate::api::table::condition;
use crate::client::Client;
use crate::clock;
use crate::node::event;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;

/// Taints that follow the Ready condition.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Heartbeats as this server saw them arrive: the nodes' own clocks are not believed.
pub struct Watch {
    grace: f64,
    seen: HashMap<String, (String, Instant)>,
}

impl Watch {
    /// That has seen nothing.
    pub fn new(grace: f64) -> Self {
        Self { grace, seen: HashMap::new() }
    }

    /// Looks at all nodes.
    pub async fn look(&mut self, client: &Client) -> anyhow::Result<()> {
        let leases = client.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases").await?;
        let renewed: HashMap<String, String> = items(&leases)
            .filter_map(|lease| {
                let name = lease["metadata"]["name"].as_str()?.to_owned();
                Some((name, lease["spec"]["renewTime"].as_str()?.to_owned()))
            })
            .collect();
        let nodes = client.get("/api/v1/nodes").await?;
        for node in items(&nodes) {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let heartbeat = renewed.get(name).cloned().unwrap_or_default();
            let silent = self.silent(name, heartbeat);
            let mut ready = condition(node, "Ready").unwrap_or("Unknown").to_owned();
            if silent && ready == "True" {
                say_unknown(client, node, name).await?;
                ready = "Unknown".into();
            }
            follow(client, node, name, &ready).await?;
        }
        Ok(())
    }

    fn silent(&mut self, name: &str, heartbeat: String) -> bool {
        match self.seen.get(name) {
            Some((same, since)) if *same == heartbeat => since.elapsed().as_secs_f64() > self.grace,
            _ => {
                self.seen.insert(name.to_owned(), (heartbeat, clock::instant()));
                false
            }
        }
    }
}

async fn say_unknown(client: &Client, node: &Value, name: &str) -> anyhow::Result<()> {
    let now = clock::stamp();
    let status = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.", "lastTransitionTime": now,
    }] } });
    let path = format!("/api/v1/nodes/{name}/status");
    client.json("PATCH", &path, "application/strategic-merge-patch+json", Some(&status)).await?;
    let mut about = node.clone();
    about["kind"] = "Node".into();
    event(client, &about, "Normal", "NodeNotReady", &format!("Node {name} status is now: NodeNotReady"))
        .await;
    Ok(())
}

/// Sets and removes the taints that stand for the Ready condition.
async fn follow(client: &Client, node: &Value, name: &str, ready: &str) -> anyhow::Result<()> {
    let old: Vec<Value> = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let new = followed(&old, ready, &clock::stamp());
    if new == old {
        return Ok(());
    }
    let taints = if new.is_empty() { Value::Null } else { new.into() };
    // Somebody else may set a taint at the same moment: only on the version that was read.
    let patch = json!({ "metadata": { "resourceVersion": node["metadata"]["resourceVersion"] }, "spec": { "taints": taints } });
    client.merge(&format!("/api/v1/nodes/{name}"), &patch).await.map(drop)
}

fn followed(old: &[Value], ready: &str, now: &str) -> Vec<Value> {
    let wanted = match ready {
        "True" => None,
        "Unknown" => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    let ours = |taint: &Value| taint["key"] == UNREACHABLE || taint["key"] == NOT_READY;
    let mut new: Vec<Value> = old
        .iter()
        .filter(|taint| !ours(taint) || wanted.is_some_and(|key| taint["key"] == key))
        .cloned()
        .collect();
    for effect in ["NoSchedule", "NoExecute"] {
        if let Some(key) = wanted
            && !new.iter().any(|taint| taint["key"] == key && taint["effect"] == effect)
        {
            new.push(json!({ "key": key, "effect": effect, "timeAdded": now }));
        }
    }
    new
}

/// Items of a list.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_the_condition_and_leave_others_alone() {
        let own = json!({ "key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute" });
        let gone = followed(std::slice::from_ref(&own), "Unknown", "t");
        assert_eq!(gone.len(), 3);
        assert_eq!(followed(&gone, "Unknown", "later"), gone);
        assert_eq!(followed(&gone, "True", "t"), [own]);
        assert!(followed(&gone, "False", "t").iter().any(|taint| taint["key"] == NOT_READY));
    }

    #[test]
    fn a_node_is_silent_after_the_grace_period_only() {
        let mut watch = Watch::new(0.05);
        assert!(!watch.silent("a", "1".into()));
        std::thread::sleep(std::time::Duration::from_millis(80));
        assert!(watch.silent("a", "1".into()));
        assert!(!watch.silent("a", "2".into()));
    }
}
