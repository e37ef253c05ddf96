//! What is wrong with a definition: every finding with its place, its reason and what to do, all of them at once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that was read, kept so that a byte offset can be turned into line and column.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Path as the user would write it.
    pub path: PathBuf,
    /// Content.
    pub text: String,
}

impl Source {
    /// The place of a byte offset. Line and column count from 1, the column in characters.
    pub fn place(self: &Arc<Self>, offset: usize) -> Place {
        let offset =
            (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            source: Arc::clone(self),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// File, line and column.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Place {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// The folder that relative paths in this file start from.
    pub fn folder(&self) -> &Path {
        self.source.path.parent().unwrap_or(Path::new(""))
    }

    fn text_line(&self) -> &str {
        self.source.text.lines().nth(self.line - 1).unwrap_or("")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.path.display(), self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub at: Place,
}

impl<T> Located<T> {
    /// Keeps the place, changes the value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), at: self.at }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// What is wrong and why.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// All findings of one reading, in the order of files and lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Notes one.
    pub fn add(&mut self, at: &Place, what: impl Into<String>, fix: impl Into<String>) {
        let finding = Finding { at: at.clone(), what: what.into(), fix: fix.into() };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The findings, sorted by place.
    pub fn sorted(&self) -> Vec<&Finding> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|finding| (finding.at.path().to_owned(), finding.at.line, finding.at.column));
        all
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.sorted() {
            writeln!(f, "{}: {}", finding.at, finding.what)?;
            let gutter = finding.at.line.to_string();
            writeln!(f, "  {gutter} | {}", finding.at.text_line())?;
            let marker = " ".repeat(finding.at.column - 1);
            writeln!(f, "  {} | {marker}^", " ".repeat(gutter.len()))?;
            writeln!(f, "  to do: {}", finding.fix)?;
        }
        let count = self.0.len();
        write!(f, "{count} error{}", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Findings {}
