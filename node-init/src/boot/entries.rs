//! Kernel images on the boot partition and what their names say.

use anyhow::Context;
use std::path::Path;

/// A kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Version, from the file name.
    pub version: String,
    /// Attempts left; absent when it was called good (systemd "Automatic Boot Assessment": `NAME+LEFT-DONE.efi`).
    pub tries: Option<u32>,
}

/// Lists the kernel images in a folder, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Entry>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("the boot partition: {}", dir.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names.iter().filter_map(|name| parse(name)).collect())
}

/// Reads `edgepair_VERSION[+LEFT[-DONE]].efi`.
fn parse(name: &str) -> Option<Entry> {
    let stem = name.strip_prefix("edgepair_")?.strip_suffix(".efi")?;
    let (version, tries) = match stem.rsplit_once('+') {
        None => (stem, None),
        Some((version, counter)) => (version, Some(counter.split('-').next()?.parse().ok()?)),
    };
    (!version.is_empty()).then(|| Entry { version: version.to_owned(), tries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_boot_loader_reads_them() {
        let entry = |version: &str, tries| Some(Entry { version: version.into(), tries });
        assert_eq!(parse("edgepair_1.2+3.efi"), entry("1.2", Some(3)));
        assert_eq!(parse("edgepair_1.2+0-3.efi"), entry("1.2", Some(0)));
        assert_eq!(parse("edgepair_1.2.efi"), entry("1.2", None));
        for other in ["edgepair_1.2+x.efi", "edgepair_.efi", "other.efi", "edgepair_1.2.efi.tmp", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
