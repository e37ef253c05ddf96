//! `node-init update status|check|start|rollback`.

use crate::agent::control::{Reply, Request, ask, ask_with};
use crate::update::bundle::http::is_address;
use crate::update::driver::said::{PIPE, Start};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// The agent answers at once; a bundle's signature and index are read first.
const ANSWER: Duration = Duration::from_secs(60);
/// A server has its own time limits; theirs end first.
const CHECK: Duration = Duration::from_secs(150);

/// What is said of a bundle that a node fetches.
const FETCHES: &str =
    "the plan is kept on this node, which fetches the bundle; node-init update status shows how it goes";

/// Arguments of `node-init update`.
#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How this node and the other one are in the present or last update, and what was before.
    #[command(after_help = "Example:\n  node-init update status --json | jq .plan.outcome")]
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ask the seed's channel now, and say what it offers. On the active node.
    #[command(
        after_help = "Examples:\n  node-init update check\n  node-init update check --json | jq -r .channel.version\n\nNothing is installed: `node-init update start --channel` does that, or the pair by itself when its seed says so.\nExit status: 0 it was asked, 1 it was not, or what came is refused, 2 wrong use."
    )]
    Check {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Update both nodes to the version in a bundle: the standby first, then the other, or neither.
    #[command(
        after_help = "Examples:\n  node-init update start /var/tmp/site_1.4_amd64.bundle --limit-hours 8\n  node-init update start https://updates.example/site_1.4_amd64.bundle\n  ssh root@192.0.2.60 /usr/lib/edgepair/node-init update start - < site_1.4_amd64.bundle\n\nThe bundle goes straight into the other slot; this returns when it was read, or at once when the node fetches it. The plan survives reboots of both nodes, and the\nother node takes the bundle from this one. `node-init update status` shows how it goes.\nA version that failed its health check is refused.\n\nWhat the channel offers, without waiting for wave and window:\n  node-init update start --channel\nA version that changes what is stored so that the present one cannot read it, and says so, is a step from which nothing goes back:\n  node-init update start site_2.0_amd64.bundle --one-way 2.0"
    )]
    Start {
        /// The bundle: a file, `-` for standard input, or an address (https://…, http://…) on a server that gives ranges.
        #[arg(required_unless_present = "channel", conflicts_with = "channel")]
        file: Option<PathBuf>,
        /// Take what the seed's channel offers, at once. On the active node.
        #[arg(long, conflicts_with = "solo")]
        channel: bool,
        /// Confirm that nothing goes back from this version, which it says of itself.
        #[arg(long, value_name = "VERSION")]
        one_way: Option<String>,
        /// The other node is away: go on without it. It follows when it comes back.
        #[arg(long)]
        solo: bool,
        /// Give up when the pair was not healthy for the next step within so many hours.
        #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=720))]
        limit_hours: Option<u64>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Boot the version before the last update again, on this node. Run it on the standby, switch over, run it on the other.
    #[command(after_help = "Example:\n  node-init update rollback")]
    Rollback {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// `node-init update …`
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Status { json } => match ask(Request::UpdateStatus, ANSWER)? {
            Reply::Update(status) if *json => println!("{}", serde_json::to_string_pretty(&status)?),
            Reply::Update(status) => print!("{}", status.words()),
            Reply::Refused(why) => bail!("{why}"),
            other => bail!("the agent answered {other:?}"),
        },
        Command::Check { json } => check(*json)?,
        Command::Start { file, channel: _, one_way, solo, limit_hours, json } => {
            let limit = limit_hours.map(|hours| hours * 3600);
            let one_way = one_way.clone();
            let Some(file) = file else {
                return accepted(Request::UpdateTake { limit, one_way }, *json, "not started", FETCHES);
            };
            let start =
                |file| Request::UpdateStart(Start { file, solo: *solo, limit, one_way, channel: None });
            if file.as_os_str() == PIPE {
                return send(&start(PIPE.to_owned()), std::io::stdin(), *json);
            }
            if let Some(address) = file.to_str().filter(|file| is_address(file)) {
                return accepted(start(address.to_owned()), *json, "not started", FETCHES);
            }
            // The agent has another working directory.
            let file = std::fs::canonicalize(file).with_context(|| file.display().to_string())?;
            let bundle = std::fs::File::open(&file).with_context(|| file.display().to_string())?;
            let file =
                file.to_str().context("the path is not UTF-8; give the bundle another name")?.to_owned();
            send(&start(file), bundle, *json)?;
        }
        Command::Rollback { json } => {
            accepted(
                Request::UpdateRollback,
                *json,
                "not rolled back",
                "the other version boots now; run this on the other node as well",
            )?;
        }
    }
    Ok(())
}

/// Has the channel asked.
fn check(json: bool) -> anyhow::Result<()> {
    let status = match ask(Request::UpdateCheck, CHECK)? {
        Reply::Update(status) => status,
        Reply::Refused(why) => bail!("not asked: {why}"),
        other => bail!("the agent answered {other:?}"),
    };
    let channel = status.channel.as_ref().context("the agent says nothing of a channel")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("running   {}\n{}", status.running, channel.rows());
    }
    if channel.troubles.is_empty() { Ok(()) } else { bail!("what the channel gave is not taken") }
}

/// Hands the agent a bundle and stays until it was read.
fn send(request: &Request, bundle: impl std::io::Read + Send + 'static, json: bool) -> anyhow::Result<()> {
    let (reply, sending) = ask_with(request, bundle, ANSWER)?;
    match reply {
        Reply::Accepted if json => {}
        Reply::Accepted => println!("the plan is kept on this node; the bundle goes into the other slot"),
        Reply::Refused(why) => bail!("not started: {why}"),
        other => bail!("the agent answered {other:?}"),
    }
    let sent = sending.context("the agent did not want the bundle")?.join();
    match sent {
        Ok(Ok(bytes)) if json => println!("{}", serde_json::json!({ "accepted": true, "bytes": bytes })),
        Ok(Ok(bytes)) => println!("{bytes} bytes were read; node-init update status shows how it goes"),
        Ok(Err(error)) => {
            bail!("the bundle was not read to its end ({error}); node-init update status says why")
        }
        Err(_) => bail!("the sending of the bundle broke off"),
    }
    Ok(())
}

fn accepted(request: Request, json: bool, failed: &str, words: &str) -> anyhow::Result<()> {
    match ask(request, ANSWER)? {
        Reply::Accepted if json => println!("{{\"accepted\": true}}"),
        Reply::Accepted => println!("{words}"),
        Reply::Refused(why) => bail!("{failed}: {why}"),
        other => bail!("the agent answered {other:?}"),
    }
    Ok(())
}
