//! `k3s server`: datastore, authorities, API, controllers and a node of its own, in k3s's order.
//!
//! [`listen`] is the network side, [`supervisor`] k3s's own paths beside the API's.

mod listen;
mod supervisor;

use crate::api::objects::Objects;
use crate::api::{self, Api};
use crate::client::Client;
use crate::command_line::{Options, seconds};
use crate::controllers;
use crate::datastore::Datastore;
use crate::datastore::kv::{Kv, Outcome};
use crate::datastore::postgres::{Files, Postgres};
use crate::datastore::sqlite::Sqlite;
use crate::node::{Kubelet, Settings};
use crate::pki::{self, Shared, Use};
use crate::{log, notify, version};
use anyhow::{Context, bail};
use edgepair_host_io::atomic;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where k3s keeps everything.
pub const DATA: &str = "/var/lib/rancher/k3s";
/// Where `kubectl` looks.
pub const KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";

/// Options that are documented, and that this stand-in has nothing behind.
const NOT_HERE: &[&str] =
    &["cluster-init", "cluster-reset", "rootless", "docker", "kine-tls", "embedded-registry"];

/// Runs until it is ended, or until k3s would end itself.
///
/// # Errors
/// What k3s would end with.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    log::info(&format!("Starting k3s {} (k3s-stand-in: no container runs)", version::own()));
    if let Some(option) = NOT_HERE.iter().find(|option| options.on(option)) {
        bail!("--{option} is k3s's, and this stand-in has nothing behind it");
    }
    let data = PathBuf::from(options.text("data-dir").unwrap_or(DATA));
    let tls = data.join("server/tls");
    std::fs::create_dir_all(&tls).with_context(|| tls.display().to_string())?;
    let token = token(options, &data)?;
    let kv = Kv::new(datastore(options, &data).await?);
    let shared = Shared::of(&kv, &token).await.context("preparing server: bootstrap data")?;
    shared.write(&tls)?;

    let settings = Settings::new(options, &data, true)?;
    let port = options.number("https-listen-port", 6443);
    let names = names(options, &settings);
    let serving = shared.server.kept(&tls, "serving-kube-apiserver", Use::Serving(&names))?;
    let admin = shared.client.kept(&tls, "client-admin", Use::Client("system:admin", "system:masters"))?;

    if let Outcome::Changed = kv.create("/registry/health", b"{\"health\":\"true\"}").await? {
        // It is there from an earlier start.
    }
    let toleration = options
        .handed_on("kube-apiserver", "default-unreachable-toleration-seconds")
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(300);
    let api = Api { objects: Objects { kv: kv.clone(), toleration } };
    api::namespaces(&api.objects).await.map_err(|refusal| anyhow::anyhow!(refusal.message))?;

    let agent_token = options.secret("agent-token")?.unwrap_or_else(|| token.clone());
    let supervisor = Arc::new(supervisor::Supervisor {
        api: api.clone(),
        shared: shared.clone(),
        token,
        agent_token,
        port,
    });
    let listener = listen::bind(options.text("bind-address"), port).await?;
    tokio::spawn(listen::run(
        listener,
        listen::tls(&serving, shared.client.certificate())?,
        api.clone(),
        supervisor,
    ));
    log::info(&format!("Running kube-apiserver, listening on port {port}"));

    let own = options
        .text("bind-address")
        .filter(|address| !matches!(*address, "0.0.0.0" | "::"))
        .unwrap_or("127.0.0.1");
    let server =
        if own.contains(':') { format!("https://[{own}]:{port}") } else { format!("https://{own}:{port}") };
    let path = options.text("write-kubeconfig").unwrap_or(KUBECONFIG);
    write_kubeconfig(
        options,
        Path::new(path),
        &pki::kubeconfig(&server, shared.server.certificate(), &admin),
    )?;

    let inside = Client::Inside(api.clone());
    controllers::start(options, &inside, &kv, &settings.name);
    if !options.on("disable-agent") {
        let kubelet = Kubelet::new(inside, settings);
        kubelet.password_kept()?;
        let name = kubelet.settings.name.clone();
        supervisor::claim_name(&api, &name, &kubelet.password()?)
            .await
            .map_err(|refusal| anyhow::anyhow!("{}", refusal.message))?;
        tokio::spawn(kubelet.run());
    }
    while !api.healthy().await {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    log::info("k3s is up and running");
    notify::ready();
    crate::until_ended().await;
    Ok(())
}

fn token(options: &Options, data: &Path) -> anyhow::Result<String> {
    let kept = data.join("server/token");
    if let Some(token) = options.secret("token")? {
        // A whole token names the authority as well; what is secret is its end.
        let word = token.rsplit(':').next().unwrap_or_default().to_owned();
        atomic::write(&kept, format!("{word}\n").as_bytes(), 0o600)?;
        return Ok(word);
    }
    if let Ok(token) = std::fs::read_to_string(&kept) {
        return Ok(token.trim().to_owned());
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let token = hex::encode(random);
    atomic::write(&kept, format!("{token}\n").as_bytes(), 0o600)?;
    Ok(token)
}

/// The datastore, once it answers; kine asks it for five minutes.
async fn datastore(options: &Options, data: &Path) -> anyhow::Result<Datastore> {
    let endpoint = options.text("datastore-endpoint").unwrap_or_default();
    if let Some(dsn) = endpoint.strip_prefix("sqlite://") {
        return Ok(Datastore::Sqlite(Sqlite::open(dsn)?));
    }
    if endpoint.is_empty() {
        // Only here: a file that is named has to have its folder.
        let folder = data.join("server/db");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let file = folder.join("state.db");
        return Ok(Datastore::Sqlite(Sqlite::open(&format!(
            "{}?_journal=WAL&cache=shared",
            file.display()
        ))?));
    }
    if !endpoint.starts_with("postgres://") && !endpoint.starts_with("postgresql://") {
        let scheme = endpoint.split("://").next().unwrap_or_default();
        bail!("k3s may know the datastore \"{scheme}\"; this stand-in speaks to PostgreSQL and SQLite only");
    }
    let file = |name: &str| options.text(name).map(PathBuf::from);
    let files = Files {
        authority: file("datastore-cafile"),
        own: file("datastore-certfile").zip(file("datastore-keyfile")),
    };
    let postgres = Postgres::new(endpoint, &files)?;
    for _ in 0..300 {
        match postgres.prepare().await {
            Ok(()) => {
                log::info("Database tables and indexes are up to date");
                return Ok(Datastore::Postgres(Box::new(postgres)));
            }
            Err(error) => log::error(&format!("failed to ping connection: {error}")),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!(
        "starting kubernetes: preparing server: creating storage endpoint: building kine: no connection to the datastore"
    )
}

/// Names that the API's certificate is good for.
fn names(options: &Options, settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = [
        "127.0.0.1",
        "::1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.43.0.1",
    ]
    .map(str::to_owned)
    .into();
    names.push(settings.name.clone());
    names.extend(settings.addresses.iter().map(IpAddr::to_string));
    names.extend(options.list("tls-san"));
    names.extend(
        ["advertise-address", "bind-address"]
            .into_iter()
            .filter_map(|option| options.text(option))
            .map(str::to_owned),
    );
    names.sort();
    names.dedup();
    names
}

fn write_kubeconfig(options: &Options, path: &Path, text: &str) -> anyhow::Result<()> {
    let mode = options.text("write-kubeconfig-mode").unwrap_or("0600");
    let mode = u32::from_str_radix(mode, 8).with_context(|| format!("write-kubeconfig-mode {mode}"))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    atomic::write(path, text.as_bytes(), mode).with_context(|| path.display().to_string())?;
    log::info(&format!("Wrote kubeconfig {}", path.display()));
    Ok(())
}

/// Leases of components, as they are named on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Election {
    /// How long a lease is good, seconds.
    pub duration: f64,
    /// How long its holder tries to renew it before it gives up.
    pub deadline: f64,
    /// How often it tries.
    pub period: f64,
}

impl Election {
    /// Of a component; Kubernetes' own values unless handed on.
    pub fn of(options: &Options, component: &str) -> Self {
        let value =
            |key: &str, default| options.handed_on(component, key).and_then(seconds).unwrap_or(default);
        Self {
            duration: value("leader-elect-lease-duration", 15.0),
            deadline: value("leader-elect-renew-deadline", 10.0),
            period: value("leader-elect-retry-period", 2.0),
        }
    }
}

/// Addresses of the API servers that agents may use.
pub async fn api_servers(client: &Client, port: u16) -> anyhow::Result<Vec<String>> {
    let nodes = client.get("/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane").await?;
    let mut all = Vec::new();
    for node in nodes["items"].as_array().into_iter().flatten() {
        let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
        let internal = addresses.filter(|address| address["type"] == "InternalIP");
        let first = internal.filter_map(|address| address["address"].as_str()?.parse::<IpAddr>().ok()).next();
        all.extend(first.map(|address| std::net::SocketAddr::new(address, port).to_string()));
    }
    Ok(all)
}
