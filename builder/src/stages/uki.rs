//! The Unified Kernel Image: kernel, initrd, microcode and a command line that holds the root hash.
//!
//! A UKI can be made only from a root hash, and the hash only from a finished root: whoever boots this file gets
//! exactly this root or nothing.

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::step::{Action, Input, Step};
use edgepair_host_io::atomic;

/// The command line without the root hash.
pub fn arguments(definition: &Definition, board: &Board) -> String {
    let words: Vec<&str> = board
        .kernel_arguments
        .iter()
        .map(String::as_str)
        .chain(definition.kernel_arguments.iter().map(|word| word.value.as_str()))
        .collect();
    words.join(" ")
}

/// Plans the step.
pub fn step(definition: &Definition, board: &Board) -> Step {
    let arguments = arguments(definition, board);
    let limit = board.uki_limit;
    let ukify = format!(
        "exec ukify build --linux=/in/vmlinuz --initrd=/in/microcode.cpio --initrd=/in/initrd --initrd=/in/initrd-overlay.cpio.zst --cmdline=@cmdline --os-release=@os-release \
         --uname=\"$(cat /in/kernel-version)\" --efi-arch={} --stub=/usr/lib/systemd/boot/efi/linux{}.efi.stub --output=uki.efi",
        board.architecture.efi_suffix, board.architecture.efi_suffix
    );
    let os_release = format!(
        "ID=edgepair\nNAME=\"{}\"\nPRETTY_NAME=\"{} {}\"\nIMAGE_ID={}\nIMAGE_VERSION={}\nVERSION_ID={}\n",
        definition.name.value,
        definition.name.value,
        definition.version.value,
        definition.name.value,
        definition.version.value,
        definition.version.value
    );
    Step {
        name: "uki",
        title: "Unified kernel image with the root hash".to_owned(),
        inputs: vec![
            Input::Output { step: "root", file: "vmlinuz" },
            Input::Output { step: "root", file: "kernel-version" },
            Input::Output { step: "root", file: "microcode.cpio" },
            Input::Output { step: "initrd", file: "initrd" },
            Input::Output { step: "initrd-overlay", file: "initrd-overlay.cpio.zst" },
            Input::Output { step: "erofs", file: "root-hash" },
        ],
        files: vec![("os-release".into(), os_release), ("arguments".into(), arguments)],
        actions: vec![
            Action::native(
                "writes cmdline: root=/dev/mapper/root roothash=… and the arguments (1)",
                |dir| {
                    let hash = dir.input_text("root-hash")?;
                    let arguments = std::fs::read_to_string(dir.file("arguments"))?;
                    let line =
                        format!("root=/dev/mapper/root rootfstype=erofs ro roothash={hash} {arguments}");
                    Ok(atomic::write(&dir.file("cmdline"), line.as_bytes(), 0o644)?)
                },
            ),
            Action::run(["sh", "-c", &ukify]).env("SOURCE_DATE_EPOCH", definition.epoch.value.to_string()),
            Action::native(
                format!("checks that the image fits the board's limit of {limit} bytes"),
                move |dir| {
                    let size = std::fs::metadata(dir.file("uki.efi"))?.len();
                    anyhow::ensure!(
                        size <= limit,
                        "the kernel image has {size} bytes, the board allows {limit}: two of them must fit the boot partition \
                     with room to spare\n  to do: leave out initrd modules, or raise `uki_limit` and `disk.esp`"
                    );
                    Ok(())
                },
            ),
        ],
        outputs: vec!["uki.efi"],
        network: false,
        mounts: Vec::new(),
    }
}
