//! What can be known to be wrong before anything runs.

use crate::definition::board::Board;
use crate::definition::findings::{Findings, Located};
use crate::definition::{Definition, size};
use crate::signing::minisign::public_key;
use edgepair_extension::Version;
use edgepair_signature::PublicKey;
use std::collections::BTreeMap;

/// FAT32 needs this many clusters, and firmware refuses to boot from less (Microsoft FAT specification 1.03, p. 14).
const FAT32_CLUSTERS: u64 = 65_525;

/// mkfs.fat's cluster size for a boot partition of at least 260 MiB.
const ESP_CLUSTER: u64 = 4096;

/// Adds a finding for everything that cannot work.
pub fn lint(definition: &Definition, board: Option<&Board>, findings: &mut Findings) {
    names(definition, findings);
    slots(definition, findings);
    if let Some(board) = board {
        boot_partition(definition, board, findings);
        extra_partitions(definition, board, findings);
    }
    downloads(definition, findings);
    k3s(definition, findings);
    units(definition, findings);
    for overlay in &definition.overlays {
        if !overlay.value.is_dir() {
            findings.add(
                &overlay.at,
                format!("there is no folder {}", overlay.value.display()),
                "make it, or correct the path (it starts from this file's folder)",
            );
        }
    }
    update_keys(definition, findings);
    for package in &definition.local_packages {
        if !package.value.is_file() {
            findings.add(
                &package.at,
                format!("there is no file {}", package.value.display()),
                "correct the path (it starts from this file's folder)",
            );
        }
    }
}

/// A node refuses all updates when one of its keys is none, so a wrong one must not get into an image.
fn update_keys(definition: &Definition, findings: &mut Findings) {
    let mut seen: Vec<PublicKey> = Vec::new();
    for file in &definition.update_keys {
        match public_key(&file.value) {
            Err(error) => findings.add(
                &file.at,
                format!("{error:#}"),
                "name the .pub file that `edgepair key new` made (the path starts from this file's folder)",
            ),
            Ok(key) if seen.iter().any(|other| other.id() == key.id() && *other != key) => findings.add(
                &file.at,
                format!("another key of this image has the number {} too", key.id()),
                "give one of them up and make a new one with `edgepair key new`",
            ),
            Ok(key) => seen.push(key),
        }
    }
}

fn names(definition: &Definition, findings: &mut Findings) {
    let plain = |text: &str, more: &str| {
        !text.is_empty()
            && text.len() <= 64
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    if !plain(&definition.name.value, "-") {
        findings.add(
            &definition.name.at,
            format!("`{}` cannot be part of file names", definition.name.value),
            "use lower-case letters, digits and `-`, at most 64",
        );
    }
    let version = &definition.version;
    if !plain(&version.value, ".~-^") || !version.value.starts_with(|c: char| c.is_ascii_digit()) {
        let fix = "begin with a digit; use digits, lower-case letters, `.`, `~`, `-`, `^` (UAPI version format); `+` and `_` separate file name parts";
        findings.add(
            &version.at,
            format!("`{}` is not a version that a boot loader can order", version.value),
            fix,
        );
    }
    if !plain(&definition.suite.value, "-") {
        findings.add(
            &definition.suite.at,
            format!("`{}` is not a Debian code name", definition.suite.value),
            "write for example \"trixie\"",
        );
    }
    if definition.epoch.value < 0 {
        findings.add(
            &definition.epoch.at,
            "a time before 1970 cannot be a file's time stamp",
            "write seconds since 1970",
        );
    }
    for package in &definition.packages {
        // Debian Policy 5.6.1.
        let good = package.value.len() >= 2
            && package
                .value
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
        if !good {
            findings.add(
                &package.at,
                format!("`{}` is not a Debian package name", package.value),
                "lower-case letters, digits, `+`, `-`, `.`",
            );
        }
    }
    let quoted = |text: &str| text.contains('\'') || text.contains('\n');
    for path in definition.excludes.iter().chain(&definition.includes).chain(&definition.removes) {
        if !path.value.starts_with('/')
            || quoted(&path.value)
            || path.value.contains("..")
            || path.value.contains(char::is_whitespace)
        {
            findings.add(
                &path.at,
                format!("`{}` is not an absolute path pattern", path.value),
                "begin with `/`; no spaces, quotes or `..`",
            );
        }
    }
    for mirror in &definition.mirrors {
        let known =
            ["http://", "https://", "file:/", "copy:/"].iter().any(|scheme| mirror.value.starts_with(scheme));
        if !known || quoted(&mirror.value) || mirror.value.contains(char::is_whitespace) {
            findings.add(
                &mirror.at,
                format!("`{}` is not a mirror's address", mirror.value),
                "write for example \"https://mirror.example/debian\"",
            );
        }
    }
    for word in &definition.kernel_arguments {
        if word.value.starts_with("roothash=") || word.value.starts_with("root=") {
            findings.add(&word.at, "the root and its hash are set by the build", "remove this argument");
        } else if word.value.contains(char::is_whitespace) || quoted(&word.value) {
            findings.add(
                &word.at,
                format!("`{}` is more than one word", word.value),
                "write each argument as its own string",
            );
        }
    }
}

fn slots(definition: &Definition, findings: &mut Findings) {
    let disk = &definition.disk;
    if disk.root_a.value != disk.root_b.value {
        let what = format!(
            "slot A has {}, slot B {}: an update that fits one might not fit the other",
            size::show(disk.root_a.value),
            size::show(disk.root_b.value)
        );
        findings.add(&disk.root_b.at, what, "give both slots the same size: `root = \"…\"`");
    }
    for part in [&disk.esp, &disk.seed, &disk.root_a, &disk.root_b, &disk.verity] {
        if part.value % (1 << 20) != 0 || part.value == 0 {
            findings.add(
                &part.at,
                format!("{} is not a whole number of MiB", size::show(part.value)),
                "partitions start and end at 1 MiB",
            );
        }
    }
    // 4096-byte blocks, 32-byte hashes, 128 a block: 1/128 of the data, and the same of that (veritysetup(8)).
    let needed = disk.root_a.value / 4096 * 32 * 129 / 128 + (1 << 16);
    if disk.verity.value < needed {
        let what = format!(
            "the hash tree of a full {} root needs {}",
            size::show(disk.root_a.value),
            size::show(needed)
        );
        findings.add(&disk.verity.at, what, "make `verity` larger");
    }
}

fn boot_partition(definition: &Definition, board: &Board, findings: &mut Findings) {
    let esp = &definition.disk.esp;
    if esp.value / ESP_CLUSTER < FAT32_CLUSTERS + 64 {
        let what = format!(
            "{} is too small for a real FAT32, and firmware does not boot from another",
            size::show(esp.value)
        );
        findings.add(&esp.at, what, "make `esp` 300MiB or more");
    }
    // Two slots, and a third file while a new one is copied beside them.
    let needed = 3 * board.uki_limit + (8 << 20);
    if esp.value < needed {
        let what = format!(
            "three kernel images of up to {} (two slots and one being copied) need {}, the boot partition has {}",
            size::show(board.uki_limit),
            size::show(needed),
            size::show(esp.value)
        );
        findings.add(&esp.at, what, "make `esp` larger");
    }
}

fn extra_partitions(definition: &Definition, board: &Board, findings: &mut Findings) {
    let mut sorted: Vec<_> = definition.disk.extra.iter().collect();
    sorted.sort_by_key(|part| part.offset.value);
    for part in &sorted {
        if part.offset.value < 34 * 512 {
            findings.add(
                &part.offset.at,
                format!("`{}` lies over the partition table", part.label.value),
                "begin at 17408 bytes (17KiB) or later",
            );
        }
        if part.offset.value.saturating_add(part.size.value) > board.first_usable {
            let what = format!(
                "`{}` ends at {}, where the board's partitions already are (from {})",
                part.label.value,
                size::show(part.offset.value.saturating_add(part.size.value)),
                size::show(board.first_usable)
            );
            findings.add(&part.size.at, what, "make it smaller, or raise the board's `first_usable`");
        }
    }
    for pair in sorted.windows(2) {
        if pair[0].offset.value.saturating_add(pair[0].size.value) > pair[1].offset.value {
            let what = format!("partition `{}` overlaps `{}`", pair[1].label.value, pair[0].label.value);
            findings.add(&pair[1].offset.at, what, "move one of them");
        }
    }
}

/// A web address and what must be there.
fn pinned(url: &Located<String>, sha256: &Located<String>, findings: &mut Findings) {
    if !url.value.starts_with("https://") && !url.value.starts_with("http://") {
        findings.add(&url.at, format!("`{}` is not a web address", url.value), "write https://…");
    }
    if sha256.value.len() != 64 || !sha256.value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        findings.add(&sha256.at, "a SHA-256 has 64 hexadecimal digits", "`sha256sum FILE` prints it");
    }
}

fn k3s(definition: &Definition, findings: &mut Findings) {
    let Some(k3s) = &definition.k3s else { return };
    pinned(&k3s.url, &k3s.sha256, findings);
    if Version::parse(&k3s.version.value).is_none() {
        let what = format!("`{}` is not a version of k3s", k3s.version.value);
        findings.add(&k3s.version.at, what, "write it as k3s does, for example \"v1.33.4+k3s1\"");
    }
    for image in &k3s.images {
        if !image.value.is_file() {
            findings.add(
                &image.at,
                format!("there is no file {}", image.value.display()),
                "correct the path (it starts from this file's folder)",
            );
        }
    }
}

fn downloads(definition: &Definition, findings: &mut Findings) {
    for download in &definition.downloads {
        pinned(&download.url, &download.sha256, findings);
        if !download.path.value.starts_with('/') || download.path.value.contains("..") {
            findings.add(
                &download.path.at,
                format!("`{}` is not an absolute path", download.path.value),
                "begin with `/`",
            );
        }
    }
}

fn units(definition: &Definition, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let enabled = definition.enabled_units.iter().map(|unit| (unit, "enabled"));
    let disabled = definition.disabled_units.iter().map(|(unit, _)| (unit, "disabled"));
    let masked = definition.masked_units.iter().map(|(unit, _)| (unit, "masked"));
    for (unit, kind) in enabled.chain(disabled).chain(masked) {
        let kinds = ["service", "socket", "timer", "target", "mount", "path", "automount", "swap", "slice"];
        let good =
            unit.value.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && kinds.contains(&kind));
        if !good || unit.value.contains(|c: char| c == '/' || c == '\'' || c.is_whitespace()) {
            findings.add(
                &unit.at,
                format!("`{}` is not a unit name", unit.value),
                "write for example \"mine.service\"",
            );
        }
        match seen.insert(&unit.value, kind) {
            Some(before) if before != kind => {
                findings.add(
                    &unit.at,
                    format!("`{}` is {before} and {kind}", unit.value),
                    "keep one of the two",
                );
            }
            _ => {}
        }
    }
}
