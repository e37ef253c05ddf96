//! What a kernel image says about itself: the `.osrel` section, as systemd-boot reads it (systemd `src/fundamental/
//! bootspec-fundamental.c`, `bootspec_pick_name_version_sort_key`; UAPI "Unified Kernel Image").

use super::entry::Label;
use object::read::ReadCache;
use object::{Object, ObjectSection};
use std::io::{Read, Seek};

/// Largest os-release that is looked at, bytes. The format's own examples have a few hundred.
const MOST: u64 = 64 << 10;

/// Reads the label of a kernel image. `None`: not a Unified Kernel Image, the loader passes it over.
pub fn of_image(file: impl Read + Seek) -> Option<Label> {
    let cache = ReadCache::new(file);
    let image = object::read::pe::PeFile64::parse(&cache).ok()?;
    let section = image.section_by_name(".osrel")?;
    if section.size() > MOST {
        return None;
    }
    let text = String::from_utf8_lossy(section.data().ok()?).into_owned();
    Some(of_text(text.trim_end_matches('\0')))
}

/// Reads os-release(5) text.
pub fn of_text(text: &str) -> Label {
    let value = |key: &str| {
        let line = text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        let plain = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
        let value = plain('"').or_else(|| plain('\'')).unwrap_or(line);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(key));
    Label {
        sort_key: first(&["IMAGE_ID", "ID"]),
        version: first(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Cursor;

    /// The smallest PE file with one section, `.osrel` (Microsoft "PE Format").
    pub fn image(os_release: &str, padding: usize) -> Vec<u8> {
        let (pe_at, optional, section_at) = (0x40_u32, 240_u16, 0x200_u32);
        let mut file = vec![0; section_at as usize];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &pe_at.to_le_bytes());
        put(0x40, b"PE\0\0");
        put(0x44, &0x8664_u16.to_le_bytes());
        put(0x46, &1_u16.to_le_bytes());
        put(0x54, &optional.to_le_bytes());
        put(0x58, &0x20b_u16.to_le_bytes());
        put(0x58 + 108, &16_u32.to_le_bytes());
        let header = 0x58 + usize::from(optional);
        let size = u32::try_from(os_release.len()).unwrap();
        put(header, b".osrel\0\0");
        put(header + 8, &size.to_le_bytes());
        put(header + 12, &0x1000_u32.to_le_bytes());
        put(header + 16, &size.to_le_bytes());
        put(header + 20, &section_at.to_le_bytes());
        file.extend_from_slice(os_release.as_bytes());
        file.resize(file.len() + padding, 7);
        file
    }

    #[test]
    fn the_label_is_what_the_loader_sorts_by() {
        let text = "ID=edgepair\nNAME=\"x86\"\nIMAGE_ID='site'\nIMAGE_VERSION=\"1.2\"\nVERSION_ID=9\n";
        let label = of_image(Cursor::new(image(text, 10))).unwrap();
        assert_eq!(label, Label { sort_key: Some("site".into()), version: Some("1.2".into()) });
        assert_eq!(
            of_text("ID=debian\nVERSION_ID=13\nIMAGE_ID=\n"),
            Label { sort_key: Some("debian".into()), version: Some("13".into()) }
        );
    }

    #[test]
    fn what_is_no_image_has_no_label() {
        let whole = image("ID=edgepair\n", 0);
        for length in [0, 1, 0x40, 0x60, 0x1ff] {
            assert_eq!(of_image(Cursor::new(&whole[..length])), None, "{length} bytes");
        }
        assert_eq!(of_image(Cursor::new(vec![0xff; 4096])), None);
    }
}
