//! `node-init witness serve`

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

use super::Place;
use crate::witness::admin::{self, Admin};
use crate::witness::identity::Identity;
use crate::witness::limits::Rate;
use crate::witness::metrics::Metrics;
use crate::witness::server::{self, Limits, Server};
use crate::witness::store::writer::{Opening, Store};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address and port for the nodes.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    listen: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Address and port for Prometheus (plain HTTP, /metrics only). Without it, only the admin socket has them.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Requests per second of one pair; bursts of six times as many pass.
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = positive)]
    pair_rate: f64,
    /// Connections and refused requests per second of one address; bursts of ten times as many pass.
    #[arg(long, value_name = "N", default_value_t = 200.0, value_parser = positive)]
    address_rate: f64,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    max_connections: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a number above 0 is needed".into()),
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stamp_dir = arguments.place.prepare()?;
    let data_dir = &arguments.place.data_dir;
    let metrics = Arc::new(Metrics::default());
    let store = Store::open(data_dir, &stamp_dir, Arc::clone(&metrics))?;
    let identity = Identity::load_or_create(data_dir)?;
    let fingerprint = identity.fingerprint;
    report(&store);
    let connections = arguments.max_connections.min(file_descriptors().saturating_sub(64));
    let limits = Limits {
        pair: Rate { per_second: arguments.pair_rate, burst: arguments.pair_rate * 6.0 },
        address: Rate { per_second: arguments.address_rate, burst: arguments.address_rate * 10.0 },
        connections,
    };
    let admin = Admin::new(&store, Arc::clone(&metrics), fingerprint);
    let Store { writer, table, thread, .. } = store;
    let watch = writer.clone();
    let server = Server::new(writer, table, metrics, fingerprint, limits);
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(async {
        let tls = server::tls(identity)?;
        let listener = TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        let socket = admin::socket(data_dir);
        // The database's lock is ours, so a socket that is left is nobody's.
        let _ = std::fs::remove_file(&socket);
        let operators =
            UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        tokio::spawn(admin.clone().run(operators));
        if let Some(address) = arguments.metrics_listen {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            println!("metrics on http://{}/metrics", listener.local_addr()?);
            tokio::spawn(admin.run_metrics(listener));
        } else {
            drop(admin);
        }
        println!("witness on {}, fingerprint {fingerprint}", listener.local_addr()?);
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            never = server.run(listener, tls) => match never {},
            () = watch.closed() => bail!("the disk failed in the middle of a commit; what was answered before is safe"),
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    });
    // Everything that could give the writer a job goes first; it then finishes what it has and ends.
    drop(runtime);
    drop(watch);
    match thread.join() {
        Ok(result) => result.context("the store failed")?,
        Err(_) => bail!("the writer stopped unexpectedly"),
    }
    outcome
}

fn report(store: &Store) {
    match store.opening {
        Opening::New => println!("a new database: every pair begins as unknown"),
        Opening::Same => {}
        Opening::Restored => eprintln!(
            "witness: the database is older than what was acknowledged last, or its stamp is gone: it was \
             restored. Every pair is unknown until both its nodes are connected, or an operator decides."
        ),
    }
}

/// Raises the limit of open files as far as the system lets us, and says how far that is.
fn file_descriptors() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}
