//! What this machine lacks for a build, and how to get it.

use crate::definition::board::Board;
use crate::engine::progress::Progress;
use crate::stages::tools::host_architecture;
use anyhow::bail;
use edgepair_host_io::{HostRunner, Invocation, Runner};
use nix::unistd::{Uid, User};
use serde::Serialize;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// What and why it is needed.
    pub what: String,
    /// Debian package that brings it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Commands that mend it, run as root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Vec<String>>,
}

/// Looks at this machine. `foreign` is an architecture whose programs must run here.
pub fn examine(foreign: Option<&str>) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(program).is_file())
    };
    let mut need = |program: &str, package: &str, why: &str| {
        if !on_path(program) {
            lacks.push(Lack {
                what: format!("{program}: {why}"),
                package: Some(package.to_owned()),
                commands: Vec::new(),
            });
        }
    };
    need("mmdebstrap", "mmdebstrap", "makes the tools tree from Debian packages");
    need("unshare", "util-linux", "enters the tools tree");
    need("mount", "mount", "gives the tools tree its devices and folders");
    if !Path::new(crate::engine::sources::KEYRING).is_file() {
        lacks.push(Lack {
            what: "Debian's archive keys".into(),
            package: Some("debian-archive-keyring".into()),
            commands: Vec::new(),
        });
    }
    if !Uid::effective().is_root() {
        if !on_path("newuidmap") {
            lacks.push(Lack {
                what: "newuidmap: lets an ordinary user own a whole Debian tree".into(),
                package: Some("uidmap".into()),
                commands: Vec::new(),
            });
        }
        let user = User::from_uid(Uid::effective())
            .ok()
            .flatten()
            .map_or_else(|| Uid::effective().to_string(), |user| user.name);
        for (file, option) in [("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")] {
            let has = fs::read_to_string(file)
                .is_ok_and(|text| text.lines().any(|line| line.starts_with(&format!("{user}:"))));
            if !has {
                lacks.push(Lack {
                    what: format!("a range of subordinate ids for {user} in {file}"),
                    package: None,
                    commands: vec![["usermod", option, "100000-165535", &user].map(str::to_owned).to_vec()],
                });
            }
        }
        let off = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
        if off("/proc/sys/kernel/unprivileged_userns_clone", "0")
            || off("/proc/sys/user/max_user_namespaces", "0")
        {
            lacks.push(Lack {
                what: "user namespaces are switched off in this kernel".into(),
                package: None,
                commands: vec![
                    ["sysctl", "-w", "kernel.unprivileged_userns_clone=1"].map(str::to_owned).to_vec(),
                    ["sysctl", "-w", "user.max_user_namespaces=15000"].map(str::to_owned).to_vec(),
                ],
            });
        }
    }
    if let Some(foreign) = foreign {
        let emulator = match foreign {
            "arm64" => "aarch64",
            "amd64" => "x86_64",
            other => other,
        };
        if emulator != std::env::consts::ARCH
            && !Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{emulator}")).exists()
        {
            lacks.push(Lack {
                what: format!(
                    "running {foreign} programs on this machine: packages of a foreign image run their set-up scripts \
                     (binfmt_misc with qemu-user)"
                ),
                package: Some("qemu-user-static".into()),
                commands: vec![["sh", "-c", &register(emulator)].map(str::to_owned).to_vec()],
            });
        }
    }
    lacks
}

/// Tells the kernel which program runs foreign ones, where no service manager does it (a container, a chroot). The line
/// is the package's own (binfmt.d(5)).
fn register(emulator: &str) -> String {
    let folder = "/proc/sys/fs/binfmt_misc";
    format!(
        "[ -e {folder}/register ] || mount -t binfmt_misc binfmt_misc {folder}; \
         [ -e {folder}/qemu-{emulator} ] || cat /usr/lib/binfmt.d/qemu-{emulator}.conf > {folder}/register"
    )
}

/// Everything that a list of lacks needs done, as commands for root.
pub fn remedies(lacks: &[Lack]) -> Vec<Vec<String>> {
    let mut packages: Vec<&str> = lacks.iter().filter_map(|lack| lack.package.as_deref()).collect();
    packages.sort_unstable();
    packages.dedup();
    let mut commands = Vec::new();
    if !packages.is_empty() {
        commands.push(["apt-get", "update"].map(str::to_owned).to_vec());
        let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
        commands.push(install.iter().chain(&packages).map(|word| (*word).to_owned()).collect());
    }
    commands.extend(lacks.iter().flat_map(|lack| lack.commands.clone()));
    commands
}

/// Runs the remedies, with sudo where needed, and says each.
///
/// # Errors
/// The first command that fails.
pub fn mend(lacks: &[Lack], say: impl Fn(&str)) -> anyhow::Result<()> {
    for argv in remedies(lacks) {
        let as_root = Uid::effective().is_root();
        let call = if as_root {
            Invocation::new(&argv[0]).args(argv[1..].to_vec())
        } else {
            Invocation::new("sudo").args(argv)
        };
        say(&format!("doctor     {}", call.shell_line()));
        HostRunner.run(&call.env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    Ok(())
}

/// Whether the user agrees: asked once on a terminal, taken as given elsewhere or with `--yes`.
pub fn agreed(lacks: &[Lack], yes: bool) -> bool {
    if yes || !std::io::stdin().is_terminal() {
        return true;
    }
    eprintln!("This machine lacks:");
    for lack in lacks {
        eprintln!("  {}", lack.what);
    }
    eprintln!("To be run as root:");
    for argv in remedies(lacks) {
        eprintln!("  {}", argv.join(" "));
    }
    eprint!("Do it? [Y/n] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes")
}

/// Before a build: names what is missing and installs it.
///
/// # Errors
/// When something is missing and cannot be had.
pub fn require(board: &Board, progress: &Progress) -> anyhow::Result<()> {
    let foreign =
        (board.architecture.debian != host_architecture()).then_some(board.architecture.debian.as_str());
    let lacks = examine(foreign);
    if lacks.is_empty() {
        return Ok(());
    }
    for lack in &lacks {
        progress.say(&format!("doctor     missing: {}", lack.what));
    }
    if !agreed(&lacks, false) {
        bail!("the build cannot go on without them; `edgepair doctor --fix` installs them");
    }
    mend(&lacks, |line| progress.say(line))?;
    let left = examine(foreign);
    if let Some(lack) = left.first() {
        bail!("still missing after installing: {}", lack.what);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_in_one_call_then_the_rest() {
        let lack = |package: Option<&str>, commands: Vec<Vec<String>>| Lack {
            what: String::new(),
            package: package.map(str::to_owned),
            commands,
        };
        let usermod = vec!["usermod".to_owned()];
        let commands = remedies(&[
            lack(Some("uidmap"), vec![]),
            lack(None, vec![usermod]),
            lack(Some("mmdebstrap"), vec![]),
        ]);
        let lines: Vec<String> = commands.iter().map(|argv| argv.join(" ")).collect();
        assert_eq!(
            lines,
            ["apt-get update", "apt-get install --yes --no-install-recommends mmdebstrap uidmap", "usermod"]
        );
    }
}
