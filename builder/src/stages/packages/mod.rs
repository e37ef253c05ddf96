//! Which packages: apt, inside the tools tree, resolves the definition's list against the signed package archive and
//! downloads what is missing; or the lock file says which. The download folder outlives builds, so a version that a
//! mirror has dropped is kept.

mod apt;
mod locked;
mod memo;

pub use apt::{Apt, parse_simulation, parse_stanzas};
pub use locked::resolve as resolve_locked;

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::cache::Cache;
use crate::engine::sources;
use crate::lock;
use anyhow::bail;
use edgepair_host_io::digest;
use edgepair_host_io::sandbox::Sandbox;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// One package that goes into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Debian's name.
    pub name: String,
    /// Version, with epoch.
    pub version: String,
    /// `amd64`, `arm64`, `all`.
    pub architecture: String,
    /// SHA-256 of the `.deb`, from the signed index.
    pub sha256: String,
    /// The whole index stanza.
    pub stanza: String,
}

impl Package {
    /// File name in apt's download folder.
    pub fn archive_name(&self) -> String {
        archive_name(&self.name, &self.version, &self.architecture)
    }
}

/// Packages by the names that a lock file gives them. `native` is the architecture that needs no suffix.
pub fn by_name(packages: &[Package], native: &str) -> lock::Packages {
    packages
        .iter()
        .map(|package| {
            let own = package.architecture == native || package.architecture == "all";
            let name =
                if own { package.name.clone() } else { format!("{}:{}", package.name, package.architecture) };
            let locked = lock::Locked {
                version: package.version.clone(),
                architecture: package.architecture.clone(),
                sha256: package.sha256.clone(),
            };
            (name, locked)
        })
        .collect()
}

fn archive_name(name: &str, version: &str, architecture: &str) -> String {
    format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a"))
}

/// What apt decided, and where the files are.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Sorted by name.
    pub packages: Vec<Package>,
    /// apt's download folder on the host.
    pub archives: PathBuf,
}

impl Resolved {
    /// One line a package: `name version architecture sha256`.
    pub fn list(&self) -> String {
        self.packages
            .iter()
            .map(|package| {
                format!("{} {} {} {}\n", package.name, package.version, package.architecture, package.sha256)
            })
            .collect()
    }
}

/// All package names that a definition asks for, the board's included.
pub fn wanted(definition: &Definition, board: &Board) -> Vec<String> {
    let mut names: Vec<String> = board
        .packages
        .iter()
        .cloned()
        .chain(definition.packages.iter().map(|name| name.value.clone()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The programs that are run, for `--dry-run` and for the run itself.
pub fn commands(definition: &Definition, board: &Board) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut simulate = words("apt-get install --simulate --yes ?essential");
    let mut download = words("apt-get install --download-only --yes ?essential");
    for list in [&mut simulate, &mut download] {
        list.extend(wanted(definition, board));
        list.extend(local(definition).into_iter().map(|(_, name)| format!("/in/local/{name}")));
    }
    vec![words("apt-get update -o APT::Update::Error-Mode=any"), simulate, download]
}

/// The user's own packages: where they are and their file names.
fn local(definition: &Definition) -> Vec<(PathBuf, String)> {
    definition
        .local_packages
        .iter()
        .filter_map(|path| Some((path.value.clone(), path.value.file_name()?.to_string_lossy().into_owned())))
        .collect()
}

fn open<'a>(
    definition: &Definition,
    board: &Board,
    cache: &Cache,
    sandbox: &'a Sandbox,
) -> anyhow::Result<Apt<'a>> {
    let mut sources = sources::lines(definition, sources::of_host);
    if sources.is_empty() {
        sources = super::tools::sources_of(sandbox)?;
    }
    let architecture = board.architecture.debian.as_str();
    Apt::open(cache, sandbox, &definition.suite.value, &sources, &[architecture], &local(definition))
}

/// The user's own packages, described and put beside the downloaded ones.
fn take_local(apt: &Apt<'_>, definition: &Definition) -> anyhow::Result<Vec<Package>> {
    let local = local(definition);
    let files: Vec<String> = local.iter().map(|(_, name)| format!("/in/local/{name}")).collect();
    let packages = apt.describe(&files)?;
    for (package, (path, _)) in packages.iter().zip(&local) {
        let target = apt.archives().join(package.archive_name());
        if !digest::of_file(&target).is_ok_and(|sum| sum == package.sha256) {
            let staged = edgepair_host_io::atomic::temporary_name(&target);
            fs::copy(path, &staged)?;
            edgepair_host_io::atomic::publish(&staged, &target)?;
        }
    }
    Ok(packages)
}

/// Asks the archive, downloads what is missing. Returns how old the package index is, unless it was fetched just now;
/// `refresh` has it fetched in any case.
///
/// # Errors
/// apt's words and what to do.
pub fn resolve(
    definition: &Definition,
    board: &Board,
    cache: &Cache,
    sandbox: &Sandbox,
    refresh: bool,
) -> anyhow::Result<(Resolved, Option<Duration>)> {
    let apt = open(definition, board, cache, sandbox)?;
    let commands = commands(definition, board);
    let [update, simulate, download] = commands.as_slice() else { bail!("three apt calls are planned") };
    let local = take_local(&apt, definition)?;
    let answer = || -> anyhow::Result<Resolved> {
        let question = memo::Question::new(&apt, &commands, &local)?;
        if let Some(resolved) = question.known(&apt) {
            return Ok(resolved);
        }
        let resolved = ask(&apt, simulate, download, local.clone())?;
        question.keep(&resolved)?;
        Ok(resolved)
    };
    if let Some(age) = memo::fresh(&apt).filter(|_| !refresh)
        // An index may name packages that its archive has replaced since; then it is fetched after all.
        && let Ok(resolved) = answer()
    {
        return Ok((resolved, Some(age)));
    }
    apt.run(update, true)?;
    memo::fetched(&apt)?;
    Ok((answer()?, None))
}

/// Lets apt choose, download and describe. `packages` are the user's own.
fn ask(
    apt: &Apt<'_>,
    simulate: &[String],
    download: &[String],
    mut packages: Vec<Package>,
) -> anyhow::Result<Resolved> {
    let chosen = parse_simulation(&apt.run(simulate, false)?);
    apt.run(download, true)?;
    packages.retain(|package| chosen.get(&package.name) == Some(&package.version));
    let mut show: Vec<String> = ["apt-cache", "show", "--no-all-versions"].map(str::to_owned).to_vec();
    let from_archive = chosen.iter().filter(|(name, _)| packages.iter().all(|local| local.name != **name));
    show.extend(from_archive.map(|(name, version)| format!("{name}={version}")));
    packages.extend(parse_stanzas(&apt.run(&show, false)?)?);
    packages.retain(|package| chosen.get(&package.name) == Some(&package.version));
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages.dedup_by(|a, b| a.name == b.name);
    if packages.len() != chosen.len() {
        bail!(
            "apt chose {} packages and described {} of them; run the build again",
            chosen.len(),
            packages.len()
        );
    }
    for package in &packages {
        apt.keep_stanza(package)?;
    }
    Ok(Resolved { packages, archives: apt.archives() })
}
