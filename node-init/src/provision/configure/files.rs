//! Rendered files and unit links in `/etc`: compared, written, removed. `/etc` lies in memory, so nothing here outlives
//! the boot, and a rollback of the slot has nothing to undo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use edgepair_host_io::atomic;
use edgepair_render::{File, Rendered, Start};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::member::Place;

/// Units of the administrator (systemd.unit(5)).
const ETC_UNITS: &str = "/etc/systemd/system";
/// Units of the image.
const USR_UNITS: &str = "/usr/lib/systemd/system";
/// What was written in this boot, on a file system that goes with it.
const MANIFEST: &str = "/run/edgepair/rendered.json";

/// What was written in this boot: what is not rendered any more can so be taken away again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Paths of files.
    pub files: BTreeSet<String>,
    /// Paths of links and what they point to.
    pub links: BTreeMap<String, String>,
    /// Units that run from boot on.
    pub boot: BTreeSet<String>,
}

impl Manifest {
    /// What a rendering comes to.
    pub fn of(rendered: &Rendered) -> Self {
        let mut manifest =
            Self { files: rendered.files.iter().map(|file| file.path.clone()).collect(), ..Self::default() };
        for unit in &rendered.units {
            let own = format!("{ETC_UNITS}/{}", unit.name);
            match unit.start {
                // Started by the manager's own boot transaction in every boot that finds the links.
                Start::Boot => {
                    let target = if manifest.files.contains(&own) {
                        own
                    } else {
                        format!("{USR_UNITS}/{}", unit.name)
                    };
                    manifest
                        .links
                        .insert(format!("{ETC_UNITS}/multi-user.target.wants/{}", unit.name), target);
                    manifest.boot.insert(unit.name.clone());
                }
                Start::Masked => {
                    manifest.links.insert(own, "/dev/null".to_owned());
                }
                Start::Active | Start::Standby => {}
            }
        }
        manifest
    }

    /// What was written in this boot; nothing when that is not known.
    pub fn load(place: &Place) -> Self {
        place.read(MANIFEST).ok().flatten().unwrap_or_default()
    }

    /// Notes it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn store(&self, place: &Place) -> io::Result<()> {
        place.write(MANIFEST, self).map_err(io::Error::other)
    }
}

/// What in `/etc` is not as rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// Files to write.
    pub write: Vec<String>,
    /// Links to make.
    pub link: Vec<String>,
    /// Files and links of an earlier rendering.
    pub remove: Vec<String>,
}

impl Stale {
    /// Everything is as rendered.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.link.is_empty() && self.remove.is_empty()
    }

    /// All paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.write.iter().chain(&self.link).chain(&self.remove).map(String::as_str)
    }
}

/// Compares `/etc` with a rendering.
///
/// # Errors
/// When an owner is unknown to the image.
pub fn compare(place: &Place, rendered: &Rendered, before: &Manifest) -> io::Result<Stale> {
    let now = Manifest::of(rendered);
    let owners = Owners::load(place)?;
    let mut stale = Stale::default();
    for file in &rendered.files {
        if !is_as_rendered(place, file, owners.of(file.owner)?) {
            stale.write.push(file.path.clone());
        }
    }
    for (link, target) in &now.links {
        if fs::read_link(place.path(link)).ok().as_deref() != Some(Path::new(target)) {
            stale.link.push(link.clone());
        }
    }
    let old = before.files.iter().chain(before.links.keys());
    stale.remove = old
        .filter(|path| !now.files.contains(*path) && !now.links.contains_key(*path))
        .filter(|path| fs::symlink_metadata(place.path(path)).is_ok())
        .cloned()
        .collect();
    Ok(stale)
}

fn is_as_rendered(place: &Place, file: &File, (uid, gid): (u32, u32)) -> bool {
    let path = place.path(&file.path);
    let Ok(data) = fs::symlink_metadata(&path) else { return false };
    data.is_file()
        && data.permissions().mode() & 0o7777 == file.mode
        && (data.uid(), data.gid()) == (uid, gid)
        && data.len() == file.content.len() as u64
        && fs::read(&path).is_ok_and(|content| content == file.content.as_bytes())
}

/// Writes what is stale. The manifest is written first, so that a file is never there without being known.
///
/// # Errors
/// The kernel's, with the path.
pub fn install(place: &Place, rendered: &Rendered, before: &Manifest, stale: &Stale) -> anyhow::Result<()> {
    install_below(place, place, rendered, before, stale)
}

/// The same with the manifest below another root.
///
/// # Errors
/// As [`install`].
pub fn install_below(
    place: &Place,
    run: &Place,
    rendered: &Rendered,
    before: &Manifest,
    stale: &Stale,
) -> anyhow::Result<()> {
    let now = Manifest::of(rendered);
    let owners = Owners::load(place)?;
    let mut both = now.clone();
    both.files.extend(before.files.iter().cloned());
    both.links.extend(before.links.iter().map(|(link, target)| (link.clone(), target.clone())));
    both.store(run)?;
    let is_stale = |list: &[String], path: &str| list.iter().any(|stale| stale == path);
    for file in rendered.files.iter().filter(|file| is_stale(&stale.write, &file.path)) {
        write(place, file, owners.of(file.owner)?).with_context(|| file.path.clone())?;
    }
    if !stale.remove.is_empty() {
        let image = if place.is_root() { ImageEtc::mount() } else { None };
        for path in &stale.remove {
            take_away(place, image.as_ref(), path).with_context(|| path.clone())?;
        }
    }
    for (link, target) in now.links.iter().filter(|(link, _)| is_stale(&stale.link, link)) {
        put_link(&place.path(link), target).with_context(|| link.clone())?;
    }
    now.store(run)?;
    Ok(())
}

fn write(place: &Place, file: &File, (uid, gid): (u32, u32)) -> io::Result<()> {
    let path = place.path(&file.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir()) {
        return Err(io::Error::other("there is a folder of that name"));
    }
    // Written as root's, then given away: at no time may somebody read it who may not in the end.
    atomic::write(&path, file.content.as_bytes(), file.mode)?;
    chown(&path, Some(uid), Some(gid))
}

/// The image's own `/etc`, below the layer in memory: a file that is not rendered any more becomes the image's again.
/// A second look at the root shows it without what is mounted over it.
struct ImageEtc {
    look: PathBuf,
}

impl ImageEtc {
    fn mount() -> Option<Self> {
        let look = Path::new(edgepair_layout::path::RUN_DIR).join("image");
        fs::create_dir_all(&look).ok()?;
        mount(Some("/"), &look, None::<&str>, MsFlags::MS_BIND, None::<&str>).ok()?;
        Some(Self { look })
    }
}

impl Drop for ImageEtc {
    fn drop(&mut self) {
        // It shows nothing that is not there anyway; at worst it stays until the next boot.
        let _ = umount2(&self.look, MntFlags::MNT_DETACH);
    }
}

/// Removes a file or link, or puts the image's own back.
fn take_away(place: &Place, image: Option<&ImageEtc>, path: &str) -> io::Result<()> {
    let own = image.map(|image| image.look.join(path.trim_start_matches('/')));
    let Some((own, data)) = own.and_then(|own| Some((own.clone(), fs::symlink_metadata(own).ok()?))) else {
        return remove(&place.path(path));
    };
    let path = place.path(path);
    if data.is_symlink() {
        return put_link(&path, &fs::read_link(own)?.to_string_lossy());
    }
    atomic::write(&path, &fs::read(own)?, data.permissions().mode() & 0o7777)?;
    chown(&path, Some(data.uid()), Some(data.gid()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn put_link(path: &Path, target: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = atomic::temporary_name(path);
    remove(&temporary)?;
    symlink(target, &temporary)?;
    fs::rename(&temporary, path)
}

/// Numbers of users and groups of the image, which are not the initrd's.
struct Owners {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Owners {
    fn load(place: &Place) -> io::Result<Self> {
        let numbers = |path: &str| -> io::Result<BTreeMap<String, u32>> {
            let text = fs::read_to_string(place.path(path))?;
            let row = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((name, fields.nth(1)?.parse().ok()?))
            };
            Ok(text.lines().filter_map(row).collect())
        };
        Ok(Self { users: numbers("/etc/passwd")?, groups: numbers("/etc/group")? })
    }

    /// `user:group` as numbers.
    fn of(&self, owner: &str) -> io::Result<(u32, u32)> {
        let unknown = || io::Error::other(format!("the image knows no owner {owner}"));
        let (user, group) = owner.split_once(':').ok_or_else(unknown)?;
        Ok((*self.users.get(user).ok_or_else(unknown)?, *self.groups.get(group).ok_or_else(unknown)?))
    }
}

/// Places below `/etc` that a rendering of this boot has, for messages.
pub fn shown(paths: &[String]) -> String {
    const MOST: usize = 4;
    let names: Vec<&str> = paths.iter().take(MOST).map(String::as_str).collect();
    let more = paths.len().saturating_sub(MOST);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// The folder of a path, made if it is not there. For host keys and the like.
///
/// # Errors
/// The kernel's.
pub fn folder_of(path: &Path, mode: u32) -> io::Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
    if !folder.exists() {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, PermissionsExt::from_mode(mode))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_render::Unit;

    fn me() -> (u32, u32) {
        (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw())
    }

    fn root() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path());
        fs::create_dir_all(place.path("/etc")).unwrap();
        let (uid, gid) = me();
        atomic::write(&place.path("/etc/passwd"), format!("root:x:{uid}:{gid}::/:\n").as_bytes(), 0o644)
            .unwrap();
        atomic::write(&place.path("/etc/group"), format!("root:x:{gid}:\n").as_bytes(), 0o644).unwrap();
        (dir, place)
    }

    fn file(path: &str, content: &str) -> File {
        File { path: path.into(), mode: 0o640, owner: "root:root", content: content.into(), secret: false }
    }

    fn rendered(files: Vec<File>, units: &[(&str, Start)]) -> Rendered {
        let units = units.iter().map(|(name, start)| Unit { name: (*name).into(), start: *start }).collect();
        Rendered { files, units, notes: Vec::new() }
    }

    #[test]
    fn a_second_look_finds_nothing_and_a_smaller_rendering_takes_away() {
        let (_dir, place) = root();
        let own = "/etc/systemd/system/own.service";
        let first = rendered(
            vec![file("/etc/a/b.conf", "x"), file(own, "[Unit]"), file("/etc/hosts", "h")],
            &[
                ("own.service", Start::Boot),
                ("ssh.service", Start::Boot),
                ("drbd.service", Start::Masked),
                ("x", Start::Active),
            ],
        );
        let none = Manifest::default();
        let stale = compare(&place, &first, &none).unwrap();
        assert_eq!((stale.write.len(), stale.link.len(), stale.remove.len()), (3, 3, 0));
        install(&place, &first, &none, &stale).unwrap();
        let manifest = Manifest::load(&place);
        assert!(compare(&place, &first, &manifest).unwrap().is_empty());
        let wants = "/etc/systemd/system/multi-user.target.wants";
        let target = |path: String| fs::read_link(place.path(&path)).unwrap().to_string_lossy().into_owned();
        assert_eq!(target(format!("{wants}/own.service")), own);
        assert_eq!(target(format!("{wants}/ssh.service")), "/usr/lib/systemd/system/ssh.service");
        assert_eq!(target("/etc/systemd/system/drbd.service".into()), "/dev/null");

        let second = rendered(vec![file("/etc/hosts", "other")], &[]);
        let stale = compare(&place, &second, &manifest).unwrap();
        assert_eq!((stale.write.len(), stale.link.len(), stale.remove.len()), (1, 0, 5));
        install(&place, &second, &manifest, &stale).unwrap();
        assert!(compare(&place, &second, &Manifest::load(&place)).unwrap().is_empty());
        assert!(!place.path("/etc/a/b.conf").exists());
        assert_eq!(fs::read_to_string(place.path("/etc/hosts")).unwrap(), "other");
        assert!(place.path("/etc/passwd").exists(), "only what was rendered is removed");
    }

    #[test]
    fn content_mode_and_kind_all_count() {
        let (_dir, place) = root();
        let wanted = rendered(vec![file("/etc/f", "abc")], &[]);
        let none = Manifest::default();
        let stale = |place: &Place| !compare(place, &wanted, &none).unwrap().is_empty();
        install(&place, &wanted, &none, &compare(&place, &wanted, &none).unwrap()).unwrap();
        assert!(!stale(&place));
        let path = place.path("/etc/f");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(stale(&place), "mode");
        atomic::write(&path, b"abd", 0o640).unwrap();
        assert!(stale(&place), "content of the same length");
        fs::remove_file(&path).unwrap();
        atomic::write(&place.path("/etc/g"), b"abc", 0o640).unwrap();
        symlink(place.path("/etc/g"), &path).unwrap();
        assert!(stale(&place), "a link to the same content");
    }

    #[test]
    fn an_unknown_owner_is_an_error_before_anything_is_written() {
        let (_dir, place) = root();
        let wanted = rendered(vec![File { owner: "root:postgres", ..file("/etc/f", "abc") }], &[]);
        assert!(
            compare(&place, &wanted, &Manifest::default()).unwrap_err().to_string().contains("root:postgres")
        );
    }
}
