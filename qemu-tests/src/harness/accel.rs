//! Whether KVM really runs a kernel here. That `/dev/kvm` opens does not say so: a nested host may hide what a stock
//! kernel needs. So one is booted, once, for a few seconds.

use super::{Deadline, Image};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// In software: everything takes several times as long.
    Tcg,
}

impl Accel {
    /// `-accel` and `-cpu` values.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// Factor for time limits.
    pub fn patience(self) -> u64 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 6,
        }
    }
}

/// Finds out, once per process.
pub fn probe(image: &Image) -> Accel {
    static FOUND: OnceLock<Accel> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let works = Path::new("/dev/kvm").exists() && boots(image).unwrap_or(false);
        let found = if works { Accel::Kvm } else { Accel::Tcg };
        eprintln!(
            "lab: {}",
            if works {
                "KVM runs the kernel"
            } else {
                "KVM does not run the kernel here, using TCG (slower)"
            }
        );
        found
    })
}

fn boots(image: &Image) -> anyhow::Result<bool> {
    let dir = tempfile::tempdir()?;
    let sandbox = Sandbox { tools: image.tools.clone() };
    let mounts = [
        Mount { source: dir.path().to_owned(), target: "/build".into(), writable: true },
        Mount { source: image.kernel.clone(), target: "/in/vmlinuz".into(), writable: false },
    ];
    let argv: Vec<String> = [&image.qemu.program, "-machine", &image.qemu.machine]
        .into_iter()
        .map(|word| word.to_owned())
        .chain(Accel::Kvm.arguments().map(str::to_owned))
        .chain(
            [
                "-m",
                "256",
                "-display",
                "none",
                "-nodefaults",
                "-no-reboot",
                "-serial",
                "file:/build/log",
                "-kernel",
                "/in/vmlinuz",
                "-append",
            ]
            .map(str::to_owned),
        )
        .chain([format!("console={} panic=-1", image.qemu.serial)])
        .collect();
    let mut child = sandbox
        .wrap(&argv, &[], &mounts, false)
        .to_command()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Deadline::seconds(12);
    let mut works = false;
    while !deadline.passed() && child.try_wait()?.is_none() {
        let log = std::fs::read(dir.path().join("log")).unwrap_or_default();
        // Without an initrd the kernel ends in a panic about its root: then it has run.
        if String::from_utf8_lossy(&log).contains("Unable to mount root fs") {
            works = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::fs::read(dir.path().join("log")).unwrap_or_default();
    works |= String::from_utf8_lossy(&log).contains("Unable to mount root fs");
    let _ = child.kill();
    let _ = child.wait();
    Ok(works)
}
