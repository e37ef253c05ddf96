//! A plan as text: what `--dry-run` prints and golden files hold.

use super::Plan;
use crate::engine::step::{Input, Step};
use crate::stages::{disk, output, packages, uki};
use edgepair_host_io::command::shell_quote;
use std::fmt::Write as _;

/// The whole plan. `verdicts` says for each step what the cache has; without it that line is left out.
pub fn show(plan: &Plan, steps: &[Step], verdicts: Option<&[(&'static str, String)]>) -> String {
    let (definition, board) = (&plan.definition, &plan.board);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "image      {} {} for {} ({})",
        definition.name.value, definition.version.value, board.name, board.description
    );
    let _ = writeln!(
        text,
        "from       {}",
        definition.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    );
    let _ = writeln!(
        text,
        "suite      {} {}, {}",
        definition.suite.value,
        board.architecture.debian,
        definition.components.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(" ")
    );
    let _ = writeln!(text, "packages   {}", packages::wanted(definition, board).join(" "));
    let _ = writeln!(text, "kernel     {}", uki::arguments(definition, board));
    let _ = writeln!(
        text,
        "disk       {} image\n{}",
        crate::definition::size::show(disk::image_size(definition)),
        disk::table(definition).trim_end()
    );
    let _ = writeln!(
        text,
        "outputs    {}.img.zst .bmap .uki.efi .packages, manifest.json, SHA256SUMS",
        output::stem(definition, board)
    );

    let _ = writeln!(text, "\nstep tools: Tools tree\n  {}", line(&plan.tools.argv(None)));
    let _ = writeln!(text, "\nstep packages: Packages from the archive (in the tools tree, with network)");
    for argv in packages::commands(definition, board) {
        let _ = writeln!(text, "  {}", line(&argv));
    }
    for step in steps {
        let _ = writeln!(text, "\nstep {}: {}", step.name, step.title);
        if let Some((_, verdict)) =
            verdicts.and_then(|verdicts| verdicts.iter().find(|(name, _)| *name == step.name))
        {
            let _ = writeln!(text, "  cache: {verdict}");
        }
        let inputs: Vec<String> = step
            .inputs
            .iter()
            .map(|input| match input {
                Input::Output { step, file } => format!("{file} of {step}"),
                Input::Host { name, .. } | Input::Fact { name, .. } => name.clone(),
            })
            .collect();
        let _ = writeln!(text, "  in: {}", inputs.join(", "));
        for (name, content) in &step.files {
            let _ = writeln!(text, "  file {name}:");
            for row in content.lines() {
                let _ = writeln!(text, "    {row}");
            }
        }
        for action in &step.actions {
            let _ = writeln!(text, "  {}", action.line());
        }
        let _ = writeln!(text, "  out: {}", step.outputs.join(", "));
    }
    text
}

fn line(argv: &[String]) -> String {
    argv.iter().map(|word| shell_quote(word)).collect::<Vec<_>>().join(" ")
}
