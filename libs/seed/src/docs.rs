//! The table of all keys for the user documentation.

use std::fmt::Write as _;

use crate::table::{self, TABLES};

/// Markdown: one section for each table of the seed, one row for each key. `docs/seed.md` holds it between two
/// markers, and a test compares.
#[must_use]
pub fn markdown_table() -> String {
    let mut out = String::from("### At the top\n\n");
    section(&mut out, "");
    let mut nodes = false;
    for table in TABLES {
        let (title, path, about) = if table.path == "node.a" || table.path == "node.b" {
            if nodes {
                continue;
            }
            nodes = true;
            ("`[node.a]` and `[node.b]`".to_owned(), "node.*", "The two boxes.")
        } else {
            (
                format!("`[{}]`", table.path.replace("registry.*", "registry.\"HOST\"").replace('*', "NAME")),
                table.path,
                table.about,
            )
        };
        let needed = if table.required { " Required." } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(out, "\n### {title}\n\n{about}{needed}\n\n");
        section(&mut out, path);
    }
    out
}

fn section(out: &mut String, parent: &str) {
    out.push_str("| key | value | default | a change takes | meaning |\n| --- | --- | --- | --- | --- |\n");
    for row in table::keys() {
        let (table, name) = row.path.rsplit_once('.').unwrap_or(("", row.path));
        if table != parent {
            continue;
        }
        let name = if name == "*" { "OPTION" } else { name };
        let default = match (row.required, row.default) {
            (true, _) => "**required**".to_owned(),
            (false, "") => String::new(),
            (false, default) => format!("`{default}`"),
        };
        let value = row.kind.expects().replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{name}` | {value} | {default} | {} | {} |", row.change.word(), row.about);
    }
}
