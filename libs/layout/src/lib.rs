//! Names that the builder and the node must agree on: slots, partitions, paths, files on the boot partition.
//!
//! Nothing here does anything; it is the one place to look a name up.

use std::fmt;
use std::ops::Not;

/// One of the two places an operating system can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The slot a fresh image is in.
    A,
    /// The other one, empty in a fresh image.
    B,
}

impl Slot {
    /// GPT partition name of the slot's root file system.
    pub const fn root_label(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }

    /// GPT partition name of the slot's dm-verity hash tree.
    pub const fn verity_label(self) -> &'static str {
        match self {
            Self::A => "verity-a",
            Self::B => "verity-b",
        }
    }

    /// The slot a root partition's name stands for.
    pub fn from_root_label(label: &str) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|slot| slot.root_label() == label)
    }
}

impl Not for Slot {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// GPT partition names that belong to no slot.
pub mod partition {
    /// EFI system partition.
    pub const ESP: &str = "esp";
    /// Where `seed.toml` goes; also the FAT label that a USB stick must have.
    pub const SEED: &str = "SEED";
    /// Writable rest of the disk.
    pub const STATE: &str = "state";
}

/// Paths on a running node.
pub mod path {
    /// node-init's own folder in the image.
    pub const LIB: &str = "/usr/lib/edgepair";
    /// The node-init binary.
    pub const NODE_INIT: &str = "/usr/lib/edgepair/node-init";
    /// What was built: name, version, board (`key=value` lines, a subset of os-release(5)).
    pub const IMAGE_INFO: &str = "/usr/lib/edgepair/image";
    /// systemd-repart definitions for what first boot adds to the disk.
    pub const REPART_DIR: &str = "/usr/lib/edgepair/repart.d";
    /// Where the state partition is mounted.
    pub const STATE: &str = "/var";
    /// What node-init itself keeps on state.
    pub const STATE_DIR: &str = "/var/lib/edgepair";
    /// The last good seed with the files it names, and which box of it this is (JSON, mode 0600).
    pub const KEPT_SEED: &str = "/var/lib/edgepair/kept-seed.json";
    /// Network cards as they were last seen (JSON): what is rendered before the drivers are there.
    pub const CARDS: &str = "/var/lib/edgepair/cards.json";
    /// Identity of this node's replica (JSON): minted with the DRBD metadata, bound to the hardware.
    pub const DISK_ID: &str = "/var/lib/edgepair/disk-id.json";
    /// What the agent remembers of its pair (JSON): record, policy, first forming.
    pub const PAIR_MEMORY: &str = "/var/lib/edgepair/pair.json";
    /// That this node has begun to switch the other box off and has to see to it that it is switched on again (JSON).
    pub const FENCE_NOTE: &str = "/var/lib/edgepair/fence.json";
    /// What the agent decided, and why (a JSON object a line), over boots.
    pub const HISTORY: &str = "/var/lib/edgepair/history.jsonl";
    /// What this node remembers of updates (JSON): plan, versions that failed, history.
    pub const UPDATE_MEMORY: &str = "/var/lib/edgepair/update.json";
    /// Public keys (`*.pub`, minisign's format) that an update must be signed with, in the image.
    pub const UPDATE_KEYS: &str = "/usr/lib/edgepair/keys";
    /// Head of the bundle of the present or last plan: manifest, signatures, block index.
    pub const UPDATE_HEAD: &str = "/var/lib/edgepair/bundle.head";
    /// Which bundle that is, where it came from, and below which version nothing is installed (JSON).
    pub const UPDATE_STOCK: &str = "/var/lib/edgepair/bundle.json";
    /// Which channel files were seen (JSON): an older one is not taken any more.
    pub const CHANNEL_MEMORY: &str = "/var/lib/edgepair/channel.json";
    /// The time zone database (tzfile(5)).
    pub const ZONES: &str = "/usr/share/zoneinfo";
    /// Extensions that an image brings, one folder for each version; covered by the root's hash tree.
    pub const EXTENSIONS_IMAGE: &str = "/usr/lib/edgepair/extensions";
    /// Extensions that were installed or kept, one folder for each version.
    pub const EXTENSIONS_STATE: &str = "/var/lib/edgepair/extensions";
    /// Which version of k3s the pair runs (JSON).
    pub const EXTENSION_PLAN: &str = "/var/lib/edgepair/extension.json";
    /// Where extensions are mounted, one folder for each root hash.
    pub const EXTENSIONS_MOUNTED: &str = "/run/edgepair/extensions";
    /// Link to the extension that is in use.
    pub const EXTENSION: &str = "/run/edgepair/extension";
    /// Archives of container images within an extension.
    pub const EXTENSION_IMAGES: &str = "/usr/share/k3s/images";
    /// The user's own checks of a version on trial: executables, content with exit status 0.
    pub const HEALTH_DIR: &str = "/etc/edgepair/health.d";
    /// Control socket of the agent, for root.
    pub const AGENT_SOCKET: &str = "/run/edgepair/agent.sock";
    /// Held by the agent for as long as it lives; the fence handler decides by itself only when it gets it.
    pub const AGENT_LOCK: &str = "/run/edgepair/agent.lock";
    /// Proofs of emptiness of destructive steps that were begun and are not finished (JSON, one file for each target).
    pub const BEGUN_DIR: &str = "/var/lib/edgepair/begun";
    /// Which box this is in this boot (JSON): written once the seed and the hardware have been found to agree.
    pub const MEMBER: &str = "/run/edgepair/member.json";
    /// What node-init knows about this boot only.
    pub const RUN_DIR: &str = "/run/edgepair";
    /// Where the EFI system partition is mounted.
    pub const ESP: &str = "/efi";
    /// Where the seed partition is mounted.
    pub const SEED: &str = "/run/edgepair/seed";
}

/// Names on the EFI system partition.
pub mod boot {
    /// Folder of Unified Kernel Images (UAPI Boot Loader Specification, type 2).
    pub const UKI_DIR: &str = "EFI/Linux";
    /// How often a new slot may be tried.
    pub const TRIES: u32 = 3;

    /// File name of a version's kernel image while its attempts are counted (systemd "Automatic Boot Assessment").
    pub fn uki_name(version: &str, tries: u32) -> String {
        format!("edgepair_{version}+{tries}.efi")
    }
}

/// What two versions of the system must agree on to work side by side, or one after the other. A bundle's manifest says
/// which numbers it gets on with.
pub mod format {
    /// Version of the protocol between the two agents.
    pub const PAIR_PROTOCOL: u32 = 1;
    /// Format of the datastore: PostgreSQL's major version.
    pub const DATASTORE: u32 = 17;
    /// Schema of what node-init keeps on the state partition.
    pub const STATE: u32 = 1;
}

/// The two partition UUIDs that systemd derives from a dm-verity root hash: first and last 128 bits of it
/// (systemd-veritysetup-generator(8), "roothash=").
pub fn uuids_of_root_hash(root_hash: &str) -> Option<(String, String)> {
    let is_hash = root_hash.len() == 64 && root_hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uuid = |hex: &str| {
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
            .to_lowercase()
    };
    is_hash.then(|| (uuid(&root_hash[..32]), uuid(&root_hash[32..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_each_others_opposite() {
        for slot in [Slot::A, Slot::B] {
            assert_eq!(!!slot, slot);
            assert_ne!(!slot, slot);
            assert_eq!(Slot::from_root_label(slot.root_label()), Some(slot));
        }
        assert_eq!(Slot::from_root_label("verity-a"), None);
    }

    #[test]
    fn uuids_are_the_two_halves_of_the_hash() {
        let hash = "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f";
        let (data, verity) = uuids_of_root_hash(hash).expect("a hash");
        assert_eq!(data, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(verity, "10213243-5465-7687-98a9-bacbdcedfe0f");
        assert_eq!(uuids_of_root_hash("too short"), None);
        assert_eq!(uuids_of_root_hash(&"é".repeat(32)), None);
    }
}
