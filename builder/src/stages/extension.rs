//! The extension that carries k3s: a system extension image (systemd-sysext(8)) with its hash tree, and a signed head.
//!
//! Made the same way and with the same programs as the root: files as a tar → erofs → dm-verity → GPT. Its release file
//! says `ID=_any` and no version: it goes with every slot. In an image it lies unpacked in the root, which the root's own
//! hash tree covers; alone it is one file (`libs/extension`).

mod choose;

pub use choose::{Given, K3s, Program, resolve};

use super::downloads::fetch;
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
use std::path::Path;
use std::sync::Arc;

/// The extension as one file.
pub const FILE: &str = "k3s.extension";
/// The extension unpacked, as it lies in an image.
pub const TAR: &str = "extension.tar";

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
            step.actions.push(fetch(url, "k3s"));
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
