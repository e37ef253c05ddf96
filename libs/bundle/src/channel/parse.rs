//! Text → [`Channel`], or everything that is wrong with it.

use super::{CHANNEL_MAX, Channel, JITTER_MAX, Named, SCHEMA, is_name, is_url};
use crate::Digest;
use crate::manifest::{Table, digest, note, number, read_version, time, waves};
use edgepair_findings::{Finding, Report};
use edgepair_window::{WINDOWS_MAX, Window};
use toml::de::{DeTable, DeValue};

const TIME: &str = "a time in UTC and whole seconds, for example 2027-01-01T00:00:00Z";
/// Smallest and largest bundle that a channel names, in bytes: a head alone has more than the one, and no image has the other.
const SIZES: std::ops::RangeInclusive<u64> = 4096..=8 << 30;

impl Channel {
    /// Reads a channel's text, without its signatures. `name` stands for the file in the report.
    ///
    /// # Errors
    /// Everything that is wrong, each with line, column, reason and what to do.
    pub fn parse(name: &str, text: &str) -> Result<Self, Box<Report>> {
        let mut findings = Vec::new();
        if text.len() > CHANNEL_MAX {
            let reason = format!("it has more than {CHANNEL_MAX} bytes; this is no channel");
            note(&mut findings, "too-long", "", 0..0, reason, "get it again from where it was made");
            return Err(Box::new(Report::new(name, "", findings, &[])));
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let reason = format!("this is not TOML: {}", error.message());
            let fix = "see https://toml.io for how values, tables and lists are written";
            note(&mut findings, "syntax", "", error.span().unwrap_or(0..0), reason, fix);
        }
        let channel = read(document.get_ref(), &mut findings);
        match channel {
            Some(channel) if findings.is_empty() => Ok(channel),
            _ => {
                if findings.is_empty() {
                    let reason =
                        "the channel passed every check and still cannot be used; a fault of edgepair";
                    note(&mut findings, "internal", "", 0..0, reason, "please report it, with the file");
                }
                Err(Box::new(Report::new(name, text, findings, &[])))
            }
        }
    }
}

fn read(document: &DeTable<'_>, all: &mut Vec<Finding>) -> Option<Channel> {
    let mut top = Table::new("", 0..0, document);
    let schema = top.required("schema", &SCHEMA.to_string(), all, number)?;
    if schema.value != SCHEMA {
        // Every other finding would be about a format that this release does not know.
        all.clear();
        let reason = format!("this release reads channels of schema {SCHEMA}, and no other");
        let fix = "update by hand to a release that reads it, or publish one of this schema beside it";
        note(all, "schema", "schema", schema.span, reason, fix);
        return None;
    }
    let expected = "a name: letters, digits, dots, underscores, hyphens, at most 64";
    let name = top.required("name", expected, all, |value| {
        value.as_str().filter(|text| is_name(text)).map(str::to_owned)
    });
    let serial = top.required("serial", "a whole number from 1 on", all, |value| {
        // TOML's own numbers end there.
        number(value).filter(|serial| (1..=i64::MAX as u64).contains(serial))
    });
    let issued = top.required("issued", TIME, all, time);
    let expires = top.required("expires", TIME, all, time);
    if let (Some(issued), Some(expires)) = (&issued, &expires) {
        if expires.value <= issued.value {
            let fix = "let it expire later than it is issued";
            note(all, "expires", "expires", expires.span.clone(), "it expires before it is issued", fix);
        }
    }
    let windows =
        top.optional("windows", "a list of windows, for example [\"Mon-Fri 22:00-04:00 UTC\"]", all, windows);
    let jitter = top.optional("jitter_seconds", "a whole number of seconds, at most a week", all, |value| {
        number(value).and_then(|seconds| u32::try_from(seconds).ok()).filter(|seconds| *seconds <= JITTER_MAX)
    });
    let bundle = top.table("bundle", all).and_then(|table| named(table, all));
    let wave_tables = top.tables("wave", all);
    let waves = waves(wave_tables, expires.as_ref(), all);
    top.finish(all);
    Some(Channel {
        name: name?.value,
        serial: serial?.value,
        issued: issued?.value,
        expires: expires?.value,
        windows: windows.map(|windows| windows.value).unwrap_or_default(),
        jitter: jitter.map(|jitter| jitter.value).unwrap_or_default(),
        bundle: bundle?,
        waves: waves?,
    })
}

fn windows(value: &DeValue<'_>) -> Option<Vec<Window>> {
    let DeValue::Array(items) = value else { return None };
    if !(1..=WINDOWS_MAX).contains(&items.len()) {
        return None;
    }
    items.iter().map(|item| Window::parse(item.get_ref().as_str()?).ok()).collect()
}

fn named(mut table: Table<'_, '_>, all: &mut Vec<Finding>) -> Option<Named> {
    let expected = "an address, or a path beside the channel's file, without `..`";
    let url = table.required("url", expected, all, |value| {
        value.as_str().filter(|text| is_url(text)).map(str::to_owned)
    });
    let expected = "a version: letters, digits and . - ~ ^, at most 64, for example \"0.2.0\"";
    let version = table.required("version", expected, all, read_version);
    let size = table.required("size", "the size of the bundle in bytes", all, |value| {
        number(value).filter(|size| SIZES.contains(size))
    });
    let head = table.required("head", "the SHA-256 digest of the bundle's head", all, digest);
    table.finish(all);
    let head: Digest = head?.value;
    Some(Named { url: url?.value, version: version?.value, size: size?.value, head })
}
