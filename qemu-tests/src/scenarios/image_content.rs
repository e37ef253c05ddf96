//! What must not be in an image: anything that would be the same on every box and should not be.

use super::{Context, Scenario};
use anyhow::{Context as _, ensure};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner};

pub const SCENARIO: Scenario = Scenario {
    name: "image-content",
    shows: "the root file system holds no key, certificate of its own, password, database cluster, machine id or mirror",
    run,
};

/// Shell tests over the unpacked root in `/build/root`; each prints what it found, nothing when all is well.
const CHECKS: &[(&str, &str)] = &[
    ("private keys", "grep -rlI --exclude-dir=doc -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' root || true"),
    ("SSH host keys", "ls root/etc/ssh/ssh_host_* 2>/dev/null || true"),
    ("database clusters", "find root -name PG_VERSION -o -name pg_control"),
    (
        "passwords",
        "awk -F: '$2 != \"*\" && $2 != \"!\" && $2 != \"!*\" && $2 != \"\" || ($1 == \"root\" && $2 == \"\")' root/etc/shadow",
    ),
    ("empty passwords", "awk -F: '$2 == \"\"' root/etc/shadow"),
    (
        "a machine id, host name or mirror",
        "ls root/etc/machine-id root/etc/hostname root/etc/apt/sources.list root/etc/apt/sources.list.d/* 2>/dev/null || true",
    ),
    (
        "programs whose libraries are missing",
        "for file in $(find root/usr/bin root/usr/sbin root/usr/lib/postgresql root/usr/lib/systemd root/usr/lib/edgepair -type f -perm -100); do \
         head -c 4 $file | grep -q ELF || continue; \
         chroot root /bin/sh -c 'for loader in /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.*; do [ -e $loader ] && $loader --list $0; done' ${file#root} 2>/dev/null \
         | grep 'not found' | sed \"s|^|${file#root}:|\"; done || true",
    ),
    ("random seeds", "find root -name random-seed"),
    ("files under /var or /tmp", "find root/var root/tmp -mindepth 1"),
    (
        "links to a certificate that was made here and removed",
        "find root/etc/ssl/certs -type l ! -lname '/*' ! -exec test -e {} ';' ! -exec sh -c 'test -L root/etc/ssl/certs/$(readlink $0)' {} ';' -print",
    ),
    (
        "set-uid programs beyond the known",
        "find root -xdev -perm -4000 -type f | grep -vE '/(su|mount|umount|passwd|chfn|chsh|newgrp|gpasswd|ssh-keysign|dbus-daemon-launch-helper|expiry|chage|fusermount3?)$' || true",
    ),
];

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let sandbox = Sandbox { tools: context.image.tools.clone() };
    let mounts = [
        Mount { source: context.dir.to_owned(), target: "/build".into(), writable: true },
        Mount { source: context.image.root.clone(), target: "/in/root.erofs".into(), writable: false },
    ];
    let shell = |script: &str| {
        let argv = ["sh", "-c", &format!("cd /build; {script}")].map(str::to_owned);
        HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false)).map(|output| output.text())
    };
    shell("fsck.erofs --extract=/build/root --preserve /in/root.erofs > fsck.log 2>&1 || { tail -n 5 fsck.log >&2; exit 1; }").context("unpack the root")?;
    let mut wrong = Vec::new();
    for (what, script) in CHECKS {
        let found = shell(script)?;
        if !found.trim().is_empty() {
            wrong.push(format!("{what}:\n{}", found.trim()));
        }
    }
    // A check that finds nothing must be able to find something.
    shell("printf -- '-----BEGIN PRIVATE KEY-----\\n' > root/etc/planted.key")?;
    ensure!(shell(CHECKS[0].1)?.contains("planted.key"), "the search for keys does not find a planted one");
    shell("rm -rf root")?;
    ensure!(wrong.is_empty(), "the image holds {}", wrong.join("\n"));
    println!("  checked: {}", CHECKS.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", "));
    Ok(())
}
