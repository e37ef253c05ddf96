//! The peers, from Debian 13, in a tree of their own: their settings, and one call for each.
//!
//! - **RAUC**, adaptive method `block-hash-index`, bundle format `verity`, streamed. Settings after its reference, chapters "System
//!   Configuration File", "Manifest", "Adaptive Updates" and "HTTP Streaming" (rauc.readthedocs.io). Needs the kernel's NBD and
//!   device-mapper with dm-verity.
//! - **systemd-sysupdate**, `url-file` into `regular-file`, after sysupdate.d(5), systemd-sysupdate(8). It has no delta: it fetches
//!   each image as a whole. The images are not compressed once more for it: what is in erofs is compressed already.
//!
//! Signatures: RAUC checks its own; sysupdate's check by GnuPG is off (`Verify=no`), the digests of `SHA256SUMS` are checked.

/// Packages of the peers' tree. `time` gives the most memory of a program and those it waited for.
pub const PACKAGES: &str = "rauc,dbus-daemon,systemd,systemd-container,squashfs-tools,cryptsetup-bin,openssl,ca-certificates,time,util-linux,mount,kmod,fdisk";

/// RAUC's three slot classes: what our bundle has as three payloads.
pub const CLASSES: [&str; 3] = ["root", "verity", "uki"];

/// RAUC's `system.conf`. `@A@`, `@B@` are loop devices of the slots' files, three each.
pub fn rauc_system(a: &[String; 3], b: &[String; 3]) -> String {
    let mut text = String::from(
        "[system]\ncompatible=edgepair-bench\nbootloader=noop\nbundle-formats=verity\ndata-directory=/bench/rauc/data\n\n\
         [keyring]\npath=/bench/rauc/cert.pem\ncheck-purpose=any\n\n[streaming]\nsandbox-user=root\n",
    );
    for (number, devices) in [a, b].into_iter().enumerate() {
        for (class, device) in CLASSES.iter().zip(devices) {
            text += &format!("\n[slot.{class}.{number}]\ndevice={device}\ntype=raw\n");
            // The first class is the one that boots; the others belong to it.
            text += &match *class {
                "root" => format!("bootname={}\n", if number == 0 { "A" } else { "B" }),
                _ => format!("parent=root.{number}\n"),
            };
        }
    }
    text
}

/// RAUC's manifest.
pub fn rauc_manifest(version: &str) -> String {
    let mut text =
        format!("[update]\ncompatible=edgepair-bench\nversion={version}\n\n[bundle]\nformat=verity\n");
    for class in CLASSES {
        text += &format!("\n[image.{class}]\nfilename={class}.img\nadaptive=block-hash-index\n");
    }
    text
}

/// One transfer file of sysupdate.
pub fn sysupdate_transfer(name: &str, address: &str) -> String {
    format!(
        "[Transfer]\nVerify=no\n\n[Source]\nType=url-file\nPath={address}/sysupdate/\nMatchPattern={name}_@v.img\n\n\
         [Target]\nType=regular-file\nPath=/bench/sysupdate\nMatchPattern={name}_@v.img\nMode=0444\nInstancesMax=2\n"
    )
}

/// Enters the tree as bench/build does for mkosi: it becomes the root of a mount namespace of its own. `$1` is the benchmark's folder,
/// which is `/bench` inside; the rest is the call.
pub const ENTER: &str = r#"set -eu
dir=$1 tree=$1/tree; shift
mkdir -p "$tree/bench" "$tree/old"
mount --make-rprivate /
mount --rbind "$tree" "$tree"
mount --rbind /proc "$tree/proc"; mount --rbind /sys "$tree/sys"; mount --rbind /dev "$tree/dev"
mount -t tmpfs run "$tree/run"; mount -t tmpfs tmp "$tree/tmp"
mount --bind "$dir" "$tree/bench"
cd "$tree"; pivot_root . old; umount -l /old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
"#;

/// Installs a bundle with RAUC: a bus of its own, the service, then the client. `$1` is the address. Prints most KiB of the service,
/// a space, and of its helpers.
pub const RAUC: &str = r#"set -eu
mkdir -p /run/dbus /bench/rauc/data
cat > /run/bus.conf <<END
<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
END
dbus-daemon --config-file=/run/bus.conf --fork --print-pid=3 3>/run/bus.pid
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
rauc --conf=/bench/rauc/system.conf service --override-boot-slot=A >/bench/rauc/service.log 2>&1 &
service=$!
trap 'kill $service $(cat /run/bus.pid) 2>/dev/null || :' EXIT
for try in 1 2 3 4 5 6 7 8 9 10; do rauc --conf=/bench/rauc/system.conf status >/dev/null 2>&1 && break; sleep 0.3; done
began=$(date +%s.%N)
if ! rauc --conf=/bench/rauc/system.conf install "$1" >/bench/rauc/install.log 2>&1; then
  grep -h -i -E 'error|failed' /bench/rauc/install.log /bench/rauc/service.log | tail -n 3 >&2; exit 1
fi
ended=$(date +%s.%N)
peak=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' /proc/$service/status)
echo "seconds $began $ended peak $peak"
"#;

/// Updates with systemd-sysupdate. `$1` is the version.
pub const SYSUPDATE: &str = r#"set -eu
began=$(date +%s.%N)
/usr/bin/time -o /run/peak -f %M /usr/lib/systemd/systemd-sysupdate --definitions=/bench/sysupdate.d --verify=no update "$1" >/bench/sysupdate.log 2>&1 ||
  { tail -n 5 /bench/sysupdate.log >&2; exit 1; }
sync
ended=$(date +%s.%N)
echo "seconds $began $ended peak $(cat /run/peak)"
"#;

/// Seconds and most KiB of memory, from what a peer's script printed.
pub fn measured(said: &str) -> Option<(f32, f32)> {
    let line = said.lines().rfind(|line| line.starts_with("seconds "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["seconds", began, ended, "peak", peak] = words.as_slice() else { return None };
    let (began, ended) = (began.parse::<f64>().ok()?, ended.parse::<f64>().ok()?);
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a benchmark")]
    Some(((ended - began) as f32, peak.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_print_is_read() {
        let said = "more\nseconds 1764368000.250000000 1764368003.750000000 peak 20480\n";
        assert_eq!(measured(said), Some((3.5, 20480.0)));
        assert_eq!(measured("seconds 1 2 peak"), None);
        assert_eq!(measured(""), None);
    }

    #[test]
    fn settings_name_every_payload() {
        let loops = |first: usize| [0, 1, 2].map(|at| format!("/dev/loop{}", first + at));
        let conf = rauc_system(&loops(0), &loops(3));
        for line in [
            "[slot.root.0]\ndevice=/dev/loop0",
            "[slot.uki.1]\ndevice=/dev/loop5",
            "bootname=B",
            "parent=root.1",
        ] {
            assert!(conf.contains(line), "{line} in\n{conf}");
        }
        assert_eq!(rauc_manifest("2").matches("adaptive=block-hash-index").count(), 3);
        assert!(sysupdate_transfer("uki", "http://x").contains("MatchPattern=uki_@v.img"));
    }
}
