//! Changes as they come (Kubernetes API concepts, "Efficient detection of changes"). Like kine, it asks the datastore
//! again and again.

use super::kinds::Kind;
use super::objects::{Objects, Target, object};
use super::refusal::Refusal;
use super::{Request, select, table};
use crate::clock;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// How often the datastore is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// A watch that names no limit ends after this time, and the client begins anew.
const LIMIT: u64 = 1800;

/// Whether a client wants tables.
pub fn wants_table(accept: &str) -> bool {
    accept.split(',').next().is_some_and(|first| first.contains("as=Table") && first.contains("v=v1;"))
        || accept.split(',').any(|part| part.contains("as=Table") && !part.contains("v1beta1"))
}

/// A watch.
#[derive(Debug)]
pub struct Watch {
    objects: Objects,
    kind: &'static Kind,
    namespace: Option<String>,
    labels: String,
    fields: String,
    table: bool,
    whole: bool,
    after: Option<i64>,
    until: Instant,
}

impl Watch {
    /// As a request asks for it.
    pub fn new(objects: Objects, target: Target<'_>, request: &Request) -> Self {
        let query = &request.query;
        let limit = query.get("timeoutSeconds").parse().unwrap_or(LIMIT).min(LIMIT);
        Self {
            objects,
            kind: target.kind,
            namespace: target.namespace.map(str::to_owned),
            labels: query.get("labelSelector").into(),
            fields: query.get("fieldSelector").into(),
            table: wants_table(&request.accept),
            whole: query.get("includeObject") == "Object",
            // Without a revision, or with 0, it begins with what is there.
            after: query.get("resourceVersion").parse().ok().filter(|revision| *revision > 0),
            until: clock::instant() + Duration::from_secs(limit),
        }
    }

    /// Sends events until the client is gone, the time is over, or the datastore does not answer.
    pub async fn run(mut self, lines: Sender<Vec<u8>>) {
        loop {
            let events = match self.events().await {
                Ok(events) => events,
                Err(refusal) => {
                    // The client then lists anew.
                    let _ = lines.send(line(&json!({ "type": "ERROR", "object": refusal.status() }))).await;
                    return;
                }
            };
            for event in events {
                if lines.send(line(&event)).await.is_err() {
                    return;
                }
            }
            if lines.is_closed() || clock::instant() >= self.until {
                return;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn events(&mut self) -> Result<Vec<Value>, Refusal> {
        let target = Target { kind: self.kind, namespace: self.namespace.as_deref() };
        let Some(after) = self.after else {
            let (revision, objects) = self.objects.list(target, &self.labels, &self.fields).await?;
            self.after = Some(revision);
            return Ok(objects.into_iter().map(|object| self.event("ADDED", object)).collect());
        };
        let changes = self.objects.kv.changes(&self.kind.folder(self.namespace.as_deref()), after).await?;
        let mut events = Vec::new();
        for change in changes {
            self.after = Some(change.entry.revision);
            let object = object(self.kind, &change.entry);
            if select::labels(&self.labels, &object) && select::fields(&self.fields, &object) {
                let what = match (change.created, change.deleted) {
                    (true, _) => "ADDED",
                    (_, true) => "DELETED",
                    _ => "MODIFIED",
                };
                events.push(self.event(what, object));
            }
        }
        Ok(events)
    }

    fn event(&self, what: &str, object: Value) -> Value {
        let object = if self.table {
            let revision = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            table::of(self.kind, &[object], &revision, self.whole)
        } else {
            object
        };
        json!({ "type": what, "object": object })
    }
}

fn line(event: &Value) -> Vec<u8> {
    format!("{event}\n").into_bytes()
}
