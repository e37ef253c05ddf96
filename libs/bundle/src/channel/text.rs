//! A channel's text: one form for one content.

use super::{Channel, SCHEMA};
use crate::manifest::quoted;
use std::fmt::Write as _;

impl Channel {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::from("# Update channel of edgepair; see docs/channel.md.\n");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "schema = {SCHEMA}\nname = {}\nserial = {}", quoted(&self.name), self.serial);
        let _ = writeln!(out, "issued = {}\nexpires = {}", self.issued, self.expires);
        if !self.windows.is_empty() {
            let windows: Vec<String> =
                self.windows.iter().map(|window| quoted(&window.to_string())).collect();
            let _ = writeln!(out, "windows = [{}]", windows.join(", "));
        }
        if self.jitter > 0 {
            let _ = writeln!(out, "jitter_seconds = {}", self.jitter);
        }
        let bundle = &self.bundle;
        let (url, version) = (quoted(&bundle.url), quoted(bundle.version.as_str()));
        let _ = writeln!(out, "\n[bundle]\nurl = {url}\nversion = {version}\nsize = {}", bundle.size);
        let _ = writeln!(out, "head = \"{}\"", bundle.head);
        for wave in &self.waves {
            let _ = writeln!(out, "\n[[wave]]\npercent = {}\nfrom = {}", wave.percent, wave.from);
        }
        out
    }
}
