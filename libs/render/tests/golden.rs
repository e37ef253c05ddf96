//! Every file of every box of four seeds, compared with what a person has read and found right.
//!
//! `EDGEPAIR_UPDATE_GOLDEN=1 cargo test -p edgepair-render --test golden` writes them anew; read the difference.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use edgepair_render::{Context, Rendered, plan, timing};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Units, steps and times of a box as text.
fn summary(context: &Context<'_>, rendered: &Rendered) -> String {
    let mut text = String::new();
    for file in &rendered.files {
        let _ = writeln!(
            text,
            "file {:04o} {} {}{}",
            file.mode,
            file.owner,
            file.path,
            if file.secret { " (secret)" } else { "" }
        );
    }
    for unit in &rendered.units {
        let _ = writeln!(text, "unit {}: {}", unit.name, unit.start.word());
    }
    for step in plan::steps(context, rendered) {
        let _ = writeln!(
            text,
            "step {} ({:?}): {}; done when {}",
            step.id, step.place, step.what, step.done_when
        );
        if let Some(target) = step.needs_empty {
            let _ = writeln!(text, "     needs {}", target.word());
        }
    }
    for note in &rendered.notes {
        let _ = writeln!(text, "note {note}");
    }
    if let Some(fence) = timing::self_fence(context.seed) {
        let _ = writeln!(text, "self-fence {} ms", fence.total_ms());
    }
    text
}

#[test]
fn files_are_as_they_were_read() {
    let update = std::env::var_os("EDGEPAIR_UPDATE_GOLDEN").is_some();
    let mut wrong = String::new();
    let mut seen = BTreeSet::new();
    common::each_box(|name, context, rendered| {
        let mut all: Vec<(String, String)> =
            rendered.files.iter().map(|file| (file.path.clone(), file.content.clone())).collect();
        all.push(("/summary.txt".to_owned(), summary(context, rendered)));
        for (path, content) in all {
            // One flat name for each file, so that a folder listing shows them all.
            let file = folder().join(name).join(context.member.to_string()).join(path[1..].replace('/', "+"));
            if update {
                std::fs::create_dir_all(file.parent().expect("a folder")).expect("mkdir");
                #[expect(
                    clippy::disallowed_methods,
                    reason = "golden files are the developer's, under version control"
                )]
                std::fs::write(&file, &content).expect("writes");
            }
            let held = std::fs::read_to_string(&file).unwrap_or_default();
            if held != content {
                let _ = writeln!(wrong, "{} differs; now:\n{content}", file.display());
            }
            seen.insert(file);
        }
    });
    for (name, _) in common::SEEDS {
        for member in std::fs::read_dir(folder().join(name)).expect("golden files").flatten() {
            for file in std::fs::read_dir(member.path()).expect("golden files").flatten() {
                if !seen.contains(&file.path()) {
                    let _ = writeln!(wrong, "{} is not rendered any more", file.path().display());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
