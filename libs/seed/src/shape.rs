//! The walk over the document: every key is known, every value has the form its key asks for, nothing is missing.
//!
//! What comes out is a flat map from path to value with the place of each, on which the [`crate::rules`] look at
//! several keys together. A key that was wrong is remembered, so that it is not reported as missing as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::table::{self, TABLES};
use crate::value::{self, Value};
use edgepair_findings::{Finding, Severity};

mod typed;

/// The only version of the format that this release reads.
pub const SCHEMA: i64 = 1;

/// A value and its places in the text.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub value: Value,
    pub span: Range<usize>,
}

/// The document, flat.
#[derive(Debug, Default)]
pub(crate) struct Shaped {
    pub values: BTreeMap<String, Entry>,
    /// Tables that were written, with the place of their name.
    pub tables: BTreeMap<String, Range<usize>>,
    /// Paths that were written, and wrong.
    pub bad: BTreeSet<String>,
    pub findings: Vec<Finding>,
    /// Places of secrets.
    pub hidden: Vec<Range<usize>>,
}

/// Parses and walks a seed's text.
pub(crate) fn shape(text: &str) -> Shaped {
    let mut shaped = Shaped { hidden: suspicious(text), ..Shaped::default() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        shaped.findings.push(Finding {
            severity: Severity::Error,
            code: "syntax",
            key: String::new(),
            span: error.span().unwrap_or(0..0),
            reason: format!("this is not TOML: {}", error.message()),
            fix: "see https://toml.io for how values, tables and lists are written".into(),
        });
    }
    let other_schema =
        document.get_ref().iter().find(|(key, _)| key.get_ref() == "schema").and_then(|(_, value)| {
            let number = value.get_ref().as_integer()?;
            (i64::from_str_radix(number.as_str(), number.radix()) != Ok(SCHEMA)).then(|| value.span())
        });
    if let Some(span) = other_schema {
        // Every other finding would be about a format this release does not know.
        shaped.findings.push(Finding {
            severity: Severity::Error,
            code: "schema",
            key: "schema".into(),
            span,
            reason: format!("this release reads seeds of schema {SCHEMA}, and no other"),
            fix: format!(
                "write schema = {SCHEMA} and its keys, or use the release that this seed was written for"
            ),
        });
        return shaped;
    }
    shaped.walk(document.get_ref(), "");
    shaped.missing(text);
    shaped
}

impl Shaped {
    fn walk(&mut self, table: &DeTable<'_>, path: &str) {
        for (key, value) in table {
            let child = join(path, key.get_ref());
            if let Some(row) = table::find(&child) {
                if row.is_secret() {
                    self.hidden.push(value.span());
                }
                if let Some(entry) = self.fit(row, &child, value) {
                    self.values.insert(child, entry);
                } else {
                    self.bad.insert(child);
                }
            } else if is_table(&child) {
                self.table(&child, key, value);
            } else {
                self.unknown(path, &child, key, value);
            }
        }
    }

    fn fit(&mut self, row: &table::Key, path: &str, value: &Spanned<DeValue<'_>>) -> Option<Entry> {
        match value::parse(row.kind, value) {
            Ok(parsed) => Some(Entry { value: parsed, span: value.span() }),
            Err(misfits) => {
                for misfit in misfits {
                    self.findings.push(Finding {
                        severity: Severity::Error,
                        code: misfit.code,
                        key: path.to_owned(),
                        span: misfit.span,
                        reason: misfit.reason,
                        fix: misfit.fix,
                    });
                }
                None
            }
        }
    }

    fn table(&mut self, path: &str, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(inner) = value.get_ref() else {
            self.error(
                "wrong-type",
                path,
                value.span(),
                format!("{path} is a table, and this is {}", value::type_of(value.get_ref())),
                format!("write [{path}] on a line of its own and the keys under it"),
            );
            self.bad.insert(path.to_owned());
            return;
        };
        if let Some((reason, fix)) = bad_name(path) {
            self.error("bad-name", path, key.span(), reason, fix);
            self.bad.insert(path.to_owned());
            return;
        }
        self.tables.insert(path.to_owned(), key.span());
        self.walk(inner, path);
    }

    fn unknown(
        &mut self,
        parent: &str,
        path: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        // It may be a secret whose name was misspelt.
        self.hidden.push(value.span());
        let here = children(parent);
        let fix = match edgepair_findings::closest(key.get_ref(), here.iter().map(String::as_str)) {
            Some(word) => format!("did you mean {word}?"),
            None => elsewhere(key.get_ref())
                .map(|place| format!("{place} is known; move it there"))
                .unwrap_or_else(|| format!("known here: {}", here.join(", "))),
        };
        let place = if parent.is_empty() { "at the top".to_owned() } else { format!("in [{parent}]") };
        let reason = format!("there is no key {} {place}", key.get_ref().escape_debug());
        self.error("unknown-key", path, key.span(), reason, fix);
        self.bad.insert(path.to_owned());
    }

    /// Reports required tables and keys that are not there.
    fn missing(&mut self, text: &str) {
        // The end of the text is where they can be added.
        let end = text.trim_end().len()..text.trim_end().len();
        for table in TABLES.iter().filter(|table| table.required) {
            if !self.tables.contains_key(table.path) && !self.is_bad(table.path) {
                self.error(
                    "missing-table",
                    table.path,
                    end.clone(),
                    format!("the table [{}] is missing: {}", table.path, table.about),
                    format!("add [{}] with: {}", table.path, required_keys(table.path).join(", ")),
                );
            }
        }
        if !self.values.contains_key("schema") && !self.is_bad("schema") {
            let fix = format!("write schema = {SCHEMA} as the first line");
            self.error("missing-key", "schema", 0..0, "the version of the format is missing".into(), fix);
        }
        let tables: Vec<(String, Range<usize>)> = self.tables.clone().into_iter().collect();
        for (path, span) in tables {
            for row in table::keys().filter(|row| row.required) {
                let Some((parent, name)) = row.path.rsplit_once('.') else { continue };
                let child = format!("{path}.{name}");
                if table::matches(parent, &path) && !self.values.contains_key(&child) && !self.is_bad(&child)
                {
                    let reason = format!("{name} is missing in [{path}]: {}", row.about);
                    let fix = format!("add {name} = …: {}", row.kind.expects());
                    self.error("missing-key", &child, span.clone(), reason, fix);
                }
            }
        }
    }

    /// Whether this path, a table it stands in, or an item below it was written and is wrong.
    pub fn is_bad(&self, path: &str) -> bool {
        let under =
            |short: &str, long: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'));
        self.bad.iter().any(|bad| bad == path || under(bad, path))
    }

    fn error(&mut self, code: &'static str, key: &str, span: Range<usize>, reason: String, fix: String) {
        self.findings.push(Finding {
            severity: Severity::Error,
            code,
            key: key.to_owned(),
            span,
            reason,
            fix,
        });
    }
}

/// Appends a name to a path, in quotes when it is not a bare key.
fn join(path: &str, name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let name = if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        // Inner quotes would end the segment; such a name is wrong everywhere, and only has to stay one segment.
        format!("\"{}\"", name.replace('"', "'").escape_debug())
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Whether the schema has a table at this path or below it.
fn is_table(path: &str) -> bool {
    matches!(path, "node" | "worker" | "registry")
        || TABLES.iter().any(|table| table::matches(table.path, path))
        || table::matches("node.*", path)
}

/// Names that the author chose, and cannot choose so.
fn bad_name(path: &str) -> Option<(String, String)> {
    let parts = table::segments(path);
    match parts.as_slice() {
        ["node", name] if !matches!(*name, "a" | "b") => Some((
            format!("a pair has the nodes a and b, and no node {name}"),
            "name the boxes [node.a] and [node.b]; further boxes join as [worker.NAME]".into(),
        )),
        ["worker", name] => crate::scalar::label(name)
            .err()
            .map(|reason| (reason, "name the worker with lower case letters, digits and hyphens".into())),
        ["registry", name] => {
            let name = name.trim_matches('"');
            let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
            (name != "*" && crate::scalar::host(host).is_err()).then(|| {
                (format!("{name} is not the host of a registry"), "write [registry.\"docker.io\"]".into())
            })
        }
        _ => None,
    }
}

/// Keys and tables that may stand directly in a table.
fn children(parent: &str) -> Vec<String> {
    let inside = |path: &'static str| -> Option<&'static str> {
        let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
        let fits = if parent.is_empty() { table.is_empty() } else { table::matches(table, parent) };
        (fits && name != "*").then_some(name)
    };
    let mut names: Vec<String> = table::keys()
        .filter_map(|row| inside(row.path))
        .chain(TABLES.iter().filter_map(|table| inside(table.path)))
        .map(str::to_owned)
        .collect();
    if parent.is_empty() {
        names.extend(["node", "worker", "registry"].map(str::to_owned));
    }
    names
}

/// A place of the schema where a key of this name is known.
fn elsewhere(name: &str) -> Option<&'static str> {
    table::keys().map(|row| row.path).find(|path| path.rsplit('.').next() == Some(name))
}

fn required_keys(table: &str) -> Vec<&'static str> {
    table::keys()
        .filter(|row| row.required)
        .filter_map(|row| row.path.rsplit_once('.'))
        .filter(|(parent, _)| table::matches(parent, table))
        .map(|(_, name)| name)
        .collect()
}

/// Places that look like secrets even where the text cannot be parsed: what follows `…secret… =`, `password =`,
/// `token =` and the like, up to the end of the line. Names that end in `_file` hold no secret.
fn suspicious(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        for (at, _) in line.match_indices('=') {
            let name = line[..at].trim_end().trim_end_matches(['"', '\'']);
            let start =
                name.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).map_or(0, |at| at + 1);
            // `start` is behind a character that may be longer than a byte.
            let name = name.get(start..).unwrap_or(name).to_lowercase();
            let secret = ["secret", "passw", "token", "endpoint"].iter().any(|word| name.contains(word));
            if secret && !name.ends_with("_file") && name != "endpoints" {
                found.push(offset + at + 1..offset + line.len());
                break;
            }
        }
        offset += line.len();
    }
    found
}
