//! A node: registered, with heartbeats, and with pods that are no more than their phase. [`pods`] has those.

mod pods;

use crate::api::architecture;
use crate::client::{self, Client};
use crate::command_line::Options;
use crate::{clock, log, version};
use anyhow::Context;
use edgepair_host_io::atomic;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a node says that it lives (a quarter of [`LEASE`], as kubelet does).
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long that word is good, seconds.
const LEASE: u64 = 40;
/// How often it looks for pods.
const LOOK: Duration = Duration::from_secs(1);
/// Where k3s keeps the password that a node's name is claimed with. A test that is not root names another folder.
const PASSWORD_DIR: &str = "/etc/rancher/node";
const PASSWORD_DIR_VARIABLE: &str = "K3S_STAND_IN_NODE_DIR";

/// What a node is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    labels: Vec<String>,
    taints: Vec<String>,
    server: bool,
}

impl Settings {
    /// As the options say.
    ///
    /// # Errors
    /// When an address is none.
    pub fn new(options: &Options, data: &Path, server: bool) -> anyhow::Result<Self> {
        let name = match options.text("node-name") {
            Some(name) => name.to_owned(),
            None => std::fs::read_to_string("/proc/sys/kernel/hostname")
                .context("the host name")?
                .trim()
                .to_lowercase(),
        };
        let mut addresses = Vec::new();
        for address in options.list("node-ip") {
            addresses.push(address.parse().with_context(|| format!("node-ip {address}"))?);
        }
        if addresses.is_empty() {
            addresses.push(IpAddr::from([127, 0, 0, 1]));
        }
        std::fs::create_dir_all(data).with_context(|| data.display().to_string())?;
        Ok(Self {
            name,
            addresses,
            labels: options.list("node-label"),
            taints: options.list("node-taint"),
            server,
        })
    }
}

/// The node's side of the API.
pub struct Kubelet {
    /// The way to the API.
    pub client: Client,
    /// What the node is to be.
    pub settings: Settings,
}

impl Kubelet {
    /// A node that is not registered yet.
    pub fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings }
    }

    fn password_file(&self) -> PathBuf {
        let folder =
            std::env::var_os(PASSWORD_DIR_VARIABLE).map_or_else(|| PASSWORD_DIR.into(), PathBuf::from);
        folder.join("password")
    }

    /// The password that this node's name is claimed with.
    pub fn password(&self) -> anyhow::Result<String> {
        let path = self.password_file();
        Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    }

    /// Makes the password unless there is one.
    pub fn password_kept(&self) -> anyhow::Result<()> {
        let path = self.password_file();
        if path.exists() {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        atomic::write(&path, format!("{}\n", hex::encode(random)).as_bytes(), 0o600)
            .with_context(|| path.display().to_string())
    }

    fn path(&self) -> String {
        format!("/api/v1/nodes/{}", self.settings.name)
    }

    fn lease(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}", self.settings.name)
    }

    /// Waits until the node is registered.
    pub async fn registered(&self) {
        loop {
            match self.heartbeat().await {
                Ok(()) => return,
                Err(error) => log::error(&format!("Unable to register node with API server: {error:#}")),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Heartbeats and pods, for ever.
    pub async fn run(self) {
        let mut due = clock::instant();
        loop {
            if clock::instant() >= due {
                if let Err(error) = self.heartbeat().await {
                    log::error(&format!("Failed to update lease or node status: {error:#}"));
                } else {
                    due = clock::instant() + HEARTBEAT;
                }
            }
            if let Err(error) = pods::attend(&self.client, &self.settings.name).await {
                log::error(&format!("Failed to attend pods: {error:#}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Renews the lease; registers, or says Ready again, where the node is not.
    async fn heartbeat(&self) -> anyhow::Result<()> {
        let node = match self.client.get(&self.path()).await {
            Ok(node) => node,
            Err(error) if client::code(&error) == Some(404) => {
                let node = self.client.post("/api/v1/nodes", &self.node()).await?;
                log::info(&format!("Successfully registered node {}", self.settings.name));
                node
            }
            Err(error) => return Err(error),
        };
        let renewed = json!({ "spec": {
            "holderIdentity": self.settings.name, "leaseDurationSeconds": LEASE, "renewTime": clock::micro_stamp(),
        } });
        match self.client.merge(&self.lease(), &renewed).await {
            Err(error) if client::code(&error) == Some(404) => {
                let mut lease = renewed;
                lease["metadata"] = json!({ "name": self.settings.name });
                let folder = self.lease();
                let folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
                self.client.post(folder, &lease).await?;
            }
            other => drop(other?),
        }
        let version = &node["status"]["nodeInfo"]["kubeletVersion"];
        if crate::api::table::condition(&node, "Ready") != Some("True") || *version != version::own() {
            self.client
                .json(
                    "PATCH",
                    &format!("{}/status", self.path()),
                    "application/strategic-merge-patch+json",
                    Some(&self.status()),
                )
                .await?;
        }
        // An agent that was a server keeps its name and loses the role, and the other way round.
        let role = "node-role.kubernetes.io/control-plane";
        if node["metadata"]["labels"][role].is_string() != self.settings.server {
            let value = if self.settings.server { json!("true") } else { Value::Null };
            let labels =
                json!({ "metadata": { "labels": { role: value, "node-role.kubernetes.io/master": value } } });
            self.client.merge(&self.path(), &labels).await?;
        }
        Ok(())
    }

    fn node(&self) -> Value {
        let Settings { name, labels: more, taints, server, .. } = &self.settings;
        let mut labels = json!({
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture(),
            "node.kubernetes.io/instance-type": "k3s",
        });
        if *server {
            labels["node-role.kubernetes.io/control-plane"] = "true".into();
            labels["node-role.kubernetes.io/master"] = "true".into();
        }
        for (key, value) in more.iter().filter_map(|label| label.split_once('=')) {
            labels[key] = value.into();
        }
        let taints: Vec<Value> = taints.iter().filter_map(|text| taint(text)).collect();
        let mut spec = json!({ "providerID": format!("k3s://{name}") });
        if !taints.is_empty() {
            spec["taints"] = taints.into();
        }
        json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": { "name": name, "labels": labels, "annotations": { "k3s-stand-in": "no container runs on this node" } },
            "spec": spec,
        })
    }

    fn status(&self) -> Value {
        let now = clock::stamp();
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "k3s-stand-in is posting ready status",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        });
        let mut addresses: Vec<Value> = self
            .settings
            .addresses
            .iter()
            .map(|address| json!({ "type": "InternalIP", "address": address.to_string() }))
            .collect();
        addresses.push(json!({ "type": "Hostname", "address": self.settings.name }));
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let release = file("/etc/os-release");
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        json!({ "status": {
            "conditions": [ready], "addresses": addresses,
            "capacity": { "pods": "110" }, "allocatable": { "pods": "110" },
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "nodeInfo": {
                "kubeletVersion": version::own(), "kubeProxyVersion": "", "operatingSystem": "linux",
                "architecture": architecture(), "osImage": pretty.unwrap_or_default().trim_matches('"'),
                "kernelVersion": file("/proc/sys/kernel/osrelease"), "containerRuntimeVersion": "k3s-stand-in://none",
                "machineID": file("/etc/machine-id"), "bootID": file("/proc/sys/kernel/random/boot_id"), "systemUUID": "",
            },
        } })
    }
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Option<Value> {
    let (key, effect) = text.rsplit_once(':')?;
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    Some(json!({ "key": key, "value": value, "effect": effect }))
}

/// Says something about an object.
pub async fn event(client: &Client, about: &Value, kind: &str, reason: &str, message: &str) {
    let namespace = about["metadata"]["namespace"].as_str().unwrap_or("default");
    let name = about["metadata"]["name"].as_str().unwrap_or_default();
    let now = clock::stamp();
    let event = json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": { "generateName": format!("{name}.") },
        "involvedObject": {
            "kind": about["kind"], "apiVersion": "v1", "name": name, "namespace": about["metadata"]["namespace"],
            "uid": about["metadata"]["uid"],
        },
        "type": kind, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now, "source": { "component": "k3s-stand-in" },
    });
    // Only told: nothing depends on it.
    if let Err(error) = client.post(&format!("/api/v1/namespaces/{namespace}/events"), &event).await {
        log::error(&format!("an event is lost: {error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read() {
        assert_eq!(
            taint("disk=slow:NoSchedule"),
            Some(json!({ "key": "disk", "value": "slow", "effect": "NoSchedule" }))
        );
        assert_eq!(taint("gone:NoExecute").unwrap()["value"], "");
        assert_eq!(taint("nothing"), None);
    }
}
