//! Reading a table of the manifest: takes its keys one by one, notes what does not fit, and in the end what is left.

use crate::{Digest, Time};
use edgepair_findings::{Finding, Severity, closest};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// A table that is being read.
pub(crate) struct Table<'a, 'i> {
    /// Its name, empty at the top.
    path: String,
    /// Place of its name; where missing keys are reported.
    span: Range<usize>,
    table: &'a DeTable<'i>,
    asked: Vec<&'static str>,
}

/// Notes an error.
pub(crate) fn note(
    findings: &mut Vec<Finding>,
    code: &'static str,
    key: impl Into<String>,
    span: Range<usize>,
    reason: impl Into<String>,
    fix: impl Into<String>,
) {
    findings.push(Finding {
        severity: Severity::Error,
        code,
        key: key.into(),
        span,
        reason: reason.into(),
        fix: fix.into(),
    });
}

impl<'a, 'i> Table<'a, 'i> {
    pub fn new(path: impl Into<String>, span: Range<usize>, table: &'a DeTable<'i>) -> Self {
        Self { path: path.into(), span, table, asked: Vec::new() }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A value that may be absent.
    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// A value read by `read`; `expects` says what to write there.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        expects: &str,
        findings: &mut Vec<Finding>,
        read: impl FnOnce(&'a DeValue<'i>) -> Option<T>,
    ) -> Option<Placed<T>> {
        let value = self.get(key)?;
        match read(value.get_ref()) {
            Some(read) => Some(Placed { value: read, span: value.span() }),
            None => {
                let (reason, fix) = ("this does not fit here", format!("write {expects}"));
                note(findings, "bad-value", self.name(key), value.span(), reason, fix);
                None
            }
        }
    }

    /// A value that must be there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        expects: &str,
        findings: &mut Vec<Finding>,
        read: impl FnOnce(&'a DeValue<'i>) -> Option<T>,
    ) -> Option<Placed<T>> {
        if self.table.iter().all(|(name, _)| name.get_ref() != key) {
            self.asked.push(key);
            let place =
                if self.path.is_empty() { "at the top".into() } else { format!("in [{}]", self.path) };
            let (reason, fix) = (format!("{key} is missing {place}"), format!("add {key} = {expects}"));
            note(findings, "missing-key", self.name(key), self.span.clone(), reason, fix);
            return None;
        }
        self.optional(key, expects, findings, read)
    }

    /// The one table `[key]`, which must be there.
    pub fn table(&mut self, key: &'static str, findings: &mut Vec<Finding>) -> Option<Table<'a, 'i>> {
        let name = self.name(key);
        let found =
            self.required(key, &format!("a table: [{key}] and its keys"), findings, |value| match value {
                DeValue::Table(table) => Some(table),
                _ => None,
            })?;
        Some(Table::new(name, found.span, found.value))
    }

    /// The tables `[[key]]`, none when absent.
    pub fn tables(&mut self, key: &'static str, findings: &mut Vec<Finding>) -> Vec<Table<'a, 'i>> {
        let name = self.name(key);
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let fix = format!("write [[{key}]] and its keys");
            note(findings, "bad-value", name, value.span(), "this does not fit here", fix);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let name = format!("{name}[{number}]");
            match item.get_ref() {
                DeValue::Table(table) => tables.push(Table::new(name, item.span(), table)),
                _ => {
                    let fix = format!("write [[{key}]] and its keys");
                    note(findings, "bad-value", name, item.span(), "this does not fit here", fix);
                }
            }
        }
        tables
    }

    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports the keys that nobody asked for. A key that is not understood could be a condition that is not kept.
    pub fn finish(self, findings: &mut Vec<Finding>) {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.asked.contains(&&**key.get_ref())) {
            let name = key.get_ref();
            let fix = closest(name, self.asked.iter().copied()).map_or_else(
                || format!("known here: {}", self.asked.join(", ")),
                |word| format!("did you mean {word}?"),
            );
            let reason = format!("there is no key {}", name.escape_debug());
            note(
                findings,
                "unknown-key",
                self.name(&name.escape_debug().to_string()),
                key.span(),
                reason,
                fix,
            );
        }
    }
}

/// A text of 1 to 64 letters, digits and `. _ + -`.
pub(crate) fn word(value: &DeValue<'_>) -> Option<String> {
    let DeValue::String(text) = value else { return None };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(good)).then(|| text.to_string())
}

/// A list of such texts, at least one, none twice.
pub(crate) fn words(value: &DeValue<'_>) -> Option<Vec<String>> {
    let DeValue::Array(items) = value else { return None };
    let mut words = Vec::new();
    for item in items.iter() {
        let word = word(item.get_ref())?;
        if words.contains(&word) {
            return None;
        }
        words.push(word);
    }
    (1..=64).contains(&words.len()).then_some(words)
}

/// A whole number that is not negative.
pub(crate) fn number(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Integer(number) = value else { return None };
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A SHA-256 digest.
pub(crate) fn digest(value: &DeValue<'_>) -> Option<Digest> {
    let DeValue::String(text) = value else { return None };
    Digest::parse(text)
}

/// A point in time.
pub(crate) fn time(value: &DeValue<'_>) -> Option<Time> {
    let DeValue::Datetime(stamp) = value else { return None };
    Time::from_toml(stamp)
}
