//! k3s's own paths: what a node needs to join. They are open to whoever has the token.

use crate::api::kinds::Kind;
use crate::api::objects::{Target, Wishes};
use crate::api::refusal::Refusal;
use crate::api::{Answer, Api};
use crate::client::Client;
use crate::pki::{Shared, Use};
use crate::version;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The supervisor.
pub struct Supervisor {
    /// Objects.
    pub api: Api,
    /// Authorities.
    pub shared: Shared,
    /// Token of servers.
    pub token: String,
    /// Token of agents.
    pub agent_token: String,
    /// The API's port.
    pub port: u16,
}

impl Supervisor {
    /// Whether a path is one of these.
    pub fn serves(&self, path: &str) -> bool {
        path == "/ping" || path == "/cacerts" || path.starts_with("/v1-k3s/")
    }

    /// Answers.
    pub async fn answer(&self, path: &str, authorization: &str, name: &str, password: &str) -> Answer {
        match path {
            "/ping" => return Answer::Text(200, "pong".into()),
            "/cacerts" => return Answer::Text(200, self.shared.server.certificate().into()),
            _ if !self.knows(authorization) => return Err(Refusal::unauthorized()).into(),
            _ => {}
        }
        match path {
            "/v1-k3s/config" => {
                Answer::Json(200, json!({ "ServerVersion": version::own(), "HTTPSPort": self.port }))
            }
            "/v1-k3s/apiservers" => {
                match super::api_servers(&Client::Inside(self.api.clone()), self.port).await {
                    Ok(servers) => Answer::Json(200, servers.into()),
                    Err(error) => Answer::Text(503, format!("{error:#}")),
                }
            }
            "/v1-k3s/client-kubelet.crt" => self.kubelet(name, password).await.into(),
            _ => Err(Refusal::no_such_path()).into(),
        }
    }

    /// Basic authentication as `node` or `server`, with the token.
    fn knows(&self, authorization: &str) -> bool {
        let given = authorization.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
        let Some(given) = given.and_then(|bytes| String::from_utf8(bytes).ok()) else { return false };
        let same = |one: &str, other: &str| {
            digest(&SHA256, one.as_bytes()).as_ref() == digest(&SHA256, other.as_bytes()).as_ref()
        };
        match given.split_once(':') {
            Some(("node", word)) => same(word, &self.agent_token) || same(word, &self.token),
            Some(("server", word)) => same(word, &self.token),
            _ => false,
        }
    }

    async fn kubelet(&self, name: &str, password: &str) -> Result<Value, Refusal> {
        claim_name(&self.api, name, password).await?;
        let user = format!("system:node:{name}");
        let pair = self
            .shared
            .client
            .sign(Use::Client(&user, "system:nodes"))
            .map_err(|error| Refusal::bad(format!("{error:#}")))?;
        Ok(json!({ "certificate": pair.certificate, "key": pair.key }))
    }
}

/// A node's name belongs to whoever came with it first, known by the password in `/etc/rancher/node/password`.
pub async fn claim_name(api: &Api, name: &str, password: &str) -> Result<(), Refusal> {
    let kind = Kind::find("", "v1", "secrets").ok_or_else(Refusal::no_such_path)?;
    let target = Target { kind, namespace: Some("kube-system") };
    let secret = format!("{name}.node-password.k3s");
    let hash = hex::encode(digest(&SHA256, format!("{name}:{password}").as_bytes()));
    let kept = match api.objects.get(target, &secret).await {
        Ok(kept) => kept,
        Err(refusal) if refusal.code == 404 => {
            let new = json!({ "metadata": { "name": secret }, "data": { "hash": STANDARD.encode(&hash) } });
            api.objects.create(target, new, Wishes::default()).await?
        }
        Err(refusal) => return Err(refusal),
    };
    if kept["data"]["hash"] == STANDARD.encode(&hash) {
        return Ok(());
    }
    Err(Refusal::forbidden(
        "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server \
         node-passwd entry, try enabling a unique node name with the --with-node-id flag",
    ))
}
