//! Definitions: what an image is to be, as the user wrote it (`images/*.toml`), and the hardware it is for.
//!
//! * [`load()`]: file → included files → one merged, typed [`Definition`], every value with its place.
//! * [`board`]: boards and architectures, which are data files as well.
//! * [`findings`]: errors with file, line, column and what to do, all at once.
//! * [`reader`]: the table reader under both.

pub mod board;
pub mod findings;
mod load;
pub mod reader;
pub mod size;

pub use load::load;

use findings::Located;
use std::path::PathBuf;

/// A definition after merging all included files. Lists are in the order: included files first.
#[derive(Debug)]
pub struct Definition {
    /// First part of every output's file name.
    pub name: Located<String>,
    /// Image version, ordered as systemd-boot orders versions (UAPI version format).
    pub version: Located<String>,
    /// Board name (`boards/NAME.toml`).
    pub board: Located<String>,
    /// Debian suite's code name.
    pub suite: Located<String>,
    /// Time stamp of everything in the image, seconds since 1970.
    pub epoch: Located<i64>,
    /// Package mirrors; empty means those of the host.
    pub mirrors: Vec<Located<String>>,
    /// Archive areas, for example `main`.
    pub components: Vec<Located<String>>,
    /// Debian package names.
    pub packages: Vec<Located<String>>,
    /// The user's own `.deb` files.
    pub local_packages: Vec<Located<PathBuf>>,
    /// Folders laid over the root file system, later ones win.
    pub overlays: Vec<Located<PathBuf>>,
    /// dpkg path patterns that are not unpacked.
    pub excludes: Vec<Located<String>>,
    /// Exceptions from the excludes.
    pub includes: Vec<Located<String>>,
    /// Paths (shell patterns) removed after all packages are configured.
    pub removes: Vec<Located<String>>,
    /// Kernel command line, words.
    pub kernel_arguments: Vec<Located<String>>,
    /// Kernel modules that the initrd carries in addition to the board's.
    pub initrd_modules: Vec<Located<String>>,
    /// Units that are enabled in the image.
    pub enabled_units: Vec<Located<String>>,
    /// Units that stay off until node-init starts them, with the reason.
    pub disabled_units: Vec<(Located<String>, String)>,
    /// Units that can never start, with the reason.
    pub masked_units: Vec<(Located<String>, String)>,
    /// Files fetched at build time.
    pub downloads: Vec<Download>,
    /// Public keys (minisign's format) that an update of the image must be signed with: any of them.
    pub update_keys: Vec<Located<PathBuf>>,
    /// Where k3s comes from, when the image is to carry it.
    pub k3s: Option<K3s>,
    /// Sizes of the disk's parts.
    pub disk: Disk,
    /// Every file that was read, in order (inputs of the cache key, and for `--dry-run`).
    pub files: Vec<PathBuf>,
}

/// A file from a URL, pinned by its digest.
#[derive(Debug)]
pub struct Download {
    /// Where it is.
    pub url: Located<String>,
    /// What it must be, 64 hexadecimal digits.
    pub sha256: Located<String>,
    /// Where it goes in the image.
    pub path: Located<String>,
}

/// `[k3s]`: the extension that an image carries.
#[derive(Debug)]
pub struct K3s {
    /// Version, `v1.33.4+k3s1`.
    pub version: Located<String>,
    /// Where the program is.
    pub url: Located<String>,
    /// What it must be, 64 hexadecimal digits.
    pub sha256: Located<String>,
    /// Archives of container images that go with it.
    pub images: Vec<Located<PathBuf>>,
}

/// Sizes in bytes.
#[derive(Debug)]
pub struct Disk {
    /// EFI system partition.
    pub esp: Located<u64>,
    /// Seed partition.
    pub seed: Located<u64>,
    /// Root of slot A.
    pub root_a: Located<u64>,
    /// Root of slot B.
    pub root_b: Located<u64>,
    /// Hash tree of either slot.
    pub verity: Located<u64>,
    /// Partitions of the user's own with fixed offsets.
    pub extra: Vec<ExtraPartition>,
}

/// A partition at a place that the board or the user fixes, for example a boot loader's.
#[derive(Debug)]
pub struct ExtraPartition {
    /// GPT name.
    pub label: Located<String>,
    /// First byte.
    pub offset: Located<u64>,
    /// Bytes.
    pub size: Located<u64>,
}
