//! The root tree: packages unpacked and configured, trimmed, as a tar; and the kernel, taken out of it.

use super::packages::Resolved;
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::step::{Action, Input, Step, StepDir};
use anyhow::{Context, bail};
use edgepair_host_io::{atomic, digest};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

/// Plans the step. Without a resolved list (`--dry-run` before the first build) the list is left open.
pub fn step(definition: &Definition, board: &Board, resolved: Option<&Resolved>) -> Step {
    let suite = &definition.suite.value;
    let epoch = definition.epoch.value.to_string();
    let (count, list) = resolved
        .map_or((String::from("?"), String::new()), |all| (all.packages.len().to_string(), all.list()));
    let names: String = resolved.map_or(String::new(), |all| {
        all.packages.iter().map(|package| format!("{}\n", package.name)).collect()
    });
    let for_action = resolved.cloned();
    // mmdebstrap reads long lists only from its command line, so a shell puts the file's names there. dpkg need not wait
    // for the disk (dpkg(1), `unsafe-io`): after a crash the step is made anew.
    let mut mmdebstrap = format!(
        "exec mmdebstrap --mode=root --variant=custom --format=tar --include=\"$(paste -sd, names)\" \
         --setup-hook=/build/hooks/setup --customize-hook=/build/hooks/customize \
         --aptopt='APT::Sandbox::User \"root\"' --dpkgopt=force-unsafe-io --skip=cleanup \
         --architectures={} ",
        board.architecture.debian
    );
    for path in definition.excludes.iter().map(|path| &path.value).chain(&board.excludes) {
        let _ = write!(mmdebstrap, "--dpkgopt='path-exclude={path}' ");
    }
    for path in &definition.includes {
        let _ = write!(mmdebstrap, "--dpkgopt='path-include={}' ", path.value);
    }
    let _ = write!(mmdebstrap, "{suite} root.tar 'deb [trusted=yes] copy:/build/repo ./'");
    Step {
        name: "root",
        title: format!("Root tree from {count} packages"),
        inputs: vec![Input::Fact { name: "packages".into(), value: digest::of_bytes(&list) }],
        files: vec![
            ("names".into(), names),
            ("hooks/setup".into(), setup_hook()),
            ("hooks/customize".into(), customize_hook(definition, board)),
        ],
        actions: vec![
            Action::native(
                "gathers the packages in a local repository, each checked against its SHA-256",
                move |dir| local_repository(dir, for_action.as_ref()),
            ),
            Action::run(["mkdir", "tmp"]),
            Action::run(["sh", "-c", &mmdebstrap])
                .env("SOURCE_DATE_EPOCH", epoch)
                // /tmp of the sandbox is memory; a root tree belongs on disk.
                .env("TMPDIR", "/build/tmp")
                // The initrd is made by its own step; Debian's hooks would build one for a machine that is not this.
                .env("INITRD", "No")
                .env("DEBIAN_FRONTEND", "noninteractive"),
            Action::native(
                "cuts the end-of-archive blocks off root.tar, so that overlays can follow (1)",
                |dir| cut_end_of_archive(&dir.file("root.tar")),
            ),
        ],
        outputs: vec!["root.tar", "microcode.cpio", "vmlinuz", "kernel-version", "dpkg-status"],
        network: false,
        mounts: Vec::new(),
    }
}

/// Runs before the first package is unpacked: whatever starts or makes something by itself is told not to.
fn setup_hook() -> String {
    "#!/bin/sh\n\
     set -eu\n\
     root=$1\n\
     mkdir -p \"$root/etc/systemd/system-preset\" \"$root/etc/postgresql-common\" \"$root/usr/sbin\"\n\
     # Nothing is enabled by being installed.\n\
     echo 'disable *' > \"$root/etc/systemd/system-preset/00-edgepair.preset\"\n\
     # A database cluster made here would be the same on every box.\n\
     echo 'create_main_cluster = false' > \"$root/etc/postgresql-common/createcluster.conf\"\n\
     # Maintainer scripts that would start a daemon get \"not allowed\" (invoke-rc.d, policy-rc.d).\n\
     printf '#!/bin/sh\\nexit 101\\n' > \"$root/usr/sbin/policy-rc.d\"; chmod 755 \"$root/usr/sbin/policy-rc.d\"\n"
        .to_owned()
}

/// Runs after everything is configured: units, kernel, trimming.
fn customize_hook(definition: &Definition, board: &Board) -> String {
    let mut hook = String::from("#!/bin/sh\nset -eu\nroot=$1\nrm -f \"$root/usr/sbin/policy-rc.d\"\n{\n");
    for unit in &definition.enabled_units {
        let _ = writeln!(hook, "  echo 'enable {}'", unit.value);
    }
    hook.push_str("  echo 'disable *'\n} > \"$root/etc/systemd/system-preset/00-edgepair.preset\"\n");
    hook.push_str("systemctl --root=\"$root\" preset-all\n");
    for (unit, reason) in &definition.masked_units {
        let _ = writeln!(hook, "# {reason}\nln -sfn /dev/null \"$root/etc/systemd/system/{}\"", unit.value);
    }
    hook.push_str(
        "cp \"$root\"/boot/vmlinuz-* /build/vmlinuz\n\
         ls \"$root/usr/lib/modules\" > /build/kernel-version\n\
         cp \"$root/var/lib/dpkg/status\" /build/dpkg-status\n\
         cd \"$root\"\n",
    );
    hook.push_str(&microcode(board));
    for path in definition
        .removes
        .iter()
        .map(|path| path.value.as_str())
        .chain(board.removes.iter().map(String::as_str))
    {
        // Unquoted on purpose: these are shell patterns, kept inside the tree by their leading dot.
        let _ = writeln!(hook, "rm -rf .{path}");
    }
    // A certificate that was made here and removed leaves its link by hash behind (openssl-rehash(1ssl)): dangling, and
    // another name in every build. Absolute links lead into the image, which is not what `/` is here.
    hook.push_str(
        "[ ! -d ./etc/ssl/certs ] || find ./etc/ssl/certs -maxdepth 1 -type l ! -lname '/*' | while read -r link; do\n  \
         target=./etc/ssl/certs/$(readlink \"$link\"); [ -e \"$target\" ] || [ -L \"$target\" ] || rm \"$link\"\ndone\n",
    );
    // The state partition is mounted over /var; what must be there is made by tmpfiles.d. In /tmp is mmdebstrap's own.
    hook.push_str("rm -rf ./var/* ./var/.[!.]* ./tmp/*\nmkdir -p ./efi ./boot\n");
    hook
}

/// Gathers microcode as the kernel looks for it: one file a vendor, in an archive that is not compressed (kernel,
/// Documentation/arch/x86/microcode.rst). Intel ships some files under several names: each content goes in once.
/// Without any, the archive is empty.
fn microcode(board: &Board) -> String {
    let mut script = String::from("mkdir -p /build/ucode/kernel/x86/microcode\n");
    for (vendor, folder) in [("GenuineIntel", "intel-ucode"), ("AuthenticAMD", "amd-ucode")] {
        let patterns: Vec<String> = board
            .microcode
            .iter()
            .filter(|pattern| pattern.starts_with(folder))
            .map(|pattern| format!("usr/lib/firmware/{pattern}"))
            .collect();
        if !patterns.is_empty() {
            let _ = writeln!(
                script,
                "sha256sum {} | awk '!seen[$1]++ {{ print $2 }}' | xargs cat > /build/ucode/kernel/x86/microcode/{vendor}.bin",
                patterns.join(" ")
            );
        }
    }
    script.push_str(
        "find /build/ucode -exec touch -d @\"$SOURCE_DATE_EPOCH\" {} +\n\
         (cd /build/ucode && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible > /build/microcode.cpio)\n",
    );
    script
}

fn local_repository(dir: &StepDir, resolved: Option<&Resolved>) -> anyhow::Result<()> {
    let resolved = resolved.context("the package list is not resolved")?;
    let pool = dir.file("repo/pool");
    fs::create_dir_all(&pool)?;
    let mut index = String::new();
    for package in &resolved.packages {
        let archive = resolved.archives.join(package.archive_name());
        let sum = digest::of_file(&archive)
            .with_context(|| format!("{} is not in the download folder", archive.display()))?;
        if sum != package.sha256 {
            fs::remove_file(&archive)?;
            bail!(
                "the downloaded {} has SHA-256 {sum}, the signed index says {}\n  \
                 it has been removed; run the build again to download it anew",
                package.archive_name(),
                package.sha256
            );
        }
        let name = format!("{}.deb", package.sha256);
        // A second name for the same file where the file system can; a copy elsewhere.
        if fs::hard_link(&archive, pool.join(&name)).is_err() {
            fs::copy(&archive, pool.join(&name))?;
        }
        for line in package.stanza.lines() {
            let _ = match line.strip_prefix("Filename:") {
                Some(_) => writeln!(index, "Filename: ./pool/{name}"),
                None => writeln!(index, "{line}"),
            };
        }
        index.push('\n');
    }
    atomic::write(&dir.file("repo/Packages"), index.as_bytes(), 0o644)?;
    Ok(())
}

/// A tar ends with at least two blocks of 512 zero bytes (POSIX pax); a second tar can follow only without them. The
/// headers say where the last member ends: its own content may end in zeros too.
pub(super) fn cut_end_of_archive(path: &Path) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(File::open(path)?);
    let mut end = 0;
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        end = entry.raw_file_position() + entry.header().entry_size()?.div_ceil(512) * 512;
    }
    File::options().write(true).open(path)?.set_len(end)?;
    Ok(())
}

/// `PackageName → version` for the manifest.
pub fn versions(resolved: &Resolved) -> BTreeMap<String, String> {
    resolved.packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_can_follow_each_other_after_the_cut() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a.tar");
        let mut builder = tar::Builder::new(File::create(&path).expect("create"));
        let mut header = tar::Header::new_ustar();
        header.set_size(700);
        header.set_cksum();
        // Content that itself ends in zero blocks must stay.
        builder.append_data(&mut header, "zeros", &[0_u8; 700][..]).expect("append");
        builder.finish().expect("finish");
        drop(builder);
        cut_end_of_archive(&path).expect("cut");
        assert_eq!(fs::metadata(&path).expect("stat").len(), 512 + 1024);
    }
}
