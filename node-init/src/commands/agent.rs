//! `node-init agent|status|switchover|promote|leave|fence-peer`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use crate::agent::control::{Reply, Request, ask};
use crate::agent::history;
use crate::member::Place;
use anyhow::{Context, bail};
use clap::Args;
use edgepair_status::table::{Column, render};
use edgepair_status::{Role, Status};

/// An answer of the agent comes at once, or something is wrong.
const ANSWER: Duration = Duration::from_secs(5);
/// Pods that move away and a checkpoint may precede the answer to a switchover.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// Arguments of `node-init status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// What was decided since this node was set up, each with its reason; the oldest first. Needs no running agent.
    #[arg(long)]
    history: bool,
}

/// Arguments of `node-init switchover`.
#[derive(Debug, Args)]
pub struct SwitchoverArguments {
    /// Do not wait until the other node is active.
    #[arg(long)]
    no_wait: bool,
    /// Wait at most so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Arguments of `node-init promote`.
#[derive(Debug, Args)]
pub struct PromoteArguments {
    /// The other node's name, instead of typing it: it is off, and its disk will be wiped before it comes back.
    #[arg(long, value_name = "NAME")]
    other_is_off: Option<String>,
    /// Wait at most so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Arguments of `node-init leave`.
#[derive(Debug, Args)]
pub struct LeaveArguments {
    /// Wait at most so many seconds for the other node and the witness.
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    timeout: u64,
}

/// Arguments of `node-init fence-peer`.
#[derive(Debug, Args)]
pub struct FencePeerArguments {
    /// The own disk failed: give the record away, or reset.
    #[arg(long)]
    local_io_error: bool,
    /// Milliseconds until it must have answered: more than two seconds only where the answer is the other box's power.
    #[arg(long, value_name = "MILLISECONDS")]
    patience: Option<u64>,
}

/// `node-init status`
pub(super) fn status(arguments: &StatusArguments) -> anyhow::Result<()> {
    if arguments.history {
        return show_history(arguments.json);
    }
    let status = look()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", render(&[Column::from(status)]));
    }
    Ok(())
}

fn show_history(json: bool) -> anyhow::Result<()> {
    let entries = history::read(&Place::default()).context("the history cannot be read")?;
    let mut boot = String::new();
    for entry in entries {
        if json {
            println!("{}", serde_json::to_string(&entry)?);
            continue;
        }
        if entry.boot != boot {
            println!("-- boot {}", entry.boot);
            boot.clone_from(&entry.boot);
        }
        println!("{}", entry.line());
    }
    Ok(())
}

fn look() -> anyhow::Result<Status> {
    match ask(Request::Status, ANSWER)? {
        Reply::Status(status) => Ok(*status),
        other => bail!("the agent answered {other:?}"),
    }
}

/// `node-init switchover`
pub(super) fn switchover(arguments: &SwitchoverArguments) -> anyhow::Result<()> {
    match ask(Request::Switchover, CHECKPOINT)? {
        Reply::Accepted => {}
        Reply::Refused(why) => bail!("not switched over: {why}"),
        other => bail!("the agent answered {other:?}"),
    }
    if arguments.no_wait {
        println!("under way; node-init status shows how it goes");
        return Ok(());
    }
    let mut said = String::new();
    for _ in 0..arguments.timeout.saturating_mul(5) {
        let status = look()?;
        if status.role == Role::Standby && status.peer.role == Some(Role::Active) {
            println!("{} is active", status.peer.name);
            return Ok(());
        }
        if status.why != said {
            println!("{}", status.why);
            said = status.why;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = look()?;
    bail!(
        "after {} s this node is {} ({}); nothing is lost, node-init status shows how it goes on",
        arguments.timeout,
        status.role,
        status.why
    )
}

/// `node-init promote`
pub(super) fn promote(arguments: &PromoteArguments) -> anyhow::Result<()> {
    let status = look()?;
    let other = status.peer.name;
    if status.role == Role::Active {
        bail!("this node is active already");
    }
    if status.peer.reachable {
        bail!(
            "{other} answers: it is not off. `node-init switchover` on the active node moves the role in order"
        );
    }
    let typed = match &arguments.other_is_off {
        Some(name) => name.clone(),
        None if std::io::stdin().is_terminal() => {
            println!(
                "This node is not active: {}.\n\
                 It will go on alone with what it has. What only {other} has written is lost, and if {other} still runs,\n\
                 both will write. Make sure that it is off, and wipe its disk before it comes back.\n\
                 Type the name of the other node to go on:",
                status.why
            );
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            line.trim().to_owned()
        }
        None => bail!(
            "not on a terminal: `--other-is-off {other}` says that the other node is off and will be wiped"
        ),
    };
    if typed != other {
        bail!("`{typed}` is not the name of the other node; nothing was done");
    }
    match ask(Request::Promote, ANSWER)? {
        Reply::Accepted => {}
        Reply::Refused(why) => bail!("not promoted: {why}"),
        other => bail!("the agent answered {other:?}"),
    }
    let mut said = String::new();
    for _ in 0..arguments.timeout.saturating_mul(5) {
        let status = look()?;
        if status.role == Role::Active {
            println!("this node is active, alone; wipe the disk of {other} before it comes back");
            return Ok(());
        }
        if status.why != said {
            println!("{}", status.why);
            said = status.why;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("after {} s this node is not active: {said}", arguments.timeout)
}

/// `node-init leave`
pub(super) fn leave(arguments: &LeaveArguments) -> anyhow::Result<()> {
    match ask(Request::Leave, Duration::from_secs(arguments.timeout.max(1)))? {
        Reply::Accepted => {
            println!("the other node does not need this one any more; it may go down");
            Ok(())
        }
        Reply::Refused(why) => bail!("did not take leave: {why}"),
        other => bail!("the agent answered {other:?}"),
    }
}

/// `node-init fence-peer`: its exit code is the kernel's answer.
pub(super) fn fence_peer(arguments: &FencePeerArguments) -> ExitCode {
    ExitCode::from(crate::agent::handler::run(arguments.local_io_error, arguments.patience))
}
