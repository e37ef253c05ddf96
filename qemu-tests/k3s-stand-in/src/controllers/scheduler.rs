//! Which node a pod goes to: one that is ready, takes pods, whose taints it tolerates and whose labels it asks for.

use super::nodes::items;
use super::pods::{tolerates, tolerations};
use crate::api::table::condition;
use crate::client::{self, Client};
use serde_json::{Value, json};

/// Gives pods to nodes.
pub async fn bind(client: &Client) -> anyhow::Result<()> {
    let pods = client.get("/api/v1/pods").await?;
    let waits =
        |pod: &&Value| pod["spec"]["nodeName"].is_null() && pod["metadata"]["deletionTimestamp"].is_null();
    if !items(&pods).any(|pod| waits(&pod)) {
        return Ok(());
    }
    let nodes = client.get("/api/v1/nodes").await?;
    for pod in items(&pods).filter(waits) {
        let Some(places) = places(client, pod).await? else { continue };
        let load = |node: &&Value| {
            items(&pods).filter(|pod| pod["spec"]["nodeName"] == node["metadata"]["name"]).count()
        };
        let fit = |node: &&Value| takes(node, pod) && places.iter().all(|place| affine(place, node));
        if let Some(node) = items(&nodes).filter(fit).min_by_key(load) {
            let word = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
            let path = format!("/api/v1/namespaces/{}/pods/{}/binding", word("namespace"), word("name"));
            match client
                .post(&path, &json!({ "target": { "kind": "Node", "name": node["metadata"]["name"] } }))
                .await
            {
                Err(error) if client::code(&error) == Some(409) => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// Where a pod's volumes can be reached from; `None` while a claim has no volume.
async fn places(client: &Client, pod: &Value) -> anyhow::Result<Option<Vec<Value>>> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut all = vec![
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].clone(),
    ];
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() else { continue };
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}");
        let claim = match client.get(&path).await {
            Err(error) if client::code(&error) == Some(404) => return Ok(None),
            other => other?,
        };
        let Some(name) = claim["spec"]["volumeName"].as_str() else { return Ok(None) };
        all.push(client.get(&format!("/api/v1/persistentvolumes/{name}")).await?["spec"]["nodeAffinity"]["required"].take());
    }
    Ok(Some(all))
}

fn takes(node: &Value, pod: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    condition(node, "Ready") == Some("True")
        && node["spec"]["unschedulable"] != true
        && taints
            .filter(|taint| taint["effect"] != "PreferNoSchedule")
            .all(|taint| tolerations(pod).any(|toleration| tolerates(toleration, taint)))
        && pod["spec"]["nodeSelector"]
            .as_object()
            .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

/// Whether a node is as a node selector says: one of its terms is true.
fn affine(selector: &Value, node: &Value) -> bool {
    let Some(terms) = selector["nodeSelectorTerms"].as_array() else { return true };
    terms.iter().any(|term| {
        term["matchExpressions"].as_array().into_iter().flatten().all(|rule| {
            let value = &node["metadata"]["labels"][rule["key"].as_str().unwrap_or_default()];
            let listed = rule["values"].as_array().is_some_and(|values| values.contains(value));
            match rule["operator"].as_str() {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => value.is_string(),
                Some("DoesNotExist") => value.is_null(),
                _ => false,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_goes_only_where_it_may() {
        let node = json!({
            "metadata": { "labels": { "disk": "fast" } },
            "spec": { "taints": [{ "key": "t", "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let pod = json!({ "spec": { "nodeSelector": { "disk": "fast" }, "tolerations": [{ "key": "t", "operator": "Exists" }] } });
        assert!(takes(&node, &pod));
        assert!(!takes(&node, &json!({ "spec": {} })));
        let mut other = pod.clone();
        other["spec"]["nodeSelector"]["disk"] = "slow".into();
        assert!(!takes(&node, &other));
        for (field, value) in [("/spec/unschedulable", json!(true)), ("/status/conditions", json!([]))] {
            let mut changed = node.clone();
            let (parent, last) = field.rsplit_once('/').unwrap();
            changed.pointer_mut(parent).unwrap()[last] = value;
            assert!(!takes(&changed, &pod), "{field}");
        }
    }

    #[test]
    fn a_volume_binds_its_pod_to_its_node() {
        let node = |name: &str| json!({ "metadata": { "labels": { "kubernetes.io/hostname": name } } });
        let rule = json!({ "nodeSelectorTerms": [{ "matchExpressions": [
            { "key": "kubernetes.io/hostname", "operator": "In", "values": ["a"] },
        ] }] });
        assert!(affine(&rule, &node("a")));
        assert!(!affine(&rule, &node("b")));
        assert!(affine(&Value::Null, &node("b")));
    }
}
