//! Real `kubectl` on this computer, at the virtual IP. What is behind it is k3s, or a stand-in that says so.

use super::pair::Pair;
use super::site::{Side, VIRTUAL_IP};
use anyhow::{Context, bail, ensure};
use edgepair_host_io::{Invocation, atomic};
use serde_json::Value;
use std::path::PathBuf;

/// Where k3s writes the configuration for root.
const WRITTEN: &str = "/etc/rancher/k3s/k3s.yaml";

/// kubectl and its configuration, which has a key in it and is not shown.
#[derive(Clone)]
pub struct Kubectl {
    path: PathBuf,
    /// The configuration.
    pub text: String,
    /// What answers: `through the stand-in` or `with k3s`.
    pub what: &'static str,
}

impl Kubectl {
    /// Takes the configuration from a node with a server, for a port of this computer that leads to the virtual IP.
    ///
    /// # Errors
    /// When there is no kubectl here, or the node has no configuration.
    pub fn of(pair: &mut Pair, side: Side, door: u16) -> anyhow::Result<Self> {
        let here = Invocation::new("kubectl").args(["version", "--client"]).to_command().output();
        ensure!(
            here.is_ok_and(|output| output.status.success()),
            "kubectl is needed on this computer\n  to do: apt-get install kubernetes-client"
        );
        let path = pair.spec.dir.join(format!("kubeconfig-{door}"));
        let guest = &mut pair.node(side)?.guest;
        let version = guest.run("k3s --version")?;
        let what = if version.contains("k3s-stand-in") { "through the stand-in" } else { "with k3s" };
        let written = guest.run(&format!("cat {WRITTEN}"))?;
        // The certificate is good for the virtual IP, whatever leads there.
        let server = |line: &str| {
            let indent = &line[..line.len() - line.trim_start().len()];
            format!("{indent}server: https://127.0.0.1:{door}\n{indent}tls-server-name: {VIRTUAL_IP}")
        };
        let lines = written.lines().map(|line| {
            if line.trim_start().starts_with("server:") { server(line) } else { line.to_owned() }
        });
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        ensure!(text.contains("tls-server-name"), "{WRITTEN} names no server");
        atomic::write(&path, text.as_bytes(), 0o600)?;
        Ok(Self { path, text, what })
    }

    /// Runs it.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        self.fed(words, "")
    }

    /// Runs it with something to read.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn fed(&self, words: &[&str], input: &str) -> anyhow::Result<String> {
        let call = Invocation::new("kubectl")
            .args(["--kubeconfig", &self.path.to_string_lossy(), "--request-timeout=10s"])
            .args(words.iter().copied())
            // What it keeps between calls is kept with the pair.
            .env("HOME", self.path.parent().map(|dir| dir.to_string_lossy()).unwrap_or_default());
        let mut command = call.to_command();
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .context("kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            bail!("kubectl {}: {}", words.join(" "), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// When it fails, or is not JSON.
    pub fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {}", words.join(" ")))
    }

    /// Names and states of the nodes, as `kubectl get nodes` shows them.
    ///
    /// # Errors
    /// When it fails.
    pub fn nodes(&self) -> anyhow::Result<Vec<(String, String)>> {
        let text = self.run(&["get", "nodes", "--no-headers"])?;
        let row = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.next()?))
        };
        Ok(text.lines().filter_map(row).collect())
    }
}
