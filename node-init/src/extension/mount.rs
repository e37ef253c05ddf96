//! Puts an extension in use: dm-verity over its image, mounted beside the others, and one link that says which it is.
//!
//! The link is changed by one rename, so `/usr/bin/k3s` is the old program or the new one and never neither. What still
//! runs from the old one keeps its mount until it ends.

use super::images::AGENT_IMAGES;
use super::plan::Plan;
use super::shelf::{Shelf, Usable};
use crate::facts::Facts;
use crate::member::Place;
use anyhow::{Context, bail};
use edgepair_extension::{Span, Version};
use edgepair_host_io::{Invocation, Runner, atomic};
use edgepair_layout::path::{EXTENSION, EXTENSION_IMAGES, EXTENSIONS_MOUNTED};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// systemd's tool that activates dm-verity (systemd-veritysetup@.service(8)).
const VERITYSETUP: &str = "/usr/lib/systemd/systemd-veritysetup";
/// Name of the fact that says what is in use.
pub const FACT: &str = "extension";

/// What is in use in this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// Version.
    pub version: String,
    /// Root hash of the image.
    pub root_hash: String,
}

impl InUse {
    /// What is in use.
    #[must_use]
    pub fn load(facts: &Facts) -> Option<Self> {
        facts.get(FACT)
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.version)
    }
}

/// Which one a node is to use: the pair's choice, or before there is one what the image brought. Never another than the
/// pair's: an older server than the one that wrote the datastore must not start.
///
/// # Errors
/// In words, when the one that is wanted is not there or may not be used.
pub fn choose<'a>(plan: &Plan, shelf: &'a Shelf) -> Result<Option<&'a Usable>, String> {
    match plan.version() {
        Some(version) => shelf.get(&version).map(Some).ok_or_else(|| shelf.why_not(&version)),
        None if plan.revision > 0 => Err(format!("the pair's choice `{}` is no version", plan.version)),
        None => Ok(shelf.newest_of_image()),
    }
}

/// The machine.
pub struct Host<'a> {
    /// Where things lie.
    pub place: &'a Place,
    /// Programs.
    pub runner: &'a dyn Runner,
    /// What the stages of this boot tell each other.
    pub facts: &'a Facts,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({:?})", self.place)
    }
}

impl Host<'_> {
    /// Puts one in use. Doing it again changes nothing.
    ///
    /// # Errors
    /// What failed. Another one that was in use stays so; this one is not in use any more, whoever still runs from it: it is
    /// tried again, and nothing is started from it meanwhile.
    pub fn mount(&self, usable: &Usable) -> anyhow::Result<()> {
        let done = self.try_mount(usable);
        let target = self.place.path(EXTENSIONS_MOUNTED).join(&usable.head().root_hash);
        if done.is_err() && fs::read_link(self.place.path(EXTENSION)).is_ok_and(|link| link == target) {
            self.out_of_use()?;
        }
        done
    }

    fn try_mount(&self, usable: &Usable) -> anyhow::Result<()> {
        let hash = &usable.head().root_hash;
        let target = self.place.path(EXTENSIONS_MOUNTED).join(hash);
        if !self.is_mounted(hash)? {
            fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
            let name = mapping(hash);
            if !self.place.path("/dev/mapper").join(&name).exists() {
                self.attach(usable, &name)?;
            }
            let device = format!("/dev/mapper/{name}");
            let options = ["-t", "erofs", "-o", "ro,nodev,nosuid", &device];
            let call = Invocation::new("mount").args(options).arg(target.to_string_lossy());
            if let Err(error) = self.runner.run(&call) {
                let _ = self.detach(&name);
                return Err(error).context(
                    "its file system cannot be mounted: the image is damaged, or is not the one that was signed",
                );
            }
        }
        let whole = if self.place.is_root() { self.whole(&target) } else { Ok(()) };
        if let Err(error) = whole {
            let gone = self.runner.run(&Invocation::new("umount").arg(target.to_string_lossy()));
            if gone.is_ok() {
                let _ = self.detach(&mapping(hash));
            }
            return Err(error);
        }
        point(&target, &self.place.path(EXTENSION))?;
        let in_use = InUse { version: usable.version().to_string(), root_hash: hash.clone() };
        self.facts.put(FACT, &in_use)?;
        self.link_images(&usable.head().images)?;
        self.forget_others(hash);
        Ok(())
    }

    /// Puts none in use. What runs goes on until it ends; it is not started again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn out_of_use(&self) -> anyhow::Result<()> {
        let link = self.place.path(EXTENSION);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| link.display().to_string());
            }
            _ => {}
        }
        self.facts.remove(FACT);
        Ok(())
    }

    /// Reads the program once: a block that is not as it was signed is found here, with a sentence, and not when the program
    /// is started or, worse, later. What was read stays in memory for its start.
    fn whole(&self, target: &Path) -> anyhow::Result<()> {
        let path = target.join("usr/bin/k3s");
        let mut program = match fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no /usr/bin/k3s in it")
            }
            program => program.context("/usr/bin/k3s in it")?,
        };
        std::io::copy(&mut program, &mut std::io::sink()).map(drop).context(
            "its content is not what was signed: it was changed, or the disk lost it; install it again",
        )
    }

    /// dm-verity over the two parts of the image.
    fn attach(&self, usable: &Usable, name: &str) -> anyhow::Result<()> {
        let image = usable.image();
        let data = self.loop_device(&image, usable.head().data)?;
        let tree = match self.loop_device(&image, usable.head().tree) {
            Ok(tree) => tree,
            Err(error) => {
                self.release(&data);
                return Err(error);
            }
        };
        let call =
            Invocation::new(VERITYSETUP).args(["attach", name, &data, &tree, &usable.head().root_hash]);
        let attached = self.runner.run(&call);
        // In use they stay until the mapping goes; they are not needed by name any more.
        self.release(&tree);
        self.release(&data);
        attached.map(drop).context("its hash tree does not fit its root hash, or the kernel has no dm-verity")
    }

    fn loop_device(&self, image: &Path, span: Span) -> anyhow::Result<String> {
        let (offset, length) = (format!("--offset={}", span.offset), format!("--sizelimit={}", span.length));
        let call = Invocation::new("losetup").args(["--find", "--show", "--read-only", &offset, &length]);
        let said = self.runner.run(&call.arg(image.to_string_lossy()))?.text();
        let device = said.trim();
        if !device.starts_with("/dev/loop") {
            bail!("losetup named no loop device: {device}");
        }
        Ok(device.to_owned())
    }

    /// A loop device goes when its last user does (losetup(8), `--detach`).
    fn release(&self, device: &str) {
        let _ = self.runner.run(&Invocation::new("losetup").args(["--detach", device]));
    }

    fn detach(&self, name: &str) -> anyhow::Result<()> {
        self.runner.run(&Invocation::new(VERITYSETUP).args(["detach", name]))?;
        Ok(())
    }

    fn is_mounted(&self, hash: &str) -> anyhow::Result<bool> {
        let table = fs::read_to_string(self.place.path("/proc/self/mountinfo")).context("the mounts")?;
        Ok(mounted(&table, EXTENSIONS_MOUNTED).iter().any(|name| name == hash))
    }

    /// Mounts of versions before this one, whose last user may have ended by now.
    fn forget_others(&self, hash: &str) {
        let table = fs::read_to_string(self.place.path("/proc/self/mountinfo")).unwrap_or_default();
        for old in mounted(&table, EXTENSIONS_MOUNTED).iter().filter(|name| *name != hash) {
            let folder = format!("{EXTENSIONS_MOUNTED}/{old}");
            if self.runner.run(&Invocation::new("umount").arg(&folder)).is_ok() {
                let _ = self.detach(&mapping(old));
                let _ = fs::remove_dir(self.place.path(&folder));
            }
        }
    }

    /// Archives of container images, as links, where k3s finds them. What else lies there is not ours.
    fn link_images(&self, images: &[String]) -> anyhow::Result<()> {
        let folder = self.place.path(AGENT_IMAGES);
        let source = format!("{EXTENSION}{EXTENSION_IMAGES}");
        if images.is_empty() && !folder.exists() {
            return Ok(());
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for entry in fs::read_dir(&folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(&source));
            if ours && !images.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        for name in images {
            let link = folder.join(name);
            let wanted = PathBuf::from(format!("{source}/{name}"));
            if fs::read_link(&link).is_ok_and(|target| target == wanted) {
                continue;
            }
            if fs::symlink_metadata(&link).is_ok() {
                // Of one name the signed one counts. The other stays, under a name that k3s does not take.
                fs::rename(&link, folder.join(format!("{name}.unsigned")))?;
            }
            symlink(wanted, &link)?;
        }
        Ok(())
    }
}

/// Name of a mapping. The whole hash is in it: a mapping of this name is over this content.
fn mapping(hash: &str) -> String {
    format!("edgepair-k3s-{hash}")
}

/// Names of the mount points below a folder (proc_pid_mountinfo(5): the fifth field).
fn mounted(table: &str, folder: &str) -> Vec<String> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter_map(|point| point.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned)).collect()
}

/// Makes a link point elsewhere, by one rename.
fn point(target: &Path, link: &Path) -> std::io::Result<()> {
    if fs::read_link(link).ok().as_deref() == Some(target) {
        return Ok(());
    }
    let temporary: PathBuf = atomic::temporary_name(link);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, &temporary)?;
    fs::rename(&temporary, link)
}

#[cfg(test)]
mod tests {
    use super::super::shelf::Origin;
    use super::super::shelf::tests::place_one;
    use super::*;
    use edgepair_host_io::scripted::ScriptedRunner;

    fn prepared(versions: &[&str], mounts: &str) -> (tempfile::TempDir, Place, Facts) {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        for version in versions {
            place_one(&place, Origin::Image, version, &[]);
        }
        for folder in ["run/edgepair", "proc/self", "dev/mapper"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        atomic::write(&root.path().join("proc/self/mountinfo"), mounts.as_bytes(), 0o644).unwrap();
        let facts = Facts::at(&root.path().join("run/edgepair"));
        (root, place, facts)
    }

    #[test]
    fn the_pairs_choice_and_no_other() {
        let (_root, place, _) = prepared(&["v1.33.4+k3s1", "v1.34.1+k3s1"], "");
        let shelf = Shelf::look(&place, "amd64");
        let plan = |version: &str, revision| Plan { revision, version: version.to_owned() };
        let chosen = |plan: &Plan| {
            choose(plan, &shelf).map(|usable| usable.map(|usable| usable.version().to_string()))
        };
        assert_eq!(chosen(&Plan::default()).unwrap().unwrap(), "v1.34.1+k3s1");
        assert_eq!(chosen(&plan("v1.33.4+k3s1", 1)).unwrap().unwrap(), "v1.33.4+k3s1");
        assert!(chosen(&plan("v1.33.5+k3s1", 1)).unwrap_err().contains("is not here"));
        assert!(chosen(&plan("nonsense", 1)).is_err());
        assert_eq!(choose(&Plan::default(), &Shelf::default()), Ok(None));
    }

    #[test]
    fn it_is_checked_by_the_kernel_before_it_is_mounted() {
        let (root, place, facts) = prepared(&["v1.33.4+k3s1"], "");
        let runner =
            ScriptedRunner::new([Ok("/dev/loop4\n"), Ok("/dev/loop5\n"), Ok(""), Ok(""), Ok(""), Ok("")]);
        let host = Host { place: &place, runner: &runner, facts: &facts };
        host.mount(&Shelf::look(&place, "amd64").usable[0]).unwrap();
        let calls = runner.calls();
        let hash = "0f".repeat(32);
        assert!(
            calls[0].starts_with("losetup --find --show --read-only --offset=4096 --sizelimit=8192 "),
            "{calls:?}"
        );
        assert_eq!(
            calls[2],
            format!("{VERITYSETUP} attach edgepair-k3s-{hash} /dev/loop4 /dev/loop5 {hash}")
        );
        assert!(
            calls[5]
                .starts_with(&format!("mount -t erofs -o ro,nodev,nosuid /dev/mapper/edgepair-k3s-{hash} "))
        );
        assert_eq!(
            fs::read_link(root.path().join("run/edgepair/extension")).unwrap().file_name().unwrap(),
            &*hash
        );
        assert_eq!(InUse::load(&facts).unwrap().version, "v1.33.4+k3s1");
        let link = fs::read_link(root.path().join("var/lib/rancher/k3s/agent/images/a.tar")).unwrap();
        assert_eq!(link, Path::new("/run/edgepair/extension/usr/share/k3s/images/a.tar"));
    }

    #[test]
    fn of_two_archives_with_one_name_the_signed_one_counts() {
        let (root, place, facts) = prepared(&[], "");
        let folder = root.path().join("var/lib/rancher/k3s/agent/images");
        fs::create_dir_all(&folder).unwrap();
        atomic::write(&folder.join("a.tar"), b"somebody's", 0o644).unwrap();
        let runner = ScriptedRunner::new([]);
        let host = Host { place: &place, runner: &runner, facts: &facts };
        for _ in 0..2 {
            host.link_images(&["a.tar".to_owned()]).unwrap();
            let link = fs::read_link(folder.join("a.tar")).unwrap();
            assert_eq!(link, Path::new("/run/edgepair/extension/usr/share/k3s/images/a.tar"));
            assert_eq!(fs::read(folder.join("a.tar.unsigned")).unwrap(), b"somebody's");
        }
    }

    #[test]
    fn a_tree_that_does_not_fit_leaves_nothing_in_use() {
        let (root, place, facts) = prepared(&["v1.33.4+k3s1"], "");
        let runner = ScriptedRunner::new([
            Ok("/dev/loop4"),
            Ok("/dev/loop5"),
            Err("root hash does not fit"),
            Ok(""),
            Ok(""),
        ]);
        let host = Host { place: &place, runner: &runner, facts: &facts };
        // It was in use before its disk lost it.
        let hash = "0f".repeat(32);
        fs::create_dir_all(place.path(EXTENSIONS_MOUNTED)).unwrap();
        point(&place.path(EXTENSIONS_MOUNTED).join(&hash), &place.path(EXTENSION)).unwrap();
        facts.put(FACT, &InUse { version: "v1.33.4+k3s1".into(), root_hash: hash }).unwrap();
        let said = host.mount(&Shelf::look(&place, "amd64").usable[0]).unwrap_err().to_string();
        assert!(said.contains("does not fit its root hash"), "{said}");
        assert!(fs::symlink_metadata(root.path().join("run/edgepair/extension")).is_err());
        assert_eq!(InUse::load(&facts), None);
        assert_eq!(runner.calls()[3..], ["losetup --detach /dev/loop5", "losetup --detach /dev/loop4"]);
    }

    #[test]
    fn one_that_is_mounted_is_only_pointed_to_and_older_ones_go() {
        let hash = "0f".repeat(32);
        let mounts = format!(
            "36 35 253:1 / /run/edgepair/extensions/{hash} ro - erofs /dev/mapper/x ro\n\
             37 35 253:2 / /run/edgepair/extensions/old ro - erofs /dev/mapper/y ro\n"
        );
        let (_root, place, facts) = prepared(&["v1.33.4+k3s1"], &mounts);
        let runner = ScriptedRunner::new([Ok(""), Ok("")]);
        let host = Host { place: &place, runner: &runner, facts: &facts };
        host.mount(&Shelf::look(&place, "amd64").usable[0]).unwrap();
        let want = [
            "umount /run/edgepair/extensions/old".to_owned(),
            format!("{VERITYSETUP} detach edgepair-k3s-old"),
        ];
        assert_eq!(runner.calls(), want);
    }
}
