//! Files from URLs, each pinned by its SHA-256 in the definition.

use super::overlay::append;
use crate::definition::Definition;
use crate::engine::step::{Action, Step, StepDir};
use anyhow::{Context, bail};
use edgepair_host_io::digest;
use std::fs::{self, File};
use std::io::Write;

/// Fetches an address into a file; what came is compared with its digest by the caller.
pub(super) fn fetch(url: &str, file: &str) -> Action {
    let bounded = ["--proto", "=https,http", "--retry", "2"];
    let words = ["curl", "--fail", "--location", "--silent", "--show-error"].iter().chain(&bounded);
    Action::run(words.copied().chain(["--output", file, url]))
}

/// Plans the step; without downloads it makes an empty archive.
pub fn step(definition: &Definition) -> Step {
    let mut actions = Vec::new();
    let mut wanted = Vec::new();
    for (index, download) in definition.downloads.iter().enumerate() {
        let file = format!("download-{index}");
        actions.push(fetch(&download.url.value, &file));
        wanted.push((
            file,
            download.sha256.value.to_lowercase(),
            download.path.value.clone(),
            download.url.value.clone(),
        ));
    }
    let epoch = u64::try_from(definition.epoch.value).unwrap_or(0);
    let sums: Vec<String> = wanted.iter().map(|(_, sum, path, _)| format!("{path}={sum}")).collect();
    actions.push(Action::native(
        format!("checks digests and writes downloads.tar ({})", sums.join(" ")),
        move |dir| write_tar(dir, &wanted, epoch),
    ));
    Step {
        name: "downloads",
        title: format!("Downloads ({})", definition.downloads.len()),
        inputs: Vec::new(),
        files: Vec::new(),
        actions,
        outputs: vec!["downloads.tar"],
        network: !definition.downloads.is_empty(),
        mounts: Vec::new(),
    }
}

fn write_tar(dir: &StepDir, wanted: &[(String, String, String, String)], epoch: u64) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(File::create(dir.file("downloads.tar"))?);
    for (file, sum, path, url) in wanted {
        let bytes = fs::read(dir.file(file)).with_context(|| format!("{url} left no file"))?;
        let have = digest::of_bytes(&bytes);
        if have != *sum {
            bail!(
                "{url} has SHA-256 {have}, the definition says {sum}\n  \
                 to do: find out why it changed; nothing of it was used. Correct `sha256` only if the new file is the right one"
            );
        }
        append(
            &mut archive,
            tar::EntryType::Regular,
            path.trim_start_matches('/'),
            0o644,
            epoch,
            &bytes,
            None,
        )?;
    }
    archive.into_inner()?.flush()?;
    super::root::cut_end_of_archive(&dir.file("downloads.tar"))
}
