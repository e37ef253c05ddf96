//! What the agent touches, behind traits: the kernel, systemd, programs, files. The scripted world of the tests stands
//! behind the same ones.

use crate::member::Place;
use crate::update::driver::hands::Hands;
use anyhow::Context;
use edgepair_host_io::{Invocation, Output, Runner};
use edgepair_render::names::FAULT_FILE;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// A future of one thread.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + 'a>>;

/// systemd's units (org.freedesktop.systemd1(5)).
pub trait Units {
    /// Starts a unit; ends when its job has. An error when the job failed.
    fn start<'a>(&'a self, unit: &'a str) -> Task<'a, ()>;
    /// Queues the start of a unit and does not wait for it: it may take for ever, and is no part of what is to be done.
    fn begin<'a>(&'a self, unit: &'a str) -> Task<'a, ()>;
    /// Stops a unit; ends when its job has.
    fn stop<'a>(&'a self, unit: &'a str) -> Task<'a, ()>;
    /// `ActiveState`.
    fn state<'a>(&'a self, unit: &'a str) -> Task<'a, String>;
    /// `NRestarts` and `Result` of a service: how often systemd has started it anew since somebody started it, and how it
    /// ended last.
    fn ended<'a>(&'a self, unit: &'a str) -> Task<'a, (u32, String)>;
    /// Ends when `ActiveState` is not `active` any more, with what it is.
    fn left_active<'a>(&'a self, unit: &'a str) -> Task<'a, String>;
}

/// What is read from and written to the kernel.
pub trait Kernel {
    /// `/proc/drbd`.
    ///
    /// # Errors
    /// The kernel's.
    fn drbd(&self) -> std::io::Result<String>;
    /// Starts the stream of DRBD's events; it ends when the guard is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    fn drbd_events(&self, lines: mpsc::Sender<Option<String>>) -> std::io::Result<Box<dyn std::any::Any>>;
    /// Resets this machine at once.
    fn reset(&self);
    /// Whether the interface has a carrier; `None` when that cannot be told.
    fn carrier(&self, interface: &str) -> Option<bool>;
    /// Whether this address is on an interface of this node.
    fn holds(&self, address: IpAddr) -> bool;
    /// `/proc/net/if_inet6`; empty without IPv6.
    fn ipv6_addresses(&self) -> String;
    /// Bytes free for everybody, and size, of the file system that is mounted at this path; `None` when none is, or
    /// when that cannot be told.
    fn space(&self, path: &Path) -> Option<(u64, u64)>;
    /// Whether first and last MiB of a block device are zero.
    ///
    /// # Errors
    /// The kernel's.
    fn ends_are_zero(&self, device: &str) -> std::io::Result<bool>;
    /// Whether a hardware watchdog is there.
    fn watchdog(&self) -> bool;
}

/// Everything together.
#[derive(Clone)]
pub struct Ports {
    /// Files.
    pub place: Place,
    /// Programs.
    pub runner: Arc<dyn Runner + Send + Sync>,
    /// systemd.
    pub units: Rc<dyn Units>,
    /// The kernel.
    pub kernel: Rc<dyn Kernel>,
    /// Boot loader and slots; absent where there are none to update.
    pub update: Option<Rc<dyn Hands>>,
    /// Programs that work on the data set run one at a time, also when nobody waits for the first any more.
    one_at_a_time: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ports({:?})", self.place)
    }
}

impl Ports {
    /// Ports to the given ends.
    #[must_use]
    pub fn new(
        place: Place,
        runner: Arc<dyn Runner + Send + Sync>,
        units: Rc<dyn Units>,
        kernel: Rc<dyn Kernel>,
    ) -> Self {
        Self { place, runner, units, kernel, update: None, one_at_a_time: Arc::default() }
    }

    /// The same with boot loader and slots.
    #[must_use]
    pub fn with_update(self, hands: Rc<dyn Hands>) -> Self {
        Self { update: Some(hands), ..self }
    }

    /// Runs a program beside the runtime's thread.
    ///
    /// # Errors
    /// The program's.
    pub async fn run(&self, call: Invocation) -> anyhow::Result<Output> {
        let turn = Arc::clone(&self.one_at_a_time).lock_owned().await;
        let runner = Arc::clone(&self.runner);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            runner.run(&call)
        });
        Ok(work.await.context("a program's thread ended early")??)
    }

    /// Lets keepalived hold the virtual IP, or not (its tracked file: `0` or FAULT).
    ///
    /// # Errors
    /// The kernel's.
    pub fn let_hold(&self, may: bool) -> std::io::Result<()> {
        write_fault(&self.place, may)
    }

    /// What keepalived was told last; `None` when the file is not there.
    #[must_use]
    pub fn may_hold(&self) -> Option<bool> {
        let text = std::fs::read_to_string(self.place.path(FAULT_FILE)).ok()?;
        Some(text.trim() == "0")
    }
}

/// Writes keepalived's tracked file in place: keepalived looks when the file is closed (`track_file` in
/// keepalived.conf(5)), and the file is in memory.
///
/// # Errors
/// The kernel's.
pub fn write_fault(place: &Place, may_hold: bool) -> std::io::Result<()> {
    let path = place.path(FAULT_FILE);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(if may_hold { b"0\n" } else { b"1\n" })
}

/// This machine's kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostKernel;

impl Kernel for HostKernel {
    fn drbd(&self) -> std::io::Result<String> {
        std::fs::read_to_string("/proc/drbd")
    }

    fn drbd_events(&self, lines: mpsc::Sender<Option<String>>) -> std::io::Result<Box<dyn std::any::Any>> {
        Ok(Box::new(super::drbd::stream::Stream::start(lines)?))
    }

    fn reset(&self) {
        reset();
    }

    fn carrier(&self, interface: &str) -> Option<bool> {
        // The file gives an error while the interface is down.
        let path = format!("/sys/class/net/{interface}");
        if !Path::new(&path).exists() {
            return Some(false);
        }
        Some(std::fs::read_to_string(format!("{path}/carrier")).is_ok_and(|text| text.trim() == "1"))
    }

    fn holds(&self, address: IpAddr) -> bool {
        let Ok(list) = nix::ifaddrs::getifaddrs() else { return false };
        list.filter_map(|entry| entry.address).any(|found| {
            found.as_sockaddr_in().is_some_and(|found| IpAddr::V4(found.ip()) == address)
                || found.as_sockaddr_in6().is_some_and(|found| IpAddr::V6(found.ip()) == address)
        })
    }

    fn ipv6_addresses(&self) -> String {
        std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default()
    }

    fn space(&self, path: &Path) -> Option<(u64, u64)> {
        // An empty mount point would answer for the file system it lies on.
        let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev());
        if device(path).ok()? == device(path.parent()?).ok()? {
            return None;
        }
        let stat = nix::sys::statvfs::statvfs(path).ok()?;
        let unit = stat.fragment_size();
        Some((stat.blocks_available().saturating_mul(unit), stat.blocks().saturating_mul(unit)))
    }

    fn ends_are_zero(&self, device: &str) -> std::io::Result<bool> {
        const MIB: u64 = 1 << 20;
        let mut file = std::fs::File::open(device)?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut zero = true;
        for start in [0, size.saturating_sub(MIB)] {
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            Read::by_ref(&mut file).take(MIB).read_to_end(&mut bytes)?;
            zero &= bytes.iter().all(|byte| *byte == 0);
        }
        Ok(zero && size > 0)
    }

    fn watchdog(&self) -> bool {
        Path::new("/dev/watchdog0").exists()
    }
}

/// sysrq-b: an orderly reboot hangs on frozen I/O. What is in flight is lost, which is the point.
pub fn reset() {
    super::log::loud("this node resets itself now");
    let write = |path: &str, text: &[u8]| {
        std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text))
    };
    if let Err(error) = write("/proc/sysrq-trigger", b"b") {
        super::log::loud(&format!("sysrq failed: {error}; rebooting by the system call"));
        let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_without_its_file_system_has_no_space_to_tell() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("pair");
        assert_eq!(HostKernel.space(&empty), None);
        std::fs::create_dir(&empty).unwrap();
        assert_eq!(HostKernel.space(&empty), None);
        assert!(HostKernel.space(Path::new("/proc")).is_some());
    }
}
