//! `node-init volume`: volumes for pods on the replicated storage (docs/adr/0103).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::agent::kubernetes::kubectl;
use crate::agent::ports::{HostKernel, Kernel};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edgepair_host_io::{HostRunner, Runner};
use edgepair_render::names::DATA;
use serde_json::{Value, json};

/// Folder of the volumes.
const VOLUMES: &str = "/var/lib/pair/volumes";
/// Name of the storage class.
const CLASS: &str = "edgepair-replicated";

/// `node-init volume`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a volume on both disks that follows the active node. Run on the active node.
    #[command(
        after_help = "Example:\n  node-init volume create shop-data --size 4096 --owner 1000:1000\n\nA claim takes it with storageClassName: edgepair-replicated (and volumeName: shop-data, when it must be this one)."
    )]
    Create(Create),
}

#[derive(Debug, Args)]
struct Create {
    /// Name: lower-case letters, digits and `-`.
    name: String,
    /// Size in MiB that the volume says it has. The room is that of the replicated file system; it is not set aside.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    size: u64,
    /// User and group that the folder belongs to.
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let pair = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    pair.ok_or_else(|| "write two numbers, for example 1000:1000".to_owned())
}

/// Runs it.
///
/// # Errors
/// What failed and what to do.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Command::Create(create) = &arguments.command;
    if !is_name(&create.name) {
        bail!("`{}` cannot be a volume's name: lower-case letters, digits and `-`, at most 63", create.name);
    }
    let Some((free, _)) = HostKernel.space(Path::new(DATA)) else {
        bail!(
            "{DATA} is not mounted here: run this on the active node (`node-init status` says which one that is)"
        );
    };
    if free >> 20 < create.size {
        bail!(
            "the replicated storage has {} MiB free, and the volume is to have {}",
            free >> 20,
            create.size
        );
    }
    let folder = Path::new(VOLUMES).join(&create.name);
    fs::create_dir_all(VOLUMES).context(VOLUMES)?;
    fs::set_permissions(VOLUMES, fs::Permissions::from_mode(0o711))?;
    // Whatever is there already is somebody's data: it stays as it is.
    match fs::create_dir(&folder) {
        Ok(()) => {
            let (uid, gid) = create.owner.unwrap_or((0, 0));
            chown(&folder, Some(uid), Some(gid)).with_context(|| folder.display().to_string())?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o770))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            println!("{} is there already and stays as it is", folder.display());
        }
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    }
    for object in [class(), volume(&create.name, create.size)] {
        let said = HostRunner.run(&kubectl::apply(&object)).context("the API server did not take it")?;
        print!("{}", said.text());
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    })
}

fn volume(name: &str, mib: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": format!("{mib}Mi")},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": format!("{VOLUMES}/{name}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": kubectl::ACTIVE, "operator": "In", "values": ["true"]}
            ]}]}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_follows_the_label_of_the_active_node() {
        let volume = volume("shop", 512);
        let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
        assert_eq!(
            (term["key"].as_str(), term["values"][0].as_str()),
            (Some("edgepair.io/active"), Some("true"))
        );
        assert_eq!(volume["spec"]["local"]["path"], "/var/lib/pair/volumes/shop");
        assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        assert_eq!(class()["volumeBindingMode"], "WaitForFirstConsumer");
    }

    #[test]
    fn names_and_owners() {
        assert!(["a", "shop-data", "x1"].into_iter().all(is_name));
        for wrong in ["", "-a", "a-", "A", "a/b", "..", "a_b"] {
            assert!(!is_name(wrong), "{wrong}");
        }
        assert_eq!(owner("1000:100"), Ok((1000, 100)));
        assert!(owner("1000").is_err() && owner("root:root").is_err());
    }
}
