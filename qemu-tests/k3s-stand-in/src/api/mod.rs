//! The API: a request in, an answer out. [`kinds`] says what there is, [`objects`] does it, [`patch`], [`select`],
//! [`table`] and [`refusal`] are the forms in which it is asked and answered. The network is [`crate::server`]'s.

pub mod kinds;
pub mod objects;
pub mod patch;
pub mod refusal;
pub mod select;
pub mod table;
pub mod watch;

use crate::version;
use kinds::{KINDS, Kind};
use objects::{Objects, Target, Wishes};
use patch::How;
use refusal::Refusal;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long the datastore may take in a health check (kube-apiserver's own limit).
const HEALTH: Duration = Duration::from_secs(2);

/// A request of a client that is known.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query.
    pub query: Query,
    /// What the body is.
    pub content_type: String,
    /// What the client takes.
    pub accept: String,
    /// Body.
    pub body: Vec<u8>,
}

/// The part of a path behind `?`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    /// A value, empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Whether a value is true.
    pub fn is(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                let mut decoded = [0];
                let _ = hex::decode_to_slice(digits, &mut decoded);
                decoded[0]
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// An object.
    Json(u16, Value),
    /// Words.
    Text(u16, String),
    /// Changes, as they come.
    Watch(watch::Watch),
}

impl From<Result<Value, Refusal>> for Answer {
    fn from(result: Result<Value, Refusal>) -> Self {
        match result {
            Ok(value) => Self::Json(200, value),
            Err(refusal) => Self::Json(refusal.code, refusal.status()),
        }
    }
}

/// The API.
#[derive(Debug, Clone)]
pub struct Api {
    /// Its objects.
    pub objects: Objects,
}

impl Api {
    /// Whether the datastore answers in time.
    pub async fn healthy(&self) -> bool {
        matches!(timeout(HEALTH, self.objects.kv.get("/registry/health")).await, Ok(Ok(_)))
    }

    /// Answers.
    pub async fn answer(&self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
        match path[..] {
            ["readyz" | "livez" | "healthz"] => {
                return self.health(path[0], !request.query.get("verbose").is_empty()).await;
            }
            ["readyz" | "livez" | "healthz", "ping"] => return Answer::Text(200, "ok".into()),
            ["readyz" | "livez" | "healthz", "etcd"] => return self.health(path[0], false).await,
            ["version"] => return Answer::Json(200, version_info()),
            _ => {}
        }
        if let Some(value) = kinds::discovery(&path).or_else(|| kinds::openapi(&path)) {
            return Answer::Json(200, value);
        }
        let Some(place) = Place::of(&path) else { return Err(Refusal::no_such_path()).into() };
        self.object(request, place).await
    }

    async fn health(&self, what: &str, verbose: bool) -> Answer {
        match (self.healthy().await, verbose) {
            (true, false) => Answer::Text(200, "ok".into()),
            (true, true) => Answer::Text(200, format!("[+]ping ok\n[+]etcd ok\n{what} check passed\n")),
            (false, _) => Answer::Text(
                500,
                format!("[+]ping ok\n[-]etcd failed: reason withheld\n{what} check failed\n"),
            ),
        }
    }

    async fn object(&self, request: &Request, place: Place<'_>) -> Answer {
        let query = &request.query;
        let Place { target, name, part } = place;
        let wishes = Wishes { dry: query.get("dryRun") == "All", status: part == Some("status") };
        let body = || {
            serde_json::from_slice::<Value>(&request.body)
                .map_err(|error| Refusal::bad(format!("the body is no JSON: {error}")))
        };
        let optional = || if request.body.is_empty() { Ok(Value::Null) } else { body() };
        let objects = &self.objects;
        if request.method == "GET" && name.is_none() && query.is("watch") {
            return Answer::Watch(watch::Watch::new(objects.clone(), target, request));
        }
        let done: Result<Value, Refusal> = async {
            match (&*request.method, name, part) {
                ("GET", Some(name), None | Some("status")) => objects.get(target, name).await,
                ("POST", None, None) => objects.create(target, body()?, wishes).await,
                ("PUT", Some(name), None | Some("status")) => {
                    objects.replace(target, name, body()?, wishes).await
                }
                ("PATCH", Some(name), None | Some("status")) => {
                    let how = How::parse(&request.content_type).ok_or_else(|| Refusal {
                        code: 415,
                        reason: "UnsupportedMediaType",
                        message: request.content_type.clone(),
                    })?;
                    objects.patch(target, name, how, &body()?, wishes).await
                }
                ("DELETE", Some(name), None) => {
                    let mut options = optional()?;
                    if let Ok(grace) = query.get("gracePeriodSeconds").parse::<u64>() {
                        options["gracePeriodSeconds"] = grace.into();
                    }
                    let dry = wishes.dry || options["dryRun"].as_array().is_some_and(|how| !how.is_empty());
                    objects.delete(target, name, &options, dry).await
                }
                ("POST", Some(name), Some("eviction")) => {
                    objects.evict(target.namespace.unwrap_or_default(), name, &optional()?, wishes.dry).await
                }
                ("POST", Some(name), Some("binding")) => {
                    let body = body()?;
                    let node = body["target"]["name"].as_str().unwrap_or_default();
                    objects.bind(target.namespace.unwrap_or_default(), name, node).await
                }
                ("GET", None, None) => self.list(request, target).await,
                _ => Err(Refusal {
                    code: 405,
                    reason: "MethodNotAllowed",
                    message: "this is not served".into(),
                }),
            }
        }
        .await;
        match done {
            Ok(value) if request.method == "GET" && name.is_some() && watch::wants_table(&request.accept) => {
                let revision = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                let whole = query.get("includeObject") == "Object";
                Answer::Json(200, table::of(target.kind, std::slice::from_ref(&value), revision, whole))
            }
            Ok(value) if request.method == "POST" => Answer::Json(201, value),
            other => other.into(),
        }
    }

    async fn list(&self, request: &Request, target: Target<'_>) -> Result<Value, Refusal> {
        let query = &request.query;
        let (revision, mut items) =
            self.objects.list(target, query.get("labelSelector"), query.get("fieldSelector")).await?;
        let revision = revision.to_string();
        if watch::wants_table(&request.accept) {
            let whole = query.get("includeObject") == "Object";
            return Ok(table::of(target.kind, &items, &revision, whole));
        }
        for item in &mut items {
            // Items of a list say it once, at the list.
            if let Some(fields) = item.as_object_mut() {
                fields.shift_remove("kind");
                fields.shift_remove("apiVersion");
            }
        }
        Ok(json!({
            "kind": format!("{}List", target.kind.kind), "apiVersion": target.kind.api_version(),
            "metadata": { "resourceVersion": revision }, "items": items,
        }))
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    target: Target<'a>,
    name: Option<&'a str>,
    part: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(path: &[&'a str]) -> Option<Self> {
        let (group, version, rest) = match *path {
            ["api", version, ref rest @ ..] => ("", version, rest),
            ["apis", group, version, ref rest @ ..] => (group, version, rest),
            _ => return None,
        };
        let (namespace, rest) = match *rest {
            ["namespaces", namespace, ref rest @ ..] if !rest.is_empty() && rest[0] != "status" => {
                (Some(namespace), rest)
            }
            _ => (None, rest),
        };
        let (plural, name, part) = match *rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, part] => (plural, Some(name), Some(part)),
            _ => return None,
        };
        let kind = Kind::find(group, version, plural)?;
        Some(Self { target: Target { kind, namespace }, name, part })
    }
}

fn version_info() -> Value {
    let own = version::own();
    let (major, minor) = version::minor(own).unwrap_or_default();
    json!({
        "major": major.to_string(), "minor": minor.to_string(), "gitVersion": own, "gitCommit": "k3s-stand-in",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// This computer's architecture, as Kubernetes calls it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Namespaces that are always there.
pub async fn namespaces(objects: &Objects) -> Result<(), Refusal> {
    let target = Target { kind: &KINDS[1], namespace: None };
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let new = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } } });
        match objects.create(target, new, Wishes::default()).await {
            Err(refusal) if refusal.code != 409 => return Err(refusal),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        let place = |path: &'static str| Place::of(&path.split('/').collect::<Vec<_>>());
        let pod = place("api/v1/namespaces/default/pods/x/eviction").unwrap();
        assert_eq!((pod.target.kind.kind, pod.target.namespace), ("Pod", Some("default")));
        assert_eq!((pod.name, pod.part), (Some("x"), Some("eviction")));
        let home = place("api/v1/namespaces/default").unwrap();
        assert_eq!((home.target.kind.kind, home.name), ("Namespace", Some("default")));
        let all = place("apis/coordination.k8s.io/v1/leases").unwrap();
        assert_eq!((all.target.namespace, all.name), (None, None));
        assert!(place("apis/apps/v1/deployments").is_none());
        assert!(place("api/v1/nodes/a/b/c").is_none());
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("fieldSelector=metadata.name%3Da%2Cx%3Db&watch=1&limit=500");
        assert_eq!(query.get("fieldSelector"), "metadata.name=a,x=b");
        assert!(query.is("watch"));
        assert_eq!(query.get("none"), "");
    }
}
