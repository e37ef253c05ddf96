//! Names of kernel images, read as systemd-boot reads them (systemd `src/boot/boot.c`, `boot_entry_parse_tries`; UAPI
//! "Boot Loader Specification", "Boot counting").

use serde::{Deserialize, Serialize};
use std::fmt;

/// `+LEFT-DONE` of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counter {
    /// Attempts left.
    pub left: u32,
    /// Attempts made.
    pub done: u32,
}

/// What systemd-boot sorts by, from the `.osrel` section of a kernel image (os-release(5)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Label {
    /// `IMAGE_ID`, else `ID`.
    pub sort_key: Option<String>,
    /// `IMAGE_VERSION`, else `VERSION`, `VERSION_ID`, `BUILD_ID`.
    pub version: Option<String>,
}

/// A kernel image that the loader offers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// File name as it is on the disk.
    pub file: String,
    /// Name without counter and suffix.
    pub stem: String,
    /// Absent: not counted. That is a version which is kept, and everything that somebody else put there.
    pub counter: Option<Counter>,
    /// What it is sorted by.
    pub label: Label,
}

/// systemd-boot reads a counter as `int`.
const MOST: u32 = i32::MAX.unsigned_abs();

impl Entry {
    /// Reads a file name. `None`: the loader does not look at such a file.
    pub fn parse(file: &str, label: Label) -> Option<Self> {
        let cut = file.len().checked_sub(4)?;
        let (name, suffix) = (file.get(..cut)?, file.get(cut..)?);
        let hidden = name.starts_with('.') || name.to_ascii_lowercase().starts_with("auto-");
        if hidden || !suffix.eq_ignore_ascii_case(".efi") {
            return None;
        }
        let counted = name.rsplit_once('+').and_then(|(stem, counter)| Some((stem, parse_counter(counter)?)));
        let (stem, counter) = match counted {
            Some((stem, counter)) => (stem, Some(counter)),
            None => (name, None),
        };
        Some(Self { file: file.to_owned(), stem: stem.to_owned(), counter, label })
    }

    /// Version of this system that the file is named after; `None` for somebody else's file.
    pub fn version(&self) -> Option<&str> {
        version_of_stem(&self.stem)
    }

    /// The same image under another counter.
    pub fn with(&self, counter: Option<Counter>) -> Self {
        Self { file: file_name(&self.stem, counter), counter, ..self.clone() }
    }
}

/// Version in `edgepair_VERSION`. The characters of a version exclude everything that has a meaning in a file name.
fn version_of_stem(stem: &str) -> Option<&str> {
    stem.strip_prefix("edgepair_").filter(|version| is_version(version))
}

/// Whether a version may be part of a file name: 1 to 64 of ASCII letters, digits and `. - ~ ^`, beginning with a letter
/// or digit (UAPI "Version Format Specification", without `_` and `+`).
pub fn is_version(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-~^".contains(&byte);
    text.len() <= 64
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(good)
}

/// File name of a version's kernel image.
pub fn file_of(version: &str, counter: Option<Counter>) -> String {
    file_name(&format!("edgepair_{version}"), counter)
}

/// Name under which a version's kernel image is written before it is whole. The loader passes over names with a dot in front.
pub fn temporary_of(version: &str) -> String {
    format!(".edgepair_{version}.tmp")
}

/// Whether a file is one that [`temporary_of`] names.
pub fn is_temporary(file: &str) -> bool {
    file.strip_prefix(".edgepair_").and_then(|rest| rest.strip_suffix(".tmp")).is_some_and(is_version)
}

/// Whether a file is named as one of ours, whatever is in it.
pub fn is_ours(file: &str) -> bool {
    Entry::parse(file, Label::default()).is_some_and(|entry| entry.version().is_some())
}

fn file_name(stem: &str, counter: Option<Counter>) -> String {
    match counter {
        None => format!("{stem}.efi"),
        Some(Counter { left, done: 0 }) => format!("{stem}+{left}.efi"),
        Some(Counter { left, done }) => format!("{stem}+{left}-{done}.efi"),
    }
}

fn parse_counter(text: &str) -> Option<Counter> {
    let (left, done) = text.split_once('-').unwrap_or((text, "0"));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= MOST)
    };
    Some(Counter { left: number(left)?, done: number(done)? })
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(file: &str) -> Option<(String, Option<(u32, u32)>)> {
        let entry = Entry::parse(file, Label::default())?;
        Some((entry.stem, entry.counter.map(|counter| (counter.left, counter.done))))
    }

    #[test]
    fn names_are_read_as_the_loader_reads_them() {
        let of = |stem: &str, counter| Some((stem.to_owned(), counter));
        assert_eq!(read("edgepair_1.2+3.efi"), of("edgepair_1.2", Some((3, 0))));
        assert_eq!(read("edgepair_1.2+0-3.efi"), of("edgepair_1.2", Some((0, 3))));
        assert_eq!(read("edgepair_1.2.EFI"), of("edgepair_1.2", None));
        assert_eq!(read("a+1+2.efi"), of("a+1", Some((2, 0))), "the last one counts");
        // No counter to the loader, so an entry that always boots.
        for odd in ["edgepair_1.2+x", "edgepair_1.2+", "edgepair_1.2+3-", "edgepair_1.2+99999999999", "a+ 1"]
        {
            assert_eq!(read(&format!("{odd}.efi")), of(odd, None));
        }
        for other in [".edgepair_1.2.tmp", ".a.efi", "auto-x.efi", "x.conf", "", "efi", "é.ef"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn only_our_own_names_are_ours() {
        for ours in ["edgepair_1.2+3.efi", "edgepair_1.2.efi", "edgepair_1~rc1+0-3.efi"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in
            ["edgepair_.efi", "debian_1.efi", "edgepair_1.2+x.efi", "edgepair_a_b.efi", ".edgepair_1.tmp"]
        {
            assert!(!is_ours(other), "{other}");
        }
        assert!(is_temporary(&temporary_of("1.2")));
        assert!(!is_temporary(".edgepair_.tmp") && !is_temporary("x.tmp"));
    }

    proptest! {
        #[test]
        fn a_written_name_is_read_back(version in "[0-9a-z][0-9a-z.~^-]{0,10}", left in 0..9_u32, done in 0..9_u32) {
            for counter in [None, Some(Counter { left, done })] {
                let entry = Entry::parse(&file_of(&version, counter), Label::default()).unwrap();
                prop_assert_eq!(entry.version(), Some(version.as_str()));
                prop_assert_eq!(entry.counter, counter);
                prop_assert_eq!(entry.with(counter).file, entry.file);
            }
        }

        #[test]
        fn any_name_is_survived(name: String) {
            let _ = (Entry::parse(&name, Label::default()), is_temporary(&name));
        }
    }
}
