//! The import law that crate edges and lints cannot hold: inside the builder, plan and definition know nothing of
//! commands and the engine's running side; inside node-init, renderers and pure modules do no I/O.

use crate::run::root;
use std::fs;
use std::path::Path;

/// Folder or file, words that must not occur in it, why.
const LAW: &[(&str, &[&str], &str)] = &[
    (
        "builder/src/definition",
        &["crate::engine", "crate::stages", "crate::commands", "crate::plan"],
        "a definition is what the user wrote, nothing more",
    ),
    (
        "builder/src/stages",
        &["crate::commands", "crate::cli", "crate::plan"],
        "a stage does not know who runs it",
    ),
    (
        "builder/src/engine",
        &["crate::commands", "crate::cli", "crate::plan", "crate::stages"],
        "the engine runs any steps",
    ),
    ("builder/src/lock", &["std::fs", "crate::stages", "crate::commands"], "a lock is text in, text out"),
    (
        "libs/pair-core/src",
        &["std::fs", "std::net", "std::time::Instant", "SystemTime", "tokio", "std::process"],
        "the decision core has no I/O and no clock",
    ),
    (
        "libs/seed/src",
        &["std::fs", "std::net::Tcp", "std::process", "tokio"],
        "parsers take text; loaders read",
    ),
    (
        "libs/bundle/src",
        &["std::fs", "std::net", "std::process", "tokio", "SystemTime", "Instant"],
        "a bundle is read from any reader, at a time that is given",
    ),
    (
        "libs/window/src",
        &["std::fs", "std::net", "std::process", "tokio", "SystemTime", "Instant"],
        "when windows are open follows from a time that is given",
    ),
    (
        "libs/extension/src",
        &["std::fs", "std::net", "std::process", "tokio", "SystemTime", "Instant"],
        "an extension is read from any reader",
    ),
    (
        "libs/signature/src",
        &["std::fs", "std::process", "std::net"],
        "keys and signatures are texts and bytes",
    ),
    ("libs/findings/src", &["std::fs", "std::process", "std::net"], "findings are values"),
    ("libs/render/src", &["std::fs", "std::process", "tokio"], "renderers return files as values"),
    ("libs/layout/src", &["std::fs", "std::process"], "names only"),
    ("libs/status/src", &["std::fs", "std::process", "std::net", "tokio"], "types and their table"),
    ("libs/witness-protocol/src", &["std::fs", "std::net", "tokio"], "a protocol is bytes in, bytes out"),
    ("node-init/src", &["qemu_tests"], "nothing of the lab is on a user's path"),
];

/// Files may have this many lines.
const LINES: usize = 650;

/// Checks the law over the whole tree.
pub fn run() -> Result<(), String> {
    let mut broken = Vec::new();
    for (place, words, why) in LAW {
        for (path, text) in files(&root().join(place)) {
            // Tests may read files and start programs.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in
                code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
            {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    broken.push(format!("{path}:{}: `{word}` ({why})", number + 1));
                }
            }
        }
    }
    for place in ["builder/src", "node-init/src", "libs", "qemu-tests/src", "xtask/src"] {
        for (path, text) in files(&root().join(place)) {
            let lines = text.lines().count();
            if lines > LINES {
                broken.push(format!("{path}: {lines} lines; a file with more than {LINES} has two jobs"));
            }
        }
    }
    if broken.is_empty() {
        println!("the import law holds");
        return Ok(());
    }
    Err(format!("the import law is broken:\n  {}", broken.join("\n  ")))
}

fn files(dir: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                all.push((shown, fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    all.sort();
    all
}
