//! What differs between a lock file and what a build would use now.

use super::{Lock, Locked, Packages};
use serde::Serialize;
use std::fmt::Write as _;

/// One package that is not as locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `root` or `tools`.
    pub part: &'static str,
    /// Package name.
    pub package: String,
    /// Locked version; absent when the package is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<String>,
    /// Version now; absent when the package is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// The version is the same and the file is not: never right in an archive that keeps its promises.
    pub same_version_other_file: bool,
}

/// All that differs, in order of part and name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Packages.
    pub changes: Vec<Change>,
}

impl Drift {
    /// Compares the packages of one build with a lock.
    pub fn between(lock: &Lock, root: &Packages, tools: &Packages) -> Self {
        let mut changes = of_part("root", &lock.root, root);
        changes.extend(of_part("tools", &lock.tools, tools));
        Self { changes }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// A table for people, one line a package, with a heading.
    pub fn table(&self) -> String {
        let rows: Vec<[&str; 4]> = std::iter::once(["part", "package", "locked", "now"])
            .chain(self.changes.iter().map(|change| {
                let now = change.now.as_deref().unwrap_or("gone");
                let now = if change.same_version_other_file { "same version, other file" } else { now };
                [change.part, &change.package, change.locked.as_deref().unwrap_or("new"), now]
            }))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (part, package, locked) = (width(0), width(1), width(2));
        let mut text = String::new();
        for row in &rows {
            let _ =
                writeln!(text, "{:<part$}  {:<package$}  {:<locked$}  {}", row[0], row[1], row[2], row[3]);
        }
        text
    }
}

fn of_part(part: &'static str, locked: &Packages, now: &Packages) -> Vec<Change> {
    let mut names: Vec<&String> = locked.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| locked.get(*name) != now.get(*name))
        .map(|name| {
            let version = |of: Option<&Locked>| of.map(|locked| locked.version.clone());
            let (old, new) = (version(locked.get(name)), version(now.get(name)));
            let same = old.is_some() && old == new;
            Change { part, package: name.clone(), locked: old, now: new, same_version_other_file: same }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::locked;
    use super::*;

    #[test]
    fn new_gone_changed_and_replaced_packages_are_in_the_table() {
        let lock = Lock {
            schema: 1,
            suite: "trixie".into(),
            architecture: "amd64".into(),
            host: "amd64".into(),
            wanted: Vec::new(),
            root: Packages::from([
                ("a".into(), locked("1")),
                ("b".into(), locked("1")),
                ("c".into(), locked("1")),
                ("d".into(), locked("1")),
            ]),
            tools: Packages::from([("t".into(), locked("5"))]),
        };
        let mut other = locked("1");
        other.sha256 = "1".repeat(64);
        let now = Packages::from([
            ("a".into(), locked("1")),
            ("b".into(), locked("2")),
            ("d".into(), other),
            ("e".into(), locked("1")),
        ]);
        let drift = Drift::between(&lock, &now, &lock.tools.clone());
        assert_eq!(
            drift.table(),
            "part  package  locked  now\n\
             root  b        1       2\n\
             root  c        1       gone\n\
             root  d        1       same version, other file\n\
             root  e        new     1\n"
        );
        assert!(Drift::between(&lock, &lock.root.clone(), &lock.tools.clone()).is_empty());
    }
}
