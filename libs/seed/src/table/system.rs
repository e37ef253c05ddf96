//! Keys of access, watchdog, console, journal, updates and installation.

use super::Change::{Live, Reboot};
use super::Key;
use super::Kind::{
    Bool, Device, Duration, List, Network, OneOf, Port, Size, SshKey, Text, Url, Window, Zone,
};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "access.ssh_keys",
        List(&SshKey),
        Live,
        "Public keys that may log in as root. There are no passwords. Without a key, SSH is off.",
    )
    .default("[]"),
    Key::new("access.ssh_from", List(&Network), Live, "Networks that may reach SSH.")
        .default("[\"0.0.0.0/0\", \"::/0\"]"),
    Key::new(
        "access.api_from",
        List(&Network),
        Live,
        "Networks that may reach the Kubernetes API. Unless given, the nodes' own networks.",
    ),
    Key::new("access.postgres_from", List(&Network), Live, "Networks that may reach PostgreSQL.")
        .default("[]"),
    Key::new("access.status_from", List(&Network), Live, "Networks that may reach the status page.")
        .default("[]"),
    Key::new("access.ports", List(&Port), Live, "Ports of your workload, open to everybody.").default("[]"),
    Key::new("watchdog.enabled", Bool, Reboot, "Whether the hardware watchdog is used.").default("true"),
    Key::new(
        "watchdog.timeout",
        Duration,
        Reboot,
        "How long the system may hang before the hardware resets it; 5 s to 15 s.",
    )
    .default("\"10s\""),
    Key::new("watchdog.device", Device, Reboot, "Which watchdog, when the box has several."),
    Key::new(
        "console.devices",
        List(&Text),
        Reboot,
        "Terminals that show the status: `tty1`, `ttyS0`. Unless given, those the kernel uses.",
    )
    .default("[]"),
    Key::new("console.status", Bool, Live, "Whether the status is shown there.").default("true"),
    Key::new("log.size", Size, Live, "Most space the journal may use on the state partition.")
        .default("\"64MiB\""),
    Key::new("log.persistent", Bool, Live, "Whether the journal survives a reboot.").default("true"),
];

pub(super) const UPDATE: &[Key] = &[
    Key::new(
        "update.channel",
        Url,
        Live,
        "Address of the channel's file, which has the channel's name: `https://…/stable.channel`.",
    )
    .required(),
    Key::new(
        "update.mode",
        OneOf(&["automatic", "announce"]),
        Live,
        "Whether the pair updates by itself, or only says that there is a version to update to.",
    )
    .default("\"announce\""),
    Key::new(
        "update.windows",
        List(&Window),
        Live,
        "When it may begin by itself; always when empty. Local time, or UTC with `UTC` behind it.",
    )
    .default("[]"),
    Key::new("update.zone", Zone, Live, "Time zone of local time in windows.").default("\"UTC\""),
    Key::new("update.poll", Duration, Live, "How often the channel is asked, more or less; 1 min to 24 h.")
        .default("\"1h\""),
];

pub(super) const INSTALL: &[Key] =
    &[Key::new("install.disk", Device, Live, "Disk to install to when the box was booted from the network.")];
