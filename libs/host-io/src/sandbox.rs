//! The tools tree as the place where build steps run.
//!
//! `unshare` (util-linux) makes user, mount, pid, ipc and network namespaces; a short shell script puts the tree
//! together and changes root. As an ordinary user, uid 0 inside is the user outside and the subordinate range covers
//! the rest, so that a Debian root with all its owners can be made without privilege. As root no user namespace is
//! needed. The tools tree is read-only inside; `/build` is the step's own folder; inputs are under `/in`.

use crate::Invocation;
use std::path::{Path, PathBuf};

/// One folder or file of the host made visible inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Inside, absolute.
    pub target: String,
    /// Whether the step may write to it.
    pub writable: bool,
}

/// A tools tree that commands can be run in.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Root folder of the tree.
    pub tools: PathBuf,
}

/// Puts the tree together and runs the command: mounts first, then `--`, then the argv.
///
/// `/dev` gets only what a build or an emulator needs, so that a step that runs as real root cannot reach a disk.
///
/// What a step makes must not depend on the umask of who builds: modes end up in archives.
const ENTER: &str = r#"
umask 022
tools=$1; shift
mount --rbind "$tools" "$tools"
mount -o remount,bind,ro "$tools"
mount -t tmpfs -o mode=755 dev "$tools/dev"
for node in null zero full random urandom tty kvm fuse; do
  [ -e "/dev/$node" ] || continue
  : > "$tools/dev/$node"
  mount --bind "/dev/$node" "$tools/dev/$node"
done
ln -s /proc/self/fd "$tools/dev/fd"
ln -s fd/0 "$tools/dev/stdin"; ln -s fd/1 "$tools/dev/stdout"; ln -s fd/2 "$tools/dev/stderr"
mkdir "$tools/dev/shm" "$tools/dev/pts"
mount -t tmpfs -o mode=1777 shm "$tools/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$tools/dev/pts" && ln -s pts/ptmx "$tools/dev/ptmx"
mount -t proc proc "$tools/proc"
mount -t sysfs sysfs "$tools/sys" 2>/dev/null || mount --rbind /sys "$tools/sys"
mount -t tmpfs -o mode=1777 tmp "$tools/tmp"
mount -t tmpfs -o mode=1777 tmp "$tools/var/tmp"
mount -t tmpfs -o mode=755 in "$tools/in"
mount -t tmpfs -o mode=755 cargo "$tools/cargo"
while [ "$1" != -- ]; do
  mode=$1 source=$2 target=$tools$3; shift 3
  if [ ! -e "$target" ]; then
    if [ -d "$source" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}"; : > "$target"; fi
  fi
  mount --rbind "$source" "$target"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$target"
done
shift
if [ -e "$tools/etc/resolv.conf" ] && [ -e /etc/resolv.conf ]; then mount --bind /etc/resolv.conf "$tools/etc/resolv.conf"; fi
exec chroot "$tools" /usr/bin/env -i "$@"
"#;

impl Sandbox {
    /// Folders that must exist in the tree before it becomes read-only, because things are mounted there.
    pub const MOUNT_POINTS: [&str; 4] = ["build", "in", "apt", "cargo"];

    /// The host's call that runs `argv` inside.
    ///
    /// `network` leaves the host's network in place, for the two steps that download; the others get an empty one.
    pub fn wrap(
        &self,
        argv: &[String],
        env: &[(String, String)],
        mounts: &[Mount],
        network: bool,
    ) -> Invocation {
        let mut call = Invocation::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            call = call.args(["--user", "--map-root-user", "--map-auto"]);
        }
        call = call.args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--ipc"]);
        if !network {
            call = call.arg("--net");
        }
        call = call.args(["--", "sh", "-ec", ENTER, "enter"]).arg(text(&self.tools));
        for mount in mounts {
            call = call.args([
                if mount.writable { "rw" } else { "ro" }.to_owned(),
                text(&mount.source),
                mount.target.clone(),
            ]);
        }
        call =
            call.args(["--", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LC_ALL=C.UTF-8", "TZ=UTC"]);
        call = call.args(env.iter().map(|(key, value)| format!("{key}={value}")));
        call.args(argv.iter().cloned())
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
