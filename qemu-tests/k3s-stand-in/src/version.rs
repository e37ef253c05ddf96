//! Which k3s this stands in for.
//!
//! A copy of the program with a line `k3s-stand-in-version=v1.34.1+k3s1` after its end stands in for that version, so
//! that a test makes an older or a newer one without building anything.

use std::io::{Read, Seek, SeekFrom};
use std::sync::LazyLock;

const DEFAULT: &str = "v1.33.4+k3s1";
const MARK: &str = "k3s-stand-in-version=";

static OWN: LazyLock<String> = LazyLock::new(|| {
    let tail = tail().unwrap_or_default();
    marked(&String::from_utf8_lossy(&tail)).unwrap_or_else(|| DEFAULT.to_owned())
});

fn tail() -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open("/proc/self/exe")?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(128)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn marked(tail: &str) -> Option<String> {
    let line = tail.lines().last()?.strip_prefix(MARK)?;
    minor(line).map(|_| line.trim().to_owned())
}

/// The version this stands in for.
pub fn own() -> &'static str {
    &OWN
}

/// Major and minor number of `v1.33.4+k3s1`.
pub fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix('v')?.splitn(3, '.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether a node of that version may join: not newer than the server, and not more than three minor versions older
/// (Kubernetes, "Version Skew Policy").
pub fn may_join(node: &str, server: &str) -> bool {
    match (minor(node), minor(server)) {
        (Some(node), Some(server)) => node.0 == server.0 && node.1 <= server.1 && server.1 - node.1 <= 3,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_is_newer_than_its_server() {
        assert!(may_join("v1.33.4+k3s1", "v1.33.1+k3s1"));
        assert!(may_join("v1.31.0+k3s1", "v1.33.1+k3s1"));
        assert!(!may_join("v1.34.0+k3s1", "v1.33.1+k3s1"));
        assert!(!may_join("v1.29.0+k3s1", "v1.33.1+k3s1"));
        assert!(!may_join("unknown", "v1.33.1+k3s1"));
    }

    #[test]
    fn a_mark_after_the_end_is_read() {
        assert_eq!(marked("ELF\0\nk3s-stand-in-version=v1.34.1+k3s1\n"), Some("v1.34.1+k3s1".into()));
        assert_eq!(marked("ELF\0\nk3s-stand-in-version=next\n"), None);
        assert_eq!(marked("ELF\0"), None);
        assert_eq!(own(), DEFAULT);
    }
}
