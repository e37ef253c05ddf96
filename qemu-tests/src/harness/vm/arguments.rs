//! QEMU's argv for one machine.

use super::super::accel::Accel;
use super::super::{Image, guest};
use super::Config;

/// Name of the block node that holds the disk; saved states go into it.
pub(super) const DISK: &str = "disk0";
/// Name of the block node that holds the firmware's variables.
pub(super) const VARS: &str = "vars";

/// The whole argv; paths are inside the tools tree.
pub(super) fn of(image: &Image, config: &Config, accel: Accel, paused: bool) -> Vec<String> {
    let qemu = &image.qemu;
    let mut argv: Vec<String> = vec![qemu.program.clone()];
    let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    // The firmware's two flash chips as block nodes with names, so that a saved state can be told where to go.
    add(&["-name", &config.name, "-machine", &format!("{},pflash0=code,pflash1={VARS}", qemu.machine)]);
    add(&accel.arguments());
    add(&["-smp", "2", "-m", &config.memory.to_string()]);
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-vga", "std"]);
    if paused {
        add(&["-S"]);
    }
    add(&[
        "-blockdev",
        &format!(
            "driver=raw,node-name=code,read-only=on,file.driver=file,file.filename={}",
            qemu.firmware_code
        ),
    ]);
    add(&[
        "-blockdev",
        &format!("driver=qcow2,node-name={VARS},file.driver=file,file.filename=/build/vars.qcow2"),
    ]);
    add(&[
        "-blockdev",
        &format!(
            "driver=qcow2,node-name={DISK},file.driver=file,file.filename=/build/disk.qcow2,discard=unmap,detect-zeroes=on"
        ),
    ]);
    let mut top = DISK;
    if config.write_log {
        top = "disk0-logged";
        add(&[
            "-blockdev",
            &format!(
                "driver=blklogwrites,node-name={top},file={DISK},log.driver=file,log.filename=/build/writes.blocks,log-sector-size=512"
            ),
        ]);
    }
    add(&["-device", &format!("virtio-blk-pci,drive={top},bootindex=0,serial=edgepair-disk0")]);
    add(&[
        "-chardev",
        "socket,id=serial0,path=/build/serial.sock,server=on,wait=off,logfile=/build/serial.log,logappend=on",
        "-serial",
        "chardev:serial0",
    ]);
    add(&["-qmp", "unix:/build/qmp.sock,server=on,wait=off", "-monitor", "none"]);
    // A second one, for the machine's management board: QEMU serves one client at a time on each.
    add(&["-qmp", "unix:/build/bmc.sock,server=on,wait=off"]);
    add(&["-device", "virtio-serial-pci"]);
    add(&["-chardev", "socket,id=guest0,path=/build/guest.sock,server=on,wait=off"]);
    add(&["-device", &format!("virtserialport,chardev=guest0,name={}", guest::PORT)]);
    add(&["-chardev", "file,id=journal0,path=/build/journal.log,append=on"]);
    add(&["-device", &format!("virtserialport,chardev=journal0,name={}", guest::JOURNAL_PORT)]);
    add(&["-device", "virtio-rng-pci"]);
    if config.watchdog {
        // By name: the q35 machine has one of its own (iTCO), which is not the one that the node is to use.
        add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
    }
    for credential in guest::credentials() {
        // A comma separates QEMU's options; a doubled one is a comma.
        add(&["-smbios", &format!("type=11,value={}", credential.replace(',', ",,"))]);
    }
    for (index, card) in config.networks.iter().enumerate() {
        add(&["-netdev", &format!("{},id=net{index}", card.netdev)]);
        let mac = card.mac.clone().unwrap_or_else(|| own_mac(&config.name, index));
        add(&["-device", &format!("virtio-net-pci,netdev=net{index},mac={mac},romfile=")]);
    }
    add(&config.extra.iter().map(String::as_str).collect::<Vec<_>>());
    argv
}

/// An address for a card that was given none: the machine's name and the card's number.
fn own_mac(name: &str, index: usize) -> String {
    let sum = name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    format!("52:54:00:{sum:02x}:00:{:02x}", index + 1)
}
