//! The disk image: GPT with boot partition, seed partition and two slots, of which the second is empty.

use super::erofs::uuid_of;
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::step::{Action, Input, Step, StepDir};
use anyhow::Context;
use edgepair_host_io::atomic;
use edgepair_layout::{Slot, boot, partition, uuids_of_root_hash};
use std::fmt::Write as _;
use std::fs;

/// Microsoft basic data: the type under which every laptop shows the seed partition.
const BASIC_DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";

/// GPT header, table and alignment at both ends.
const GPT_RESERVE: u64 = 2 << 20;

/// Size of the disk image in bytes.
pub fn image_size(definition: &Definition) -> u64 {
    let disk = &definition.disk;
    disk.esp.value
        + disk.seed.value
        + disk.root_a.value
        + disk.root_b.value
        + 2 * disk.verity.value
        + GPT_RESERVE
}

/// systemd-repart definitions, `@…@` standing for what follows from the root hash.
fn repart(definition: &Definition, board: &Board) -> Vec<(String, String)> {
    let disk = &definition.disk;
    let (root, verity) = (&board.architecture.root_type, &board.architecture.verity_type);
    let sized = |size: u64| format!("SizeMinBytes={size}\nSizeMaxBytes={size}\n");
    let slot = |slot: Slot, root_size: u64, content: [&str; 2]| {
        [
            format!(
                "[Partition]\nType={root}\nLabel={}\n{}{}",
                slot.root_label(),
                sized(root_size),
                content[0]
            ),
            format!(
                "[Partition]\nType={verity}\nLabel={}\n{}{}",
                slot.verity_label(),
                sized(disk.verity.value),
                content[1]
            ),
        ]
    };
    let [root_a, verity_a] = slot(
        Slot::A,
        disk.root_a.value,
        [
            "CopyBlocks=/in/root.erofs\nUUID=@root-uuid@\nReadOnly=yes\n",
            "CopyBlocks=/in/root.verity\nUUID=@verity-uuid@\nReadOnly=yes\n",
        ],
    );
    let [root_b, verity_b] = slot(Slot::B, disk.root_b.value, ["", ""]);
    let esp = format!(
        "[Partition]\nType=esp\nLabel={}\nFormat=vfat\nCopyFiles=/build/esp:/\n{}",
        partition::ESP,
        sized(disk.esp.value)
    );
    let seed = format!(
        "[Partition]\nType={BASIC_DATA}\nLabel={}\nFormat=vfat\nCopyFiles=/build/seed:/\n{}",
        partition::SEED,
        sized(disk.seed.value)
    );
    [
        ("10-esp", esp),
        ("20-seed", seed),
        ("30-root-a", root_a),
        ("40-verity-a", verity_a),
        ("50-root-b", root_b),
        ("60-verity-b", verity_b),
    ]
    .into_iter()
    .map(|(name, text)| (format!("repart.d/{name}.conf"), text))
    .collect()
}

/// What a person finds on the seed partition of a fresh image.
const SEED_README: &str = "Put seed.toml here: the file that says what this pair of boxes is to be.\r\n\
                           `edgepair seed new` writes one, `edgepair seed check` explains what is wrong with one.\r\n";

/// Plans the step.
pub fn step(definition: &Definition, board: &Board) -> Step {
    let mut files = repart(definition, board);
    // No menu: nobody watches, and an entry picked by hand would not be counted as an attempt.
    files.push(("esp/loader/loader.conf".into(), "timeout 0\nconsole-mode keep\neditor no\n".into()));
    files.push(("seed/README.txt".into(), SEED_README.into()));
    let suffix = &board.architecture.efi_suffix;
    let boot_file = &board.architecture.efi_boot_file;
    let uki = boot::uki_name(&definition.version.value, boot::TRIES);
    let lay_out = format!(
        "mkdir -p esp/EFI/BOOT esp/EFI/systemd esp/{uki_dir} && \
         cp /in/loader.efi esp/EFI/BOOT/{boot_file} && \
         cp /in/loader.efi esp/EFI/systemd/systemd-boot{suffix}.efi && \
         cp /in/uki.efi esp/{uki_dir}/{uki} && chmod -R u=rwX,go=rX esp seed && \
         find esp seed -exec touch -d @{epoch} {{}} +",
        uki_dir = boot::UKI_DIR,
        epoch = definition.epoch.value
    );
    let disk_seed =
        uuid_of(&format!("disk {} {} {}", definition.name.value, definition.version.value, board.name));
    let size = image_size(definition).to_string();
    let mut actions = vec![
        Action::native(
            "puts the partition UUIDs that follow from the root hash into repart.d (1)",
            fill_in_uuids,
        ),
        Action::run(["sh", "-c", &lay_out]),
    ];
    let mut empty = vec!["--empty=create".to_owned(), format!("--size={size}")];
    if let Some(script) = fixed_partitions(definition, &disk_seed) {
        files.push(("fixed.sfdisk".into(), script));
        actions.push(Action::run([
            "sh",
            "-c",
            &format!("truncate -s {size} disk.img && sfdisk --quiet disk.img < fixed.sfdisk"),
        ]));
        empty = vec!["--empty=refuse".to_owned()];
    }
    let repart = ["systemd-repart", "--offline=yes", "--dry-run=no", "--sector-size=512"]
        .map(str::to_owned)
        .into_iter()
        .chain(empty);
    let rest = [
        &format!("--seed={disk_seed}"),
        "--definitions=/build/repart.d",
        "--no-pager",
        "--json=short",
        "/build/disk.img",
    ];
    actions.push(
        Action::run(repart.chain(rest.map(str::to_owned)))
            .env("SOURCE_DATE_EPOCH", definition.epoch.value.to_string())
            .stdout("partitions.json"),
    );
    Step {
        name: "disk",
        title: "Disk image".to_owned(),
        inputs: vec![
            Input::Output { step: "erofs", file: "root.erofs" },
            Input::Output { step: "erofs", file: "root.verity" },
            Input::Output { step: "erofs", file: "root-hash" },
            Input::Output { step: "boot-files", file: "loader.efi" },
            Input::Output { step: "boot-files", file: "uki.efi" },
        ],
        files,
        actions,
        outputs: vec!["disk.img", "partitions.json"],
        network: false,
        mounts: Vec::new(),
    }
}

/// Partitions at fixed offsets, which systemd-repart cannot place, as a script for sfdisk(8). They come first; repart
/// then puts the others into the free space behind.
fn fixed_partitions(definition: &Definition, disk_seed: &str) -> Option<String> {
    let extra = &definition.disk.extra;
    let mut script = format!("label: gpt\nlabel-id: {disk_seed}\nfirst-lba: 34\n");
    for part in extra {
        let (label, start, size) = (&part.label.value, part.offset.value / 512, part.size.value / 512);
        let uuid = uuid_of(&format!("{disk_seed} {label}"));
        let _ = writeln!(script, "start={start}, size={size}, type=linux, name={label}, uuid={uuid}");
    }
    (!extra.is_empty()).then_some(script)
}

fn fill_in_uuids(dir: &StepDir) -> anyhow::Result<()> {
    let hash = dir.input_text("root-hash")?;
    let (root, verity) = uuids_of_root_hash(&hash).with_context(|| format!("`{hash}` is not a root hash"))?;
    for name in ["30-root-a", "40-verity-a"] {
        let path = dir.file(&format!("repart.d/{name}.conf"));
        let text = fs::read_to_string(&path)?.replace("@root-uuid@", &root).replace("@verity-uuid@", &verity);
        atomic::write(&path, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The partition table as text, for `--dry-run`.
pub fn table(definition: &Definition) -> String {
    let disk = &definition.disk;
    let mut text = String::new();
    let rows = [
        (partition::ESP, disk.esp.value),
        (partition::SEED, disk.seed.value),
        (Slot::A.root_label(), disk.root_a.value),
        (Slot::A.verity_label(), disk.verity.value),
        (Slot::B.root_label(), disk.root_b.value),
        (Slot::B.verity_label(), disk.verity.value),
    ];
    for (name, size) in rows {
        let _ = writeln!(text, "  {name:<9} {}", crate::definition::size::show(size));
    }
    let _ = writeln!(text, "  {:<9} the rest of the disk, made at first boot", partition::STATE);
    text
}
