//! Pods of a node. None runs: a pod is Running once its volumes are there. A volume is there when a line could be added to
//! a file on it, durably; the lines that were there before say who had the volume earlier.

use super::event;
use crate::client::Client;
use crate::clock;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// File on a volume with a line for each start of a pod.
pub const MARKER: &str = "k3s-stand-in.starts";

/// Looks after every pod of this node.
pub async fn attend(client: &Client, node: &str) -> anyhow::Result<()> {
    let list = client.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")).await?;
    for pod in list["items"].as_array().into_iter().flatten() {
        let path = path(pod);
        if pod["metadata"]["deletionTimestamp"].is_string() {
            client.delete(&path, &json!({ "gracePeriodSeconds": 0 })).await?;
        } else if pod["status"]["phase"] == "Pending" {
            let status = match start(client, node, pod).await {
                Ok(said) => running(&said),
                Err(error) => {
                    let message = format!("{error:#}");
                    if pod["status"]["message"] == *message {
                        continue;
                    }
                    let mut about = pod.clone();
                    about["kind"] = "Pod".into();
                    event(client, &about, "Warning", "FailedMount", &message).await;
                    json!({ "phase": "Pending", "message": message })
                }
            };
            client.merge(&format!("{path}/status"), &json!({ "status": status })).await?;
        }
    }
    Ok(())
}

fn path(pod: &Value) -> String {
    let word = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/{}/pods/{}", word("namespace"), word("name"))
}

fn running(said: &str) -> Value {
    let now = clock::stamp();
    json!({
        "phase": "Running", "startTime": now, "message": said,
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now }],
    })
}

/// Uses every volume of a pod; says what it found there.
async fn start(client: &Client, node: &str, pod: &Value) -> anyhow::Result<String> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if let Some((path, make)) = place(client, namespace, volume).await? {
            let line = format!(
                "{} {node} {}\n",
                clock::stamp(),
                pod["metadata"]["uid"].as_str().unwrap_or_default()
            );
            let before = mark(&path, make, &line).with_context(|| format!("volume {}", path.display()))?;
            found.push(format!("{}: {}", path.display(), before));
        }
    }
    Ok(found.join("; "))
}

/// Folder of a volume on this node, and whether it may be made.
async fn place(client: &Client, namespace: &str, volume: &Value) -> anyhow::Result<Option<(PathBuf, bool)>> {
    if let Some(path) = volume["hostPath"]["path"].as_str() {
        return Ok(Some((path.into(), volume["hostPath"]["type"] == "DirectoryOrCreate")));
    }
    let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() else { return Ok(None) };
    let claim = client.get(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")).await?;
    let Some(name) = claim["spec"]["volumeName"].as_str() else { bail!("the claim has no volume yet") };
    let spec = client.get(&format!("/api/v1/persistentvolumes/{name}")).await?["spec"].take();
    if let Some(path) = spec["hostPath"]["path"].as_str() {
        return Ok(Some((path.into(), spec["hostPath"]["type"] == "DirectoryOrCreate")));
    }
    match spec["local"]["path"].as_str() {
        Some(path) => Ok(Some((path.into(), false))),
        None => bail!("the stand-in mounts local and hostPath volumes only, and {name} is neither"),
    }
}

/// Adds a line to the file on a volume; says who was there before.
fn mark(folder: &Path, make: bool, line: &str) -> anyhow::Result<String> {
    if make {
        std::fs::create_dir_all(folder)?;
    }
    if !folder.is_dir() {
        bail!("it is not there");
    }
    let path = folder.join(MARKER);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    let nodes: Vec<&str> = before.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    Ok(if nodes.is_empty() {
        "never used before".into()
    } else {
        format!("used before on {}", nodes.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_remembers_who_had_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(mark(dir.path(), false, "t a u\n").unwrap(), "never used before");
        assert_eq!(mark(dir.path(), false, "t b u\n").unwrap(), "used before on a");
        assert_eq!(mark(dir.path(), false, "t b u\n").unwrap(), "used before on a, b");
        let missing = dir.path().join("missing");
        assert!(mark(&missing, false, "t a u\n").is_err());
        assert!(mark(&missing, true, "t a u\n").is_ok());
    }
}
