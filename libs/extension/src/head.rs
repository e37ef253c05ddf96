//! What an extension says of itself, and what of it is signed.

use crate::Version;
use serde::Deserialize;
use std::fmt::Write as _;

/// Schema of the head.
const SCHEMA: u32 = 1;
/// dm-verity's block size; file system and hash tree begin at a multiple of it.
const BLOCK: u64 = 4096;
/// No extension is larger: a mistake, or somebody who wants to fill the disk.
const SIZE_MAX: u64 = 16 << 30;

/// A range of the image, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Length.
    pub length: u64,
}

/// The head of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Version of k3s in it.
    pub version: Version,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// dm-verity root hash over the file system, hexadecimal.
    pub root_hash: String,
    /// Bytes of the image.
    pub size: u64,
    /// SHA-256 of the image, hexadecimal.
    pub sha256: String,
    /// Where the file system is.
    pub data: Span,
    /// Where its hash tree is.
    pub tree: Span,
    /// Names of the archives of container images in it.
    pub images: Vec<String>,
}

/// Why a text is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is no TOML of this shape.
    #[error("extension.toml is wrong: {0}")]
    Shape(String),
    /// A value cannot be.
    #[error("extension.toml: {0}")]
    Value(&'static str),
    /// The same content written in another way.
    #[error("extension.toml is not written in the one form that it has")]
    Form,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: u32,
    version: String,
    architecture: String,
    root_hash: String,
    size: u64,
    sha256: String,
    data: [u64; 2],
    tree: [u64; 2],
    images: Vec<String>,
}

impl Head {
    /// Reads the text of a head. Exactly one text stands for a head, so that what is signed is what is meant.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn parse(text: &str) -> Result<Self, HeadError> {
        let read: Text =
            toml::from_str(text).map_err(|error| HeadError::Shape(error.message().to_owned()))?;
        if read.schema != SCHEMA {
            return Err(HeadError::Value("another schema than 1: this edgepair is too old for it"));
        }
        let span = |[offset, length]: [u64; 2]| Span { offset, length };
        let head = Self {
            version: Version::parse(&read.version).ok_or(HeadError::Value("version is none of k3s's"))?,
            architecture: read.architecture,
            root_hash: read.root_hash,
            size: read.size,
            sha256: read.sha256,
            data: span(read.data),
            tree: span(read.tree),
            images: read.images,
        };
        head.check()?;
        if head.text() == text { Ok(head) } else { Err(HeadError::Form) }
    }

    /// Whether every value can be.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), HeadError> {
        let hash = |text: &str| {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !hash(&self.root_hash) || !hash(&self.sha256) {
            return Err(HeadError::Value("root_hash and sha256 are 64 hexadecimal digits"));
        }
        if !matches!(self.architecture.as_str(), "amd64" | "arm64") {
            return Err(HeadError::Value("architecture is amd64 or arm64"));
        }
        let fits = |span: Span| {
            span.length > 0
                && span.offset % BLOCK == 0
                && span.length % BLOCK == 0
                && span.offset.checked_add(span.length).is_some_and(|end| end <= self.size)
        };
        let apart = self.data.offset.saturating_add(self.data.length) <= self.tree.offset;
        if !(fits(self.data) && fits(self.tree) && apart && self.size <= SIZE_MAX) {
            return Err(HeadError::Value("data and tree are whole blocks of the image, one after the other"));
        }
        if !self.images.iter().all(|name| is_archive_name(name)) {
            return Err(HeadError::Value(
                "an archive of images is named by letters, digits, '.', '_' and '-'",
            ));
        }
        Ok(())
    }

    /// The text of the head.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let images: Vec<String> = self.images.iter().map(|name| format!("\"{name}\"")).collect();
        let _ = write!(
            text,
            "schema = {SCHEMA}\nversion = \"{}\"\narchitecture = \"{}\"\nroot_hash = \"{}\"\nsize = {}\nsha256 = \"{}\"\n\
             data = [{}, {}]\ntree = [{}, {}]\nimages = [{}]\n",
            self.version,
            self.architecture,
            self.root_hash,
            self.size,
            self.sha256,
            self.data.offset,
            self.data.length,
            self.tree.offset,
            self.tree.length,
            images.join(", ")
        );
        text
    }
}

/// A file name that means itself everywhere: in TOML, in a path, in a link.
fn is_archive_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn head() -> Head {
        Head {
            version: Version::parse("v1.33.4+k3s1").expect("a version"),
            architecture: "amd64".into(),
            root_hash: "0f".repeat(32),
            size: 1 << 20,
            sha256: "a1".repeat(32),
            data: Span { offset: 1 << 16, length: 1 << 19 },
            tree: Span { offset: 3 << 18, length: 1 << 13 },
            images: vec!["airgap.tar.zst".into()],
        }
    }

    #[test]
    fn a_head_is_its_text() {
        assert_eq!(Head::parse(&head().text()), Ok(head()));
        let other = head().text().replace("schema = 1", "schema=1");
        assert_eq!(Head::parse(&other), Err(HeadError::Form));
        assert!(matches!(Head::parse(&(head().text() + "more = 1\n")), Err(HeadError::Shape(_))));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Change = fn(&mut Head);
        let rows: [(Change, &str); 9] = [
            (|head| head.root_hash.truncate(63), "64 hexadecimal"),
            (|head| head.sha256 = "G".repeat(64), "64 hexadecimal"),
            (|head| head.architecture = "mips".into(), "amd64"),
            (|head| head.data.offset = 1, "whole blocks"),
            (|head| head.data.length = 0, "whole blocks"),
            (|head| head.tree.length = 1 << 20, "whole blocks"),
            (|head| head.tree.offset = 0, "whole blocks"),
            (|head| head.tree.offset = u64::MAX - 4095, "whole blocks"),
            (|head| head.images.push("../x".into()), "archive of images"),
        ];
        for (change, words) in rows {
            let mut head = head();
            change(&mut head);
            let said = head.check().expect_err(words).to_string();
            assert!(said.contains(words), "{said}");
            assert!(Head::parse(&head.text()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = Head::parse(&text);
        }
    }
}
