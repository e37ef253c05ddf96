//! What the elected server does: the little of kube-controller-manager and kube-scheduler that the pair's failover rests
//! on, with their own periods. [`election`] says which server it is.

pub mod election;
mod nodes;
mod pods;
mod scheduler;
mod sets;

use crate::client::Client;
use crate::command_line::Options;
use crate::datastore::kv::Kv;
use crate::server::Election;
use crate::{clock, log};
use election::Elector;
use std::sync::Arc;
use std::time::Duration;

/// How often the scheduler looks.
const SCHEDULER: Duration = Duration::from_secs(1);
/// How often old changes are forgotten (kine's own period).
const COMPACT: Duration = Duration::from_secs(300);

/// Starts the components of this server.
pub fn start(options: &Options, client: &Client, kv: &Kv, name: &str) {
    if !options.on("disable-controller-manager") {
        let election = Election::of(options, "kube-controller-manager");
        let elector = Elector::start(client.clone(), "kube-controller-manager", name, election);
        let grace = options.handed_on_seconds("kube-controller-manager", "node-monitor-grace-period", 50.0);
        let period = options.handed_on_seconds("kube-controller-manager", "node-monitor-period", 5.0);
        tokio::spawn(manage(elector, client.clone(), kv.clone(), grace, Duration::from_secs_f64(period)));
    }
    if !options.on("disable-scheduler") {
        let elector =
            Elector::start(client.clone(), "kube-scheduler", name, Election::of(options, "kube-scheduler"));
        let client = client.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SCHEDULER).await;
                if elector.leads() {
                    said("scheduler", scheduler::bind(&client).await);
                }
            }
        });
    }
}

async fn manage(elector: Arc<Elector>, client: Client, kv: Kv, grace: f64, period: Duration) {
    let mut watch = nodes::Watch::new(grace);
    let mut led = false;
    let [mut look, mut collect, mut compact] = [clock::instant(); 3];
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !elector.leads() {
            led = false;
            continue;
        }
        let now = clock::instant();
        if !led {
            // A controller that has just begun has seen no heartbeat yet, and waits for the whole time again.
            watch = nodes::Watch::new(grace);
            led = true;
            collect = now + pods::PERIOD;
        }
        if now >= look {
            look = now + period;
            said("node lifecycle", watch.look(&client).await);
        }
        said("taint eviction", pods::evict(&client).await);
        said("stateful sets", sets::look(&client).await);
        if now >= collect {
            collect = now + pods::PERIOD;
            said("pod garbage collector", pods::collect(&client).await);
            said("events", pods::forget_events(&client).await);
        }
        if now >= compact {
            compact = now + COMPACT;
            said("compaction", kv.compact().await.map_err(Into::into));
        }
    }
}

fn said(who: &str, result: anyhow::Result<()>) {
    if let Err(error) = result {
        log::error(&format!("{who}: {error:#}"));
    }
}
