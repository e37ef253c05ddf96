//! `edgepair lab`: the pair in virtual machines on this computer, without root.
//!
//! A lab is a folder ([`state`]) and one process of its own, the supervisor ([`supervisor`]): it holds both machines,
//! the switch between them, this computer's ports on it and the witness, and outlives the command that started it.
//! Commands talk to it through a socket ([`control`]). [`up`] makes a lab, [`enter`] are the ways in,
//! [`update`] moves the pair to another version.

mod control;
mod enter;
mod show;
mod state;
mod supervisor;
mod up;
mod update;

use anyhow::bail;
use clap::{Args, Subcommand};
use control::Order;
use qemu_tests::harness::pair::Place;
use qemu_tests::harness::site::Side;
use state::Lab;
use std::path::PathBuf;
use std::process::ExitCode;

/// `edgepair lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Name of the lab; several can run side by side.
    #[arg(long, default_value = "default", global = true)]
    name: String,
    /// What to do.
    #[command(subcommand)]
    command: LabCommand,
}

/// What to do with a lab.
#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Build the image, start two nodes and a witness, wait until they have formed a pair.
    ///
    /// The freshly formed pair is saved: `up` with the same image and seed begins from it, in seconds.
    #[command(after_help = "Examples:\n  edgepair lab up\n  edgepair lab up --mode manual --name second")]
    Up(up::UpArgs),
    /// What both nodes say about themselves.
    #[command(after_help = "Example:\n  edgepair lab status\n  edgepair lab status --json")]
    Status {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Log in to a node, or run a command there.
    #[command(after_help = "Examples:\n  edgepair lab ssh a\n  edgepair lab ssh b drbdadm status")]
    Ssh {
        /// The node: a or b.
        #[arg(value_parser = side)]
        node: Side,
        /// The command.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command in a node as root through a port of the virtual machine: works without network and before SSH.
    #[command(
        after_help = "Examples:\n  edgepair lab shell a systemctl --failed\n  edgepair lab shell b      lines are read from standard input"
    )]
    Shell {
        /// The node: a or b.
        #[arg(value_parser = side)]
        node: Side,
        /// The command; without one, lines are read from standard input.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Talk to the datastore at the virtual IP.
    #[command(after_help = "Examples:\n  edgepair lab psql\n  edgepair lab psql -c 'SELECT now()'")]
    Psql {
        /// Options of psql(1).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Update the pair with a signed bundle, and show how both nodes go on until it is over.
    #[command(
        after_help = "Examples:\n  edgepair lab update out/edgepair_0.2.0_amd64.bundle\n  edgepair lab update out/edgepair_0.2.0_amd64.bundle && edgepair lab status\n\nThe lab's image has to trust the bundle's key: `[update] keys` in its definition.\nExit status: 0 both nodes run the new version, 1 refused, given up, or not over in time, 2 wrong use."
    )]
    Update(update::UpdateArgs),
    /// Print what kubectl on this computer needs to reach the pair's Kubernetes at the virtual IP.
    #[command(
        after_help = "Example:\n  edgepair lab kubeconfig > lab.yaml && kubectl --kubeconfig lab.yaml get nodes\n\nNeeds an image with k3s (edgepair build --k3s) and a seed with the table [kubernetes]."
    )]
    Kubeconfig,
    /// Pull the plug of a node, or of the witness.
    #[command(after_help = "Example:\n  edgepair lab kill a")]
    Kill {
        /// a, b or witness.
        #[arg(value_parser = machine)]
        machine: Place,
    },
    /// Switch a node, or the witness, on again.
    #[command(after_help = "Example:\n  edgepair lab start a")]
    Start {
        /// a, b or witness.
        #[arg(value_parser = machine)]
        machine: Place,
    },
    /// Stop a node's processors, as if it hung.
    #[command(after_help = "Example:\n  edgepair lab pause a && sleep 30 && edgepair lab resume a")]
    Pause {
        /// The node: a or b.
        #[arg(value_parser = side)]
        node: Side,
    },
    /// Let a paused node go on.
    #[command(after_help = "Example:\n  edgepair lab resume a")]
    Resume {
        /// The node: a or b.
        #[arg(value_parser = side)]
        node: Side,
    },
    /// Cut the network: between the nodes, around one place, or between two.
    #[command(
        after_help = "Examples:\n  edgepair lab cut                 the nodes from each other; clients and witness reach both\n  edgepair lab cut a               node a from everything\n  edgepair lab cut a witness       node a from the witness\n  edgepair lab cut a --carrier     as if node a's cable were pulled: the node sees it"
    )]
    Cut {
        /// a, b, host (where clients come from) or witness.
        #[arg(value_parser = place)]
        from: Option<Place>,
        /// The other place; everything when absent.
        #[arg(value_parser = place)]
        other: Option<Place>,
        /// The node sees that its cable is out. Otherwise frames vanish silently.
        #[arg(long, requires = "from", conflicts_with = "other")]
        carrier: bool,
    },
    /// Join all that was cut.
    #[command(after_help = "Example:\n  edgepair lab heal")]
    Heal,
    /// Stop the lab. The saved pair stays, for a fast `up`.
    #[command(after_help = "Examples:\n  edgepair lab down\n  edgepair lab down --delete")]
    Down {
        /// Remove everything of the lab: disks, logs, the saved pair, its secret.
        #[arg(long)]
        delete: bool,
    },
    /// The process that holds a lab's machines; `up` starts it.
    #[command(hide = true)]
    Switch,
}

fn side(word: &str) -> Result<Side, String> {
    Side::parse(word).ok_or_else(|| "there are the nodes a and b".to_owned())
}

fn place(word: &str) -> Result<Place, String> {
    let lab = |place: &Place| *place != Place::Stranger;
    Place::parse(word).filter(lab).ok_or_else(|| "there are a, b, host and witness".to_owned())
}

fn machine(word: &str) -> Result<Place, String> {
    place(word)
        .ok()
        .filter(|place| *place != Place::Host)
        .ok_or_else(|| "there are a, b and witness".to_owned())
}

/// Runs the subcommand.
///
/// # Errors
/// What failed and what to do.
pub fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    let plain = args.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !args.name.is_empty()
        && args.name.len() <= 20;
    if !plain {
        bail!("`{}` cannot be a lab's name: use up to 20 letters, digits and `-`", args.name);
    }
    let lab = Lab::of(&args.name)?;
    match args.command {
        LabCommand::Up(up) => up::run(&lab, &up),
        LabCommand::Status { json } => show::run(&lab, json),
        LabCommand::Ssh { node, command } => enter::ssh(&lab, node, &command),
        LabCommand::Shell { node, command } => enter::shell(&lab, node, &command),
        LabCommand::Psql { options } => enter::psql(&lab, &options),
        LabCommand::Update(args) => update::run(&lab, &args),
        LabCommand::Kubeconfig => enter::kubeconfig(&lab),
        LabCommand::Kill { machine } => order(&lab, &Order::power(machine, false), "its plug is pulled"),
        LabCommand::Start { machine } => order(&lab, &Order::power(machine, true), "it is on"),
        LabCommand::Pause { node } => {
            order(&lab, &Order::Pause { node: node.letter().into(), paused: true }, "it is paused")
        }
        LabCommand::Resume { node } => {
            order(&lab, &Order::Pause { node: node.letter().into(), paused: false }, "it goes on")
        }
        LabCommand::Cut { from, other, carrier } => cut(&lab, from, other, carrier),
        LabCommand::Heal => order(&lab, &Order::Heal, "everything is joined"),
        LabCommand::Down { delete } => down(&lab, delete),
        LabCommand::Switch => supervisor::run(&lab),
    }
}

fn order(lab: &Lab, order: &Order, done: &str) -> anyhow::Result<ExitCode> {
    let now = lab.order(order)?;
    println!("{done}\n{now}");
    Ok(ExitCode::SUCCESS)
}

fn cut(lab: &Lab, from: Option<Place>, other: Option<Place>, carrier: bool) -> anyhow::Result<ExitCode> {
    let word = |place: Place| place.word().to_owned();
    let what = match (from, other) {
        (Some(Place::Node(side)), None) if carrier => {
            Order::Carrier { node: side.letter().into(), up: false }
        }
        (Some(_), None) if carrier => bail!("only the nodes a and b have a cable that can be pulled"),
        (Some(one), Some(other)) if one == other => bail!("{} cannot be cut from itself", one.word()),
        (Some(one), other) => Order::Cut { one: word(one), other: other.map(word) },
        (None, _) => Order::Cut { one: "a".into(), other: Some("b".into()) },
    };
    order(lab, &what, "it is cut")
}

fn down(lab: &Lab, delete: bool) -> anyhow::Result<ExitCode> {
    if !lab.dir.exists() {
        println!("there is no lab `{}`", lab.name);
        return Ok(ExitCode::SUCCESS);
    }
    lab.stop()?;
    if delete {
        lab.delete()?;
        println!("the lab `{}` is down, and everything of it is removed", lab.name);
    } else if !lab.made().is_some_and(|made| made.saved) {
        println!("the lab `{}` is down; its logs stay in {}", lab.name, lab.dir.display());
    } else {
        println!(
            "the lab `{}` is down; its pair stays saved for the next `up` (`edgepair lab down --delete` removes it)",
            lab.name
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a lab of that name is.
fn folder(name: &str) -> anyhow::Result<PathBuf> {
    Ok(crate::engine::cache::Cache::open()?.path("lab").join(name))
}
