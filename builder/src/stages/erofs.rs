//! The root file system: the root tar and the overlay tar as one erofs, and its dm-verity hash tree.
//!
//! erofs is the same twice only with fixed time stamp and UUID; the hash tree only with fixed salt and UUID. The salt
//! follows from the definition's name and version, so that two versions never share one.

use crate::definition::Definition;
use crate::engine::step::{Action, Input, Step};
use edgepair_host_io::digest;

/// Shapes a digest as an RFC 9562 version 8 UUID.
pub fn uuid_of(seed: &str) -> String {
    let sum = digest::of_bytes(seed);
    format!("{}-{}-8{}-a{}-{}", &sum[..8], &sum[8..12], &sum[13..16], &sum[17..20], &sum[20..32])
}

/// Plans the step.
pub fn step(definition: &Definition) -> Step {
    let name = format!("{} {}", definition.name.value, definition.version.value);
    let epoch = definition.epoch.value;
    let erofs = format!(
        "{{ cat /in/root.tar /in/overlay.tar /in/downloads.tar /in/extension.tar; head -c 1024 /dev/zero; }} | mkfs.erofs --quiet --tar=f -zzstd,level=5 -C131072 -T{epoch} -U{} root.erofs",
        uuid_of(&format!("erofs {name}"))
    );
    let verity = format!(
        "veritysetup format --hash=sha256 --data-block-size=4096 --hash-block-size=4096 --salt={} --uuid={} \
         --root-hash-file=root-hash root.erofs root.verity",
        digest::of_bytes(format!("verity salt {name}")),
        uuid_of(&format!("verity {name}"))
    );
    Step {
        name: "erofs",
        title: "Root file system (erofs) and its hash tree (dm-verity)".to_owned(),
        inputs: vec![
            Input::Output { step: "root", file: "root.tar" },
            Input::Output { step: "overlay", file: "overlay.tar" },
            Input::Output { step: "downloads", file: "downloads.tar" },
            Input::Output { step: "extension", file: "extension.tar" },
        ],
        files: Vec::new(),
        actions: vec![Action::run(["sh", "-c", &erofs]), Action::run(["sh", "-c", &verity])],
        outputs: vec!["root.erofs", "root.verity", "root-hash"],
        network: false,
        mounts: Vec::new(),
    }
}
