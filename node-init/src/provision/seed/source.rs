//! Where a seed can be: kernel command line, SEED partition of the booted disk, USB stick, credential. In this order.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepair_host_io::{Invocation, Runner};
use edgepair_layout::{partition, path};
use edgepair_seed::{Companions, NODE_FILE, SEED_FILE, SEED_MAX};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::Deserialize;

use super::cards::{Arguments, is_plain};

/// Largest file beside a seed, bytes.
const COMPANION_MAX: u64 = 1 << 20;

/// Where systemd puts credentials from SMBIOS strings and fw_cfg (systemd.system-credentials(7)).
const CREDENTIALS: &str = "/run/credentials/@system";
/// The seed's credential; files beside it are `edgepair.seed.NAME`.
const CREDENTIAL: &str = "edgepair.seed";

/// A seed that was found, not checked yet.
#[derive(Clone)]
pub struct Found {
    /// Where, in words.
    pub place: String,
    /// Its name in messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The files it names.
    pub companions: Companions,
    /// The file `node` beside it.
    pub node: Option<String>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What looking everywhere gave.
#[derive(Debug, Default)]
pub struct Search {
    /// The first seed in the order of places.
    pub found: Option<Found>,
    /// Places that could not be looked at, and why.
    pub notes: Vec<String>,
}

/// Looks everywhere, and stops at the first seed.
pub fn search(runner: &dyn Runner, arguments: &Arguments) -> Search {
    let mut search = Search::default();
    let mut take = |place: &str, result: anyhow::Result<Option<Found>>| -> bool {
        match result {
            Ok(None) => false,
            Ok(Some(found)) => {
                search.found = Some(found);
                true
            }
            Err(error) => {
                search.notes.push(format!("{place}: {error:#}"));
                false
            }
        }
    };
    if let Some(place) = &arguments.seed {
        // Somebody asked for this one by name: another one in its place would not be what they meant.
        take(
            "the kernel command line",
            named(place).and_then(|found| match found {
                Some(found) => Ok(Some(found)),
                None => bail!("edgepair.seed={place} names no file"),
            }),
        );
        return search;
    }
    let done = take("partition SEED", own_partition())
        || take("USB stick", sticks(runner).and_then(|devices| first_stick(&devices)))
        || take("credential", credential(Path::new(CREDENTIALS)));
    let _ = done;
    search
}

/// The seed in a file, with the files beside it.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn file(file: &Path, place: &str) -> anyhow::Result<Option<Found>> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // One byte more than allowed: the check then says that it is too long.
    let Some(text) = read(file, SEED_MAX as u64 + 1).with_context(|| file.display().to_string())? else {
        return Ok(None);
    };
    let beside = |name: &str| {
        if !is_plain(name) {
            return Err("it is not a plain file name".to_owned());
        }
        match read(&folder.join(name), COMPANION_MAX) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(format!("there is no such file in {place}")),
            Err(error) => Err(format!("{error:#}")),
        }
    };
    let companions = Companions::load(&text, beside);
    let node = read(&folder.join(NODE_FILE), 256)?;
    Ok(Some(Found { place: place.to_owned(), name, text, companions, node }))
}

/// A text file of at most `most` bytes; `None` when there is none.
fn read(path: &Path, most: u64) -> anyhow::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map(Some).map_err(|_| anyhow::anyhow!("it is not text in UTF-8"))
}

/// `edgepair.seed=`: `/FILE` of this node, or `/dev/NAME[:/FILE]`, `LABEL=NAME[:/FILE]` on a file system.
fn named(place: &str) -> anyhow::Result<Option<Found>> {
    let words = format!("{place} (kernel command line)");
    if place.contains("://") {
        bail!(
            "edgepair.seed={place}: a seed is not fetched over the network by this version; name a file or a device"
        );
    }
    if !place.starts_with("/dev/") && !place.starts_with("LABEL=") {
        return file(Path::new(place), &words);
    }
    let (device, inside) = place.split_once(":/").unwrap_or((place, SEED_FILE));
    let device = match device.strip_prefix("LABEL=") {
        Some(label) if is_plain(label) => Path::new("/dev/disk/by-label").join(label),
        Some(label) => bail!("LABEL={label} is no label of a file system"),
        None => PathBuf::from(device),
    };
    on_device(&device, inside, &words, &["vfat", "ext4", "iso9660"])
}

/// The SEED partition of the disk that was booted, never one that merely has the same name.
fn own_partition() -> anyhow::Result<Option<Found>> {
    let link = Path::new(path::RUN_DIR).join("device/seed");
    if !link.exists() {
        return Ok(None);
    }
    let device = fs::canonicalize(&link)?;
    let words = format!("partition SEED of {}", device.file_name().unwrap_or_default().to_string_lossy());
    on_device(&device, SEED_FILE, &words, &["vfat"])
}

/// Where a file system is mounted for what lies beside the seed.
const BESIDE: &str = "/run/edgepair/beside-seed";

/// A row of `lsblk --json` (lsblk(8)).
#[derive(Debug, Deserialize)]
struct Block {
    path: PathBuf,
    fstype: Option<String>,
    label: Option<String>,
    tran: Option<String>,
    #[serde(default)]
    children: Vec<Block>,
}

/// Pure: file systems labelled SEED on USB.
fn parse_sticks(text: &str) -> serde_json::Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct List {
        blockdevices: Vec<Block>,
    }
    let list: List = serde_json::from_str(text)?;
    let mut found = Vec::new();
    for disk in list.blockdevices.iter().filter(|disk| disk.tran.as_deref() == Some("usb")) {
        let parts = std::iter::once(disk).chain(&disk.children);
        let seeds = parts.filter(|part| {
            part.fstype.as_deref() == Some("vfat")
                && part.label.as_deref().is_some_and(|label| label.eq_ignore_ascii_case(partition::SEED))
        });
        found.extend(seeds.map(|part| part.path.clone()));
    }
    Ok(found)
}

/// USB sticks labelled SEED, without the booted disk's own partition.
fn sticks(runner: &dyn Runner) -> anyhow::Result<Vec<PathBuf>> {
    let call = Invocation::new("lsblk").args(["--json", "--output", "PATH,FSTYPE,LABEL,TRAN"]);
    let mut list = parse_sticks(&runner.run(&call)?.text()).context("lsblk --json")?;
    let own = fs::canonicalize(Path::new(path::RUN_DIR).join("device/seed")).ok();
    list.retain(|device| Some(device) != own.as_ref());
    Ok(list)
}

/// The seed on the only stick that has one.
fn first_stick(devices: &[PathBuf]) -> anyhow::Result<Option<Found>> {
    let mut found: Option<Found> = None;
    for device in devices {
        let Some(next) = stick(device)? else { continue };
        if let Some(first) = found.as_ref().filter(|first| first.text != next.text) {
            bail!("{} and {} hold different seeds; leave one of them in", first.place, next.place);
        }
        found = Some(next);
    }
    Ok(found)
}

/// The seed on a stick.
///
/// # Errors
/// When the stick cannot be read.
pub fn stick(device: &Path) -> anyhow::Result<Option<Found>> {
    let words = format!("USB stick {}", device.file_name().unwrap_or_default().to_string_lossy());
    on_device(device, SEED_FILE, &words, &["vfat"])
}

/// Looks for a seed on a file system.
fn on_device(device: &Path, inside: &str, words: &str, kinds: &[&str]) -> anyhow::Result<Option<Found>> {
    mounted(device, Path::new(path::SEED), kinds, |look| {
        file(&look.join(inside.trim_start_matches('/')), words)
    })
}

/// Mounts a file system for a look: read-only, and only for as long as it takes.
fn mounted<T>(
    device: &Path,
    look: &Path,
    kinds: &[&str],
    what: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    fs::create_dir_all(look)?;
    // A look that was cut short has left it mounted.
    while fs::metadata(look)?.dev() != fs::metadata(path::RUN_DIR)?.dev() {
        umount2(look, MntFlags::MNT_DETACH)?;
    }
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mut last = None;
    for kind in kinds {
        match mount(Some(device), look, Some(*kind), flags, None::<&str>) {
            Ok(()) => {
                last = None;
                break;
            }
            Err(error) => last = Some((kind, error)),
        }
    }
    if let Some((kind, error)) = last {
        return Err(error).with_context(|| format!("cannot mount {} as {kind}", device.display()));
    }
    let found = what(look);
    umount2(look, MntFlags::MNT_DETACH).context("the seed's partition cannot be unmounted")?;
    found
}

/// Where a seed and what lies beside it may be: the booted disk's own partition, and sticks; in words, and the device.
/// `failed`: why sticks could not be looked for.
pub fn places(runner: &dyn Runner, failed: impl FnOnce(anyhow::Error)) -> Vec<(String, PathBuf)> {
    let name = |device: &Path| device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = fs::canonicalize(Path::new(path::RUN_DIR).join("device/seed")).ok();
    let mut places: Vec<_> =
        own.into_iter().map(|device| (format!("partition SEED of {}", name(&device)), device)).collect();
    match sticks(runner) {
        Ok(sticks) => {
            places.extend(sticks.into_iter().map(|device| (format!("USB stick {}", name(&device)), device)));
        }
        Err(error) => failed(error),
    }
    places
}

/// Looks at one of them. Apart from the look for a seed, which may be under way.
///
/// # Errors
/// When it cannot be mounted, and what was looked for says.
pub fn look_at<T>(device: &Path, what: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    mounted(device, Path::new(BESIDE), &["vfat"], what)
}

/// The seed as a credential: for virtual machines and for boards whose firmware hands one in.
fn credential(folder: &Path) -> anyhow::Result<Option<Found>> {
    let words = "a credential of the firmware";
    let Some(text) = read(&folder.join(CREDENTIAL), SEED_MAX as u64 + 1)? else { return Ok(None) };
    let beside = |name: &str| match read(&folder.join(format!("{CREDENTIAL}.{name}")), COMPANION_MAX) {
        _ if !is_plain(name) => Err("it is not a plain file name".to_owned()),
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("there is no credential {CREDENTIAL}.{name}")),
        Err(error) => Err(format!("{error:#}")),
    };
    let companions = Companions::load(&text, beside);
    let node = read(&folder.join(format!("{CREDENTIAL}.{NODE_FILE}")), 256)?;
    Ok(Some(Found { place: words.to_owned(), name: SEED_FILE.to_owned(), text, companions, node }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = include_str!("../../../../libs/seed/tests/seeds/minimal.toml");

    fn put(path: &Path, text: &[u8]) {
        edgepair_host_io::atomic::write(path, text, 0o600).unwrap();
    }

    #[test]
    fn a_seed_is_read_with_what_stands_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let seed = dir.path().join("seed.toml");
        assert!(file(&seed, "here").unwrap().is_none());
        put(&seed, SEED.as_bytes());
        put(&dir.path().join("node"), b"b\n");
        let found = file(&seed, "here").unwrap().unwrap();
        assert_eq!((found.node.as_deref(), found.companions.iter().count()), (Some("b\n"), 0));
        put(&dir.path().join("pair.secret"), b"secret");
        let found = file(&seed, "here").unwrap().unwrap();
        assert_eq!(
            found.companions.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(),
            ["pair.secret"]
        );
        put(&seed, SEED.replace("\"pair.secret\"", "\"../../etc/shadow\"").as_bytes());
        assert_eq!(file(&seed, "here").unwrap().unwrap().companions.iter().count(), 0, "only beside it");
        put(&seed, b"\xff\xfe");
        assert!(file(&seed, "here").is_err());
    }

    #[test]
    fn only_sticks_on_usb_count() {
        let text = r#"{"blockdevices": [
            {"path":"/dev/vda","fstype":null,"label":null,"tran":"virtio","children":[
                {"path":"/dev/vda2","fstype":"vfat","label":"SEED","tran":null}]},
            {"path":"/dev/sda","fstype":null,"label":null,"tran":"usb","children":[
                {"path":"/dev/sda1","fstype":"vfat","label":"seed","tran":null},
                {"path":"/dev/sda2","fstype":"ext4","label":"SEED","tran":null}]},
            {"path":"/dev/sdb","fstype":"vfat","label":"SEED","tran":"usb"},
            {"path":"/dev/sdc","fstype":"vfat","label":"SEED","tran":"sata"}]}"#;
        let want = [PathBuf::from("/dev/sda1"), PathBuf::from("/dev/sdb")];
        assert_eq!(parse_sticks(text).unwrap(), want);
        assert!(parse_sticks("").is_err());
    }

    #[test]
    fn a_credential_brings_its_companions_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(credential(dir.path()).unwrap().is_none());
        put(&dir.path().join("edgepair.seed"), SEED.as_bytes());
        put(&dir.path().join("edgepair.seed.pair.secret"), b"secret");
        put(&dir.path().join("edgepair.seed.node"), b"a");
        let found = credential(dir.path()).unwrap().unwrap();
        assert_eq!((found.node.as_deref(), found.companions.iter().count()), (Some("a"), 1));
    }
}
