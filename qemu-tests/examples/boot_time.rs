//! Power-on to ready of an edgepair image, beside a stock Debian image with the same packages: ext4 root, the
//! distribution's own initrd, the same firmware, loader and virtual machine, in turn. One JSON object a line.
//!
//! Ready is the same for both: systemd has no job left (`systemctl is-system-running --wait`). First boots do more than
//! later ones (partitions, keys, databases), so both are told apart.

use anyhow::{Context as _, ensure};
use clap::Parser;
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner};
use qemu_tests::harness::vm::{Begin, Config, Vm};
use qemu_tests::harness::{Deadline, Image, accel};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Parser)]
struct Arguments {
    /// What `edgepair build --json` printed.
    #[arg(long)]
    image: PathBuf,
    /// Debian packages of both images, separated by commas.
    #[arg(long)]
    packages: String,
    /// Where the stock image is kept between runs.
    #[arg(long)]
    work: PathBuf,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let image: Image = serde_json::from_str(&fs::read_to_string(&arguments.image)?)?;
    fs::create_dir_all(&arguments.work)?;
    let work = fs::canonicalize(&arguments.work)?;
    let stock_disk = stock(&image, &arguments.packages, &work)?;
    let stock = Image { disk: stock_disk, ..image.clone() };
    let accel = accel::probe(&image);
    let mut all: Vec<(&str, &str, f32)> = Vec::new();
    for round in 1..=arguments.rounds {
        for (name, which) in [("edgepair", &image), ("stock", &stock)] {
            let dir = tempfile::Builder::new().prefix("edgepair-").tempdir()?;
            let config = Config {
                networks: vec!["user,restrict=on".into()],
                ..Config::plain(name, &which.disk, 6 << 30)
            };
            Vm::prepare(which, &config, dir.path())?;
            for boot in ["first", "second"] {
                let started = now();
                let mut vm = Vm::start(which, &config, dir.path(), accel, Begin::Running)?;
                let deadline = Deadline::seconds(120 * accel.patience());
                vm.wait_shell(deadline)?;
                let answer = vm.guest.try_run("systemctl is-system-running --wait", deadline)?;
                let took = started.elapsed().as_secs_f32();
                eprintln!("round {round}: {name}, {boot} boot: {took:.2} s, {}", answer.text.trim());
                all.push((name, boot, took));
                // Where it went: firmware, loader, kernel, initrd, userspace.
                let split = vm.guest.try_run("systemd-analyze time | head -n 1", deadline)?;
                eprintln!("  {}", split.text.trim());
                vm.guest.run("sync")?;
                vm.power_off(Deadline::seconds(60 * accel.patience()))?;
            }
        }
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    for boot in ["first", "second"] {
        let runs = |name: &str| -> Vec<f32> {
            all.iter()
                .filter(|(image, which, _)| *image == name && *which == boot)
                .map(|(.., took)| *took)
                .collect()
        };
        let best = |runs: &[f32]| runs.iter().copied().fold(f32::INFINITY, f32::min);
        let (ours, peer) = (runs("edgepair"), runs("stock"));
        let line = serde_json::json!({
            "name": format!("boot/{boot}"), "unit": "s", "ours": best(&ours), "peer": best(&peer),
            "peer_name": "stock Debian image, ext4, initramfs-tools", "ratio": best(&ours) / best(&peer),
            "runs": { "ours": ours, "peer": peer },
            "conditions": format!("{accel:?}, 2 processors, load {}, power-on to no job left; goal ratio 0.7", load.split(' ').next().unwrap_or("?")),
        });
        println!("{line}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Makes the stock image in the tools tree, unless it is there.
fn stock(image: &Image, packages: &str, work: &Path) -> anyhow::Result<PathBuf> {
    let disk = work.join("stock.img");
    let stamp = work.join("stock.packages");
    if disk.exists() && fs::read_to_string(&stamp).is_ok_and(|text| text == packages) {
        return Ok(disk);
    }
    eprintln!("boot_time: making the stock image (several minutes)");
    let qemu = &image.qemu;
    ensure!(qemu.program.ends_with("x86_64"), "a stock image is known for x86-64 only");
    let script = r#"set -eu
cd /build; rm -rf tree root.tar repart.d esp stock.img; mkdir -p tmp
export TMPDIR=/build/tmp
sources=$(grep -h '^deb ' /etc/apt/sources.list | sed 's/ main.*/ main non-free-firmware/')
mmdebstrap --mode=root --format=tar --include="$1,initramfs-tools,zstd" --aptopt='APT::Install-Recommends "false"' \
  --aptopt='APT::Sandbox::User "root"' trixie root.tar "$sources"
mkdir tree; tar -x -C tree -f root.tar; rm root.tar
printf 'PARTLABEL=root / ext4 defaults 0 1\n' > tree/etc/fstab
printf 'stock\n' > tree/etc/hostname
mkdir -p esp/EFI/BOOT esp/EFI/Linux esp/loader repart.d
printf 'timeout 0\n' > esp/loader/loader.conf
cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi esp/EFI/BOOT/BOOTX64.EFI
ukify build --linux="$(echo tree/boot/vmlinuz-*)" --initrd="$(echo tree/boot/initrd.img-*)" \
  --cmdline="root=PARTLABEL=root rw console=tty0 console=$2,115200 quiet loglevel=4" --os-release=@tree/etc/os-release \
  --uname="$(ls tree/usr/lib/modules)" --stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub --output=esp/EFI/Linux/stock.efi
printf '[Partition]\nType=esp\nLabel=esp\nFormat=vfat\nCopyFiles=/build/esp:/\nSizeMinBytes=512M\nSizeMaxBytes=512M\n' > repart.d/10-esp.conf
printf '[Partition]\nType=root\nLabel=root\nFormat=ext4\nCopyFiles=/build/tree:/\nSizeMinBytes=4G\n' > repart.d/20-root.conf
systemd-repart --offline=yes --dry-run=no --empty=create --size=5G --definitions=/build/repart.d --no-pager stock.img
ls -l esp/EFI/Linux tree/boot
rm -rf tree esp repart.d tmp
"#;
    let sandbox = Sandbox { tools: image.tools.clone() };
    let mounts = [Mount { source: work.to_owned(), target: "/build".into(), writable: true }];
    let argv = ["sh", "-c", script, "stock", packages, &qemu.serial].map(str::to_owned);
    let output = HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, true)).context("the stock image")?;
    eprintln!("{}", output.text().trim());
    edgepair_host_io::atomic::write(&stamp, packages.as_bytes(), 0o644)?;
    Ok(disk)
}
