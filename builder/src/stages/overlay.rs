//! What is laid over the packages: overlay folders, node-init, downloads, and the files that describe the image.
//!
//! The result is a tar with fixed owners and times; it follows the root tar, and where both have a path the later
//! one wins.

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::digest_of_folder;
use crate::engine::step::{Action, Input, Step, StepDir};
use crate::signing::minisign::public_key;
use anyhow::{Context, bail};
use edgepair_layout::path;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

enum Entry {
    File { from: PathBuf, executable: bool },
    Text(String),
    Link(String),
}

/// Plans the step.
///
/// # Errors
/// When an overlay cannot be read.
pub fn step(definition: &Definition, board: &Board) -> anyhow::Result<Step> {
    let mut inputs = vec![
        Input::Output { step: "node-init", file: "node-init" },
        Input::Output { step: "node-init", file: "copyright" },
    ];
    let mut names = Vec::new();
    for (index, overlay) in definition.overlays.iter().enumerate() {
        let name = format!("overlay-{index}");
        inputs.push(Input::Host {
            name: name.clone(),
            path: overlay.value.clone(),
            digest: digest_of_folder(&overlay.value)?,
        });
        names.push(name);
    }
    let image_info = image_info(definition, board);
    let units = unit_list(definition);
    let enabled: Vec<String> = definition.enabled_units.iter().map(|unit| unit.value.clone()).collect();
    let epoch = u64::try_from(definition.epoch.value).unwrap_or(0);
    let keys = update_keys(definition)?;
    let key_names: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
    let mut files = vec![
        ("image".to_owned(), image_info),
        ("units".to_owned(), units),
        ("enabled".to_owned(), enabled.join("\n")),
        ("consoles".to_owned(), board.consoles.join("\n")),
    ];
    files.extend(keys);
    Ok(Step {
        name: "overlay",
        title: format!("Overlays ({}) and node-init", definition.overlays.len()),
        inputs,
        files,
        actions: vec![Action::native(
            format!(
                "writes overlay.tar: folders, node-init, licence texts, keys for updates ({}), unit links; owner root, time {epoch} (4)",
                key_names.len()
            ),
            move |dir| write_tar(dir, &names, &key_names, epoch),
        )],
        outputs: vec!["overlay.tar"],
        network: false,
        mounts: Vec::new(),
    })
}

/// The keys in one form, each named by its number, in the order of the names.
fn update_keys(definition: &Definition) -> anyhow::Result<Vec<(String, String)>> {
    let mut keys = BTreeMap::new();
    for file in &definition.update_keys {
        let key = public_key(&file.value)?;
        keys.insert(format!("{}.pub", key.id()), key.text());
    }
    Ok(keys.into_iter().collect())
}

/// For whoever looks into the folder, which is there without a key as well.
const KEYS_README: &str = "An update must be signed with one of the keys in this folder (*.pub, minisign's format).\n\
                           They are named in the image's definition: [update] keys. Without any, no update is taken.\n";

/// `key=value` lines that node-init and the console read, and os-release's additions.
fn image_info(definition: &Definition, board: &Board) -> String {
    format!(
        "IMAGE_ID={}\nIMAGE_VERSION={}\nBOARD={}\nCONSOLES=\"{}\"\n",
        definition.name.value,
        definition.version.value,
        board.name,
        board.consoles.join(" ")
    )
}

/// Why each unit is off: a person looks here, and a test compares it with what runs.
fn unit_list(definition: &Definition) -> String {
    let mut text = String::from("# Units that do not start by themselves, and why.\n");
    for (kind, list) in [("disabled", &definition.disabled_units), ("masked", &definition.masked_units)] {
        for (unit, reason) in list {
            let _ = writeln!(text, "{kind} {} {reason}", unit.value);
        }
    }
    text
}

/// Where Debian has licence texts, and where people look for them.
const COPYRIGHT: &str = "usr/share/doc/node-init/copyright";

fn write_tar(dir: &StepDir, overlays: &[String], keys: &[String], epoch: u64) -> anyhow::Result<()> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for name in overlays {
        collect(dir.input(name)?, &mut entries)?;
    }
    let node_init = dir.input("node-init")?.to_owned();
    entries.insert(relative(path::NODE_INIT), Entry::File { from: node_init, executable: true });
    let copyright = dir.input("copyright")?.to_owned();
    entries.insert(COPYRIGHT.to_owned(), Entry::File { from: copyright, executable: false });
    entries.insert(relative(path::IMAGE_INFO), Entry::Text(fs::read_to_string(dir.file("image"))?));
    entries.insert(
        format!("{}/units", relative(path::LIB)),
        Entry::Text(fs::read_to_string(dir.file("units"))?),
    );
    let folder = relative(path::UPDATE_KEYS);
    entries.insert(format!("{folder}/README"), Entry::Text(KEYS_README.to_owned()));
    for name in keys {
        entries.insert(format!("{folder}/{name}"), Entry::Text(fs::read_to_string(dir.file(name))?));
    }
    for tty in fs::read_to_string(dir.file("consoles"))?.lines() {
        let unit = format!("usr/lib/systemd/system/multi-user.target.wants/edgepair-console@{tty}.service");
        entries.insert(unit, Entry::Link("../edgepair-console@.service".to_owned()));
    }
    let enabled = fs::read_to_string(dir.file("enabled"))?;
    link_enabled_units(&enabled, &mut entries)?;

    let mut archive = tar::Builder::new(File::create(dir.file("overlay.tar"))?);
    let mut folders = std::collections::BTreeSet::new();
    for (name, entry) in &entries {
        let mut parents: Vec<&Path> =
            Path::new(name).ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
        parents.reverse();
        for parent in parents {
            // Folders of the root tree keep their owner and mode: only those that no package has are written, and a
            // tar does not say which. Root's own folders are all 0755 here, so that is what a new one gets.
            if folders.insert(parent.to_owned())
                && !SPECIAL_MODES.contains(&parent.to_string_lossy().as_ref())
            {
                append(
                    &mut archive,
                    tar::EntryType::Directory,
                    &parent.to_string_lossy(),
                    0o755,
                    epoch,
                    &[],
                    None,
                )?;
            }
        }
        match entry {
            Entry::File { from, executable } => {
                let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
                let mode = if *executable { 0o755 } else { 0o644 };
                append(&mut archive, tar::EntryType::Regular, name, mode, epoch, &bytes, None)?;
            }
            Entry::Text(text) => {
                append(&mut archive, tar::EntryType::Regular, name, 0o644, epoch, text.as_bytes(), None)?
            }
            Entry::Link(target) => {
                append(&mut archive, tar::EntryType::Symlink, name, 0o777, epoch, &[], Some(target))?
            }
        }
    }
    archive.into_inner()?.flush()?;
    super::root::cut_end_of_archive(&dir.file("overlay.tar"))
}

/// Folders whose mode in the root tree is not 0755 and must not be changed by an overlay below them.
const SPECIAL_MODES: [&str; 3] = ["root", "tmp", "etc/ssl/private"];

pub(super) fn append(
    archive: &mut tar::Builder<File>,
    kind: tar::EntryType,
    name: &str,
    mode: u32,
    epoch: u64,
    bytes: &[u8],
    target: Option<&str>,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(bytes.len() as u64);
    match target {
        Some(target) => archive.append_link(&mut header, name, target)?,
        None => archive.append_data(&mut header, name, bytes)?,
    }
    Ok(())
}

fn collect(folder: &Path, entries: &mut BTreeMap<String, Entry>) -> anyhow::Result<()> {
    let mut open = vec![folder.to_owned()];
    while let Some(current) = open.pop() {
        for item in fs::read_dir(&current)
            .with_context(|| format!("cannot read the overlay {}", current.display()))?
        {
            let item = item?;
            let name = item.path().strip_prefix(folder)?.to_string_lossy().into_owned();
            let kind = item.file_type()?;
            if kind.is_dir() {
                open.push(item.path());
            } else if kind.is_symlink() {
                entries.insert(name, Entry::Link(fs::read_link(item.path())?.to_string_lossy().into_owned()));
            } else if kind.is_file() {
                let executable = item.metadata()?.permissions().mode() & 0o100 != 0;
                entries.insert(name, Entry::File { from: item.path(), executable });
            } else {
                bail!(
                    "{} is neither file, folder nor link; an overlay has only those",
                    item.path().display()
                );
            }
        }
    }
    Ok(())
}

/// Units of packages are enabled by presets while the root tree is made. A unit that an overlay brings is linked
/// here, from its own `[Install]` section (systemd.unit(5)).
fn link_enabled_units(enabled: &str, entries: &mut BTreeMap<String, Entry>) -> anyhow::Result<()> {
    let mut links = Vec::new();
    for unit in enabled.lines() {
        let Some((_, Entry::File { from, .. })) = entries
            .iter()
            .find(|(name, _)| name.rsplit('/').next() == Some(unit) && name.contains("systemd/system/"))
        else {
            continue;
        };
        let text = fs::read_to_string(from)?;
        let install = text
            .split("[Install]")
            .nth(1)
            .with_context(|| format!("{unit} is to be enabled but has no [Install] section"))?;
        for line in install.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let kind = match key.trim() {
                "WantedBy" => "wants",
                "RequiredBy" => "requires",
                _ => continue,
            };
            for target in value.split_whitespace() {
                links.push((format!("usr/lib/systemd/system/{target}.{kind}/{unit}"), format!("../{unit}")));
            }
        }
    }
    for (name, target) in links {
        entries.insert(name, Entry::Link(target));
    }
    Ok(())
}

fn relative(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tar_has_fixed_owners_times_and_unit_links() {
        let dir = tempfile::tempdir().expect("tempdir");
        let overlay = dir.path().join("overlay/usr/lib/systemd/system");
        fs::create_dir_all(&overlay).expect("mkdir");
        let unit = b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
        edgepair_host_io::atomic::write(&overlay.join("mine.service"), unit, 0o600).expect("write");
        let node_init = dir.path().join("bin");
        edgepair_host_io::atomic::write(&node_init, b"binary", 0o600).expect("write");
        for (name, text) in [
            ("image", "x"),
            ("units", "y"),
            ("enabled", "mine.service\nof-a-package.service"),
            ("consoles", "tty1"),
            ("AB.pub", "a key"),
        ] {
            edgepair_host_io::atomic::write(&dir.path().join(name), text.as_bytes(), 0o644).expect("write");
        }
        let copyright = dir.path().join("copyright");
        edgepair_host_io::atomic::write(&copyright, b"texts", 0o644).expect("write");
        let inputs = BTreeMap::from([
            ("copyright".to_owned(), copyright),
            ("overlay-0".to_owned(), dir.path().join("overlay")),
            ("node-init".to_owned(), node_init),
        ]);
        write_tar(
            &StepDir { dir: dir.path().to_owned(), inputs },
            &["overlay-0".to_owned()],
            &["AB.pub".to_owned()],
            42,
        )
        .expect("tar");
        let mut archive = tar::Archive::new(File::open(dir.path().join("overlay.tar")).expect("open"));
        let mut seen = Vec::new();
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("entry");
            let header = entry.header();
            assert_eq!((header.uid().ok(), header.mtime().ok()), (Some(0), Some(42)));
            seen.push((
                entry.path().expect("path").to_string_lossy().into_owned(),
                header.mode().expect("mode"),
            ));
        }
        assert!(seen.contains(&("usr/lib/edgepair/node-init".to_owned(), 0o755)), "{seen:?}");
        assert!(seen.contains(&("usr/lib/edgepair/keys/AB.pub".to_owned(), 0o644)), "{seen:?}");
        assert!(seen.contains(&("usr/lib/systemd/system/mine.service".to_owned(), 0o644)), "{seen:?}");
        assert!(
            seen.iter().any(|(name, _)| name.ends_with("multi-user.target.wants/mine.service")),
            "{seen:?}"
        );
    }
}
