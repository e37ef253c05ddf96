//! What the firmware loads: systemd-boot and the kernel image, signed for Secure Boot or as they are.

use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::step::{Action, Input, Step};
use crate::signing::secure_boot::{SecureBoot, script};
use anyhow::Context;
use edgepair_host_io::digest;

/// Plans the step.
///
/// # Errors
/// When files that were signed elsewhere cannot be read.
pub fn step(
    definition: &Definition,
    board: &Board,
    secure_boot: Option<&SecureBoot>,
) -> anyhow::Result<Step> {
    let mut inputs = vec![Input::Output { step: "uki", file: "uki.efi" }];
    let take = format!(
        "cp /usr/lib/systemd/boot/efi/systemd-boot{}.efi loader.unsigned && cp /in/uki.efi uki.unsigned",
        board.architecture.efi_suffix
    );
    let mut host = |name: &str, path: &std::path::Path, digest: String| {
        inputs.push(Input::Host { name: name.into(), path: path.to_owned(), digest });
    };
    let (title, sign) = match secure_boot {
        None => ("unsigned", "mv loader.unsigned loader.efi && mv uki.unsigned uki.efi".to_owned()),
        Some(SecureBoot::Keys { certificate, key, digest }) => {
            host("db.crt", certificate, digest.clone());
            // The certificate stands for its key: nothing derived from a secret goes into the cache's records.
            host("db.key", key, digest.clone());
            ("signed for Secure Boot", script(&["loader", "uki"], definition.epoch.value))
        }
        Some(SecureBoot::Given { loader, uki }) => {
            for (name, path) in [("loader.given", loader), ("uki.given", uki)] {
                let sum = digest::of_file(path).with_context(|| format!("cannot read {}", path.display()))?;
                host(name, path, sum);
            }
            // The signature is taken off and put on what was built here: the same bytes, or it is not this build.
            let one = |stem: &str| {
                format!(
                    "cp /in/{stem}.given {stem}.given && sbattach --detach {stem}.sig {stem}.given && cp {stem}.unsigned {stem}.efi && \
                     sbattach --attach {stem}.sig {stem}.efi && {{ cmp {stem}.efi /in/{stem}.given || \
                     {{ echo \"{stem}.efi was signed for another build: sign the files of this one\" >&2; exit 1; }}; }}"
                )
            };
            ("signed elsewhere", format!("{} && {}", one("loader"), one("uki")))
        }
    };
    Ok(Step {
        name: "boot-files",
        title: format!("Boot loader and kernel image, {title}"),
        inputs,
        files: Vec::new(),
        actions: vec![Action::run(["sh", "-c", &format!("{take} && {sign}")])],
        outputs: vec!["loader.efi", "uki.efi"],
        network: false,
        mounts: Vec::new(),
    })
}
