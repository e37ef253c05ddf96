//! The file that tells `kubectl` where the API is and who asks.

use crate::agent::address;
use crate::client::{Client, Network, Who};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// The client of this file, or of the one that the environment or k3s names.
pub fn client(named: Option<&str>) -> anyhow::Result<Client> {
    let path = named.map(str::to_owned).or_else(|| std::env::var("KUBECONFIG").ok());
    let path = path.unwrap_or_else(|| crate::server::KUBECONFIG.into());
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let parts = parse(&text).with_context(|| path)?;
    let who = Who::Certificate(parts.certificate, parts.key);
    Ok(Client::Network(Arc::new(Network::new(&address(&parts.server)?, Some(&parts.authority), who)?)))
}

struct Parts {
    server: String,
    authority: String,
    certificate: String,
    key: String,
}

/// Reads what k3s writes: one cluster, one user, one value a line.
fn parse(text: &str) -> anyhow::Result<Parts> {
    let value = |key: &str| {
        let of_line = |line: &str| {
            let (name, value) = line.trim().trim_start_matches("- ").split_once(':')?;
            let plain = |text: &str| text.trim().trim_end_matches(',').trim_matches(['"', '\'']).to_owned();
            (plain(name) == key).then(|| plain(value))
        };
        text.lines()
            .find_map(of_line)
            .filter(|value| !value.is_empty())
            .with_context(|| format!("it has no {key}"))
    };
    let decoded = |key: &str| -> anyhow::Result<String> {
        Ok(String::from_utf8(STANDARD.decode(value(key)?).with_context(|| key.to_owned())?)?)
    };
    Ok(Parts {
        server: value("server")?,
        authority: decoded("certificate-authority-data")?,
        certificate: decoded("client-certificate-data")?,
        key: decoded("client-key-data")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Pair, kubeconfig};

    #[test]
    fn what_is_written_is_read() {
        let admin = Pair { certificate: "one".into(), key: "two".into() };
        let parts = parse(&kubeconfig("https://192.0.2.50:6443", "three", &admin)).unwrap();
        assert_eq!(parts.server, "https://192.0.2.50:6443");
        assert_eq!((&*parts.authority, &*parts.certificate, &*parts.key), ("three", "one", "two"));
        assert!(parse("apiVersion: v1\n").is_err());
        assert!(parse("{\n \"server\": \"https://x\",\n \"certificate-authority-data\": \"b25l\",\n \"client-certificate-data\": \"b25l\",\n \"client-key-data\": \"b25l\"\n}").is_ok());
    }
}
