//! Who this node is before any seed: a machine id that is made once and kept on state, and a host name from it.

use crate::early::state::random_uuid;
use anyhow::Context;
use edgepair_host_io::atomic;
use std::fs;
use std::path::Path;

/// Writes `/etc/machine-id`, `/etc/hostname` and `/etc/hosts` of the root.
pub(super) fn write(root: &Path) -> anyhow::Result<()> {
    let kept = root.join("var/lib/edgepair/machine-id");
    let id = match fs::read_to_string(&kept).ok().filter(|text| is_machine_id(text.trim())) {
        Some(id) => id.trim().to_owned(),
        None => {
            let id = random_uuid()?.replace('-', "");
            fs::create_dir_all(root.join("var/lib/edgepair"))?;
            atomic::write(&kept, format!("{id}\n").as_bytes(), 0o444).context("keep the machine id")?;
            id
        }
    };
    let name = host_name(&id);
    // The files in the overlay may be links of the image (`/etc/machine-id` of some packages): replaced, not followed.
    for (file, text) in [
        ("machine-id", format!("{id}\n")),
        ("hostname", format!("{name}\n")),
        (
            "hosts",
            format!(
                "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
            ),
        ),
    ] {
        atomic::write(&root.join("etc").join(file), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// machine-id(5): 32 lower-case hexadecimal digits, not all zero.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && text.bytes().any(|byte| byte != b'0')
}

/// The name of a node that has no seed yet.
pub fn host_name(machine_id: &str) -> String {
    format!("edgepair-{}", machine_id.get(..6).unwrap_or("node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_made_once_and_a_damaged_one_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["etc", "var"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        let id = || fs::read_to_string(root.path().join("etc/machine-id")).unwrap();
        write(root.path()).unwrap();
        let first = id();
        assert!(is_machine_id(first.trim()));
        write(root.path()).unwrap();
        assert_eq!(id(), first, "kept on state");
        let name = fs::read_to_string(root.path().join("etc/hostname")).unwrap();
        assert_eq!(name.trim(), host_name(first.trim()));
        fs::remove_file(root.path().join("var/lib/edgepair/machine-id")).unwrap();
        atomic::write(&root.path().join("var/lib/edgepair/machine-id"), b"\0\0garbage", 0o644).unwrap();
        write(root.path()).unwrap();
        assert_ne!(id(), first);
        assert!(is_machine_id(id().trim()));
    }
}
