//! What the user gets: compressed image, block map, boot files, manifest, package list, check sums.
//!
//! Everything is written under temporary names first; the manifest is renamed last, so a folder with a manifest is
//! whole.

use super::packages::Resolved;
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::Done;
use crate::engine::progress::Progress;
use crate::signing::minisign::Signer;
use crate::signing::secure_boot::SecureBoot;
use anyhow::Context;
use edgepair_host_io::{atomic, digest, sparse};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// zstd level of the image: the root inside is compressed already, so a higher one buys nothing.
const LEVEL: i32 = 3;

/// Granularity of the block map in bytes.
const BLOCK: usize = 4096;

#[derive(Serialize)]
struct Manifest<'a> {
    schema: u32,
    name: &'a str,
    version: &'a str,
    board: &'a str,
    architecture: &'a str,
    suite: &'a str,
    source_date_epoch: i64,
    /// dm-verity root hash: what the kernel image will accept as root.
    root_hash: String,
    /// Size of the uncompressed disk image, bytes.
    disk_size: u64,
    partitions: serde_json::Value,
    packages: BTreeMap<String, String>,
    files: BTreeMap<String, FileEntry>,
    /// SHA-256 of the certificate that loader and kernel image are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_boot_certificate: Option<&'a str>,
    /// SHA-256 over everything above, in this order.
    identity: String,
}

#[derive(Serialize, Clone)]
struct FileEntry {
    sha256: String,
    size: u64,
}

/// The finished steps that make up the output.
pub struct Parts<'a> {
    /// Disk image and partition table.
    pub disk: &'a Done,
    /// Boot loader and kernel image, signed or not.
    pub boot: &'a Done,
    /// Root and hash tree.
    pub erofs: &'a Done,
    /// Bill of materials.
    pub sbom: &'a Done,
    /// What the boot files are signed with.
    pub secure_boot: Option<&'a SecureBoot>,
    /// What the manifest is signed with.
    pub signer: Option<&'a Signer>,
}

/// `NAME_VERSION_ARCH`.
pub fn stem(definition: &Definition, board: &Board) -> String {
    format!("{}_{}_{}", definition.name.value, definition.version.value, board.architecture.debian)
}

/// Paths of the outputs.
#[derive(Debug)]
pub struct Written {
    /// The compressed disk image.
    pub image: PathBuf,
    /// All files, for the summary.
    pub files: Vec<PathBuf>,
    /// Whether they were already there.
    pub unchanged: bool,
}

/// Writes all outputs to `out`. Nothing is written again when the folder already holds this very build.
///
/// # Errors
/// When something cannot be read or written.
pub fn write(
    definition: &Definition,
    board: &Board,
    resolved: &Resolved,
    parts: &Parts<'_>,
    out: &Path,
    progress: &Progress,
) -> anyhow::Result<Written> {
    fs::create_dir_all(out).with_context(|| format!("cannot make the output folder {}", out.display()))?;
    let stem = stem(definition, board);
    // The manifest and its signature come last.
    let mut names: Vec<String> = ["img.zst", "bmap", "uki.efi", "loader.efi", "packages", "cdx.json"]
        .map(|suffix| format!("{stem}.{suffix}"))
        .into();
    let described = names.len();
    names.push("SHA256SUMS".to_owned());
    if parts.signer.is_some() {
        names.push("manifest.json.minisig".to_owned());
    }
    names.push("manifest.json".to_owned());
    let files: Vec<PathBuf> = names.iter().map(|name| out.join(name)).collect();
    let stamp = out.join(format!(".{stem}.key"));
    let signer = parts.signer.map_or(String::new(), Signer::id);
    let key = format!("{} {} {signer}", parts.disk.key, parts.sbom.key);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == key) && files.iter().all(|file| file.exists()) {
        return Ok(Written { image: files[0].clone(), files, unchanged: true });
    }
    let _ = fs::remove_file(&stamp);
    if parts.signer.is_none() {
        // A signature of an earlier build would not be of this one.
        let _ = fs::remove_file(out.join("manifest.json.minisig"));
    }
    let running = progress.start(
        "output",
        &format!("Files in {}", out.display()),
        if parts.disk.cached { "not in this folder yet" } else { "new image" },
    );
    let disk = parts.disk.dir.join("disk.img");
    let staged: Vec<PathBuf> = files.iter().map(|file| atomic::temporary_name(file)).collect();
    let result = (|| -> anyhow::Result<()> {
        let map = compress(&disk, &staged[0])?;
        atomic::write(&staged[1], map.as_bytes(), 0o644)?;
        copy(&parts.boot.dir.join("uki.efi"), &staged[2])?;
        copy(&parts.boot.dir.join("loader.efi"), &staged[3])?;
        atomic::write(&staged[4], resolved.list().as_bytes(), 0o644)?;
        copy(&parts.sbom.dir.join("sbom.json"), &staged[5])?;
        let mut entries = BTreeMap::new();
        for (name, path) in names.iter().zip(&staged).take(described) {
            let entry = FileEntry { sha256: digest::of_file(path)?, size: fs::metadata(path)?.len() };
            entries.insert(name.clone(), entry);
        }
        let mut sums = String::new();
        for (name, entry) in &entries {
            let _ = writeln!(sums, "{}  {name}", entry.sha256);
        }
        let manifest = manifest(definition, board, resolved, parts, entries, fs::metadata(&disk)?.len())?;
        let _ = writeln!(sums, "{}  manifest.json", digest::of_bytes(&manifest));
        atomic::write(&staged[described], sums.as_bytes(), 0o644)?;
        if let Some(signer) = parts.signer {
            // The comment is signed too: a manifest of another image or version cannot be passed off as this one.
            let comment = format!("file:manifest.json image:{stem} board:{}", board.name);
            atomic::write(
                &staged[described + 1],
                signer.sign(manifest.as_bytes(), &comment)?.text().as_bytes(),
                0o644,
            )?;
        }
        let last = staged.last().context("no manifest is planned")?;
        atomic::write(last, manifest.as_bytes(), 0o644)?;
        for (from, to) in staged.iter().zip(&files) {
            File::open(from)?.sync_all()?;
            atomic::publish(from, to)?;
        }
        atomic::write(&stamp, key.as_bytes(), 0o644)?;
        Ok(())
    })();
    for file in &staged {
        let _ = fs::remove_file(file);
    }
    result.with_context(|| format!("cannot write the output to {}", out.display()))?;
    running.finish(&format!("{} files", files.len()));
    Ok(Written { image: files[0].clone(), files, unchanged: false })
}

/// Copies a file of the cache, readable by everybody whatever the umask.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(())
}

fn manifest(
    definition: &Definition,
    board: &Board,
    resolved: &Resolved,
    parts: &Parts<'_>,
    files: BTreeMap<String, FileEntry>,
    disk_size: u64,
) -> anyhow::Result<String> {
    let partitions = fs::read_to_string(parts.disk.dir.join("partitions.json"))?;
    let mut manifest = Manifest {
        schema: 1,
        name: &definition.name.value,
        version: &definition.version.value,
        board: &board.name,
        architecture: &board.architecture.debian,
        suite: &definition.suite.value,
        source_date_epoch: definition.epoch.value,
        root_hash: fs::read_to_string(parts.erofs.dir.join("root-hash"))?.trim().to_owned(),
        disk_size,
        partitions: partition_table(&partitions)?,
        packages: super::root::versions(resolved),
        files,
        secure_boot_certificate: match parts.secure_boot {
            Some(SecureBoot::Keys { digest, .. }) => Some(digest),
            _ => None,
        },
        identity: String::new(),
    };
    manifest.identity = digest::of_bytes(serde_json::to_string(&manifest)?);
    Ok(serde_json::to_string_pretty(&manifest)? + "\n")
}

/// What of systemd-repart's report is about the disk and not about the machine that wrote it.
fn partition_table(report: &str) -> anyhow::Result<serde_json::Value> {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(report).context("systemd-repart's report is not JSON")?;
    let kept = rows.into_iter().map(|row| {
        let fields = ["label", "type", "uuid", "partno", "offset", "raw_size"];
        serde_json::Value::Object(
            fields
                .iter()
                .map(|name| ((*name).to_owned(), row.get(name).cloned().unwrap_or_default()))
                .collect(),
        )
    });
    Ok(kept.collect())
}

/// Writes the compressed image and returns the block map.
fn compress(disk: &Path, target: &Path) -> anyhow::Result<String> {
    let mut encoder = zstd::Encoder::new(File::create(target)?, LEVEL)?;
    // With at least one worker the result does not depend on how many there are; without any it differs.
    encoder.multithread(
        std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
    )?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(fs::metadata(disk)?.len()))?;
    let map = BlockMap::of(sparse::Reader::new(File::open(disk)?)?, &mut encoder)?;
    encoder.finish()?;
    Ok(map.xml())
}

/// Which blocks of an image hold data (bmap format 2.0, as bmaptool reads it). Decided by content, not by holes in
/// the file, so that it is the same on every file system.
#[derive(Debug, Default)]
struct BlockMap {
    ranges: Vec<(u64, u64, String)>,
    blocks: u64,
    size: u64,
}

impl BlockMap {
    fn of(mut image: impl Read, mut copy: impl Write) -> io::Result<Self> {
        use sha2::{Digest, Sha256};
        let mut map = Self::default();
        let mut open: Option<(u64, Sha256)> = None;
        let mut chunk = vec![0_u8; BLOCK * 256];
        loop {
            let mut filled = 0;
            while filled < chunk.len() {
                let read = image.read(&mut chunk[filled..])?;
                if read == 0 {
                    break;
                }
                filled += read;
            }
            for block in chunk[..filled].chunks(BLOCK) {
                if block.iter().any(|byte| *byte != 0) {
                    let (_, hasher) = open.get_or_insert_with(|| (map.blocks, Sha256::new()));
                    hasher.update(block);
                } else if let Some((first, hasher)) = open.take() {
                    map.ranges.push((first, map.blocks - 1, hex::encode(hasher.finalize())));
                }
                map.blocks += 1;
            }
            copy.write_all(&chunk[..filled])?;
            map.size += filled as u64;
            if filled < chunk.len() {
                break;
            }
        }
        if let Some((first, hasher)) = open.take() {
            map.ranges.push((first, map.blocks - 1, hex::encode(hasher.finalize())));
        }
        Ok(map)
    }

    fn xml(&self) -> String {
        let mapped: u64 = self.ranges.iter().map(|(first, last, _)| last - first + 1).sum();
        let mut ranges = String::new();
        for (first, last, sum) in &self.ranges {
            let span = if first == last { first.to_string() } else { format!("{first}-{last}") };
            let _ = writeln!(ranges, "        <Range chksum=\"{sum}\"> {span} </Range>");
        }
        let text = |sum: &str| {
            format!(
                "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {} </ImageSize>\n    <BlockSize> {BLOCK} </BlockSize>\n    \
                 <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
                 <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {sum} </BmapFileChecksum>\n    <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n",
                self.size, self.blocks
            )
        };
        // The file's own digest is computed with zeros in its place (bmaptool, BmapCreate).
        text(&digest::of_bytes(text(&"0".repeat(64))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_map_lists_what_is_not_zero() {
        let mut image = vec![0_u8; BLOCK * 10];
        image[BLOCK * 2 + 5] = 1;
        image[BLOCK * 3] = 1;
        image[BLOCK * 9 + BLOCK - 1] = 1;
        let mut copy = Vec::new();
        let map = BlockMap::of(&image[..], &mut copy).expect("reads");
        assert_eq!(copy, image);
        let spans: Vec<(u64, u64)> = map.ranges.iter().map(|(first, last, _)| (*first, *last)).collect();
        assert_eq!(spans, [(2, 3), (9, 9)]);
        let want = digest::of_bytes(&image[BLOCK * 2..BLOCK * 4]);
        assert!(map.xml().contains(&format!("<Range chksum=\"{want}\"> 2-3 </Range>")));
    }
}
