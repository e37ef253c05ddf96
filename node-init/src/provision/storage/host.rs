//! The acts on the box itself.

use std::fs::{self, File as Handle};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepair_host_io::{HostRunner, Invocation, Runner, atomic};
use edgepair_layout::path;
use edgepair_render::names::{BACKING_FILE, BACKING_PART, BACKING_REF, DRBD_RESOURCE};
use edgepair_render::plan::{EmptyTarget, Target};
use pair_core::record::DiskId;

use super::apply::Disk;
use super::image::{self, Aligned, open_direct};
use super::kernel;
use super::plan::{Backing, Device, Drbd, File, Loop, Seen, Wanted};
use super::superblock::{self, Superblock};
use crate::agent::store::Memory;
use crate::begun::Begun;
use crate::facts::{Facts, Progress};
use crate::member::{DiskFile, Hardware, Place};
use crate::units::Manager;

/// Bytes at both ends of a device that must be zero.
const END: u64 = 1 << 20;

/// This box.
#[derive(Debug)]
pub struct Host {
    /// Where things lie.
    pub place: Place,
    /// Where progress is told.
    pub facts: Facts,
    /// The service manager.
    pub manager: Manager,
}

/// An attached loop device of the backing file.
#[derive(Debug, Clone)]
struct Attached {
    device: PathBuf,
    sys: PathBuf,
}

impl Host {
    fn loops(&self) -> Vec<Attached> {
        let entries = fs::read_dir(self.place.path("/sys/block")).into_iter().flatten().flatten();
        let mut found: Vec<Attached> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("loop"))
            .filter(|entry| {
                let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
                file.trim() == BACKING_FILE
            })
            .map(|entry| Attached { device: Path::new("/dev").join(entry.file_name()), sys: entry.path() })
            .collect();
        found.sort_by(|a, b| a.device.cmp(&b.device));
        found
    }

    fn loop_device(&self) -> Loop {
        let list = self.loops();
        let [one] = list.as_slice() else {
            return if list.is_empty() { Loop::None } else { Loop::Several(list.len()) };
        };
        let says = |file: &str, what: &str| {
            fs::read_to_string(one.sys.join(file)).is_ok_and(|text| text.trim() == what)
        };
        let link = fs::canonicalize(Path::new("/dev/disk/by-loop-ref").join(BACKING_REF)).ok();
        Loop::Attached {
            direct: says("loop/dio", "1"),
            discards: !says("queue/discard_max_bytes", "0"),
            linked: link.as_ref() == Some(&one.device),
        }
    }

    fn file(&self) -> anyhow::Result<File> {
        let look = |path: &str| match fs::symlink_metadata(path) {
            Ok(data) => Ok(Some(data)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(path.to_owned()),
        };
        Ok(match (look(BACKING_FILE)?, look(BACKING_PART)?) {
            (Some(data), _) if data.is_file() => {
                File::Whole { bytes: data.len(), allocated: image::allocated(&data) >= data.len() }
            }
            (Some(_), _) => File::Other(format!("{BACKING_FILE}, which is no file,")),
            (None, Some(data)) if data.is_file() => File::Part(data.len()),
            (None, Some(_)) => File::Other(format!("{BACKING_PART}, which is no file,")),
            (None, None) => File::Absent,
        })
    }

    /// The device node, when it is there.
    fn node(&self, wanted: &Wanted) -> Option<PathBuf> {
        let node = match &wanted.backing {
            Backing::File(_) => match self.loops().as_slice() {
                [one] => one.device.clone(),
                _ => return None,
            },
            Backing::Device(path) => fs::canonicalize(path).ok()?,
        };
        fs::metadata(&node).is_ok_and(|data| data.file_type().is_block_device()).then_some(node)
    }

    fn device(&self, wanted: &Wanted) -> anyhow::Result<Device> {
        let Some(node) = self.node(wanted) else { return Ok(Device::Missing) };
        let look = || -> anyhow::Result<Device> {
            let file = open_direct(&node, false, false)?;
            let size = length(&file)?;
            let identity = match &wanted.backing {
                Backing::File(_) => image::identity(Path::new(BACKING_FILE))?,
                Backing::Device(path) => self.device_identity(path, &node, size)?,
            };
            let metadata = read_superblock(&file, size)?;
            if metadata.is_some() {
                return Ok(Device::Present {
                    identity,
                    metadata,
                    signatures: Vec::new(),
                    ends_are_zero: false,
                });
            }
            let call = Invocation::new("wipefs").args(["--json", "--no-act", &node.to_string_lossy()]);
            let signatures = kernel::signatures(&HostRunner.run(&call)?.text()).context("wipefs")?;
            Ok(Device::Present { identity, metadata, signatures, ends_are_zero: ends_are_zero(&file, size)? })
        };
        look().with_context(|| format!("cannot look at {}", node.display()))
    }

    /// Disk, partition and size: what another disk in the same place would not have.
    fn device_identity(&self, path: &Path, node: &Path, size: u64) -> anyhow::Result<String> {
        let hardware = Hardware::observe(&self.place, path)?;
        let name = node.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = |file: &str| {
            let path = self.place.path("/sys/class/block").join(&name).join(file);
            fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_else(|_| "whole".to_owned())
        };
        Ok(format!(
            "disk {}, partition {} from {}, {size} bytes",
            hardware.disk,
            number("partition"),
            number("start")
        ))
    }

    fn tell(&self, what: &str, percent: u64, seconds_left: Option<u64>) {
        // The screen is a convenience; the step goes on without it.
        let _ = self.facts.put("progress", &Progress { what: what.to_owned(), percent, seconds_left });
        let left = seconds_left.map(|left| format!(", about {left} s left")).unwrap_or_default();
        println!("  {what}: {percent} %{left}");
    }
}

fn length(mut file: &Handle) -> std::io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

fn read_superblock(file: &Handle, size: u64) -> std::io::Result<Option<Superblock>> {
    let Some(offset) = superblock::offset(size) else { return Ok(None) };
    let mut block = Aligned::zeros(image::ALIGN);
    file.read_exact_at(block.get_mut(), offset)?;
    Ok(superblock::parse(block.get()))
}

fn ends_are_zero(file: &Handle, size: u64) -> std::io::Result<bool> {
    let mut block = Aligned::zeros(usize::try_from(END.min(size)).unwrap_or(0) / image::ALIGN * image::ALIGN);
    for offset in [0, size.saturating_sub(END) / superblock::LENGTH * superblock::LENGTH] {
        file.read_exact_at(block.get_mut(), offset)?;
        if block.get().iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The superblock of a file or device that is not attached yet; `None` when there is none or it cannot be read.
pub fn superblock_of(path: &Path) -> Option<Superblock> {
    let file = open_direct(&fs::canonicalize(path).ok()?, false, false).ok()?;
    read_superblock(&file, length(&file).ok()?).ok()?
}

/// Seconds that only go forward, for progress.
fn clock() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map(|time| std::time::Duration::from(time).as_secs()).unwrap_or(0)
}

impl Disk for Host {
    fn observe(&mut self, wanted: &Wanted) -> anyhow::Result<Seen> {
        let state = Path::new(path::STATE_DIR);
        let space = nix::sys::statvfs::statvfs(state).context(path::STATE_DIR)?;
        let kind = nix::sys::statfs::statfs(state).context(path::STATE_DIR)?.filesystem_type();
        let in_file = matches!(wanted.backing, Backing::File(_));
        let disk_id = DiskFile::load(&self.place)?;
        let only_begun = match &disk_id {
            Some(file) => {
                let own = file.on(&self.hardware(wanted)?);
                Memory::is_only_begun(&self.place, own.id)?
            }
            None => false,
        };
        Ok(Seen {
            state_is_kept: kind != nix::sys::statfs::TMPFS_MAGIC,
            free: space.blocks_available() * space.fragment_size(),
            file: if in_file { self.file()? } else { File::Absent },
            file_begun: Begun::load(&self.place, Target::BackingFile)?,
            loop_device: if in_file { self.loop_device() } else { Loop::None },
            device: self.device(wanted)?,
            device_begun: Begun::load(&self.place, Target::BackingDevice)?,
            disk_id,
            only_begun,
            drbd: kernel::drbd(&fs::read_to_string("/proc/drbd").unwrap_or_default(), 0),
            watchdog_ms: self.manager.watchdog_ms()?,
        })
    }

    fn record(&mut self, proof: &EmptyTarget, begun: &Begun) -> anyhow::Result<()> {
        Ok(begun.record(&self.place, proof)?)
    }

    fn finish(&mut self, target: Target) -> anyhow::Result<()> {
        Ok(Begun::finish(&self.place, target)?)
    }

    fn write_part(&mut self, size: u64) -> anyhow::Result<()> {
        let start = clock();
        let mut shown = (0, start);
        let mut first = None;
        let what = "writing the backing file";
        let result = image::write_zeros(Path::new(BACKING_PART), size, |done| {
            let (now, percent) = (clock(), done.saturating_mul(100) / size.max(1));
            let began = *first.get_or_insert(done);
            if percent / 10 > shown.0 / 10 || now >= shown.1 + 5 {
                shown = (percent, now);
                let per_second = (done - began) / (now - start).max(1);
                self.tell(what, percent, (per_second > 0).then(|| (size - done) / per_second));
            }
        });
        self.facts.remove("progress");
        result.with_context(|| BACKING_PART.to_owned())
    }

    fn publish_part(&mut self) -> anyhow::Result<()> {
        atomic::publish(Path::new(BACKING_PART), Path::new(BACKING_FILE))
            .with_context(|| BACKING_FILE.to_owned())
    }

    fn attach_loop(&mut self) -> anyhow::Result<()> {
        if self.loops().is_empty() {
            HostRunner.run(&Invocation::new("modprobe").arg("loop"))?;
            // No second device for a file that has one already.
            let call = Invocation::new("losetup").args(["--find", "--nooverlap", "--direct-io=on"]);
            HostRunner.run(&call.arg(format!("--loop-ref={BACKING_REF}")).arg(BACKING_FILE))?;
        }
        for attached in self.loops() {
            // udev's rule does the same, later.
            fs::File::options()
                .write(true)
                .open(attached.sys.join("queue/discard_max_bytes"))
                .and_then(|file| file.write_all_at(b"0", 0))
                .context("discards cannot be switched off")?;
        }
        // Only for this device: at boot udev has others to deal with, which a slow box takes minutes for.
        let link = format!("/dev/disk/by-loop-ref/{BACKING_REF}");
        let settle = Invocation::new("udevadm").args(["settle", "--timeout=90"]);
        let _ = HostRunner.run(&settle.arg(format!("--exit-if-exists={link}")));
        if !Path::new(&link).exists() {
            bail!("udev has not made {link} in 90 s");
        }
        Ok(())
    }

    fn mint(&mut self) -> anyhow::Result<DiskId> {
        let mut bytes = [0; 16];
        fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .context("random numbers")?;
        Ok(DiskId(bytes))
    }

    fn hardware(&mut self, wanted: &Wanted) -> anyhow::Result<Hardware> {
        let backing = match &wanted.backing {
            Backing::File(_) => Path::new(path::STATE_DIR),
            Backing::Device(path) => path,
        };
        Ok(Hardware::observe(&self.place, backing)?)
    }

    fn wipe_end(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let node = self.node(wanted).context("the device is gone")?;
        let file = open_direct(&node, true, false)?;
        let size = length(&file)?;
        let start = size.saturating_sub(END) / superblock::LENGTH * superblock::LENGTH;
        let zeros =
            Aligned::zeros(usize::try_from((size - start) / superblock::LENGTH * superblock::LENGTH)?);
        file.write_all_at(zeros.get(), start)?;
        Ok(file.sync_all()?)
    }

    fn create_metadata(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        // Asks when it finds anything on the device, and takes the missing terminal for a no.
        HostRunner.run(&Invocation::new("drbdadm").args(["create-md", DRBD_RESOURCE]))?;
        let node = self.node(wanted).context("the device is gone")?;
        Ok(fs::File::open(node)?.sync_all()?)
    }

    fn keep_id(&mut self, file: &DiskFile) -> anyhow::Result<()> {
        Ok(file.store(&self.place)?)
    }

    fn attach(&mut self) -> anyhow::Result<()> {
        HostRunner.run(&Invocation::new("modprobe").arg("drbd")).context("DRBD's kernel module")?;
        let drbdadm = |verb: &str| HostRunner.run(&Invocation::new("drbdadm").args([verb, DRBD_RESOURCE]));
        let before = kernel::drbd(&fs::read_to_string("/proc/drbd").unwrap_or_default(), 0);
        if before == Drbd::None {
            drbdadm("new-resource")?;
            drbdadm("new-minor")?;
        }
        drbdadm("attach")?;
        if kernel::drbd(&fs::read_to_string("/proc/drbd").unwrap_or_default(), 0) != Drbd::Attached {
            bail!("drbdadm attached the disk, and the kernel says that it is not; `dmesg` has its reason");
        }
        Ok(())
    }

    fn set_watchdog(&mut self, millis: u64) -> anyhow::Result<()> {
        self.manager.set_watchdog_ms(millis)
    }
}
