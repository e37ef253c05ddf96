//! `k3s agent`: joins a server by the token and is a node from then on.

use crate::client::{Client, Network, Reply, Who};
use crate::command_line::Options;
use crate::node::{Kubelet, Settings};
use crate::{log, notify, pki, version};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a server that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs until it is ended.
///
/// # Errors
/// What k3s would end with: no server named, a wrong token, a name that is another's, a server that is older.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    log::info(&format!("Starting k3s agent {} (k3s-stand-in: no container runs)", version::own()));
    let token = options.secret("token")?.context("--token is required")?;
    let url = options.text("server").context("--server is required")?;
    let server = address(url)?;
    let data = PathBuf::from(options.text("data-dir").unwrap_or(crate::server::DATA));
    std::fs::create_dir_all(data.join("agent")).with_context(|| data.display().to_string())?;
    let settings = Settings::new(options, &data, false)?;
    let mut kubelet =
        Kubelet::new(Client::Network(Arc::new(Network::new(&server, None, Who::Nobody)?)), settings);
    kubelet.password_kept()?;

    let (network, more) = loop {
        match join(&server, url, &token, &kubelet, &data).await {
            Ok(joined) => break joined,
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::Now(error)) => {
                log::error(&format!("Failed to validate connection to cluster at {url}: {error:#}"))
            }
        }
        tokio::time::sleep(AGAIN).await;
    };
    network.also(more).await;
    let network = Arc::new(network);
    kubelet.client = Client::Network(Arc::clone(&network));
    kubelet.registered().await;
    log::info("k3s agent is up and running");
    notify::ready();
    tokio::spawn(follow(network, server, token, url.to_owned()));
    tokio::spawn(kubelet.run());
    crate::until_ended().await;
    Ok(())
}

enum Failed {
    /// Asking again may help.
    Now(anyhow::Error),
    /// It never will.
    ForGood(anyhow::Error),
}

async fn join(
    server: &str,
    url: &str,
    token: &str,
    kubelet: &Kubelet,
    data: &Path,
) -> Result<(Network, Vec<String>), Failed> {
    let now = |error: anyhow::Error| Failed::Now(error);
    let stranger = Network::new(server, None, Who::Nobody).map_err(now)?;
    let authority = stranger
        .ask("GET", "/cacerts", "", None, &[])
        .await
        .context("failed to get CA certs")
        .map_err(now)?;
    let authority = String::from_utf8_lossy(&authority.body).into_owned();
    let word = word(token, &authority).map_err(Failed::ForGood)?;
    let known = Network::new(server, Some(&authority), Who::Token("node".into(), word)).map_err(now)?;
    let config = said(&known, url, "/v1-k3s/config", &[]).await?;
    let theirs = config["ServerVersion"].as_str().unwrap_or_default();
    if !version::may_join(version::own(), theirs) {
        return Err(Failed::ForGood(anyhow::anyhow!(
            "this agent is {}, and the server at {url} is {theirs}: an agent may not be newer than its server, nor more \
             than three minor versions older",
            version::own()
        )));
    }
    let password = kubelet.password().map_err(Failed::ForGood)?;
    let headers = [("k3s-node-name", &*kubelet.settings.name), ("k3s-node-password", &*password)];
    let signed = said(&known, url, "/v1-k3s/client-kubelet.crt", &headers).await?;
    let [certificate, key] =
        ["certificate", "key"].map(|part| signed[part].as_str().unwrap_or_default().to_owned());
    let kept = || -> anyhow::Result<()> {
        let agent = data.join("agent");
        edgepair_host_io::atomic::write(&agent.join("server-ca.crt"), authority.as_bytes(), 0o644)?;
        edgepair_host_io::atomic::write(&agent.join("client-kubelet.crt"), certificate.as_bytes(), 0o644)?;
        edgepair_host_io::atomic::write(&agent.join("client-kubelet.key"), key.as_bytes(), 0o600)?;
        Ok(())
    };
    kept().map_err(Failed::ForGood)?;
    let more = servers(&known).await.unwrap_or_default();
    let network = Network::new(server, Some(&authority), Who::Certificate(certificate, key)).map_err(now)?;
    Ok((network, more))
}

/// Asks as k3s asks: a refusal for want of the right token is for good.
async fn said(network: &Network, url: &str, path: &str, headers: &[(&str, &str)]) -> Result<Value, Failed> {
    let reply: Reply = network.ask("GET", path, "", None, headers).await.map_err(Failed::Now)?;
    match reply.code {
        401 => Err(Failed::ForGood(anyhow::anyhow!("token is not valid: {url}{path}: 401 Unauthorized"))),
        403 => Err(Failed::ForGood(
            reply.json().err().unwrap_or_else(|| anyhow::anyhow!("{url}{path}: 403 Forbidden")),
        )),
        _ => reply.json().map_err(Failed::Now),
    }
}

/// The secret part of a token, once the rest of it is found to name this cluster.
fn word(token: &str, authority: &str) -> anyhow::Result<String> {
    let Some((hash, rest)) = token.strip_prefix("K10").and_then(|token| token.split_once("::")) else {
        return Ok(token.to_owned());
    };
    let theirs = pki::hash(authority);
    if hash != theirs {
        bail!("token CA hash does not match the Cluster CA certificate hash: {hash} != {theirs}");
    }
    Ok(rest.split_once(':').map_or(rest, |(_, word)| word).to_owned())
}

/// Keeps the list of servers current, as k3s's own balancer does: an agent rides out the loss of the one it joined by.
async fn follow(network: Arc<Network>, server: String, token: String, url: String) {
    let word = token.rsplit(':').next().unwrap_or_default().to_owned();
    let Ok(known) = Network::new(&server, None, Who::Token("node".into(), word)) else { return };
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        match servers(&known).await {
            Ok(more) if !more.is_empty() => {
                known.also(more.clone()).await;
                network.also(more).await;
            }
            Ok(_) => {}
            Err(error) => log::error(&format!("{url} does not name its servers: {error:#}")),
        }
    }
}

async fn servers(known: &Network) -> anyhow::Result<Vec<String>> {
    let value = known.ask("GET", "/v1-k3s/apiservers", "", None, &[]).await?.json()?;
    Ok(value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|server| server.as_str().map(str::to_owned))
        .collect())
}

/// `host:port` of `https://host:port`.
pub fn address(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("https://").with_context(|| format!("{url} does not begin with https://"))?;
    let rest = rest.split('/').next().unwrap_or_default();
    if rest.is_empty() {
        bail!("{url} names no server");
    }
    let port =
        rest.rsplit_once(':').is_some_and(|(host, port)| !host.ends_with(':') && port.parse::<u16>().is_ok());
    Ok(if port { rest.to_owned() } else { format!("{rest}:443") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("https://192.0.2.50:6443").unwrap(), "192.0.2.50:6443");
        assert_eq!(address("https://[2001:db8::1]:6443/").unwrap(), "[2001:db8::1]:6443");
        assert_eq!(address("https://site").unwrap(), "site:443");
        assert!(address("http://site").is_err());
        assert!(address("https://").is_err());
    }

    #[test]
    fn a_whole_token_is_for_one_cluster() {
        let token = format!("K10{}::server:word", pki::hash("one"));
        assert_eq!(word(&token, "one").unwrap(), "word");
        assert!(word(&token, "two").unwrap_err().to_string().contains("does not match the Cluster CA"));
        assert_eq!(word("word", "two").unwrap(), "word");
    }
}
