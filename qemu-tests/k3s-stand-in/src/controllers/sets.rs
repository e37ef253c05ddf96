//! Stateful sets have their pods, and claims their volumes.

use super::nodes::items;
use crate::client::{self, Client};
use serde_json::{Value, json};

/// Makes what is missing.
pub async fn look(client: &Client) -> anyhow::Result<()> {
    claims(client).await?;
    let sets = client.get("/apis/apps/v1/statefulsets").await?;
    for set in items(&sets) {
        attend(client, set).await?;
    }
    Ok(())
}

async fn attend(client: &Client, set: &Value) -> anyhow::Result<()> {
    let word = |field: &str| set["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (word("namespace"), word("name"));
    let mut ready = 0;
    for number in 0..set["spec"]["replicas"].as_u64().unwrap_or(1) {
        let pod = format!("{name}-{number}");
        match client.get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}")).await {
            Ok(pod) => {
                ready += u64::from(
                    pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null(),
                )
            }
            Err(error) if client::code(&error) == Some(404) => make(client, set, namespace, &pod).await?,
            Err(error) => return Err(error),
        }
    }
    if set["status"]["readyReplicas"] != ready {
        let status = json!({ "status": { "readyReplicas": ready, "replicas": set["spec"]["replicas"] } });
        client
            .merge(&format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}/status"), &status)
            .await?;
    }
    Ok(())
}

async fn make(client: &Client, set: &Value, namespace: &str, name: &str) -> anyhow::Result<()> {
    let mut pod = set["spec"]["template"].clone();
    pod["kind"] = "Pod".into();
    pod["apiVersion"] = "v1".into();
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": set["metadata"]["name"], "uid": set["metadata"]["uid"],
        "controller": true,
    }]);
    for template in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let stem = template["metadata"]["name"].as_str().unwrap_or_default();
        let claim = format!("{stem}-{name}");
        let mut wanted = template.clone();
        wanted["kind"] = "PersistentVolumeClaim".into();
        wanted["metadata"]["name"] = claim.clone().into();
        made(client.post(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"), &wanted).await)?;
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes.push(json!({ "name": stem, "persistentVolumeClaim": { "claimName": claim } }));
        pod["spec"]["volumes"] = volumes.into();
    }
    made(client.post(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await)
}

/// It may be there already.
fn made(result: anyhow::Result<Value>) -> anyhow::Result<()> {
    match result {
        Err(error) if client::code(&error) == Some(409) => Ok(()),
        other => other.map(drop),
    }
}

/// Gives claims a volume of their class that is free.
async fn claims(client: &Client) -> anyhow::Result<()> {
    let claims = client.get("/api/v1/persistentvolumeclaims").await?;
    let waiting: Vec<&Value> = items(&claims).filter(|claim| claim["status"]["phase"] != "Bound").collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let volumes = client.get("/api/v1/persistentvolumes").await?;
    let mut taken: Vec<&str> = Vec::new();
    for claim in waiting {
        let word = |field: &str| claim["metadata"][field].as_str().unwrap_or_default();
        let free = items(&volumes).find(|volume| {
            let name = volume["metadata"]["name"].as_str().unwrap_or_default();
            fits(volume, claim) && !taken.contains(&name)
        });
        let Some(volume) = free.and_then(|volume| volume["metadata"]["name"].as_str()) else { continue };
        taken.push(volume);
        let path =
            format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", word("namespace"), word("name"));
        let whose = json!({
            "kind": "PersistentVolumeClaim", "namespace": word("namespace"), "name": word("name"), "uid": word("uid"),
        });
        client
            .merge(&format!("/api/v1/persistentvolumes/{volume}"), &json!({ "spec": { "claimRef": whose } }))
            .await?;
        client
            .merge(
                &format!("/api/v1/persistentvolumes/{volume}/status"),
                &json!({ "status": { "phase": "Bound" } }),
            )
            .await?;
        client.merge(&path, &json!({ "spec": { "volumeName": volume } })).await?;
        client.merge(&format!("{path}/status"), &json!({ "status": { "phase": "Bound" } })).await?;
    }
    Ok(())
}

fn fits(volume: &Value, claim: &Value) -> bool {
    let named = &claim["spec"]["volumeName"];
    let reserved = &volume["spec"]["claimRef"];
    let ours = reserved.is_null()
        || (reserved["name"] == claim["metadata"]["name"]
            && reserved["namespace"] == claim["metadata"]["namespace"]);
    let class = |object: &Value| object["spec"]["storageClassName"].as_str().unwrap_or_default().to_owned();
    ours && (named.is_null() || *named == volume["metadata"]["name"]) && class(volume) == class(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_gets_a_free_volume_of_its_class() {
        let claim =
            json!({ "metadata": { "name": "c", "namespace": "n" }, "spec": { "storageClassName": "pair" } });
        let volume = |class: &str, whose: Value| json!({ "metadata": { "name": "v" }, "spec": { "storageClassName": class, "claimRef": whose } });
        assert!(fits(&volume("pair", Value::Null), &claim));
        assert!(!fits(&volume("other", Value::Null), &claim));
        assert!(!fits(&volume("pair", json!({ "name": "d", "namespace": "n" })), &claim));
        assert!(fits(&volume("pair", json!({ "name": "c", "namespace": "n" })), &claim));
    }
}
