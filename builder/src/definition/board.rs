//! Boards and architectures. Both are data: adding one takes a TOML file and no code.
//!
//! A board is looked for in `boards/NAME.toml` beside the definition first, then among those that are compiled in
//! from `builder/boards/`.

use super::findings::{Findings, Located, Source};
use super::reader::{Reader, parse};
use include_dir::{Dir, include_dir};
use std::path::{Path, PathBuf};
use std::sync::Arc;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/boards");

/// The hardware an image is for.
#[derive(Debug)]
pub struct Board {
    /// Name, the file's stem.
    pub name: String,
    /// For people.
    pub description: String,
    /// Debian packages that this hardware needs: kernel, firmware, microcode.
    pub packages: Vec<String>,
    /// Kernel modules for the initrd: how this hardware reaches its disk.
    pub initrd_modules: Vec<String>,
    /// Kernel command line, words.
    pub kernel_arguments: Vec<String>,
    /// dpkg path patterns that this hardware does not need.
    pub excludes: Vec<String>,
    /// Paths removed at the end.
    pub removes: Vec<String>,
    /// CPU microcode that the kernel image carries: shell patterns below `/usr/lib/firmware`.
    pub microcode: Vec<String>,
    /// Terminals that show the status screen, device names under `/dev`.
    pub consoles: Vec<String>,
    /// Largest kernel image (UKI) the boot partition is planned for, bytes.
    pub uki_limit: u64,
    /// First byte that a partition may use: some boards keep a boot loader between the GPT and the first partition.
    pub first_usable: u64,
    /// Instruction set and everything that follows from it.
    pub architecture: Architecture,
}

/// What follows from the instruction set.
#[derive(Debug)]
pub struct Architecture {
    /// Debian's name.
    pub debian: String,
    /// Rust target triple of node-init.
    pub rust_target: String,
    /// Compiler driver used as linker for that target when it is not the builder's own.
    pub cross_linker: String,
    /// Suffix of systemd-boot's file names (`x64`).
    pub efi_suffix: String,
    /// File name that UEFI looks for on a removable medium.
    pub efi_boot_file: String,
    /// GPT type of the root partition, systemd's name.
    pub root_type: String,
    /// GPT type of its hash tree.
    pub verity_type: String,
    /// Tools-tree packages that only this architecture needs (emulator, firmware).
    pub tools: Vec<String>,
    /// Tools-tree packages for cross compiling to it.
    pub cross_tools: Vec<String>,
    /// How QEMU runs it.
    pub qemu: Qemu,
}

/// How QEMU runs a machine of this architecture; paths are inside the tools tree.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// Program name.
    pub program: String,
    /// `-machine` value.
    pub machine: String,
    /// Firmware code image.
    pub firmware_code: String,
    /// Template of the firmware's variable store.
    pub firmware_vars: String,
    /// Terminal that is the first serial port, under `/dev`.
    pub serial: String,
}

fn find(folder: &str, name: &str, beside: &Path) -> Option<(PathBuf, String)> {
    let file = PathBuf::from(folder).join(format!("{name}.toml"));
    let own = beside.join("boards").join(&file);
    if let Ok(text) = std::fs::read_to_string(&own) {
        return Some((own, text));
    }
    let built_in = BUILT_IN.get_file(&file)?;
    Some((Path::new("<built in>/boards").join(&file), built_in.contents_utf8()?.to_owned()))
}

/// Names of the built-in boards.
pub fn built_in_names() -> Vec<String> {
    let mut names: Vec<String> = BUILT_IN
        .files()
        .filter_map(|file| file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

/// Reads the board that a definition names. `beside` is the definition's folder.
pub fn load(name: &Located<String>, beside: &Path, findings: &mut Findings) -> Option<Board> {
    let Some((path, text)) = find("", &name.value, beside) else {
        findings.add(
            &name.at,
            format!("unknown board `{}`", name.value),
            format!(
                "use one of: {}; or put boards/{}.toml beside the definition",
                built_in_names().join(", "),
                name.value
            ),
        );
        return None;
    };
    let source = Arc::new(Source { path, text });
    let mut reader = parse(&source, findings);
    schema(&mut reader, findings);
    let architecture = required(&mut reader, "architecture", findings);
    let board = Board {
        name: name.value.clone(),
        description: required(&mut reader, "description", findings)?.value,
        packages: plain(reader.strings("packages", findings)),
        initrd_modules: plain(reader.strings("initrd_modules", findings)),
        kernel_arguments: plain(reader.strings("kernel_arguments", findings)),
        excludes: plain(reader.strings("excludes", findings)),
        removes: plain(reader.strings("removes", findings)),
        microcode: plain(reader.strings("microcode", findings)),
        consoles: plain(reader.strings("consoles", findings)),
        uki_limit: size(&mut reader, "uki_limit", findings).map_or(64 << 20, |limit| limit.value),
        first_usable: size(&mut reader, "first_usable", findings).map_or(1 << 20, |first| first.value),
        architecture: load_architecture(&architecture?, beside, findings)?,
    };
    reader.finish(findings);
    Some(board)
}

fn load_architecture(name: &Located<String>, beside: &Path, findings: &mut Findings) -> Option<Architecture> {
    let Some((path, text)) = find("architectures", &name.value, beside) else {
        let fix = format!("put boards/architectures/{}.toml beside the definition", name.value);
        findings.add(&name.at, format!("unknown architecture `{}`", name.value), fix);
        return None;
    };
    let source = Arc::new(Source { path, text });
    let mut reader = parse(&source, findings);
    schema(&mut reader, findings);
    let qemu = reader.table("qemu", findings);
    let mut text = |key| required(&mut reader, key, findings).map(|value| value.value);
    let fields = (
        text("rust_target"),
        text("cross_linker"),
        text("efi_suffix"),
        text("efi_boot_file"),
        text("root_type"),
        text("verity_type"),
    );
    let tools = plain(reader.strings("tools", findings));
    let cross_tools = plain(reader.strings("cross_tools", findings));
    let Some(mut qemu) = qemu else {
        findings.add(reader.place(), "the table `qemu` is missing", "say how QEMU runs this architecture");
        return None;
    };
    let mut text = |key| required(&mut qemu, key, findings).map(|value| value.value);
    let machine =
        (text("program"), text("machine"), text("firmware_code"), text("firmware_vars"), text("serial"));
    qemu.finish(findings);
    reader.finish(findings);
    Some(Architecture {
        debian: name.value.clone(),
        rust_target: fields.0?,
        cross_linker: fields.1?,
        efi_suffix: fields.2?,
        efi_boot_file: fields.3?,
        root_type: fields.4?,
        verity_type: fields.5?,
        tools,
        cross_tools,
        qemu: Qemu {
            program: machine.0?,
            machine: machine.1?,
            firmware_code: machine.2?,
            firmware_vars: machine.3?,
            serial: machine.4?,
        },
    })
}

/// Checks `schema = 1`.
pub(super) fn schema(reader: &mut Reader<'_>, findings: &mut Findings) {
    match reader.integer("schema", findings) {
        Some(schema) if schema.value == 1 => {}
        Some(schema) => findings.add(
            &schema.at,
            format!("this edgepair reads schema 1, the file says {}", schema.value),
            "write `schema = 1`, or use the edgepair version that the file was made for",
        ),
        None => findings.add(
            reader.place(),
            "the key `schema` is missing",
            "write `schema = 1` on the first line",
        ),
    }
}

/// A string that must be there.
pub(super) fn required(
    reader: &mut Reader<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Option<Located<String>> {
    let value = reader.string(key, findings);
    if value.is_none() {
        findings.add(
            &reader.place().clone(),
            format!("the key `{key}` is missing or of a wrong type"),
            format!("write `{key} = \"…\"`"),
        );
    }
    value
}

/// A size with unit.
pub(super) fn size(
    reader: &mut Reader<'_>,
    key: &'static str,
    findings: &mut Findings,
) -> Option<Located<u64>> {
    let text = reader.string(key, findings)?;
    let bytes = super::size::parse(&text.value);
    if bytes.is_none() {
        findings.add(
            &text.at,
            format!("`{}` is not a size", text.value),
            "write for example \"512MiB\" (KiB, MiB or GiB)",
        );
    }
    Some(Located { value: bytes?, at: text.at })
}

fn plain(values: Vec<Located<String>>) -> Vec<String> {
    values.into_iter().map(|value| value.value).collect()
}
