//! Reads a TOML table key by key, keeping the place of every value and collecting every error.
//!
//! serde stops at its first error; a definition's author wants all of them. So the document is parsed into the toml
//! crate's spanned tree and taken apart here.

use super::findings::{Findings, Located, Place, Source};
use edgepair_findings::closest;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table that is being read. What nobody asked for is an unknown key at the end.
pub struct Reader<'a> {
    source: &'a Arc<Source>,
    table: DeTable<'a>,
    /// Dotted path of the table, empty at the top.
    prefix: String,
    at: Place,
    known: Vec<&'static str>,
}

/// Parses a whole file. Syntax errors become findings; what could be read is still returned.
pub fn parse<'a>(source: &'a Arc<Source>, findings: &mut Findings) -> Reader<'a> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let at = source.place(error.span().map_or(0, |span| span.start));
        findings.add(
            &at,
            format!("not valid TOML: {}", error.message().trim()),
            "correct the syntax (https://toml.io)",
        );
    }
    Reader {
        source,
        table: table.into_inner(),
        prefix: String::new(),
        at: source.place(0),
        known: Vec::new(),
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, key: &'static str) -> Option<(Place, Spanned<DeValue<'a>>)> {
        self.known.push(key);
        let name = self.table.keys().find(|name| name.get_ref() == key)?.clone();
        let value = self.table.remove(&name)?;
        Some((self.source.place(name.span().start), value))
    }

    fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}.{key}", self.prefix) }
    }

    fn wrong_type(&self, value: &Spanned<DeValue<'a>>, key: &str, want: &str, findings: &mut Findings) {
        let at = self.source.place(value.span().start);
        let found = value.get_ref().type_str();
        findings.add(
            &at,
            format!("`{}` is a TOML {found}, not {want}", self.name(key)),
            format!("write {want}"),
        );
    }

    /// Where the table starts.
    pub fn place(&self) -> &Place {
        &self.at
    }

    /// A string.
    pub fn string(&mut self, key: &'static str, findings: &mut Findings) -> Option<Located<String>> {
        let (_, value) = self.take(key)?;
        let at = self.source.place(value.span().start);
        if let DeValue::String(text) = value.get_ref() {
            return Some(Located { value: text.to_string(), at });
        }
        self.wrong_type(&value, key, "a string in quotes", findings);
        None
    }

    /// An integer.
    pub fn integer(&mut self, key: &'static str, findings: &mut Findings) -> Option<Located<i64>> {
        let (_, value) = self.take(key)?;
        let at = self.source.place(value.span().start);
        if let DeValue::Integer(number) = value.get_ref()
            && let Ok(number) = i64::from_str_radix(number.as_str(), number.radix())
        {
            return Some(Located { value: number, at });
        }
        self.wrong_type(&value, key, "a whole number", findings);
        None
    }

    /// A list of strings; empty when absent.
    pub fn strings(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Located<String>> {
        let Some((_, value)) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(&value, key, "a list of strings", findings);
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    all.push(Located { value: text.to_string(), at: self.source.place(item.span().start) });
                }
                _ => self.wrong_type(item, key, "a list of strings", findings),
            }
        }
        all
    }

    /// A table of strings (`name = "text"`), in file order.
    pub fn string_table(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Vec<(Located<String>, String)> {
        let Some((_, value)) = self.take(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(&value, key, "a table", findings);
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, item) in table.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    let name = Located {
                        value: name.get_ref().to_string(),
                        at: self.source.place(name.span().start),
                    };
                    all.push((name, text.to_string()));
                }
                _ => self.wrong_type(item, key, "a string in quotes", findings),
            }
        }
        all
    }

    /// A table of its own.
    pub fn table(&mut self, key: &'static str, findings: &mut Findings) -> Option<Reader<'a>> {
        let (at, value) = self.take(key)?;
        if matches!(value.get_ref(), DeValue::Table(_)) {
            let DeValue::Table(table) = value.into_inner() else { return None };
            return Some(Reader {
                source: self.source,
                table,
                prefix: self.name(key),
                at,
                known: Vec::new(),
            });
        }
        self.wrong_type(&value, key, "a table", findings);
        None
    }

    /// A list of tables (`[[key]]`).
    pub fn tables(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Reader<'a>> {
        let Some((_, value)) = self.take(key) else { return Vec::new() };
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            self.wrong_type(&value, key, "a list of tables", findings);
            return Vec::new();
        }
        let DeValue::Array(items) = value.into_inner() else { return Vec::new() };
        let mut all = Vec::new();
        for item in items {
            let at = self.source.place(item.span().start);
            if matches!(item.get_ref(), DeValue::Table(_)) {
                if let DeValue::Table(table) = item.into_inner() {
                    all.push(Reader {
                        source: self.source,
                        table,
                        prefix: self.name(key),
                        at,
                        known: Vec::new(),
                    });
                }
            } else {
                self.wrong_type(&item, key, "a list of tables", findings);
            }
        }
        all
    }

    /// Ends the reading: what is left is unknown.
    pub fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let at = self.source.place(key.span().start);
            let name = self.name(key.get_ref());
            let fix = match closest(key.get_ref(), self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            findings.add(&at, format!("unknown key `{name}`"), fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: "x.toml".into(), text: text.into() })
    }

    #[test]
    fn all_errors_are_found_with_their_places() {
        let source =
            source("name = 1\npackges = []\nlist = [\"a\", 2]\n[inner]\nnumber = \"x\"\nother = 1\n");
        let mut findings = Findings::default();
        let mut reader = parse(&source, &mut findings);
        assert!(reader.string("name", &mut findings).is_none());
        assert!(reader.strings("packages", &mut findings).is_empty());
        assert_eq!(reader.strings("list", &mut findings).len(), 1);
        let mut inner = reader.table("inner", &mut findings).expect("a table");
        assert!(inner.integer("number", &mut findings).is_none());
        inner.finish(&mut findings);
        reader.finish(&mut findings);
        let places: Vec<String> = findings.sorted().iter().map(|finding| finding.at.to_string()).collect();
        assert_eq!(places, ["x.toml:1:8", "x.toml:2:1", "x.toml:3:14", "x.toml:5:10", "x.toml:6:1"]);
        assert!(findings.to_string().contains("did you mean `packages`?"), "{findings}");
    }

    #[test]
    fn a_short_unknown_key_is_not_taken_for_any_other_short_one() {
        let source = source("os = 1\n");
        let mut findings = Findings::default();
        let mut reader = parse(&source, &mut findings);
        reader.integer("to", &mut findings);
        reader.finish(&mut findings);
        assert!(findings.to_string().contains("known here: to"), "{findings}");
    }

    #[test]
    fn broken_syntax_is_a_finding_not_a_panic() {
        for text in ["a = ", "= 3", "[x", "a = \"é", "\u{feff}a=1\n[[a]]", "a = 0xfffffffffffffffffff"] {
            let source = source(text);
            let mut findings = Findings::default();
            let mut reader = parse(&source, &mut findings);
            reader.integer("a", &mut findings);
            reader.finish(&mut findings);
            assert!(!findings.is_empty(), "{text:?}");
        }
    }
}
