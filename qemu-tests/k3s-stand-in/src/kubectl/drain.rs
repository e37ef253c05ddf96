//! cordon, uncordon, drain.

use super::verbs::{encoded, gone};
use super::{Api, Call};
use crate::client;
use crate::command_line::seconds;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// How often an eviction that a budget forbids is tried again (kubectl's own period).
const AGAIN: Duration = Duration::from_secs(5);

/// Closes a node to new pods, or opens it.
pub async fn cordon(client: &Api, name: &str, closed: bool) -> anyhow::Result<()> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let value = if closed { json!(true) } else { Value::Null };
    client.merge(&format!("/api/v1/nodes/{name}"), &json!({ "spec": { "unschedulable": value } })).await?;
    println!("node/{name} {}", if closed { "cordoned" } else { "uncordoned" });
    Ok(())
}

/// Closes a node and evicts its pods, within the time given.
pub async fn drain(call: &Call, client: &Api) -> anyhow::Result<ExitCode> {
    let name = call.words.get(1).context("USAGE: drain NODE")?;
    cordon(client, name, true).await?;
    let limit = call.option("timeout").and_then(seconds).filter(|limit| *limit > 0.0);
    let begun = crate::clock::instant();
    let late = || limit.is_some_and(|limit| begun.elapsed().as_secs_f64() >= limit);
    let list = client
        .get(&format!("/api/v1/pods?fieldSelector={}", encoded(&format!("spec.nodeName={name}"))))
        .await?;
    let pods: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    let unmanaged =
        pods.iter().find(|pod| pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    if let Some(pod) = unmanaged.filter(|_| !call.on("force")) {
        bail!(
            "unable to drain node \"{name}\" due to error: cannot delete Pods declare no controller (use --force to \
             override): {}",
            path(pod)
        );
    }
    for pod in pods {
        let path = path(pod);
        let mut eviction = json!({
            "kind": "Eviction", "apiVersion": "policy/v1",
            "metadata": { "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"] },
        });
        if let Some(grace) = call.option("grace-period").and_then(|grace| grace.parse::<u64>().ok()) {
            eviction["deleteOptions"] = json!({ "gracePeriodSeconds": grace });
        }
        loop {
            let tried = if call.on("disable-eviction") {
                client.delete(&path, &eviction["deleteOptions"]).await
            } else {
                client.post(&format!("{path}/eviction"), &eviction).await
            };
            match tried {
                Err(error) if client::code(&error) == Some(404) => break,
                Err(error) if client::code(&error) == Some(429) && !late() => {
                    eprintln!("error when evicting {path} (will retry after 5s): {error}");
                    tokio::time::sleep(AGAIN).await;
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        let left = limit.map(|limit| format!("{}s", (limit - begun.elapsed().as_secs_f64()).max(0.1)));
        gone(client, &path, left.as_deref()).await?;
        println!("{path} evicted");
    }
    println!("node/{name} drained");
    Ok(ExitCode::SUCCESS)
}

fn path(pod: &Value) -> String {
    let word = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/{}/pods/{}", word("namespace"), word("name"))
}
