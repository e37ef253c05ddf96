//! `edgepair seed show`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use edgepair_render::plan::{self, Where};
use edgepair_render::{Context, Facts, File, Rendered, render, secrets, timing};
use edgepair_seed::{Member, Secret};
use serde_json::json;

use super::load::load;

/// `edgepair seed show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The seed, or the folder it is in.
    #[arg(default_value = edgepair_seed::SEED_FILE)]
    seed: PathBuf,
    /// Which box: a, b or the name of a worker.
    #[arg(long)]
    node: String,
    /// Only this file.
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// Print secrets as they are.
    #[arg(long)]
    show_secrets: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let seed = load(&args.seed)?.valid()?;
    let member = Member::parse(&args.node)
        .with_context(|| format!("\"{}\" is no box; write a, b or the name of a worker", args.node))?;
    let facts = Facts::assumed(&seed, &member);
    let context = Context::new(&seed, &member, &facts)?;
    let rendered = render(&seed, &member, &facts)?;
    let hidden = if args.show_secrets { Vec::new() } else { secrets(&seed) };
    if let Some(path) = &args.file {
        let Some(file) = rendered.file(path) else {
            let known: Vec<&str> = rendered.files.iter().map(|file| file.path.as_str()).collect();
            bail!("box {member} has no file {path}; it has:\n  {}", known.join("\n  "));
        };
        print!("{}", text(file, &hidden));
    } else if args.json {
        println!("{:#}", as_json(&context, &rendered, &hidden));
    } else {
        print!("{}", as_text(&context, &rendered, &hidden));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(file: &File, hidden: &[Secret]) -> String {
    file.redacted(hidden)
}

fn as_text(context: &Context<'_>, rendered: &Rendered, hidden: &[Secret]) -> String {
    let seed = context.seed;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ =
        writeln!(out, "box {} of pair {}, host name {}", context.member, seed.pair.name, context.hostname());
    let given = if seed.pair.vrrp_id_given { "given" } else { "derived" };
    let _ = writeln!(out, "VRRP id {} ({given}); seed {}", seed.pair.vrrp_id, &seed.hash()[..16]);
    let _ = writeln!(out, "\nNames of network cards are assumed; on the box they are found by MAC address.");
    match timing::self_fence(seed) {
        Some(fence) => {
            let _ = writeln!(out, "\n== a lost node is surely silent after {}", seconds(fence.total_ms()));
            for part in &fence.parts {
                let _ = writeln!(out, "  {:>8}  {} ({})", seconds(part.millis), part.name, part.from);
            }
        }
        None => out.push_str("\n== without a hardware watchdog nothing is concluded from time\n"),
    }
    if let Some(update) = &seed.update {
        let how = if update.automatic { "updates by itself" } else { "only announces" };
        let _ = writeln!(out, "\n== {how}: channel {}", update.channel);
        for window in update.windows.iter().filter(|_| update.automatic) {
            let _ = writeln!(out, "  {window}, local time is {}", update.zone);
        }
    }
    out.push_str("\n== steps on an empty box\n");
    for (index, step) in plan::steps(context, rendered).iter().enumerate() {
        let place = match step.place {
            Where::Here => "",
            Where::Together => " [with the other node]",
            Where::FormingNode => " [on the node that forms the pair]",
        };
        let _ = writeln!(out, "{:>3}. {}: {}{place}", index + 1, step.id, step.what);
        let _ = writeln!(out, "     done when {}", step.done_when);
        if let Some(target) = step.needs_empty {
            let _ = writeln!(out, "     only on {}", target.word());
        }
    }
    out.push_str("\n== units\n");
    for unit in &rendered.units {
        let _ = writeln!(out, "  {}: {}", unit.name, unit.start.word());
    }
    for file in &rendered.files {
        let secret = if file.secret { ", secret" } else { "" };
        let _ = writeln!(out, "\n== {} ({:04o} {}{secret})", file.path, file.mode, file.owner);
        out.push_str(&text(file, hidden));
    }
    out
}

fn seconds(millis: u64) -> String {
    match (millis / 1000, millis % 1000 / 100) {
        (whole, 0) => format!("{whole} s"),
        (whole, tenths) => format!("{whole}.{tenths} s"),
    }
}

fn as_json(context: &Context<'_>, rendered: &Rendered, hidden: &[Secret]) -> serde_json::Value {
    let files = rendered.files.iter().map(|file| {
        json!({
            "path": file.path, "mode": format!("{:04o}", file.mode), "owner": file.owner, "secret": file.secret,
            "content": text(file, hidden),
        })
    });
    let units = rendered.units.iter().map(|unit| json!({"name": unit.name, "start": unit.start.word()}));
    let steps = plan::steps(context, rendered).into_iter().map(|step| {
        json!({
            "id": step.id, "what": step.what, "done_when": step.done_when,
            "needs_empty": step.needs_empty.map(plan::Target::word), "where": format!("{:?}", step.place),
        })
    });
    let fence = timing::self_fence(context.seed).map(|fence| {
        let parts =
            fence.parts.iter().map(|part| json!({"name": part.name, "ms": part.millis, "from": part.from}));
        json!({"total_ms": fence.total_ms(), "parts": parts.collect::<Vec<_>>()})
    });
    let update = context.seed.update.as_ref().map(|update| {
        let windows: Vec<String> = update.windows.iter().map(ToString::to_string).collect();
        json!({
            "channel": update.channel, "automatic": update.automatic, "windows": windows, "zone": update.zone,
            "poll_ms": update.poll_ms,
        })
    });
    json!({
        "pair": context.seed.pair.name, "node": context.member.to_string(), "hostname": context.hostname(),
        "hash": context.seed.hash(), "vrrp_id": context.seed.pair.vrrp_id, "self_fence": fence,
        "files": files.collect::<Vec<_>>(), "units": units.collect::<Vec<_>>(), "steps": steps.collect::<Vec<_>>(),
        "notes": rendered.notes,
        "update": update,
    })
}
