//! `node-init agent|status|switchover|fence-peer`.

use std::process::ExitCode;
use std::time::Duration;

use crate::agent::control::{Reply, Request, ask};
use anyhow::bail;
use clap::Args;
use edgepair_status::table::{Column, render};
use edgepair_status::{Role, Status};

/// An answer of the agent comes at once, or something is wrong.
const ANSWER: Duration = Duration::from_secs(5);
/// A checkpoint may precede the answer to a switchover.
const CHECKPOINT: Duration = Duration::from_secs(20);

/// Arguments of `node-init status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// One JSON object.
    #[arg(long)]
    json: bool,
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

/// Arguments of `node-init fence-peer`.
#[derive(Debug, Args)]
pub struct FencePeerArguments {
    /// The own disk failed: give the record away, or reset.
    #[arg(long)]
    local_io_error: bool,
}

/// `node-init status`
pub(super) fn status(arguments: &StatusArguments) -> anyhow::Result<()> {
    let status = look()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", render(&[Column::from(status)]));
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

/// `node-init fence-peer`: its exit code is the kernel's answer.
pub(super) fn fence_peer(arguments: &FencePeerArguments) -> ExitCode {
    ExitCode::from(crate::agent::handler::run(arguments.local_io_error))
}
