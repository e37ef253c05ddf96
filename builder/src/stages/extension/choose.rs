//! What goes into the extension: from the command line, else from the definition.

use crate::definition::Definition;
use crate::definition::board::Board;
use anyhow::{Context, bail};
use edgepair_extension::Version;
use edgepair_host_io::digest;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the program is taken from.
#[derive(Debug, Clone)]
pub enum Program {
    /// A file of this machine, and its digest.
    File(PathBuf, String),
    /// Fetched, and compared with its digest.
    Url(String, String),
}

/// What goes into an extension.
#[derive(Debug, Clone)]
pub struct K3s {
    /// The program.
    pub program: Program,
    /// Its version.
    pub version: Version,
    /// Archives of container images: file name, place, digest.
    pub images: Vec<(String, PathBuf, String)>,
}

/// What the command line says of k3s; all absent: what the definition says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The program.
    pub program: Option<&'a Path>,
    /// Its version, when its bytes do not say it.
    pub version: Option<&'a str>,
    /// Archives of container images.
    pub images: &'a [PathBuf],
}

/// Decides what goes into the extension; `None` when nobody names a k3s.
///
/// # Errors
/// When a file cannot be read, is no program for this architecture, or does not say its version.
pub fn resolve(definition: &Definition, board: &Board, given: Given<'_>) -> anyhow::Result<Option<K3s>> {
    let from_definition = definition.k3s.as_ref();
    let (program, version) = match (given.program, from_definition) {
        (Some(file), _) => {
            let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            fits(&bytes, &board.architecture.debian).with_context(|| file.display().to_string())?;
            let version = match given.version {
                Some(text) => parse_version(text)?,
                None => only_version(&bytes, file)?,
            };
            let file = fs::canonicalize(file)?;
            let sum = digest::of_bytes(&bytes);
            (Program::File(file, sum), version)
        }
        (None, Some(k3s)) => {
            let program = Program::Url(k3s.url.value.clone(), k3s.sha256.value.to_lowercase());
            (program, parse_version(&k3s.version.value)?)
        }
        (None, None) => return Ok(None),
    };
    let files = given.images.iter().cloned().chain(
        from_definition.into_iter().flat_map(|k3s| k3s.images.iter().map(|image| image.value.clone())),
    );
    let mut images: Vec<(String, PathBuf, String)> = Vec::new();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let known = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz", ".tar.lz4"];
        if !known.iter().any(|suffix| name.ends_with(suffix)) {
            bail!(
                "{} is not named as k3s expects an archive of container images ({})\n  to do: name the file by what it is",
                file.display(),
                known.join(", ")
            );
        }
        if images.iter().any(|(other, ..)| *other == name) {
            bail!("two archives of container images are called {name}\n  to do: rename one of them");
        }
        let sum = digest::of_file(&file).with_context(|| format!("cannot read {}", file.display()))?;
        images.push((name, fs::canonicalize(&file)?, sum));
    }
    images.sort();
    Ok(Some(K3s { program, version, images }))
}

fn parse_version(text: &str) -> anyhow::Result<Version> {
    Version::parse(text).with_context(|| {
        format!("`{text}` is not a version of k3s\n  to do: write it as k3s does, for example v1.33.4+k3s1")
    })
}

/// The version that a program names, when it names one only.
fn only_version(bytes: &[u8], file: &Path) -> anyhow::Result<Version> {
    let mut found = Version::found_in(bytes);
    match (found.pop(), found.is_empty()) {
        (Some(version), true) => Ok(version),
        (version, _) => bail!(
            "{} does not say of which version it is ({})\n  to do: name it with --k3s-version, for example v1.33.4+k3s1",
            file.display(),
            version.map_or("it names none".to_owned(), |version| format!("it names {version} and others"))
        ),
    }
}

/// Whether bytes are a program that a machine of this architecture runs (ELF: `e_machine` at byte 18).
fn fits(bytes: &[u8], architecture: &str) -> anyhow::Result<()> {
    const ELF: &[u8] = b"\x7fELF";
    if !bytes.starts_with(ELF) {
        bail!("this is no program\n  to do: name the file `k3s` (or `k3s-arm64`) of a k3s release");
    }
    let machine = bytes.get(18..20).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let name = match machine {
        Some(62) => "amd64",
        Some(183) => "arm64",
        _ => "another architecture",
    };
    if name != architecture {
        bail!(
            "this program is for {name}, and the image for {architecture}\n  to do: take the k3s of that architecture"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u16, text: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn a_program_is_for_the_image_or_refused() {
        assert!(fits(&program(62, ""), "amd64").is_ok());
        assert!(fits(&program(183, ""), "arm64").is_ok());
        let said = fits(&program(183, ""), "amd64").expect_err("another").to_string();
        assert!(said.contains("for arm64, and the image for amd64"), "{said}");
        assert!(fits(b"#!/bin/sh\n", "amd64").is_err());
        assert!(fits(b"\x7fELF", "amd64").is_err());
    }

    #[test]
    fn a_version_is_read_from_the_program_when_it_is_the_only_one() {
        let file = Path::new("k3s");
        let version = only_version(&program(62, "\0v1.33.4+k3s1\0"), file).expect("one");
        assert_eq!(version.to_string(), "v1.33.4+k3s1");
        for text in ["", "v1.33.4+k3s1 v1.34.0+k3s1"] {
            let said = only_version(&program(62, text), file).expect_err("none or two").to_string();
            assert!(said.contains("--k3s-version"), "{said}");
        }
    }
}
