//! The table for people: one column for each node.

use crate::{Drbd, Fence, Kubernetes, Status, Wear};

/// Width of a column at most; longer text goes on in the next line.
const WIDTH: usize = 36;

/// A column: what a node said, or why it said nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Its answer.
    Says(Box<Status>),
    /// Nobody answered: name of the node, reason.
    Silent {
        /// Name of the node.
        node: String,
        /// Why nothing is known.
        why: String,
    },
}

impl From<Status> for Column {
    fn from(status: Status) -> Self {
        Self::Says(Box::new(status))
    }
}

/// One or several nodes side by side, then what is wrong. Ends with a line break.
#[must_use]
pub fn render(columns: &[Column]) -> String {
    let mut out = String::new();
    if let Some(status) = columns.iter().find_map(said) {
        out.push_str(&format!("pair {}, mode {}\n\n", status.pair, status.mode));
    }
    for (label, value) in ROWS {
        let cells: Vec<String> = columns.iter().map(value).collect();
        // What no node has is no row.
        if cells.iter().any(|cell| !cell.is_empty() && cell != "-") || *label != "fence" {
            row(&mut out, label, cells);
        }
    }
    let mut problems: Vec<String> = Vec::new();
    for column in columns {
        match column {
            Column::Says(status) => {
                problems.extend(status.problems.iter().map(|problem| format!("{}: {problem}", status.node)));
            }
            Column::Silent { node, why } => problems.push(format!("{node}: {why}")),
        }
    }
    if !problems.is_empty() {
        out.push_str("\nproblems\n");
        problems.iter().for_each(|problem| out.push_str(&format!("  {problem}\n")));
    }
    out
}

fn said(column: &Column) -> Option<&Status> {
    match column {
        Column::Says(status) => Some(status),
        Column::Silent { .. } => None,
    }
}

type Value = fn(&Column) -> String;

const ROWS: &[(&str, Value)] = &[
    ("node", |column| match column {
        Column::Says(status) => format!("{} ({})", status.node, status.side),
        Column::Silent { node, .. } => node.clone(),
    }),
    ("role", |column| {
        said(column).map_or("no answer".to_owned(), |status| status.role.word().to_uppercase())
    }),
    ("", |column| field(column, |status| status.why.clone())),
    ("record", |column| {
        field(column, |status| match (&status.record, status.epoch) {
            (Some(record), Some(epoch)) => format!("{record}, epoch {epoch}"),
            _ => "none".to_owned(),
        })
    }),
    ("storage", |column| field(column, |status| status.drbd.as_ref().map_or("not up".to_owned(), disks))),
    ("link", |column| field(column, |status| status.drbd.as_ref().map_or("-".to_owned(), link))),
    ("datastore", |column| {
        field(column, |status| format!("{} {}", status.datastore.kind, status.datastore.state))
    }),
    ("kubernetes", |column| {
        field(column, |status| status.kubernetes.as_ref().map_or("none".to_owned(), k3s))
    }),
    ("writes", |column| {
        field(column, |status| status.wear.as_ref().map_or("not known yet".to_owned(), wear))
    }),
    ("virtual IP", |column| {
        field(column, |status| {
            let one = |ip: &crate::VirtualIp| {
                format!("{}{}", ip.address, if ip.held { " here" } else { " not here" })
            };
            status.virtual_ip.iter().map(one).collect::<Vec<_>>().join(", ")
        })
    }),
    ("peer", |column| {
        field(column, |status| {
            let seen = if status.peer.reachable { "answers" } else { "silent" };
            let role = status.peer.role.map_or(String::new(), |role| format!(", {role}"));
            format!("{} {seen}{role}", status.peer.name)
        })
    }),
    ("fence", |column| field(column, |status| status.fence.as_ref().map_or(String::new(), switch))),
    ("version", |column| {
        field(column, |status| {
            format!("{} slot {}", status.version, status.slot.as_deref().unwrap_or("none"))
        })
    }),
    ("seed", |column| field(column, |status| status.seed.chars().take(12).collect())),
];

fn field(column: &Column, value: impl Fn(&Status) -> String) -> String {
    said(column).map_or("-".to_owned(), value)
}

fn k3s(kubernetes: &Kubernetes) -> String {
    let version = kubernetes.version.as_deref().unwrap_or("no k3s here");
    let ready = if kubernetes.ready { "ready" } else { "not ready" };
    let other = kubernetes.chosen.as_ref().filter(|chosen| kubernetes.version.as_ref() != Some(*chosen));
    let chosen = other.map_or(String::new(), |chosen| format!(", {chosen} chosen"));
    let why = kubernetes.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("{version} {}, {ready}{chosen}{why}", kubernetes.role)
}

fn wear(wear: &Wear) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    format!(
        "{} a day, of it datastore {}, journal {}, k3s {}",
        mib(wear.disk),
        mib(wear.datastore),
        mib(wear.journal),
        mib(wear.kubernetes)
    )
}

fn disks(drbd: &Drbd) -> String {
    let frozen = if drbd.suspended { ", FROZEN" } else { "" };
    format!("{} {} / peer {}{frozen}", drbd.role, drbd.disk, drbd.peer_disk)
}

fn switch(fence: &Fence) -> String {
    let ago = fence.seconds_ago.map_or(String::new(), |seconds| format!(", {} ago", duration(seconds)));
    format!("{}: {}{ago}", fence.device, fence.answer)
}

fn link(drbd: &Drbd) -> String {
    match drbd.sync {
        None => drbd.connection.clone(),
        Some(sync) => {
            let left = sync.seconds_left.map_or("time not known".to_owned(), duration);
            format!("{} {:.1} %, {left} left", drbd.connection, sync.percent)
        }
    }
}

/// Seconds as `1 h 02 min`, `3 min 20 s` or `12 s`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn row(out: &mut String, label: &str, cells: Vec<String>) {
    let cells: Vec<Vec<String>> = cells.iter().map(|cell| wrap(cell, WIDTH)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        let mut text = format!("{:<11}", if line == 0 { label } else { "" });
        for cell in &cells {
            let part = cell.get(line).map_or("", String::as_str);
            text.push_str(&format!("{part:<width$}", width = WIDTH + 2));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

/// Breaks at spaces; a word longer than the width stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let free = lines
            .last()
            .is_none_or(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width);
        if !free {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh i", 4), ["abcdefgh", "i"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn durations_in_words() {
        assert_eq!([59, 60, 3599, 3660].map(duration), ["59 s", "1 min 00 s", "59 min 59 s", "1 h 01 min"]);
    }
}
