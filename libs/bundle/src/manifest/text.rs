//! A manifest's text: one form for one content, so that a bundle made twice is the same.

use super::{Leaves, Manifest, SCHEMA, Span};
use std::fmt::Write as _;

impl Manifest {
    /// The text of `manifest.toml`: what is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# Update bundle of edgepair. The signature covers every byte of this file; see docs/bundle.md.\n",
        );
        let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
        let span = |span: Span| format!("[{}, {}]", span.min, span.max);
        let mut line = |key: &str, value: String| {
            let _ = writeln!(out, "{key} = {value}");
        };
        line("schema", SCHEMA.to_string());
        line("name", quoted(&self.name));
        line("version", quoted(self.version.as_str()));
        line("architecture", quoted(&self.architecture));
        line("boards", format!("[{}]", list(&self.boards)));
        line("root_hash", quoted(&self.root_hash.to_string()));
        if let Some(build) = self.build {
            line("build", quoted(&build.to_string()));
        }
        line("floor", quoted(self.floor.as_str()));
        if let Some(expires) = self.expires {
            line("expires", expires.to_string());
        }
        line("trial_seconds", self.trial_seconds.to_string());
        if let Some(extension) = &self.extension {
            line("extension", quoted(extension));
        }
        if self.one_way {
            line("one_way", "true".to_owned());
        }
        let compatible = &self.compatible;
        let _ = writeln!(
            out,
            "\n[compatible]\npair_protocol = {}\ndatastore = {}\nstate = {}",
            span(compatible.pair_protocol),
            span(compatible.datastore),
            span(compatible.state)
        );
        let Leaves { datastore, state } = self.leaves;
        let _ = writeln!(out, "\n[leaves]\ndatastore = {datastore}\nstate = {state}");
        for wave in &self.waves {
            let _ = writeln!(out, "\n[[wave]]\npercent = {}\nfrom = {}", wave.percent, wave.from);
        }
        let _ = writeln!(out, "\n[index]\nsize = {}\nsha256 = \"{}\"", self.index.size, self.index.sha256);
        for payload in &self.payloads {
            let _ = writeln!(
                out,
                "\n[[payload]]\nname = \"{}\"\nsize = {}\nstored = {}\nsha256 = \"{}\"",
                payload.name, payload.part.size, payload.stored, payload.part.sha256
            );
        }
        out
    }
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
