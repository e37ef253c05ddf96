//! What is wrong or unwise in a file: one [`Finding`] each, collected in a [`Report`], never cut short at the first.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{Level, Renderer, Snippet};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, and the author should know this.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing the author of a file has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// Stable short name of the kind of finding, for scripts.
    pub code: &'static str,
    /// The key it is about, for example `node.a.address`; empty for the file as a whole.
    pub key: String,
    /// Byte range in the file's text.
    pub span: Range<usize>,
    /// What is wrong and why. Never contains the value of a secret.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

/// A line and a column, both counted from 1; the column counts characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset. An offset past the end or inside a character is taken to the one before.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// Everything that was found in one file, in the order of the text.
#[derive(Debug, Clone, Default)]
pub struct Report {
    name: String,
    /// The text with the values of secrets blanked out, because snippets of it are printed.
    text: String,
    findings: Vec<Finding>,
}

impl Report {
    /// A report about the text `text` of the file `name`. Every range in `hidden` is blanked out of snippets.
    #[must_use]
    pub fn new(name: &str, text: &str, mut findings: Vec<Finding>, hidden: &[Range<usize>]) -> Self {
        for finding in &mut findings {
            finding.span = clamp(text, &finding.span);
        }
        findings.sort_by_key(|f| (f.span.start, f.severity, f.key.clone(), f.code));
        findings.dedup();
        Self { name: name.to_owned(), text: blank(text, hidden), findings }
    }

    /// All findings, ordered by their place in the text.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Only the errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Error)
    }

    /// Only the warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Warning)
    }

    /// Line and column where a finding starts.
    #[must_use]
    pub fn position(&self, finding: &Finding) -> Position {
        Position::of(&self.text, finding.span.start)
    }

    /// For people: every finding with the line it is about, the reason and the fix.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for finding in &self.findings {
            let level = match finding.severity {
                Severity::Error => Level::Error,
                Severity::Warning => Level::Warning,
            };
            let title = if finding.key.is_empty() { finding.code } else { &finding.key };
            let snippet = Snippet::source(&self.text)
                .origin(&self.name)
                .fold(true)
                .annotation(level.span(finding.span.clone()).label(&finding.reason));
            let message = level.title(title).snippet(snippet).footer(Level::Help.title(&finding.fix));
            out.push_str(&renderer.render(message).to_string());
            out.push_str("\n\n");
        }
        out
    }

    /// For serial consoles and logs: one line each, `file:line:column: error: key: reason (fix)`.
    #[must_use]
    pub fn render_short(&self) -> String {
        let mut out = String::new();
        for f in &self.findings {
            let at = self.position(f);
            let key = if f.key.is_empty() { f.code } else { &f.key };
            out.push_str(&format!(
                "{}:{}:{}: {}: {key}: {} ({})\n",
                self.name, at.line, at.column, f.severity, f.reason, f.fix
            ));
        }
        out
    }

    /// For scripts.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|f| {
                let start = self.position(f);
                let end = Position::of(&self.text, f.span.end);
                serde_json::json!({
                    "severity": f.severity.to_string(), "code": f.code, "key": f.key,
                    "file": self.name, "line": start.line, "column": start.column,
                    "end_line": end.line, "end_column": end.column,
                    "reason": f.reason, "fix": f.fix,
                })
            })
            .collect();
        serde_json::json!({
            "file": self.name,
            "errors": self.errors().count(),
            "warnings": self.warnings().count(),
            "findings": findings,
        })
    }
}

/// Keeps a span inside the text and on character boundaries, so that a renderer can slice with it.
fn clamp(text: &str, span: &Range<usize>) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// Replaces every character in the hidden ranges, quotes and line breaks kept, byte length kept.
fn blank(text: &str, hidden: &[Range<usize>]) -> String {
    let keep = |c: char| matches!(c, '"' | '\'' | '\n' | '\r');
    text.char_indices()
        .flat_map(|(at, c)| {
            let hide = !keep(c) && hidden.iter().any(|range| range.contains(&at));
            // One star for each byte: the spans stay true.
            let (letter, count) = if hide { ('*', c.len_utf8()) } else { (c, 1) };
            std::iter::repeat_n(letter, count)
        })
        .collect()
}
