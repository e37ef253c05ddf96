//! Text → [`Manifest`], or everything that is wrong with it.

use super::table::{Placed, Table, digest, note, number, time, word, words};
use super::{
    BLOCK, BLOCKS_MAX, Compatible, Leaves, MANIFEST_MAX, Manifest, Part, Payload, PayloadName, SCHEMA, Span,
    Wave,
};
use crate::index;
use crate::{Time, Version};
use edgepair_findings::{Finding, Report};
use toml::de::{DeTable, DeValue};

const NAME: &str = "a name: letters, digits, dots, hyphens, at most 64";
const VERSION: &str = "a version: letters, digits and . - ~ ^, at most 64, for example \"0.2.0\"";
const DIGEST: &str = "a SHA-256 digest: 64 lower-case hexadecimal digits in quotes";
const TIME: &str = "a time in UTC and whole seconds, for example 2027-01-01T00:00:00Z";
const SPAN: &str = "two whole numbers, lowest and highest, for example [1, 2]";
const SIZE: &str = "a number of bytes";

impl Manifest {
    /// Reads a manifest. `name` stands for the file in the report.
    ///
    /// # Errors
    /// Everything that is wrong, each with line, column, reason and what to do.
    pub fn parse(name: &str, text: &str) -> Result<Self, Box<Report>> {
        let mut findings = Vec::new();
        if text.len() as u64 > MANIFEST_MAX {
            let reason = format!("it has more than {MANIFEST_MAX} bytes; this is no manifest");
            note(&mut findings, "too-long", "", 0..0, reason, "get the bundle again from where it was made");
            return Err(Box::new(Report::new(name, "", findings, &[])));
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let reason = format!("this is not TOML: {}", error.message());
            let fix = "see https://toml.io for how values, tables and lists are written";
            note(&mut findings, "syntax", "", error.span().unwrap_or(0..0), reason, fix);
        }
        let manifest = read(document.get_ref(), &mut findings);
        match manifest {
            Some(manifest) if findings.is_empty() => Ok(manifest),
            _ => {
                if findings.is_empty() {
                    let fix = "please report it, with the manifest";
                    let reason =
                        "the manifest passed every check and still cannot be used; a fault of edgepair";
                    note(&mut findings, "internal", "", 0..0, reason, fix);
                }
                Err(Box::new(Report::new(name, text, findings, &[])))
            }
        }
    }
}

fn read(document: &DeTable<'_>, all: &mut Vec<Finding>) -> Option<Manifest> {
    let mut top = Table::new("", 0..0, document);
    let schema = top.required("schema", &SCHEMA.to_string(), all, number)?;
    if i64::try_from(schema.value) != Ok(SCHEMA) {
        // Every other finding would be about a format that this release does not know.
        all.clear();
        let reason = format!("this release reads bundles of schema {SCHEMA}, and no other");
        let fix =
            "update to a release between the two first, or make the bundle with a release as old as this one";
        note(all, "schema", "schema", schema.span, reason, fix);
        return None;
    }
    let name = top.required("name", NAME, all, word);
    let version = top.required("version", VERSION, all, read_version);
    let architecture = top.required("architecture", NAME, all, word);
    let boards = top.required("boards", "a list of different boards' names", all, words);
    let root_hash = top.required("root_hash", DIGEST, all, digest);
    let build = top.optional("build", DIGEST, all, digest);
    let floor = top.required("floor", VERSION, all, read_version);
    let expires = top.optional("expires", TIME, all, time);
    let trial = top.required("trial_seconds", "a whole number from 60 to 86400", all, |value| {
        number(value).filter(|seconds| (60..=86_400).contains(seconds))
    });
    let extension = top.optional("extension", "the version of the k3s extension", all, word);
    if let (Some(version), Some(floor)) = (&version, &floor) {
        if floor.value > version.value {
            let reason = format!("the floor {} is above the version {}", floor.value, version.value);
            let fix = "a version must be allowed by its own floor; lower the floor";
            note(all, "floor", "floor", floor.span.clone(), reason, fix);
        }
    }
    let one_way = top.optional("one_way", "true or false", all, DeValue::as_bool);
    let compatible = top.table("compatible", all).and_then(|table| compatible(table, all));
    let leaves = top.table("leaves", all).and_then(|table| leaves(table, compatible.as_ref(), all));
    let wave_tables = top.tables("wave", all);
    let waves = waves(wave_tables, expires.as_ref(), all);
    let index = top.table("index", all).and_then(|mut table| {
        let part = part(&mut table, all);
        table.finish(all);
        part
    });
    let payload_tables = top.tables("payload", all);
    let end = payload_tables.last().map_or(0..0, Table::span);
    let payloads = payloads(payload_tables, all);
    if let (Some(payloads), Some(index)) = (&payloads, &index) {
        let blocks: u64 = payloads.iter().map(Payload::blocks).sum();
        if blocks > BLOCKS_MAX {
            let reason =
                format!("there are {blocks} blocks of {BLOCK} bytes, and at most {BLOCKS_MAX} are possible");
            note(all, "too-large", "payload", end, reason, "make the image smaller");
        } else if !index::sizes(blocks).contains(&index.value.size) {
            let reason = format!("an index of {} bytes cannot be that of {blocks} blocks", index.value.size);
            let fix = "make the bundle again with `edgepair bundle create`";
            note(all, "index-size", "index.size", index.span.clone(), reason, fix);
        }
    }
    top.finish(all);
    Some(Manifest {
        name: name?.value,
        version: version?.value,
        architecture: architecture?.value,
        boards: boards?.value,
        root_hash: root_hash?.value,
        build: build.map(|build| build.value),
        floor: floor?.value,
        expires: expires.map(|expires| expires.value),
        trial_seconds: u32::try_from(trial?.value).ok()?,
        extension: extension.map(|extension| extension.value),
        compatible: compatible?,
        leaves: leaves?,
        one_way: one_way.is_some_and(|one_way| one_way.value),
        waves: waves?,
        index: index?.value,
        payloads: payloads?,
    })
}

pub(crate) fn read_version(value: &DeValue<'_>) -> Option<Version> {
    value.as_str().and_then(Version::parse)
}

fn read_span(value: &DeValue<'_>) -> Option<Span> {
    let DeValue::Array(items) = value else { return None };
    let numbers: Option<Vec<u32>> = items
        .iter()
        .take(3)
        .map(|item| number(item.get_ref()).and_then(|number| u32::try_from(number).ok()))
        .collect();
    match numbers?.as_slice() {
        [min, max] if min <= max => Some(Span { min: *min, max: *max }),
        _ => None,
    }
}

fn compatible(mut table: Table<'_, '_>, all: &mut Vec<Finding>) -> Option<Compatible> {
    let pair_protocol = table.required("pair_protocol", SPAN, all, read_span);
    let datastore = table.required("datastore", SPAN, all, read_span);
    let state = table.required("state", SPAN, all, read_span);
    table.finish(all);
    Some(Compatible { pair_protocol: pair_protocol?.value, datastore: datastore?.value, state: state?.value })
}

/// A version that could not read what it leaves behind would not come up a second time.
fn leaves(
    mut table: Table<'_, '_>,
    compatible: Option<&Compatible>,
    all: &mut Vec<Finding>,
) -> Option<Leaves> {
    let mut one = |key: &'static str, reads: Option<Span>, all: &mut Vec<Finding>| {
        let path = format!("{}.{key}", table.path());
        let found = table.required(key, "a whole number", all, |value| {
            number(value).and_then(|number| u32::try_from(number).ok())
        })?;
        if let Some(reads) = reads.filter(|reads| !reads.contains(found.value)) {
            let reason = format!("it leaves {} behind, and takes {reads} itself", found.value);
            let fix = format!("write a number that is in compatible.{key}");
            note(all, "leaves", path, found.span, reason, fix);
        }
        Some(found.value)
    };
    let datastore = one("datastore", compatible.map(|compatible| compatible.datastore), all);
    let state = one("state", compatible.map(|compatible| compatible.state), all);
    table.finish(all);
    Some(Leaves { datastore: datastore?, state: state? })
}

fn part(table: &mut Table<'_, '_>, all: &mut Vec<Finding>) -> Option<Placed<Part>> {
    let size = table.required("size", SIZE, all, number);
    let sha256 = table.required("sha256", DIGEST, all, digest);
    let size = size?;
    Some(Placed { value: Part { size: size.value, sha256: sha256?.value }, span: size.span })
}

pub(crate) fn waves(
    tables: Vec<Table<'_, '_>>,
    expires: Option<&Placed<Time>>,
    all: &mut Vec<Finding>,
) -> Option<Vec<Wave>> {
    let mut waves: Vec<Wave> = Vec::new();
    let mut complete = true;
    let last = tables.last().map(|table| (table.path().to_owned(), table.span()));
    for mut table in tables {
        let (path, place) = (table.path().to_owned(), table.span());
        let percent = table.required("percent", "a whole number from 1 to 100", all, |value| {
            number(value).filter(|percent| (1..=100).contains(percent))
        });
        let from = table.required("from", TIME, all, time);
        table.finish(all);
        let (Some(percent), Some(from)) = (percent, from) else {
            complete = false;
            continue;
        };
        let wave = Wave { percent: u32::try_from(percent.value).unwrap_or(100), from: from.value };
        if waves.last().is_some_and(|before| before.percent >= wave.percent || before.from >= wave.from) {
            let fix = "write the waves in order, each later and with more of the pairs than the one before";
            note(all, "wave-order", &path, place, "it is not after and above the wave before it", fix);
        }
        if expires.is_some_and(|expires| wave.from >= expires.value) {
            let reason = "it has expired by then";
            note(
                all,
                "wave-expired",
                format!("{path}.from"),
                from.span,
                reason,
                "let it begin earlier, or expire later",
            );
        }
        waves.push(wave);
    }
    if let (true, Some((path, place)), Some(wave)) = (complete, last, waves.last()) {
        if wave.percent != 100 {
            let reason =
                format!("the last wave takes {} of 100 pairs: the others would never update", wave.percent);
            note(all, "wave-rest", path, place, reason, "add a wave with percent = 100");
        }
    }
    complete.then_some(waves)
}

fn payloads(tables: Vec<Table<'_, '_>>, all: &mut Vec<Finding>) -> Option<Vec<Payload>> {
    let known = || PayloadName::ALL.map(PayloadName::word).join(", ");
    let expected = format!("one of {}", known());
    let mut payloads = Vec::new();
    let mut names = Vec::new();
    let count = tables.len();
    let end = tables.last().map_or(0..0, Table::span);
    for mut table in tables {
        let path = table.path().to_owned();
        let name = table.required("name", &expected, all, |value| {
            let text = value.as_str()?;
            PayloadName::ALL.into_iter().find(|name| name.word() == text)
        });
        let part = part(&mut table, all);
        let stored = table.required("stored", SIZE, all, number);
        table.finish(all);
        names.extend(name.as_ref().map(|name| name.value));
        let (Some(name), Some(part), Some(stored)) = (name, part, stored) else { continue };
        // Every block takes its place in the bundle, and never more than the block itself.
        let payload = Payload { name: name.value, part: part.value, stored: stored.value };
        if payload.part.size == 0 || payload.part.size > BLOCKS_MAX * BLOCK as u64 {
            let fix = format!("write a size from 1 to {} bytes", BLOCKS_MAX * BLOCK as u64);
            note(all, "too-large", format!("{path}.size"), part.span, "no payload has this size", fix);
        } else if payload.stored < payload.blocks() || payload.stored > payload.part.size {
            let reason = format!("{} bytes cannot be stored in {}", payload.part.size, payload.stored);
            let fix = "make the bundle again with `edgepair bundle create`";
            note(all, "stored", format!("{path}.stored"), stored.span, reason, fix);
        }
        payloads.push(payload);
    }
    if names.len() == count && names != PayloadName::ALL {
        let reason = "these are not the payloads of a bundle, each once and in their order";
        note(all, "payloads", "payload", end, reason, format!("write [[payload]] for {}", known()));
    }
    (payloads.len() == count).then_some(payloads)
}
