//! Which server's controllers work: whoever renews a lease (client-go, `leaderelection`). A holder that cannot renew it
//! ends the whole process, as k3s does.

use crate::client::{self, Client};
use crate::server::Election;
use crate::{clock, log};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A component's part in the election.
pub struct Elector {
    client: Client,
    name: &'static str,
    identity: String,
    election: Election,
    leads: AtomicBool,
}

impl Elector {
    /// Begins to take part.
    pub fn start(client: Client, name: &'static str, node: &str, election: Election) -> Arc<Self> {
        let identity = format!("{node}_{}", crate::api::objects::uid());
        let elector = Arc::new(Self { client, name, identity, election, leads: AtomicBool::new(false) });
        tokio::spawn(Arc::clone(&elector).run());
        elector
    }

    /// Whether this server leads.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    async fn run(self: Arc<Self>) {
        let period = Duration::from_secs_f64(self.election.period);
        let deadline = Duration::from_secs_f64(self.election.deadline);
        let mut seen = Seen::default();
        let mut renewed = clock::instant();
        loop {
            let tried = timeout(deadline, self.attempt(&mut seen)).await;
            let holds = matches!(tried, Ok(Ok(true)));
            if holds {
                renewed = clock::instant();
                if !self.leads.swap(true, Ordering::Relaxed) {
                    log::info(&format!("successfully acquired lease kube-system/{}", self.name));
                }
            } else if self.leads() && (matches!(tried, Ok(Ok(false))) || renewed.elapsed() >= deadline) {
                log::fatal(&format!("leaderelection lost for {}", self.name));
            } else if let Ok(Err(error)) = tried {
                log::error(&format!(
                    "error retrieving or updating lease kube-system/{}: {error:#}",
                    self.name
                ));
            }
            tokio::time::sleep(period).await;
        }
    }

    /// Renews or takes the lease; whether this server holds it now.
    async fn attempt(&self, seen: &mut Seen) -> anyhow::Result<bool> {
        let folder = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let path = format!("{folder}/{}", self.name);
        let now = clock::micro_stamp();
        let mut lease = match self.client.get(&path).await {
            Ok(lease) => lease,
            Err(error) if client::code(&error) == Some(404) => {
                let lease = json!({
                    "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": { "name": self.name },
                    "spec": self.spec(&now, &now, 0),
                });
                return self.taken(self.client.post(folder, &lease).await);
            }
            Err(error) => return Err(error),
        };
        let spec = lease["spec"].take();
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let own = holder == self.identity;
        if !own && !holder.is_empty() && !seen.expired(&spec) {
            return Ok(false);
        }
        let transitions = spec["leaseTransitions"].as_u64().unwrap_or_default();
        let acquired = spec["acquireTime"].as_str().unwrap_or(&now).to_owned();
        lease["spec"] = if own {
            self.spec(&acquired, &now, transitions)
        } else {
            self.spec(&now, &now, transitions + 1)
        };
        self.taken(self.client.put(&path, &lease).await)
    }

    fn spec(&self, acquired: &str, renewed: &str, transitions: u64) -> Value {
        json!({
            "holderIdentity": self.identity, "leaseDurationSeconds": self.election.duration.ceil(),
            "acquireTime": acquired, "renewTime": renewed, "leaseTransitions": transitions,
        })
    }

    fn taken(&self, written: anyhow::Result<Value>) -> anyhow::Result<bool> {
        match written {
            Ok(_) => Ok(true),
            Err(error) if client::code(&error) == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Another's lease as it was seen last, and since when: clocks of two boxes are not compared.
#[derive(Debug, Default)]
struct Seen(Option<(Value, Instant)>);

impl Seen {
    fn expired(&mut self, spec: &Value) -> bool {
        let duration = spec["leaseDurationSeconds"].as_f64().unwrap_or_default();
        match &self.0 {
            Some((same, since)) if same == spec => since.elapsed().as_secs_f64() > duration,
            _ => {
                self.0 = Some((spec.clone(), clock::instant()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_expires_only_after_it_was_watched_for_its_time() {
        let mut seen = Seen::default();
        let old = json!({ "renewTime": "2001-01-01T00:00:00Z", "leaseDurationSeconds": 0.05 });
        assert!(!seen.expired(&old));
        std::thread::sleep(Duration::from_millis(80));
        assert!(seen.expired(&old));
        let renewed = json!({ "renewTime": "2001-01-01T00:00:01Z", "leaseDurationSeconds": 0.05 });
        assert!(!seen.expired(&renewed));
    }
}
