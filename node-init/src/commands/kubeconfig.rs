//! `node-init kubeconfig`: what a plain kubectl anywhere needs to reach the pair.

use crate::member::{Own, Place};
use anyhow::{Context, bail};
use clap::Args;
use std::fs;
use std::net::IpAddr;

/// What a k3s server writes for root of its own node.
const OWN: &str = "/etc/rancher/k3s/k3s.yaml";

/// `node-init kubeconfig`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name another address of the API in it than the virtual IP; the certificate must have it (kubernetes.tls_san).
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Prints it.
///
/// # Errors
/// When no server runs here, or the seed has no Kubernetes.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let place = Place::default();
    let own = Own::load()?.context("this node has no seed yet")?;
    let kubernetes = own.seed.kubernetes.as_ref().context("the seed has no table [kubernetes]")?;
    let text = match fs::read_to_string(place.path(OWN)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "no k3s server has run on this node yet ({OWN} is not there)\n  to do: ask the active node; `node-init status` says \
             which one that is, and how Kubernetes is"
        ),
        Err(error) => return Err(error).context(OWN),
    };
    let port = kubernetes.balancer_port.unwrap_or(kubernetes.api_port);
    let address = own.seed.pair.virtual_ips.first().map(|net| url(net.addr(), port));
    let server = arguments.server.clone().or(address).context("the seed has no virtual IP")?;
    print!("{}", for_elsewhere(&text, &server, &own.seed.pair.name)?);
    Ok(())
}

fn url(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("https://{address}:{port}"),
        IpAddr::V6(address) => format!("https://[{address}]:{port}"),
    }
}

/// Pure: another server, and the pair's name in place of `default`, so that several files can be merged.
fn for_elsewhere(text: &str, server: &str, name: &str) -> anyhow::Result<String> {
    let mut servers = 0;
    let mut out = String::new();
    for line in text.lines() {
        let bare = line.trim_start_matches([' ', '-']);
        let indent = &line[..line.len() - bare.len()];
        let (key, value) = bare.split_once(": ").unwrap_or((bare, ""));
        match (key, value.trim()) {
            ("server", _) => {
                servers += 1;
                out.push_str(&format!("{indent}server: {server}\n"));
            }
            ("name" | "cluster" | "user" | "current-context", "default") => {
                out.push_str(&format!("{indent}{key}: {name}\n"));
            }
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    if servers != 1 {
        bail!("{OWN} names {servers} servers and not one; this k3s writes it in another form than is known");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const K3S: &str = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: QUJD\n    server: https://127.0.0.1:6443\n  \
        name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\ncurrent-context: default\n\
        kind: Config\npreferences: {}\nusers:\n- name: default\n  user:\n    client-certificate-data: default\n    client-key-data: WFla\n";

    #[test]
    fn it_names_the_pair_and_its_address() {
        let text = for_elsewhere(K3S, "https://192.0.2.50:6443", "site-042").unwrap();
        assert!(text.contains("    server: https://192.0.2.50:6443\n  name: site-042\n"), "{text}");
        assert!(text.contains("    cluster: site-042\n    user: site-042\n  name: site-042\n"));
        assert!(text.contains("current-context: site-042\n") && text.contains("- name: site-042\n  user:\n"));
        assert!(text.contains("client-certificate-data: default\n"), "only names are changed");
        assert_eq!(text.lines().count(), K3S.lines().count());
        assert!(for_elsewhere("kind: Config\n", "x", "y").is_err());
        assert_eq!(url("2001:db8::1".parse().unwrap(), 7443), "https://[2001:db8::1]:7443");
    }
}
