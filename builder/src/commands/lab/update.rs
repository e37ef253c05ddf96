//! `edgepair lab update`: a bundle into the pair, as an operator brings it, and how both nodes go on.

use super::enter;
use super::show;
use super::state::Lab;
use crate::commands::update::signed;
use crate::engine::progress::{Progress, Running};
use anyhow::{Context, bail};
use clap::Args;
use edgepair_layout::path::NODE_INIT;
use edgepair_status::Role;
use edgepair_status::table::Column;
use qemu_tests::harness::Deadline;
use qemu_tests::harness::site::Side;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// `edgepair lab update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The signed bundle.
    bundle: PathBuf,
    /// Give it to this node; to the active one when absent.
    #[arg(long, value_parser = super::side)]
    node: Option<Side>,
    /// Confirm that nothing goes back from this version, which it says of itself.
    #[arg(long, value_name = "VERSION", value_parser = crate::commands::bundle::create::version)]
    one_way: Option<edgepair_bundle::Version>,
    /// Return when the bundle was read; `edgepair lab ssh a node-init update status` shows how it goes on.
    #[arg(long)]
    no_wait: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When the bundle is refused, the update is given up, or it is not over in time.
pub fn run(lab: &Lab, args: &UpdateArgs) -> anyhow::Result<ExitCode> {
    let made = lab.running()?;
    let bundle = signed(&args.bundle)?;
    let side = match args.node {
        Some(side) => side,
        None => active(&show::columns(lab, &made))
            .context("no node is active\n  to do: `edgepair lab status`, or name one with --node")?,
    };
    let mut command: Vec<String> = [NODE_INIT, "update", "start", "-"].map(str::to_owned).into();
    if let Some(version) = &args.one_way {
        command.extend(["--one-way".to_owned(), version.to_string()]);
    }
    let progress = Progress::default();
    let step =
        progress.start("update", &format!("Sending {} to node {side}", args.bundle.display()), "asked for");
    let call = enter::call(lab, side, &command)?;
    // The node says why on the same terminal when it does not take it.
    let status = call.to_command().stdin(bundle).status().context("ssh")?;
    if !status.success() {
        bail!("node {side} did not take the bundle");
    }
    step.finish("read");
    if args.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let step = progress.start("update", "Both nodes", "until it is over");
    let mut watch = Watch::default();
    let deadline = made.spec.seconds(400);
    loop {
        for side in Side::BOTH {
            watch.take(side, ask(lab, side));
        }
        if watch.told() {
            say(&progress, &step, &watch.line());
        }
        match watch.end() {
            Some(Ok(version)) => {
                step.finish(&format!("both run {version}"));
                return Ok(ExitCode::SUCCESS);
            }
            Some(Err(why)) => bail!("{why}"),
            None => {}
        }
        if deadline.passed() {
            bail!(
                "it is not over: {}\n  to do: `edgepair lab ssh {side} {NODE_INIT} update status` says what it waits for",
                watch.line()
            );
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn say(progress: &Progress, step: &Running<'_>, line: &str) {
    step.at(line);
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        progress.say(&format!("{:<10} {line}", "update"));
    }
}

fn active(columns: &[Column]) -> Option<Side> {
    let is = |column: &Column| matches!(column, Column::Says(status) if status.role == Role::Active);
    Side::BOTH.into_iter().zip(columns).find(|(_, column)| is(column)).map(|(side, _)| side)
}

/// What a node says of updates; `None` while it does not answer: it reboots on the way.
fn ask(lab: &Lab, side: Side) -> Option<Value> {
    let mut guest = lab.guest(side).ok()?;
    let answer = guest.try_run(&format!("{NODE_INIT} update status --json"), Deadline::seconds(5)).ok()?;
    // The port serves one at a time.
    guest.hang_up();
    serde_json::from_str(&answer.text).ok()
}

/// What both nodes have said last.
#[derive(Debug, Default)]
struct Watch {
    last: [Option<Value>; 2],
    words: [String; 2],
    line: String,
}

impl Watch {
    fn take(&mut self, side: Side, said: Option<Value>) {
        let at = side as usize;
        self.words[at] = match &said {
            Some(status) => words(status),
            None => "does not answer".to_owned(),
        };
        if said.is_some() {
            self.last[at] = said;
        }
    }

    fn line(&self) -> String {
        format!("a {} · b {}", self.words[0], self.words[1])
    }

    /// Whether something is new since it was told.
    fn told(&mut self) -> bool {
        let line = self.line();
        let new = line != self.line;
        self.line = line;
        new
    }

    /// How it ended, when it has on both nodes.
    fn end(&self) -> Option<Result<String, String>> {
        let [Some(a), Some(b)] = &self.last else { return None };
        let plans = [&a["plan"], &b["plan"]];
        // The second node hears of the plan a moment later.
        if plans[0]["serial"].is_null() || plans[0]["serial"] != plans[1]["serial"] {
            return None;
        }
        let version = plans[0]["version"].as_str()?.to_owned();
        let all = |is: &dyn Fn(&Value) -> bool| is(a) && is(b);
        if all(&|status| status["plan"]["outcome"] == "decided" && status["why"] == "updated") {
            return Some(Ok(version));
        }
        let gone_back = |outcome: &'static str| {
            all(&|status| status["plan"]["outcome"] == outcome && status["running"] != version.as_str())
        };
        if gone_back("refused") || gone_back("abandoned") {
            let mut why: Vec<String> = [a, b].iter().flat_map(|status| reasons(status, &version)).collect();
            why.dedup();
            let why = if why.is_empty() { String::new() } else { format!("\n  {}", why.join("\n  ")) };
            return Some(Err(format!(
                "version {version} was given up, and both nodes run the one before{why}"
            )));
        }
        None
    }
}

/// Why a version was given up, as one node knows it.
fn reasons(status: &Value, version: &str) -> Vec<String> {
    let failed = status["failed"].as_array().into_iter().flatten();
    let ours = failed.filter(|failed| failed["version"] == version);
    let why = ours.flat_map(|failed| failed["why"].as_array().into_iter().flatten());
    why.chain(status["problems"].as_array().into_iter().flatten())
        .filter_map(|why| why.as_str().map(str::to_owned))
        .collect()
}

fn words(status: &Value) -> String {
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let blocks = |key: &str| status["progress"][key].as_u64();
    let written = match (blocks("done"), blocks("all")) {
        (Some(done), Some(all)) if all > 0 => format!(", {} %", done * 100 / all),
        _ => String::new(),
    };
    format!("runs {}: {}{written}", text("running"), text("why"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(running: &str, why: &str, outcome: &str) -> Option<Value> {
        Some(json!({
            "running": running, "why": why, "plan": { "serial": 3, "version": "2", "outcome": outcome },
            "failed": [{ "version": "2", "why": ["a.service failed"] }, { "version": "1.9", "why": ["old"] }],
            "problems": [],
        }))
    }

    #[test]
    fn it_is_over_when_both_nodes_say_so() {
        let mut watch = Watch::default();
        assert_eq!(watch.end(), None);
        watch.take(Side::A, said("2", "updated", "decided"));
        watch.take(Side::B, Some(json!({ "running": "1", "why": "no update", "plan": null })));
        assert_eq!(watch.end(), None, "b has not heard of it");
        watch.take(Side::B, said("1", "on trial", "open"));
        assert!(watch.end().is_none() && watch.told() && !watch.told());
        watch.take(Side::B, None);
        assert!(watch.end().is_none() && watch.line().contains("b does not answer"));
        watch.take(Side::B, said("2", "updated", "decided"));
        assert_eq!(watch.end(), Some(Ok("2".to_owned())));
    }

    #[test]
    fn what_was_given_up_is_told_with_its_reason() {
        let mut watch = Watch::default();
        watch.take(Side::A, said("1", "refused", "refused"));
        watch.take(Side::B, said("2", "going back", "refused"));
        assert_eq!(watch.end(), None, "b still runs it");
        watch.take(Side::B, said("1", "refused", "refused"));
        let why = watch.end().expect("over").expect_err("given up");
        assert!(why.contains("version 2 was given up") && why.contains("a.service failed"), "{why}");
        assert!(!why.contains("old"), "{why}");
        let status = json!({ "running": "1", "why": "writing", "progress": { "done": 5, "all": 10 } });
        assert_eq!(words(&status), "runs 1: writing, 50 %");
    }
}
