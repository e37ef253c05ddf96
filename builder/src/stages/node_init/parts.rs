//! What node-init is made of: its crates with licences, from cargo's own resolution, and their licence texts.

use crate::engine::step::StepDir;
use anyhow::Context;
use edgepair_host_io::atomic;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One crate inside the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Crate {
    /// Name on the registry.
    pub name: String,
    /// Version.
    pub version: String,
    /// SPDX expression, as its author wrote it.
    pub license: Option<String>,
    /// SHA-256 of the `.crate` file, from `Cargo.lock`; absent for the project's own.
    pub sha256: Option<String>,
}

// What is used of `cargo metadata --format-version 1` (cargo-metadata(1)).
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Absent for a normal dependency; `dev`, `build` otherwise.
    kind: Option<String>,
}

impl Metadata {
    /// Everything that node-init is linked from: normal dependencies, all the way down.
    fn linked(&self) -> anyhow::Result<Vec<&MetadataPackage>> {
        let start = self
            .packages
            .iter()
            .find(|package| package.name == "node-init" && package.source.is_none())
            .context("cargo's metadata does not know node-init")?;
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.id.as_str()]);
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                let node = nodes.get(id).with_context(|| format!("cargo did not resolve {id}"))?;
                let normal =
                    node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
                open.extend(normal.map(|dep| dep.pkg.as_str()));
            }
        }
        let mut linked: Vec<_> =
            self.packages.iter().filter(|package| seen.contains(package.id.as_str())).collect();
        linked.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(linked)
    }
}

#[derive(Deserialize)]
struct LockFile {
    package: Vec<LockedCrate>,
}

#[derive(Deserialize)]
struct LockedCrate {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Writes `crates.json` and `copyright`. `registry` is cargo's folder of crates on the host.
///
/// # Errors
/// When cargo's answers cannot be read, or a crate has neither licence text nor licence name.
pub fn write(dir: &StepDir, registry: &Path, lock: &Path) -> anyhow::Result<()> {
    let metadata: Metadata =
        serde_json::from_slice(&fs::read(dir.file("metadata.json"))?).context("cargo's metadata")?;
    let lock: LockFile = toml::from_str(&fs::read_to_string(lock)?).context("Cargo.lock")?;
    let sums: BTreeMap<(&str, &str), &String> = lock
        .package
        .iter()
        .filter_map(|part| Some(((part.name.as_str(), part.version.as_str()), part.checksum.as_ref()?)))
        .collect();
    let linked = metadata.linked()?;
    let mut crates = Vec::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for package in linked {
        let sha256 = sums.get(&(package.name.as_str(), package.version.as_str())).map(|sum| (*sum).clone());
        let name = format!("{} {}", package.name, package.version);
        if package.source.is_some() {
            let found = licence_texts(registry, &package.manifest_path)?;
            if found.is_empty() && package.license.is_none() {
                without.push(name.clone());
            }
            for text in found {
                texts.entry(text).or_default().push(name.clone());
            }
        }
        crates.push(Crate {
            name: package.name.clone(),
            version: package.version.clone(),
            license: package.license.clone(),
            sha256,
        });
    }
    anyhow::ensure!(
        without.is_empty(),
        "no licence is stated by {}: node-init may not be given away with them in it",
        without.join(", ")
    );
    atomic::write(&dir.file("crates.json"), serde_json::to_string_pretty(&crates)?.as_bytes(), 0o644)?;
    atomic::write(&dir.file("copyright"), copyright(&crates, &texts).as_bytes(), 0o644)?;
    Ok(())
}

/// The text that goes into the image: which crates, and each licence text once.
fn copyright(crates: &[Crate], texts: &BTreeMap<String, Vec<String>>) -> String {
    let mut all = String::from("node-init is made of these crates:\n\n");
    for part in crates {
        let licence = part.license.as_deref().unwrap_or("see its text below");
        all.push_str(&format!("  {} {}: {licence}\n", part.name, part.version));
    }
    for (text, names) in texts {
        all.push_str(&format!("\n{}\n{}:\n\n{}\n", "-".repeat(78), names.join(", "), text.trim_end()));
    }
    all
}

/// The licence files beside a crate's manifest, whose path is given as the tools tree sees it.
fn licence_texts(registry: &Path, manifest: &str) -> anyhow::Result<Vec<String>> {
    let Some(inside) = manifest.strip_prefix("/cargo/home/registry/") else { return Ok(Vec::new()) };
    let manifest = registry.join(inside);
    let folder = manifest.parent().context("a manifest without a folder")?;
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
            ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
                .iter()
                .any(|word| name.starts_with(word))
                && entry.file_type().is_ok_and(|kind| kind.is_file())
        })
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files.iter().map(|path| Ok(String::from_utf8_lossy(&fs::read(path)?).replace("\r\n", "\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_counts() {
        let package = |name: &str| MetadataPackage {
            id: name.into(),
            name: name.into(),
            version: "1".into(),
            license: None,
            source: (name != "node-init").then(|| "registry".into()),
            manifest_path: String::new(),
        };
        let dep = |pkg: &str, kind: Option<&str>| Dependency {
            pkg: pkg.into(),
            dep_kinds: vec![Kind { kind: kind.map(str::to_owned) }],
        };
        let metadata = Metadata {
            packages: ["b", "node-init", "a", "test-only", "build-only"].map(package).into(),
            resolve: Resolve {
                nodes: vec![
                    Node {
                        id: "node-init".into(),
                        deps: vec![
                            dep("a", None),
                            dep("test-only", Some("dev")),
                            dep("build-only", Some("build")),
                        ],
                    },
                    Node { id: "a".into(), deps: vec![dep("b", None)] },
                    Node { id: "b".into(), deps: vec![dep("a", None)] },
                ],
            },
        };
        let names: Vec<_> =
            metadata.linked().expect("resolves").iter().map(|part| part.name.clone()).collect();
        assert_eq!(names, ["a", "b", "node-init"]);
    }
}
