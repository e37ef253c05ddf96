//! The command line: one file per subcommand, one line here for each.
//!
//! Exit codes: 0 done, 1 failed, 2 used wrongly (clap's own).

pub mod agent;
pub mod boot_stages;
pub mod extension;
pub mod images;
pub mod kubeconfig;
pub mod pods;
pub mod update;
pub mod volume;
pub mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Provisions a node from its seed, runs the pair's failover and updates.
#[derive(Debug, Parser)]
#[command(name = "node-init", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Before the root is switched to: state partition, /etc. Run by the initrd.
    #[command(after_help = "Example:\n  node-init early --root /sysroot")]
    Early(boot_stages::Early),
    /// Make this node what its seed says. Run at every boot; running it again changes nothing.
    #[command(
        after_help = "Examples:\n  node-init provision --dry-run\n  node-init provision --apply /root/seed.toml\n\nExit status: 0 done, 1 failed or something is left for a person, 2 wrong use."
    )]
    Provision(boot_stages::Provision),
    /// Show the status screen on standard output, which is a terminal, until stopped.
    #[command(after_help = "Example:\n  node-init console --once")]
    Console(boot_stages::Console),
    /// Wait for the end of the boot and judge it.
    #[command(after_help = "Example:\n  node-init ready")]
    Ready,
    /// Hold the active role on one of the two nodes. Run by systemd; stopping it moves nothing.
    #[command(after_help = "Example:\n  systemctl status edgepair-agent")]
    Agent,
    /// Say how this node and its pair are.
    #[command(
        after_help = "Examples:\n  node-init status --json | jq -r .role\n  node-init status --history | tail"
    )]
    Status(agent::StatusArguments),
    /// Make the other node active, in order. Run on the active node.
    #[command(after_help = "Example:\n  node-init switchover --timeout 30")]
    Switchover(agent::SwitchoverArguments),
    /// Make this node active alone, for good: the other one is off and will be wiped. Asks for its name to be typed.
    #[command(
        after_help = "Example, on the node that shall go on:\n  node-init promote\n\nWhat only the other node has written is lost. Before it comes back, give it an empty disk: it is then synchronised in full."
    )]
    Promote(agent::PromoteArguments),
    /// Update the pair to another version, together, or show how that goes.
    Update(update::Arguments),
    /// Which version of k3s the pair runs: install, choose, remove.
    Extension(extension::Arguments),
    /// Take archives of container images that lie in `images/` beside the seed. Run at boot, before k3s starts.
    #[command(
        after_help = "Example:\n  node-init images --from /mnt/images && systemctl try-restart edgepair-k3s-server"
    )]
    Images(images::Arguments),
    /// Print what a plain kubectl anywhere needs: the API at the virtual IP, as the cluster's administrator.
    #[command(
        after_help = "Example:\n  ssh root@192.0.2.50 node-init kubeconfig > site-042.yaml\n  kubectl --kubeconfig site-042.yaml get nodes\n\nIt holds the administrator's key: keep it as you keep a password."
    )]
    Kubeconfig(kubeconfig::Arguments),
    /// Take leave of the other node, so that it goes on alone when this one goes down. Run by systemd at shutdown.
    #[command(
        after_help = "Example:\n  node-init leave && systemctl poweroff\n\nA node that stays up after all joins again with: systemctl restart edgepair-agent"
    )]
    Leave(agent::LeaveArguments),
    /// Answer DRBD: may this node go on without the other? Run by the kernel; the exit code is the answer (drbd.conf(5)).
    #[command(after_help = "Example:\n  node-init fence-peer; echo $?")]
    FencePeer(agent::FencePeerArguments),
    /// End the pods of this node, where the pair has to.
    Pods(pods::Arguments),
    /// Volumes for pods, on both disks.
    Volume(volume::Arguments),
    /// The small third party that keeps one record per pair: run it, enrol pairs, ask it.
    Witness(witness::Arguments),
}

/// Reads the arguments, runs, reports.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Early(arguments) => boot_stages::early(&arguments),
        Command::Provision(arguments) => boot_stages::provision(&arguments),
        Command::Console(arguments) => boot_stages::console(&arguments),
        Command::Ready => boot_stages::ready(),
        Command::Agent => crate::agent::run(),
        Command::Status(arguments) => agent::status(&arguments),
        Command::Switchover(arguments) => agent::switchover(&arguments),
        Command::Promote(arguments) => agent::promote(&arguments),
        Command::Update(arguments) => update::run(&arguments),
        Command::Extension(arguments) => extension::run(&arguments),
        Command::Images(arguments) => images::run(&arguments),
        Command::Kubeconfig(arguments) => kubeconfig::run(&arguments),
        Command::Leave(arguments) => agent::leave(&arguments),
        Command::Pods(arguments) => pods::run(&arguments),
        Command::Volume(arguments) => volume::run(&arguments),
        Command::FencePeer(arguments) => return agent::fence_peer(&arguments),
        Command::Witness(arguments) => witness::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node-init: {error:#}");
            ExitCode::FAILURE
        }
    }
}
