//! Keys of each box: the two nodes and the workers.

use super::Change::{Live, Pair, Reboot};
use super::Key;
use super::Kind::{
    Address, Device, Host, Integer, Interface, KubeLabel, KubeTaint, Label, List, Mac, OneOrMore, Secret,
    SecretFile, Text,
};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "node.*.address",
        OneOrMore(&Interface),
        Pair,
        "Address of the box; one for IPv4, one for IPv6, or both.",
    )
    .required(),
    Key::new(
        "node.*.mac",
        OneOrMore(&Mac),
        Reboot,
        "MAC address of the network card, by which the box finds itself; for a bond, of every card in it.",
    ),
    Key::new("node.*.serial", Text, Reboot, "Serial number of the box, by which it finds itself."),
    Key::new(
        "node.*.hostname",
        Label,
        Reboot,
        "Host name. Unless given, name of the pair, hyphen, `a` or `b`.",
    ),
    Key::new("node.*.replication_address", Interface, Pair, "Address on the replication link."),
    Key::new("node.*.replication_mac", Mac, Reboot, "MAC address of the card of the replication link."),
    Key::new(
        "node.*.storage_device",
        Device,
        Reboot,
        "Disk or partition of the storage on this box, in place of `storage.device`.",
    ),
    Key::new(
        "node.*.fence.agent",
        Text,
        Pair,
        "Fence agent of Debian's fence-agents: `fence_ipmilan`, `fence_redfish`, `fence_apc`, …",
    )
    .required(),
    Key::new("node.*.fence.address", Host, Pair, "Host of the management board or power strip.").required(),
    Key::new("node.*.fence.port", Integer(1, 65535), Pair, "Port there, when it is not the agent's own."),
    Key::new("node.*.fence.username", Text, Pair, "Login name there."),
    Key::new("node.*.fence.password_file", SecretFile, Pair, "File beside the seed with the password there."),
    Key::new("node.*.fence.password", Secret, Pair, "The password itself, in place of `password_file`."),
    Key::new("node.*.fence.plug", Text, Pair, "Outlet or system id of this box there."),
    Key::new("node.*.fence.options", List(&Text), Pair, "Further `name=value` options of the agent.")
        .default("[]"),
];

pub(super) const WORKER: &[Key] = &[
    Key::new("worker.*.address", OneOrMore(&Interface), Reboot, "Address of the box.").required(),
    Key::new("worker.*.mac", OneOrMore(&Mac), Reboot, "MAC address, by which the box finds itself."),
    Key::new("worker.*.serial", Text, Reboot, "Serial number, by which the box finds itself."),
    Key::new("worker.*.hostname", Label, Reboot, "Host name. Unless given, name of the pair, hyphen, name."),
    Key::new("worker.*.gateway", OneOrMore(&Address), Reboot, "Gateway, when it is not the pair's."),
    Key::new("worker.*.labels", List(&KubeLabel), Live, "Labels of this Kubernetes node.").default("[]"),
    Key::new("worker.*.taints", List(&KubeTaint), Live, "Taints of this Kubernetes node.").default("[]"),
];
