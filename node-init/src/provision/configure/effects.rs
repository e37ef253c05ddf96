//! Pure: what has to be told to whom when a rendered file has changed under a running system.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Something to be done after files changed. The order of the variants is the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The service manager reads its units and its own settings anew.
    ReloadManager,
    /// udev reads its rules anew.
    ReloadUdev,
    /// A unit reads its configuration anew, if it runs.
    Reload(String),
    /// A unit starts anew, if it runs: it cannot read its configuration otherwise.
    Restart(String),
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ReloadManager => f.write_str("reload systemd"),
            Self::ReloadUdev => f.write_str("reload udev's rules"),
            Self::Reload(unit) => write!(f, "reload {unit}"),
            Self::Restart(unit) => write!(f, "restart {unit}"),
        }
    }
}

/// Who reads a file; `None` for a path that nobody has thought of.
pub fn of(path: &str) -> Option<Vec<Effect>> {
    let reload = |unit: &str| vec![Effect::Reload(unit.to_owned())];
    let restart = |unit: &str| vec![Effect::Restart(unit.to_owned())];
    let below = |folder: &str| path.starts_with(folder);
    Some(match path {
        // Read whenever they are needed.
        "/etc/hostname"
        | "/etc/hosts"
        | "/etc/resolv.conf"
        | "/etc/ssh/authorized_keys"
        | "/etc/multipath.conf"
        | "/etc/drbd.conf" => Vec::new(),
        "/etc/nftables.conf" => reload("nftables.service"),
        "/etc/ssh/sshd_config" => reload("ssh.service"),
        "/etc/keepalived/keepalived.conf" => reload("keepalived.service"),
        "/etc/haproxy/haproxy.cfg" => reload("haproxy.service"),
        "/etc/chrony/chrony.conf" => restart("chrony.service"),
        "/etc/rancher/k3s/server.yaml" => restart("edgepair-k3s-server.service"),
        "/etc/rancher/k3s/agent.yaml" => restart("edgepair-k3s-agent.service"),
        "/etc/rancher/k3s/registries.yaml" => {
            [restart("edgepair-k3s-server.service"), restart("edgepair-k3s-agent.service")].concat()
        }
        _ if below("/etc/systemd/network/") || below("/etc/systemd/networkd.conf.d/") => {
            reload("systemd-networkd.service")
        }
        _ if below("/etc/systemd/journald.conf.d/") => restart("systemd-journald.service"),
        _ if below("/etc/systemd/system.conf.d/") => vec![Effect::ReloadManager],
        // A unit that runs keeps running as it was started: the database must not stop because a comment changed.
        _ if below("/etc/systemd/system/") => vec![Effect::ReloadManager],
        _ if below("/etc/sysctl.d/") => restart("systemd-sysctl.service"),
        _ if below("/etc/udev/rules.d/") => vec![Effect::ReloadUdev],
        _ if below("/etc/edgepair/postgres/") => reload("edgepair-postgres.service"),
        // k3s reads it when it joins.
        "/etc/rancher/node/password" => Vec::new(),
        // The attach step compares what runs with what is written.
        _ if below("/etc/drbd.d/") || below("/etc/lvm/") => Vec::new(),
        _ => return None,
    })
}

/// Everything to be done after these paths changed, each once, in order.
pub fn all<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeSet<Effect> {
    // A path nobody has thought of may be a unit's: to read too much anew does no harm.
    paths.flat_map(|path| of(path).unwrap_or_else(|| vec![Effect::ReloadManager])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Kept;
    use edgepair_render::{Facts, checks, render};
    use edgepair_seed::{Companions, Member};

    #[test]
    fn every_file_of_every_box_has_a_reader() {
        for text in [
            include_str!("../../../../libs/seed/tests/seeds/minimal.toml"),
            include_str!("../../../../libs/seed/tests/seeds/dual-stack.toml"),
            include_str!("../../../../libs/seed/tests/seeds/sqlite-manual.toml"),
            include_str!("../../../../libs/seed/tests/seeds/workers.toml"),
            include_str!("../../../../libs/seed/tests/seeds/ipv6-only.toml"),
        ] {
            let companions = Companions::load(text, |_| Ok("qJ4v9TzXn2Lr8sWc5Yb1Kd7H".to_owned()));
            let seed = Kept::new(text, &companions, None, &Member::parse("a").unwrap(), "").check().unwrap();
            for member in checks::members(&seed) {
                let rendered = render(&seed, &member, &Facts::assumed(&seed, &member)).unwrap();
                for file in &rendered.files {
                    assert!(of(&file.path).is_some(), "who reads {}?", file.path);
                }
            }
        }
    }

    #[test]
    fn the_manager_comes_first_and_each_effect_once() {
        let paths = [
            "/etc/ssh/sshd_config",
            "/etc/systemd/network/a",
            "/etc/systemd/network/b",
            "/etc/systemd/system/x.service",
        ];
        let effects: Vec<String> = all(paths.into_iter()).iter().map(ToString::to_string).collect();
        assert_eq!(effects, ["reload systemd", "reload ssh.service", "reload systemd-networkd.service"]);
        assert_eq!(all(["/etc/unheard-of"].into_iter()).len(), 1);
    }
}
