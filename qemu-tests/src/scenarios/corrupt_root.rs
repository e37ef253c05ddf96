//! One changed byte in the root partition: the kernel refuses it and says so.

use super::{Context, Scenario};
use crate::harness::vm::{Begin, Config, Vm};
use anyhow::{Context as _, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

pub const SCENARIO: Scenario = Scenario {
    name: "corrupt-root",
    shows: "one flipped byte in the root partition: dm-verity refuses the block, says so, and the node does not come up on it",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let disk = context.dir.join("corrupt.img");
    super::written_copies::decompress(&context.image.image, &disk)?;
    // The root's superblock is found by its own bytes; erofs has its magic at 1024 (kernel, fs/erofs/erofs_fs.h).
    let file = File::options().read(true).write(true).open(&disk)?;
    let root = partition_start(&file, "root-a")?;
    let mut magic = [0_u8; 4];
    file.read_exact_at(&mut magic, root + 1024)?;
    ensure!(magic == 0xE0F5_E1E2_u32.to_le_bytes(), "no erofs at the start of root-a");
    // A byte of the superblock's volume name: erofs itself would never notice.
    let mut byte = [0_u8; 1];
    file.read_exact_at(&mut byte, root + 1024 + 64)?;
    file.write_all_at(&[byte[0] ^ 0x40], root + 1024 + 64)?;
    drop(file);

    let config = Config { memory: 768, ..Config::plain("corrupt", &disk, 6 << 30) };
    let dir = context.dir.join("vm");
    Vm::prepare(context.image, &config, &dir)?;
    let mut vm = Vm::start(context.image, &config, &dir, context.accel, Begin::Running)?;
    let found = vm.serial.wait_for(&["is corrupted", "ready after", "NOT WELL"], context.seconds(30))?;
    ensure!(found == "is corrupted", "the node came up on a changed root: {found}");
    let log = vm.serial.text();
    let line = log.lines().find(|line| line.contains("is corrupted")).context("the kernel's words")?;
    println!("  the kernel says: {}", line.trim());
    vm.serial
        .wait_for(&["Kernel panic"], context.seconds(10))
        .context("the kernel went on after a corrupted block")?;
    vm.kill();
    fs::remove_file(context.dir.join("corrupt.img"))?;
    Ok(())
}

/// First byte of a GPT partition by name (UEFI specification 2.10, section 5.3).
pub fn partition_start(file: &File, label: &str) -> anyhow::Result<u64> {
    for index in 0..128 {
        let mut entry = [0_u8; 128];
        file.read_exact_at(&mut entry, 1024 + index * 128)?;
        let name: Vec<u16> = entry[56..]
            .chunks(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        if String::from_utf16_lossy(&name) == label {
            let mut lba = [0_u8; 8];
            lba.copy_from_slice(&entry[32..40]);
            return Ok(u64::from_le_bytes(lba) * 512);
        }
    }
    anyhow::bail!("there is no partition {label}")
}
