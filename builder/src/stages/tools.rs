//! The tools tree: a Debian tree of the image's own suite with every program that a build needs.
//!
//! Made once by the host's mmdebstrap, entered with [`Sandbox`]. The result of a build so depends on this tree and
//! not on the host's distribution.

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::cache::{Cache, remove_tree};
use crate::engine::progress::{Progress, hint};
use crate::engine::sources::{self, KEYRING};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::Sandbox;
use edgepair_host_io::{HostRunner, Invocation, Runner, atomic, digest};
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

impl ToolsPlan {
    /// The plan for a definition and its board.
    pub fn new(definition: &Definition, board: &Board) -> Self {
        let cross = board.architecture.debian != host_architecture();
        let mut packages: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
        packages.extend(board.architecture.tools.iter().cloned());
        if cross {
            packages.extend(board.architecture.cross_tools.iter().cloned());
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

    /// The mmdebstrap call; `-` is standard output.
    pub fn argv(&self) -> Vec<String> {
        let mut argv: Vec<String> =
            ["mmdebstrap", "--variant=minbase", "--format=tar"].map(str::to_owned).to_vec();
        argv.push(format!("--include={}", self.packages.join(",")));
        if let Some(foreign) = &self.foreign {
            argv.push(format!("--architectures={},{foreign}", host_architecture()));
        }
        argv.push(format!("--keyring={KEYRING}"));
        argv.extend(
            ["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"3\""]
                .map(str::to_owned),
        );
        for path in ["doc", "man", "info", "locale", "lintian"] {
            argv.push(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        argv.push(self.suite.clone());
        argv.push("-".to_owned());
        argv.extend(self.sources.iter().cloned());
        argv
    }

    fn key(&self) -> String {
        let foreign = self.foreign.as_deref().unwrap_or("");
        digest::of_bytes(format!(
            "1 {} {} {foreign} {}",
            self.suite,
            host_architecture(),
            self.packages.join(" ")
        ))[..16]
            .to_owned()
    }

    /// The sandbox, if the tree is already there.
    pub fn existing(&self, cache: &Cache) -> Option<Sandbox> {
        let tools = cache.path("tools").join(self.key());
        tools.is_dir().then_some(Sandbox { tools })
    }

    /// Makes the tree unless it is there.
    ///
    /// # Errors
    /// mmdebstrap's, with what they usually mean.
    pub fn ensure(&self, cache: &Cache, progress: &Progress) -> anyhow::Result<Sandbox> {
        let key = self.key();
        let _lock = cache.lock(&format!("tools-{key}"))?;
        if let Some(sandbox) = self.existing(cache) {
            return Ok(sandbox);
        }
        let running = progress.start(
            "tools",
            &format!("Tools tree of {} from {} packages and what they need", self.suite, self.packages.len()),
            "never built before",
        );
        let folder = cache.path("tools");
        for entry in fs::read_dir(&folder)?.flatten() {
            // The lock is held: whoever began this tree is gone.
            if entry.file_name().to_string_lossy().starts_with(&format!(".{key}")) {
                remove_tree(&entry.path())?;
            }
        }
        let staged = folder.join(format!(".{key}.{}", std::process::id()));
        fs::create_dir(&staged)?;
        let made = self.unpack(&staged);
        if let Err(error) = made {
            remove_tree(&staged)?;
            return Err(error);
        }
        for name in Sandbox::MOUNT_POINTS {
            fs::create_dir_all(staged.join(name))?;
        }
        let tools = folder.join(&key);
        atomic::publish(&staged, &tools)?;
        running.finish("kept for later builds");
        Ok(Sandbox { tools })
    }

    fn unpack(&self, staged: &Path) -> anyhow::Result<()> {
        // Owners are dropped: the tree belongs to whoever builds, and inside the sandbox that is root.
        let script =
            "set -o pipefail; dir=$1; shift; \"$@\" | tar -x --no-same-owner --exclude='./dev/*' -C \"$dir\"";
        let mut argv: Vec<String> = ["-c", script, "tools"].map(str::to_owned).to_vec();
        argv.push(staged.to_string_lossy().into_owned());
        argv.extend(self.argv());
        let call = Invocation::new("bash")
            .args(argv)
            .env("TMPDIR", staged.parent().unwrap_or(staged).to_string_lossy());
        let call =
            if nix::unistd::geteuid().is_root() { call } else { Invocation { env: Vec::new(), ..call } };
        match HostRunner.run(&call) {
            Ok(_) => Ok(()),
            Err(error) => {
                let fix = hint(error.tail()).unwrap_or("`edgepair doctor` says what this machine lacks");
                bail!("the tools tree cannot be made: {error}\n  to do: {fix}")
            }
        }
    }
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
