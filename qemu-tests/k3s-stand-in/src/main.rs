//! A stand-in for k3s in the tests of the lab, where k3s itself cannot be had. It is no k3s and runs no container.
//!
//! What is k3s's is real in it: options and configuration file ([`command_line`]), kine's table in the real datastore
//! ([`datastore`]), authorities and tokens ([`pki`]), the API over TLS for real `kubectl` ([`server`], [`api`]), leases
//! whose loss ends the process and the controllers that a failover rests on ([`controllers`]), nodes with heartbeats
//! ([`node`], [`agent`]). What is not: a pod is no more than its phase.
//!
//! ```text
//! k3s server ─▶ datastore ─▶ authorities ─▶ API ─▶ election ─▶ controllers
//! k3s agent ──▶ token, version, name ─────▶ API ◀─ node: lease, status, pods
//! k3s kubectl ─▶ kubectl where there is one, else a small one of its own
//! ```
//!
//! Nothing of it is on a user's path: it is a program of the lab, compiled by the host and given to a node from outside.

mod agent;
mod api;
mod client;
mod clock;
mod command_line;
mod controllers;
mod datastore;
mod kubectl;
mod log;
mod node;
mod notify;
mod pki;
mod server;
mod version;

use command_line::{Options, Role};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "k3s-stand-in: stands in for k3s in tests; it is no k3s and runs no container\n\n\
                     k3s server [OPTIONS]     datastore, API and a node\n\
                     k3s agent [OPTIONS]      a node\n\
                     k3s kubectl …            kubectl where there is one, else a small one\n\
                     k3s --version\n";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let called =
        words.first().map(|path| path.rsplit('/').next().unwrap_or_default().to_owned()).unwrap_or_default();
    if called == "kubectl" {
        return kubectl::run(&words[1..]);
    }
    match words.get(1).map(String::as_str) {
        Some("server") => daemon(Role::Server, &words[2..]),
        Some("agent") => daemon(Role::Agent, &words[2..]),
        Some("kubectl") => kubectl::run(&words[2..]),
        Some("--version" | "-v") => {
            println!("k3s version {} (k3s-stand-in)\ngo version none", version::own());
            ExitCode::SUCCESS
        }
        Some("--help" | "-h" | "help") => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some(
            word @ ("check-config" | "crictl" | "ctr" | "token" | "etcd-snapshot" | "secrets-encrypt"
            | "certificate" | "completion"),
        ) => {
            eprintln!("k3s {word} is k3s's, and the stand-in has nothing behind it");
            ExitCode::FAILURE
        }
        Some(word) => {
            eprintln!("No help topic for '{word}'");
            ExitCode::from(3)
        }
        None => {
            print!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn daemon(role: Role, words: &[String]) -> ExitCode {
    let options = match Options::read(role, words) {
        Ok(options) => options,
        Err(error) => log::fatal(&format!("{error:#}")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => log::fatal(&format!("no runtime: {error}")),
    };
    let ended = runtime.block_on(async {
        match role {
            Role::Server => server::run(&options).await,
            Role::Agent => agent::run(&options).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => log::fatal(&format!("Error: {error:#}")),
    }
}

/// Waits until somebody ends this process in good order.
async fn until_ended() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    log::info("Received a signal, shutting down");
}
