//! Which packages: apt, inside the tools tree, resolves the definition's list against the signed package archive and
//! downloads what is missing. The download folder outlives builds, so a version that a mirror has dropped is kept.

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::cache::Cache;
use crate::engine::progress::hint;
use crate::engine::sources::{self, KEYRING};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner, atomic, digest};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

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
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
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
        list.extend(local_names(definition).into_iter().map(|name| format!("/in/local/{name}")));
    }
    vec![words("apt-get update -o APT::Update::Error-Mode=any"), simulate, download]
}

fn local_names(definition: &Definition) -> Vec<String> {
    definition
        .local_packages
        .iter()
        .filter_map(|path| path.value.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect()
}

fn apt_config(architecture: &str) -> String {
    format!(
        "Dir::State \"/apt/state\";\nDir::State::status \"/apt/status\";\nDir::Cache \"/apt/cache\";\nDir::Etc \"/apt/etc\";\n\
         Dir::Etc::Trusted \"{KEYRING}\";\nDir::Etc::TrustedParts \"/apt/none\";\nAPT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\nAPT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
         APT::Get::Assume-Yes \"true\";\nAcquire::Languages \"none\";\nAcquire::Retries \"2\";\nAcquire::http::Timeout \"20\";\n\
         APT::Cache-Limit \"0\";\nquiet \"1\";\n"
    )
}

/// Asks the archive, downloads what is missing.
///
/// # Errors
/// apt's words and what to do.
pub fn resolve(
    definition: &Definition,
    board: &Board,
    cache: &Cache,
    sandbox: &Sandbox,
) -> anyhow::Result<Resolved> {
    let architecture = &board.architecture.debian;
    let mut sources = sources::lines(definition, sources::of_host);
    if sources.is_empty() {
        sources = super::tools::sources_of(sandbox)?;
    }
    let sources = sources.join("\n") + "\n";
    let apt = cache.path("apt").join(format!(
        "{}-{architecture}-{}",
        definition.suite.value,
        &digest::of_bytes(&sources)[..12]
    ));
    for sub in
        ["state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d", "none"]
    {
        fs::create_dir_all(apt.join(sub))?;
    }
    let name = apt.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let _lock = cache.lock(&format!("apt-{name}"))?;
    atomic::write(&apt.join("etc/sources.list"), sources.as_bytes(), 0o644)?;
    atomic::write(&apt.join("apt.conf"), apt_config(architecture).as_bytes(), 0o644)?;
    atomic::write(&apt.join("status"), b"", 0o644)?;
    let mut mounts = vec![Mount { source: apt.clone(), target: "/apt".into(), writable: true }];
    for (path, name) in definition.local_packages.iter().zip(local_names(definition)) {
        mounts.push(Mount {
            source: fs::canonicalize(&path.value)?,
            target: format!("/in/local/{name}"),
            writable: false,
        });
    }
    let env = [("APT_CONFIG".to_owned(), "/apt/apt.conf".to_owned())];
    let run = |argv: &[String]| {
        HostRunner.run(&sandbox.wrap(argv, &env, &mounts, true)).map_err(|error| {
            let shown: Vec<&str> = argv.iter().take(4).map(String::as_str).collect();
            let fix = hint(error.tail())
                .unwrap_or("correct the package list or the mirror; the lines above are apt's own");
            anyhow::anyhow!(
                "packages cannot be resolved: `{} …` said:\n{}\n  to do: {fix}",
                shown.join(" "),
                error.tail()
            )
        })
    };
    let commands = commands(definition, board);
    let [update, simulate, download] = commands.as_slice() else { bail!("three apt calls are planned") };
    run(update)?;
    let chosen = parse_simulation(&run(simulate)?.text());
    run(download)?;
    let mut show: Vec<String> = ["apt-cache", "show", "--no-all-versions"].map(str::to_owned).to_vec();
    show.extend(chosen.iter().map(|(name, version)| format!("{name}={version}")));
    let mut packages = parse_stanzas(&run(&show)?.text())?;
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
    Ok(Resolved { packages, archives: apt.join("cache/archives") })
}

/// `Inst name (version origin [arch])` lines of `apt-get --simulate`.
fn parse_simulation(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("Inst ")?;
            let (name, rest) = rest.split_once(' ')?;
            let version = rest.split_once('(')?.1.split_whitespace().next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

/// Index stanzas (deb-control(5)).
fn parse_stanzas(text: &str) -> anyhow::Result<Vec<Package>> {
    text.split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
        .map(|stanza| {
            let field = |name: &str| {
                stanza
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                    .map(str::to_owned)
                    .with_context(|| format!("a package index entry has no {name}:\n{stanza}"))
            };
            Ok(Package {
                name: field("Package")?,
                version: field("Version")?,
                architecture: field("Architecture")?,
                sha256: field("SHA256")?,
                stanza: stanza.trim().to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_answers_are_read() {
        let chosen = parse_simulation(
            "Reading…\nInst libc6 (2.41-12 Debian:13 [amd64]) []\nInst a [1] (1:2-3+b1 x)\nConf libc6 (2.41-12 x)\n",
        );
        assert_eq!(chosen.get("libc6").map(String::as_str), Some("2.41-12"));
        assert_eq!(chosen.get("a").map(String::as_str), Some("1:2-3+b1"));
        assert_eq!(chosen.len(), 2);
    }

    #[test]
    fn a_stanza_without_a_digest_is_refused() {
        let stanza = "Package: a\nVersion: 1:2-3\nArchitecture: all\nDepends: x\n";
        assert!(parse_stanzas(stanza).expect_err("no digest").to_string().contains("SHA256"));
        let package = &parse_stanzas(&format!("{stanza}SHA256: 00\n\n")).expect("reads")[0];
        assert_eq!(package.archive_name(), "a_1%3a2-3_all.deb");
    }
}
