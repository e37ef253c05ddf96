//! Exactly the packages of a lock file: from the download folder, and only what is missing there from the archive.

use super::{Apt, Package, Resolved, archive_name};
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::cache::Cache;
use crate::lock::{Lock, Locked};
use anyhow::bail;
use edgepair_host_io::digest;
use edgepair_host_io::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::fs;

/// Takes the root's packages from the lock. Nothing is asked of the network when all of them are in the cache.
///
/// # Errors
/// Which packages the archive does not have any more, or what differs from its recorded digest.
pub fn resolve(
    definition: &Definition,
    board: &Board,
    cache: &Cache,
    sandbox: &Sandbox,
    lock: &Lock,
) -> anyhow::Result<Resolved> {
    let apt = super::open(definition, board, cache, sandbox)?;
    super::take_local(&apt, definition)?;
    let archives = apt.archives();
    let file = |name: &str, locked: &Locked| archive_name(name, &locked.version, &locked.architecture);
    let missing: Vec<(&String, &Locked)> =
        lock.root.iter().filter(|(name, locked)| !archives.join(file(name, locked)).is_file()).collect();
    download(&apt, &missing)?;
    let mut packages = Vec::new();
    let mut unknown = Vec::new();
    for (name, locked) in &lock.root {
        match apt.kept_stanza(&locked.sha256) {
            Some(stanza) => packages.push(package(name, locked, stanza)),
            None => unknown.push((name, locked)),
        }
    }
    let paths: Vec<String> =
        unknown.iter().map(|(name, locked)| format!("/apt/cache/archives/{}", file(name, locked))).collect();
    let described: BTreeMap<String, Package> = apt
        .describe(&paths)?
        .into_iter()
        .map(|package| (format!("{} {}", package.name, package.sha256), package))
        .collect();
    let mut wrong = Vec::new();
    for (name, locked) in unknown {
        match described.get(&format!("{name} {}", locked.sha256)) {
            Some(found) => {
                apt.keep_stanza(found)?;
                packages.push(found.clone());
            }
            None => {
                let path = archives.join(file(name, locked));
                let have = digest::of_file(&path)?;
                fs::remove_file(&path)?;
                wrong.push(format!("{name} {}: SHA-256 {have}, locked is {}", locked.version, locked.sha256));
            }
        }
    }
    if !wrong.is_empty() {
        bail!(
            "these packages are not the locked ones; they have been removed from the cache:\n  {}\n  \
             to do: build again; if they come back the same, the archive has changed files under one version: ask its keepers why",
            wrong.join("\n  ")
        );
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Resolved { packages, archives })
}

fn package(name: &str, locked: &Locked, stanza: String) -> Package {
    Package {
        name: name.to_owned(),
        version: locked.version.clone(),
        architecture: locked.architecture.clone(),
        sha256: locked.sha256.clone(),
        stanza,
    }
}

fn download(apt: &Apt<'_>, missing: &[(&String, &Locked)]) -> anyhow::Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    apt.run(&["apt-get", "update", "-o", "APT::Update::Error-Mode=any"].map(str::to_owned), true)?;
    let script = "cd /apt/cache/archives && exec apt-get download \"$@\"";
    let mut argv = ["sh", "-c", script, "download"].map(str::to_owned).to_vec();
    argv.extend(missing.iter().map(|(name, locked)| format!("{name}={}", locked.version)));
    if let Err(error) = apt.run(&argv, true) {
        let archives = apt.archives();
        let still: Vec<String> = missing
            .iter()
            .filter(|(name, locked)| {
                !archives.join(archive_name(name, &locked.version, &locked.architecture)).is_file()
            })
            .map(|(name, locked)| format!("{name} {}", locked.version))
            .collect();
        bail!(
            "--locked: these packages are neither in the cache nor in the archive:\n  {}\n{error:#}\n  \
             to do: take the archive's present versions with `edgepair lock IMAGE.toml --update`, or name a mirror in the \
             definition that keeps old ones (Debian runs an archive of all its past states)",
            still.join("\n  ")
        );
    }
    Ok(())
}
