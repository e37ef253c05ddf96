//! The bill of materials: every Debian package, every Rust crate inside node-init, every download, with digests and
//! licences, as CycloneDX 1.6 (ECMA-424).
//!
//! A package without its copyright file fails the step: the texts must be in the image, whatever else is trimmed.

mod cyclonedx;
mod licences;

use super::packages::{Package, Resolved};
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::step::{Action, Input, Step, StepDir};
use anyhow::{Context, bail};
use cyclonedx::{Bill, Component};
use edgepair_host_io::{atomic, digest};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component as Part, Path, PathBuf};

/// Plans the step.
pub fn step(definition: &Definition, board: &Board, resolved: Option<&Resolved>) -> Step {
    let list = resolved.map_or_else(String::new, Resolved::list);
    let packages = resolved.map_or_else(Vec::new, |all| all.packages.clone());
    let mut bill = Bill {
        name: definition.name.value.clone(),
        version: definition.version.value.clone(),
        description: format!("image for {}", board.description),
        epoch: definition.epoch.value,
        components: Vec::new(),
    };
    for download in &definition.downloads {
        bill.components.push(Component::download(
            &download.url.value,
            &download.path.value,
            &download.sha256.value,
        ));
    }
    let suite = definition.suite.value.clone();
    Step {
        name: "sbom",
        title: "Bill of materials (CycloneDX)".to_owned(),
        inputs: vec![
            Input::Output { step: "root", file: "root.tar" },
            Input::Output { step: "node-init", file: "crates.json" },
            Input::Fact { name: "packages".into(), value: digest::of_bytes(list) },
            Input::Fact { name: "about the image".into(), value: digest::of_bytes(format!("{bill:?}")) },
        ],
        files: Vec::new(),
        actions: vec![Action::native(
            "reads every package's copyright file in root.tar and writes sbom.json (1)",
            move |dir| write(dir, bill.clone(), &packages, &suite),
        )],
        outputs: vec!["sbom.json"],
        network: false,
        mounts: Vec::new(),
    }
}

fn write(dir: &StepDir, mut bill: Bill, packages: &[Package], suite: &str) -> anyhow::Result<()> {
    let texts = CopyrightFiles::read(dir.input("root.tar")?)?;
    let mut without = Vec::new();
    for package in packages {
        match texts.of(&package.name) {
            Some(text) => {
                bill.components.push(Component::debian(package, suite, licences::of_copyright(text)))
            }
            None => without.push(package.name.as_str()),
        }
    }
    if !without.is_empty() {
        bail!(
            "no copyright file is in the image for {}\n  to do: `remove` and `exclude` in the definition must leave \
             /usr/share/doc/PACKAGE/copyright: their licences ask for it",
            without.join(", ")
        );
    }
    bill.components.extend(cyclonedx::crates(&fs::read_to_string(dir.input("crates.json")?)?)?);
    atomic::write(&dir.file("sbom.json"), bill.render().as_bytes(), 0o644)?;
    Ok(())
}

/// What is below `/usr/share/doc` in a root tar: copyright files, and the links that packages of one source share.
#[derive(Default)]
struct CopyrightFiles {
    texts: BTreeMap<PathBuf, String>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl CopyrightFiles {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let mut archive = tar::Archive::new(File::open(path)?);
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let path = normal(&entry.path()?);
            let Ok(name) = path.strip_prefix("usr/share/doc").map(Path::to_owned) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_symlink() {
                let target = entry.link_name()?.context("a link without a target")?.into_owned();
                found.links.insert(name, target);
            } else if kind.is_hard_link() {
                let target = normal(&entry.link_name()?.context("a link without a target")?);
                if let Ok(target) = target.strip_prefix("usr/share/doc") {
                    // A hard link stands behind its file in the archive.
                    if let Some(text) = found.texts.get(target).cloned() {
                        found.texts.insert(name, text);
                    }
                }
            } else if name.file_name().is_some_and(|last| last == "copyright") {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                found.texts.insert(name, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(found)
    }

    /// A package's text, found through links of the folder or of the file.
    fn of(&self, package: &str) -> Option<&str> {
        let mut folder = PathBuf::from(package);
        for _ in 0..8 {
            let file = folder.join("copyright");
            if let Some(text) = self.texts.get(&file) {
                return Some(text);
            }
            folder = if let Some(target) = self.links.get(&folder) {
                inside(Path::new(""), target)?
            } else {
                inside(&folder, self.links.get(&file)?)?.parent()?.to_owned()
            };
        }
        None
    }
}

/// Where a link leads, below the folder of all documentation.
fn inside(folder: &Path, target: &Path) -> Option<PathBuf> {
    if let Ok(absolute) = target.strip_prefix("/usr/share/doc") {
        return Some(absolute.to_owned());
    }
    target.is_relative().then(|| normal(&folder.join(target)))
}

/// A path without `.` and `..`, relative.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Part::ParentDir => {
                clean.pop();
            }
            Part::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copyright_files_are_found_through_links() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("root.tar");
        let mut builder = tar::Builder::new(File::create(&path).expect("create"));
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_cksum();
        builder.append_data(&mut header, "./usr/share/doc/base/copyright", &b"text"[..]).expect("file");
        for (name, target) in [
            ("./usr/share/doc/folder-link", "base"),
            ("./usr/share/doc/far-link", "/usr/share/doc/folder-link"),
            ("./usr/share/doc/file-link/copyright", "../base/copyright"),
            ("./usr/share/doc/circle", "circle"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).expect("link");
        }
        builder.finish().expect("finish");
        drop(builder);
        let found = CopyrightFiles::read(&path).expect("reads");
        for name in ["base", "folder-link", "far-link", "file-link"] {
            assert_eq!(found.of(name), Some("text"), "{name}");
        }
        assert_eq!(found.of("circle"), None);
        assert_eq!(found.of("absent"), None);
    }
}
