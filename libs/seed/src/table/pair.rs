//! Keys of the pair as a whole, its network and its storage.

use super::Change::{Live, Pair, Reboot, Rebuild};
use super::Key;
use super::Kind::{
    Address, Bool, Device, Domain, Duration, Host, Integer, Interface, Label, List, OneOf, OneOrMore, Secret,
    SecretFile, Size,
};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "pair.name",
        Label,
        Pair,
        "Name of the pair, unique among yours. It is part of every derived key and of the host names.",
    )
    .required(),
    Key::new(
        "pair.virtual_ip",
        OneOrMore(&Interface),
        Pair,
        "The address that follows the active node; one for IPv4, one for IPv6, or both.",
    )
    .required(),
    Key::new(
        "pair.vrrp_id",
        Integer(1, 255),
        Pair,
        "VRRP router id. Two pairs in one network must differ. Derived from name and secret unless given.",
    ),
    Key::new(
        "pair.secret_file",
        SecretFile,
        Pair,
        "File beside the seed with the secret of the pair. All keys of the pair are derived from it.",
    ),
    Key::new("pair.secret", Secret, Pair, "The secret itself, in place of `secret_file`."),
];

pub(super) const NETWORK: &[Key] = &[
    Key::new("network.gateway", OneOrMore(&Address), Reboot, "Default gateway; one for each address family."),
    Key::new("network.dns", List(&Address), Live, "DNS servers.").default("[]"),
    Key::new("network.search", List(&Domain), Live, "DNS search domains.").default("[]"),
    Key::new("network.ntp", List(&Host), Live, "Time servers. Without any, those of the image are asked.")
        .default("[]"),
    Key::new("network.vlan", Integer(1, 4094), Reboot, "VLAN id of the nodes' addresses; tagged."),
    Key::new("network.mtu", Integer(1280, 9216), Reboot, "Largest packet in bytes.").default("1500"),
    Key::new(
        "network.bond.mode",
        OneOf(&["active-backup", "802.3ad", "balance-xor"]),
        Reboot,
        "How the cards share the work. The cards are the MAC addresses listed in `node.*.mac`.",
    )
    .required(),
    Key::new("network.bond.monitor", Duration, Reboot, "How often the link of each card is looked at.")
        .default("\"100ms\""),
    Key::new(
        "network.replication.vlan",
        Integer(1, 4094),
        Reboot,
        "VLAN id of the replication link; tagged.",
    ),
    Key::new(
        "network.replication.mtu",
        Integer(1280, 9216),
        Reboot,
        "Largest packet on the replication link.",
    )
    .default("1500"),
];

pub(super) const STORAGE: &[Key] = &[
    Key::new(
        "storage.mode",
        OneOf(&["loop", "device"]),
        Rebuild,
        "`loop`: a preallocated file on the state partition; `device`: a disk or partition of its own.",
    )
    .required(),
    Key::new(
        "storage.size",
        Size,
        Rebuild,
        "Size of the replicated storage. Needed for `loop`; a device is used whole unless given.",
    ),
    Key::new(
        "storage.device",
        Device,
        Reboot,
        "The disk or partition, for `device`; `node.*.storage_device` when the boxes differ.",
    ),
    Key::new(
        "storage.disk",
        Size,
        Live,
        "Size of the smaller box's disk, so that the check on the desk can tell whether everything fits.",
    ),
    Key::new("storage.containers", Size, Live, "Most space that containers may use on the state partition."),
    Key::new("storage.port", Integer(1024, 65535), Pair, "TCP port of the replication.").default("7788"),
    Key::new("storage.resync_limit", Size, Live, "Most bytes per second of a resynchronisation."),
    Key::new("storage.verify", Bool, Live, "Compare both disks once a week and report differences.")
        .default("true"),
];
