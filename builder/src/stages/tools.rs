//! The tools tree: a Debian tree of the image's own suite with every program that a build needs.
//!
//! Made once by the host's mmdebstrap, entered with [`Sandbox`]. The result of a build so depends on this tree and
//! not on the host's distribution.

use super::packages::{Apt, by_name, parse_simulation, parse_stanzas};
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::cache::{Cache, remove_tree};
use crate::engine::progress::{Progress, hint};
use crate::engine::sources::{self, KEYRING};
use crate::lock::Packages;
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::Sandbox;
use edgepair_host_io::{HostRunner, Invocation, Runner, atomic, digest};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Programs of every build, by what they are for.
const PACKAGES: &[&str] = &[
    // packages and root tree
    "mmdebstrap",
    "apt-utils",
    "debian-archive-keyring",
    "ca-certificates",
    "curl",
    "zstd",
    // file systems, disk image, boot files
    "erofs-utils",
    "cryptsetup-bin",
    "dosfstools",
    "mtools",
    "e2fsprogs",
    "fdisk",
    "systemd-repart",
    "systemd-ukify",
    "systemd-boot-efi",
    "sbsigntool",
    "libfaketime",
    "python3-virt-firmware",
    "bmap-tools",
    // initrd
    "dracut-core",
    "systemd-sysv",
    "systemd-cryptsetup",
    "kmod",
    "cpio",
    "udev",
    "binutils",
    // node-init
    "rustc",
    "cargo",
    "gcc",
    "libc6-dev",
    "pkgconf",
    // the lab
    "qemu-utils",
];

/// Debian's name of the machine that builds.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What the tools tree of a definition consists of.
#[derive(Debug)]
pub struct ToolsPlan {
    packages: Vec<String>,
    suite: String,
    foreign: Option<String>,
    sources: Vec<String>,
}

/// A tools tree and what it is made of.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The tree, ready to be entered.
    pub sandbox: Sandbox,
    /// Its packages, by the names that a lock file uses.
    pub packages: Packages,
    /// Digest over its package list: part of every step's key.
    pub identity: String,
}

/// Which tree is wanted, where several may be in the cache.
#[derive(Debug, Clone, Copy)]
pub enum Wish<'a> {
    /// The one of the lock file where it is in the cache, else the newest that is, else a new one.
    Like(Option<&'a Packages>),
    /// Exactly this list.
    Exactly(&'a Packages),
    /// What the archive has now.
    New,
}

/// Where a tree keeps the index entries of its packages.
const LIST: &str = "usr/share/edgepair-packages";

/// Writes the index entries of what has been installed into the tree. apt's index is still there when hooks run.
const LIST_HOOK: &str = "set -eu; APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-cache show --no-all-versions \
    $(dpkg-query --admindir=\"$1/var/lib/dpkg\" --show --showformat='${Package}:${Architecture}=${Version}\\n' | sed 's/:all=/=/') \
    | grep -E '^(Package|Version|Architecture|SHA256):|^$' > \"$1/usr/share/edgepair-packages\"";

impl ToolsPlan {
    /// The plan for a definition and its board.
    pub fn new(definition: &Definition, board: &Board) -> Self {
        let cross = board.architecture.debian != host_architecture();
        let mut packages: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
        packages.extend(board.architecture.tools.iter().cloned());
        if cross {
            packages.extend(board.architecture.cross_tools.iter().cloned());
            // mmdebstrap asks it whether this machine runs the foreign programs.
            packages.push("arch-test".to_owned());
        }
        packages.sort();
        packages.dedup();
        Self {
            packages,
            suite: definition.suite.value.clone(),
            foreign: cross.then(|| board.architecture.debian.clone()),
            sources: sources::lines(definition, sources::of_host),
        }
    }

    /// The mmdebstrap call; `-` is standard output. `exactly` pins every package.
    pub fn argv(&self, exactly: Option<&Packages>) -> Vec<String> {
        let variant = if exactly.is_some() { "custom" } else { "minbase" };
        let mut argv: Vec<String> =
            ["mmdebstrap", &format!("--variant={variant}"), "--format=tar"].map(str::to_owned).to_vec();
        let names = match exactly {
            None => self.packages.clone(),
            Some(packages) => {
                packages.iter().map(|(name, locked)| format!("{name}={}", locked.version)).collect()
            }
        };
        argv.push(format!("--include={}", names.join(",")));
        argv.push(format!("--architectures={}", self.architectures().join(",")));
        argv.push(format!("--keyring={KEYRING}"));
        argv.extend(
            ["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"3\""]
                .map(str::to_owned),
        );
        for path in ["doc", "man", "info", "locale", "lintian"] {
            argv.push(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        argv.push(format!("--customize-hook={LIST_HOOK}"));
        argv.push(self.suite.clone());
        argv.push("-".to_owned());
        argv.extend(self.sources.iter().cloned());
        argv
    }

    fn architectures(&self) -> Vec<&str> {
        std::iter::once(host_architecture()).chain(self.foreign.as_deref()).collect()
    }

    fn key(&self) -> String {
        let foreign = self.foreign.as_deref().unwrap_or("");
        digest::of_bytes(format!(
            "2 {} {} {foreign} {}",
            self.suite,
            host_architecture(),
            self.packages.join(" ")
        ))[..16]
            .to_owned()
    }

    /// All trees of this plan in the cache, the newest first.
    fn trees(&self, cache: &Cache) -> Vec<Tools> {
        let prefix = format!("{}-", self.key());
        let entries = fs::read_dir(cache.path("tools")).into_iter().flatten().flatten();
        let mut dirs: Vec<_> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        dirs.sort();
        dirs.into_iter().rev().filter_map(|(_, dir)| open(&dir).ok()).collect()
    }

    /// The tree that a build would use, if there is one.
    pub fn existing(&self, cache: &Cache, wish: Wish<'_>) -> Option<Tools> {
        let mut trees = self.trees(cache);
        let like = |trees: &[Tools], list: &Packages| trees.iter().position(|tree| tree.packages == *list);
        let index = match wish {
            Wish::New => None,
            Wish::Exactly(list) => like(&trees, list),
            Wish::Like(list) => {
                list.and_then(|list| like(&trees, list)).or_else(|| (!trees.is_empty()).then_some(0))
            }
        };
        index.map(|index| trees.swap_remove(index))
    }

    /// Makes the tree unless it is there.
    ///
    /// # Errors
    /// mmdebstrap's, with what they usually mean; or that the archive does not have what is wished for.
    pub fn ensure(&self, cache: &Cache, progress: &Progress, wish: Wish<'_>) -> anyhow::Result<Tools> {
        let key = self.key();
        let _lock = cache.lock(&format!("tools-{key}"))?;
        if let Some(tools) = self.existing(cache, wish) {
            return Ok(tools);
        }
        let why = match wish {
            Wish::New => "the archive has newer versions",
            Wish::Exactly(_) => "the cache has none with the locked versions",
            Wish::Like(_) => "never built before",
        };
        let exactly = if let Wish::Exactly(list) = wish { Some(list) } else { None };
        let running = progress.start(
            "tools",
            &format!("Tools tree of {} from {} packages and what they need", self.suite, self.packages.len()),
            why,
        );
        let folder = cache.path("tools");
        for entry in fs::read_dir(&folder)?.flatten() {
            // The lock is held: whoever began this tree is gone.
            if entry.file_name().to_string_lossy().starts_with(&format!(".{key}")) {
                remove_tree(&entry.path())?;
            }
        }
        let staged = folder.join(format!(".{key}.{}", std::process::id()));
        // mmdebstrap's own tree has a name that says nothing: kept apart, or others would take it for a finished one.
        let scratch = folder.join(format!(".{key}.{}.scratch", std::process::id()));
        fs::create_dir(&staged)?;
        fs::create_dir(&scratch)?;
        let made = self.unpack(&staged, &scratch, exactly).and_then(|()| open(&staged));
        remove_tree(&scratch)?;
        let tools = match made {
            Ok(tools) => tools,
            Err(error) => {
                remove_tree(&staged)?;
                return Err(error);
            }
        };
        if exactly.is_some_and(|list| *list != tools.packages) {
            remove_tree(&staged)?;
            bail!(
                "--locked: the archive gave a tools tree that is not the locked one\n  to do: look at the difference with \
                 `edgepair lock IMAGE.toml`; if it is right, take it over with --update"
            );
        }
        for name in Sandbox::MOUNT_POINTS {
            fs::create_dir_all(staged.join(name))?;
        }
        let path = folder.join(format!("{key}-{}", &tools.identity[..12]));
        if path.exists() {
            // The archive has nothing newer than what is there already.
            remove_tree(&staged)?;
        } else {
            atomic::publish(&staged, &path)?;
        }
        running.finish("kept for later builds");
        Ok(Tools { sandbox: Sandbox { tools: path }, ..tools })
    }

    /// Whether the archive has other versions than a tree: apt in that tree is asked, nothing is downloaded.
    ///
    /// # Errors
    /// apt's.
    pub fn outdated(&self, cache: &Cache, tools: &Tools) -> anyhow::Result<bool> {
        let mut sources = self.sources.clone();
        if sources.is_empty() {
            sources = sources_of(&tools.sandbox)?;
        }
        let apt = Apt::open(cache, &tools.sandbox, &self.suite, &sources, &self.architectures(), &[])?;
        apt.run(&["apt-get", "update", "-o", "APT::Update::Error-Mode=any"].map(str::to_owned), true)?;
        // What mmdebstrap's variant minbase consists of, and the plan's own packages.
        let base = format!(
            "?and(?or(?architecture({}),?architecture(all)),?or(?essential,?priority(required)))",
            host_architecture()
        );
        let mut simulate =
            ["apt-get", "install", "--simulate", "--yes", &base, "apt"].map(str::to_owned).to_vec();
        simulate.extend(self.packages.iter().cloned());
        let now = parse_simulation(&apt.run(&simulate, false)?);
        let have: BTreeMap<String, String> =
            tools.packages.iter().map(|(name, locked)| (name.clone(), locked.version.clone())).collect();
        Ok(now != have)
    }

    fn unpack(&self, staged: &Path, scratch: &Path, exactly: Option<&Packages>) -> anyhow::Result<()> {
        // Owners are dropped: the tree belongs to whoever builds, and inside the sandbox that is root.
        let script =
            "set -o pipefail; dir=$1; shift; \"$@\" | tar -x --no-same-owner --exclude='./dev/*' -C \"$dir\"";
        let mut argv: Vec<String> = ["-c", script, "tools"].map(str::to_owned).to_vec();
        argv.push(staged.to_string_lossy().into_owned());
        argv.extend(self.argv(exactly));
        let call = Invocation::new("bash").args(argv).env("TMPDIR", scratch.to_string_lossy());
        let call =
            if nix::unistd::geteuid().is_root() { call } else { Invocation { env: Vec::new(), ..call } };
        match HostRunner.run(&call) {
            Ok(_) => Ok(()),
            Err(error) if exactly.is_some() => bail!(
                "--locked: a tools tree with exactly the locked versions is not in the cache and cannot be made: {error}\n  \
                 to do: take the archive's present versions with `edgepair lock IMAGE.toml --update`, or name a mirror in the \
                 definition that keeps old ones (Debian runs an archive of all its past states)"
            ),
            Err(error) => {
                let fix = hint(error.tail()).unwrap_or("`edgepair doctor` says what this machine lacks");
                bail!("the tools tree cannot be made: {error}\n  to do: {fix}")
            }
        }
    }
}

/// A finished tree.
///
/// # Errors
/// When it does not say what it is made of.
fn open(dir: &Path) -> anyhow::Result<Tools> {
    let text = fs::read_to_string(dir.join(LIST))
        .with_context(|| format!("{} does not list its packages", dir.display()))?;
    let packages = by_name(&parse_stanzas(&text)?, host_architecture());
    let lines: String = packages
        .iter()
        .map(|(name, locked)| format!("{name} {} {}\n", locked.version, locked.sha256))
        .collect();
    let identity = digest::of_bytes(lines);
    Ok(Tools { sandbox: Sandbox { tools: dir.to_owned() }, packages, identity })
}

/// The apt sources inside a tools tree, where neither the definition nor the host named a mirror.
///
/// # Errors
/// When the tree has none.
pub fn sources_of(sandbox: &Sandbox) -> anyhow::Result<Vec<String>> {
    let path = sandbox.tools.join("etc/apt/sources.list");
    let text =
        fs::read_to_string(&path).with_context(|| format!("the tools tree has no {}", path.display()))?;
    Ok(text.lines().filter(|line| line.starts_with("deb ")).map(str::to_owned).collect())
}

/// Any tree of the cache, the newest: for programs that do not depend on the image.
pub fn any_tree(cache: &Cache) -> Option<Sandbox> {
    let entries = fs::read_dir(cache.path("tools")).ok()?.flatten();
    // A finished one lists its packages; what begins with a dot is being made.
    let dirs = entries.filter(|entry| {
        !entry.file_name().to_string_lossy().starts_with('.') && entry.path().join(LIST).is_file()
    });
    let newest = dirs
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max_by_key(|(time, _)| *time)?;
    Some(Sandbox { tools: newest.1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_being_made_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let finished = cache.path("tools").join("0123456789abcdef-0123456789ab");
        fs::create_dir_all(finished.join(LIST).parent().unwrap()).unwrap();
        atomic::write(&finished.join(LIST), b"", 0o644).unwrap();
        for unfinished in ["mmdebstrap.jUSr3kVeF9", ".0123456789abcdef.7"] {
            std::thread::sleep(std::time::Duration::from_millis(10));
            fs::create_dir_all(cache.path("tools").join(unfinished)).unwrap();
        }
        assert_eq!(any_tree(&cache).unwrap().tools, finished);
    }
}
