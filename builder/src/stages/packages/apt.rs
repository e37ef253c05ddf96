//! apt inside the tools tree, with folders of its own that outlive builds.

use super::Package;
use crate::engine::cache::Cache;
use crate::engine::progress::hint;
use crate::engine::sources::KEYRING;
use anyhow::Context;
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner, atomic, digest};
use nix::fcntl::Flock;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

/// One archive's index and download folder, held while this value lives.
pub struct Apt<'a> {
    sandbox: &'a Sandbox,
    /// On the host.
    pub folder: PathBuf,
    mounts: Vec<Mount>,
    _lock: Flock<File>,
}

impl<'a> Apt<'a> {
    /// Makes the folder for these sources (`sources.list` lines) and architectures, the native one first. `local` are
    /// files that apt shall see under `/in/local/NAME`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(
        cache: &Cache,
        sandbox: &'a Sandbox,
        suite: &str,
        sources: &[String],
        architectures: &[&str],
        local: &[(PathBuf, String)],
    ) -> anyhow::Result<Self> {
        let sources = sources.join("\n") + "\n";
        let name = format!("{suite}-{}-{}", architectures.join("-"), &digest::of_bytes(&sources)[..12]);
        let folder = cache.path("apt").join(&name);
        let subs = [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "none",
            "stanzas",
        ];
        for sub in subs {
            fs::create_dir_all(folder.join(sub))?;
        }
        let lock = cache.lock(&format!("apt-{name}"))?;
        atomic::write(&folder.join("etc/sources.list"), sources.as_bytes(), 0o644)?;
        atomic::write(&folder.join("apt.conf"), config(architectures).as_bytes(), 0o644)?;
        atomic::write(&folder.join("status"), b"", 0o644)?;
        let mut mounts = vec![Mount { source: folder.clone(), target: "/apt".into(), writable: true }];
        for (path, name) in local {
            let source = fs::canonicalize(path)?;
            mounts.push(Mount { source, target: format!("/in/local/{name}"), writable: false });
        }
        Ok(Self { sandbox, folder, mounts, _lock: lock })
    }

    /// The download folder on the host.
    pub fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    /// Runs a program in the tools tree with this configuration and returns its standard output.
    ///
    /// # Errors
    /// apt's words and what to do.
    pub fn run(&self, argv: &[String], network: bool) -> anyhow::Result<String> {
        let env = [("APT_CONFIG".to_owned(), "/apt/apt.conf".to_owned())];
        let call = self.sandbox.wrap(argv, &env, &self.mounts, network);
        let output = HostRunner.run(&call).map_err(|error| {
            let shown: Vec<&str> = argv.iter().take(4).map(String::as_str).collect();
            let fix = hint(error.tail())
                .unwrap_or("correct the package list or the mirror; the lines above are apt's own");
            anyhow::anyhow!(
                "packages cannot be resolved: `{} …` said:\n{}\n  to do: {fix}",
                shown.join(" "),
                error.tail()
            )
        })?;
        Ok(output.text())
    }

    /// The index stanzas of `.deb` files, from the files themselves; paths are inside the tools tree.
    ///
    /// # Errors
    /// When one is not a Debian package.
    pub fn describe(&self, files: &[String]) -> anyhow::Result<Vec<Package>> {
        // deb822: the control file, then what an index adds to it.
        let script = "for file; do dpkg-deb --field \"$file\" && printf 'Filename: %s\\nSize: %s\\nSHA256: %s\\n\\n' \"$file\" \
                      \"$(stat -c %s \"$file\")\" \"$(sha256sum < \"$file\" | cut -c -64)\" || exit 1; done";
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let mut argv = ["sh", "-c", script, "describe"].map(str::to_owned).to_vec();
        argv.extend(files.iter().cloned());
        parse_stanzas(&self.run(&argv, false)?)
    }

    /// Keeps a package's stanza, so that a later build needs no index.
    pub fn keep_stanza(&self, package: &Package) -> anyhow::Result<()> {
        let path = self.folder.join("stanzas").join(&package.sha256);
        if !path.exists() {
            atomic::write(&path, package.stanza.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// A kept stanza.
    pub fn kept_stanza(&self, sha256: &str) -> Option<String> {
        fs::read_to_string(self.folder.join("stanzas").join(sha256)).ok()
    }
}

fn config(architectures: &[&str]) -> String {
    let native = architectures.first().copied().unwrap_or_default();
    let all: String = architectures.iter().map(|name| format!(" \"{name}\";")).collect();
    format!(
        "Dir::State \"/apt/state\";\nDir::State::status \"/apt/status\";\nDir::Cache \"/apt/cache\";\nDir::Etc \"/apt/etc\";\n\
         Dir::Etc::Trusted \"{KEYRING}\";\nDir::Etc::TrustedParts \"/apt/none\";\nAPT::Architecture \"{native}\";\n\
         APT::Architectures {{{all} }};\nAPT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
         APT::Get::Assume-Yes \"true\";\nAcquire::Languages \"none\";\nAcquire::Retries \"2\";\nAcquire::http::Timeout \"20\";\n\
         APT::Cache-Limit \"0\";\nquiet \"1\";\n"
    )
}

/// `Inst name (version origin [arch])` lines of `apt-get --simulate`.
pub fn parse_simulation(text: &str) -> BTreeMap<String, String> {
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
///
/// # Errors
/// When one lacks a field that a build needs.
pub fn parse_stanzas(text: &str) -> anyhow::Result<Vec<Package>> {
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
