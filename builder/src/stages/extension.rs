//! The extension that carries k3s: a system extension image (systemd-sysext(8)) with its hash tree, and a signed head.
//!
//! Made the same way and with the same programs as the root: files as a tar → erofs → dm-verity → GPT. Its release file
//! says `ID=_any` and no version: it goes with every slot. In an image it lies unpacked in the root, which the root's own
//! hash tree covers; alone it is one file (`libs/extension`).

use super::erofs::uuid_of;
use super::overlay::append;
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::step::{Action, Input, Step, StepDir};
use crate::signing::minisign::Signer;
use anyhow::{Context, bail};
use edgepair_extension::{HEAD, Head, IMAGE, SIGNATURES, Span, Version, signatures_text, write};
use edgepair_host_io::{atomic, digest};
use edgepair_layout::{path, uuids_of_root_hash};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The extension as one file.
pub const FILE: &str = "k3s.extension";
/// The extension unpacked, as it lies in an image.
pub const TAR: &str = "extension.tar";

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

/// Plans the step; without k3s it makes an empty archive.
pub fn step(definition: &Definition, board: &Board, k3s: Option<&K3s>, signer: Option<&Arc<Signer>>) -> Step {
    let mut step = Step {
        name: "extension",
        title: "No k3s: the image carries no Kubernetes (--k3s FILE puts it in)".to_owned(),
        inputs: Vec::new(),
        files: Vec::new(),
        actions: Vec::new(),
        outputs: vec![TAR],
        network: false,
        mounts: Vec::new(),
    };
    let Some(k3s) = k3s else {
        step.actions.push(Action::native("writes an empty extension.tar", |dir| {
            Ok(File::create(dir.file(TAR))?.sync_all()?)
        }));
        return step;
    };
    step.title = format!("Extension with k3s {} and {} archives of images", k3s.version, k3s.images.len());
    step.outputs.push(FILE);
    match &k3s.program {
        Program::File(path, digest) => {
            step.inputs.push(Input::Host { name: "k3s".into(), path: path.clone(), digest: digest.clone() });
        }
        Program::Url(url, sum) => {
            step.network = true;
            let options = [
                "--fail",
                "--location",
                "--silent",
                "--show-error",
                "--proto",
                "=https,http",
                "--retry",
                "2",
            ];
            step.actions.push(Action::run(
                ["curl"].iter().chain(&options).chain(&["--output", "k3s", url.as_str()]).copied(),
            ));
            let (url, sum) = (url.clone(), sum.clone());
            step.actions.push(Action::native(format!("compares its SHA-256 with {sum}"), move |dir| {
                let have = digest::of_file(&dir.file("k3s"))?;
                if have != sum {
                    bail!(
                        "{url} has SHA-256 {have}, the definition says {sum}\n  to do: find out why it changed; nothing of it \
                         was used. Correct `sha256` only if the new file is the right one"
                    );
                }
                Ok(())
            }));
        }
    }
    for (name, path, digest) in &k3s.images {
        step.inputs.push(Input::Host { name: name.clone(), path: path.clone(), digest: digest.clone() });
    }
    if let Some(signer) = signer {
        step.inputs.push(Input::Fact { name: "signed with".into(), value: signer.id() });
    }
    let epoch = definition.epoch.value;
    let name = format!("k3s {} {}", k3s.version, board.architecture.debian);
    let (root, verity) = (&board.architecture.root_type, &board.architecture.verity_type);
    // Without a smallest size repart would make each 10 MiB.
    let partition = |kind: &str, label: &str, file: &str, uuid: &str| {
        format!(
            "[Partition]\nType={kind}\nLabel={label}\nCopyBlocks=/build/{file}\nUUID={uuid}\nReadOnly=yes\nSizeMinBytes=4096\n"
        )
    };
    step.files.extend([
        ("repart.d/10-data.conf".to_owned(), partition(root, "k3s", "k3s.erofs", "@data-uuid@")),
        ("repart.d/20-tree.conf".to_owned(), partition(verity, "k3s-verity", "k3s.verity", "@tree-uuid@")),
        ("release".to_owned(), release(&board.architecture.debian)),
    ]);
    let erofs = format!(
        "mkfs.erofs --quiet --tar=f -zzstd,level=5 -C131072 -T{epoch} -U{} k3s.erofs files.tar",
        uuid_of(&format!("erofs {name}"))
    );
    let tree = format!(
        "veritysetup format --hash=sha256 --data-block-size=4096 --hash-block-size=4096 --salt={} --uuid={} \
         --root-hash-file=root-hash k3s.erofs k3s.verity",
        digest::of_bytes(format!("verity salt {name}")),
        uuid_of(&format!("verity {name}"))
    );
    let seed = format!("--seed={}", uuid_of(&format!("disk {name}")));
    let (fetched, images) = (matches!(k3s.program, Program::Url(..)), names(k3s));
    let (list, stamp) = (images.clone(), u64::try_from(epoch).unwrap_or(0));
    step.actions.extend([
        Action::native(
            format!("writes files.tar: k3s, its other names, release file, archives ({}); owner root, time {stamp} (1)", images.len()),
            move |dir| files(dir, fetched, &list, stamp),
        ),
        Action::run(["sh", "-c", &erofs]),
        Action::run(["sh", "-c", &tree]),
        Action::native("puts the partition UUIDs that follow from the root hash into repart.d (1)", fill_in_uuids),
        Action::run([
            "systemd-repart",
            "--offline=yes",
            "--dry-run=no",
            "--sector-size=512",
            "--empty=create",
            "--size=auto",
            seed.as_str(),
            "--definitions=/build/repart.d",
            "--no-pager",
            "--json=short",
            "/build/image.raw",
        ])
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .stdout("partitions.json"),
    ]);
    let (version, architecture) = (k3s.version.clone(), board.architecture.debian.clone());
    let signer = signer.cloned();
    let how =
        signer.as_ref().map_or("not signed".to_owned(), |signer| format!("signed with {}", signer.id()));
    step.actions.push(Action::native(
        format!("writes the head, {how}, and packs {FILE} and {TAR} (1)"),
        move |dir| pack(dir, &version, &architecture, &images, signer.as_deref(), stamp),
    ));
    step
}

fn names(k3s: &K3s) -> Vec<String> {
    k3s.images.iter().map(|(name, ..)| name.clone()).collect()
}

/// extension-release(5): goes with every system of this architecture.
fn release(architecture: &str) -> String {
    let systemd = if architecture == "amd64" { "x86-64" } else { "arm64" };
    format!("ID=_any\nARCHITECTURE={systemd}\n")
}

/// Other names by which k3s is called, each with its own meaning.
const NAMES: [&str; 3] = ["kubectl", "crictl", "ctr"];

fn files(dir: &StepDir, fetched: bool, images: &[String], epoch: u64) -> anyhow::Result<()> {
    use tar::EntryType::{Directory, Regular, Symlink};
    let mut archive = tar::Builder::new(File::create(dir.file("files.tar"))?);
    let archives = path::EXTENSION_IMAGES.trim_start_matches('/');
    for folder in
        ["usr", "usr/bin", "usr/lib", "usr/lib/extension-release.d", "usr/share", "usr/share/k3s", archives]
    {
        append(&mut archive, Directory, folder, 0o755, epoch, &[], None)?;
    }
    let program = if fetched { dir.file("k3s") } else { dir.input("k3s")?.to_owned() };
    append_file(&mut archive, "usr/bin/k3s", 0o755, epoch, &program)?;
    for name in NAMES {
        append(&mut archive, Symlink, &format!("usr/bin/{name}"), 0o777, epoch, &[], Some("k3s"))?;
    }
    let text = fs::read(dir.file("release"))?;
    append(
        &mut archive,
        Regular,
        "usr/lib/extension-release.d/extension-release.k3s",
        0o644,
        epoch,
        &text,
        None,
    )?;
    for name in images {
        append_file(&mut archive, &format!("{archives}/{name}"), 0o644, epoch, dir.input(name)?)?;
    }
    Ok(archive.into_inner()?.flush()?)
}

/// A large file, without holding it.
fn append_file(
    archive: &mut tar::Builder<File>,
    name: &str,
    mode: u32,
    epoch: u64,
    from: &Path,
) -> anyhow::Result<()> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let size = file.metadata()?.len();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(size);
    Ok(archive.append_data(&mut header, name, file.take(size))?)
}

fn fill_in_uuids(dir: &StepDir) -> anyhow::Result<()> {
    let hash = fs::read_to_string(dir.file("root-hash"))?;
    let hash = hash.trim();
    let (data, tree) = uuids_of_root_hash(hash).with_context(|| format!("`{hash}` is not a root hash"))?;
    for name in ["10-data", "20-tree"] {
        let path = dir.file(&format!("repart.d/{name}.conf"));
        let text = fs::read_to_string(&path)?.replace("@data-uuid@", &data).replace("@tree-uuid@", &tree);
        atomic::write(&path, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Where systemd-repart put a partition, from its report.
fn place_of(report: &str, label: &str) -> anyhow::Result<Span> {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(report).context("systemd-repart's report is not JSON")?;
    let row = rows.iter().find(|row| row.get("label").and_then(serde_json::Value::as_str) == Some(label));
    let number = |name: &str| row.and_then(|row| row.get(name)).and_then(serde_json::Value::as_u64);
    match (number("offset"), number("raw_size")) {
        (Some(offset), Some(length)) => Ok(Span { offset, length }),
        _ => bail!("systemd-repart's report has no partition {label}"),
    }
}

fn pack(
    dir: &StepDir,
    version: &Version,
    architecture: &str,
    images: &[String],
    signer: Option<&Signer>,
    epoch: u64,
) -> anyhow::Result<()> {
    let raw = dir.file(IMAGE);
    let report = fs::read_to_string(dir.file("partitions.json"))?;
    let head = Head {
        version: version.clone(),
        architecture: architecture.to_owned(),
        root_hash: fs::read_to_string(dir.file("root-hash"))?.trim().to_owned(),
        size: fs::metadata(&raw)?.len(),
        sha256: digest::of_file(&raw)?,
        data: place_of(&report, "k3s")?,
        tree: place_of(&report, "k3s-verity")?,
        images: images.to_vec(),
    };
    head.check()?;
    let text = head.text();
    let comment = format!("file:{HEAD} extension:k3s {version} {architecture}");
    let signatures: Vec<_> =
        signer.map(|signer| signer.sign(text.as_bytes(), &comment)).transpose()?.into_iter().collect();
    write(&head, &signatures, File::open(&raw)?, File::create(dir.file(FILE))?)?;

    let mut archive = tar::Builder::new(File::create(dir.file(TAR))?);
    let shelf = path::EXTENSIONS_IMAGE.trim_start_matches('/');
    let own = format!("{shelf}/{version}");
    for folder in ["usr", "usr/lib", path::LIB.trim_start_matches('/'), shelf, &own] {
        append(&mut archive, tar::EntryType::Directory, folder, 0o755, epoch, &[], None)?;
    }
    let seals = signatures_text(&signatures);
    for (name, content) in [(HEAD, text.as_str()), (SIGNATURES, &seals)] {
        let name = format!("{own}/{name}");
        append(&mut archive, tar::EntryType::Regular, &name, 0o644, epoch, content.as_bytes(), None)?;
    }
    append_file(&mut archive, &format!("{own}/{IMAGE}"), 0o644, epoch, &raw)?;
    archive.into_inner()?.flush()?;
    super::root::cut_end_of_archive(&dir.file(TAR))
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

    #[test]
    fn places_come_from_the_report() {
        let report = r#"[{"label":"k3s","offset":1048576,"raw_size":8192},{"label":"k3s-verity","offset":1056768,"raw_size":4096}]"#;
        assert_eq!(place_of(report, "k3s-verity").expect("there"), Span { offset: 1_056_768, length: 4096 });
        assert!(place_of(report, "other").is_err());
    }

    #[test]
    fn the_tree_of_files_is_a_system_extension() {
        let dir = tempfile::tempdir().expect("tempdir");
        let put =
            |name: &str, bytes: &[u8]| atomic::write(&dir.path().join(name), bytes, 0o644).expect("write");
        put("program", b"k3s");
        put("a.tar.zst", b"images");
        put("release", release("amd64").as_bytes());
        let inputs = std::collections::BTreeMap::from([
            ("k3s".to_owned(), dir.path().join("program")),
            ("a.tar.zst".to_owned(), dir.path().join("a.tar.zst")),
        ]);
        let step = StepDir { dir: dir.path().to_owned(), inputs };
        files(&step, false, &["a.tar.zst".to_owned()], 7).expect("tar");
        let mut archive = tar::Archive::new(File::open(dir.path().join("files.tar")).expect("open"));
        let seen: Vec<(String, u32)> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("entry");
                let header = entry.header();
                assert_eq!((header.uid().ok(), header.mtime().ok()), (Some(0), Some(7)));
                (entry.path().expect("path").to_string_lossy().into_owned(), header.mode().expect("mode"))
            })
            .collect();
        for wanted in [
            ("usr/bin/k3s", 0o755),
            ("usr/bin/kubectl", 0o777),
            ("usr/lib/extension-release.d/extension-release.k3s", 0o644),
            ("usr/share/k3s/images/a.tar.zst", 0o644),
        ] {
            assert!(seen.contains(&(wanted.0.to_owned(), wanted.1)), "{wanted:?} in {seen:?}");
        }
        assert!(!release("amd64").contains("VERSION_ID"));
    }
}
