//! The options of `k3s server` and `k3s agent`, by their documented names (k3s documentation, "k3s server", "k3s agent";
//! release 1.33).

use std::fmt;

/// What k3s is run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `k3s server`
    Server,
    /// `k3s agent`
    Agent,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Agent => "agent",
        })
    }
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A text.
    Text,
    /// A text; given several times, they add up.
    List,
    /// A whole number.
    Number,
    /// Nothing, or `true` or `false`.
    Switch,
    /// A time, as Go writes it.
    Time,
}

/// An option.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Long name.
    pub name: &'static str,
    short: &'static str,
    /// What it takes.
    pub takes: Takes,
}

const fn option(name: &'static str, takes: Takes) -> Known {
    Known { name, short: "", takes }
}

const fn short(name: &'static str, short: &'static str, takes: Takes) -> Known {
    Known { name, short, takes }
}

/// The option of that name.
pub fn find(verb: Verb, name: &str) -> Option<&'static Known> {
    let own = match verb {
        Verb::Server => SERVER,
        Verb::Agent => AGENT,
    };
    // k3s takes underscores for hyphens in its file.
    let name = name.replace('_', "-");
    BOTH.iter()
        .chain(own)
        .find(|option| option.name == name || (!option.short.is_empty() && option.short == name))
}

use Takes::{List, Number, Switch, Text, Time};

const BOTH: &[Known] = &[
    short("config", "c", Text),
    option("debug", Switch),
    option("v", Number),
    option("vmodule", Text),
    short("log", "l", Text),
    option("alsologtostderr", Switch),
    short("token", "t", Text),
    option("token-file", Text),
    short("server", "s", Text),
    short("data-dir", "d", Text),
    option("node-name", Text),
    option("with-node-id", Switch),
    option("node-label", List),
    option("node-taint", List),
    option("image-credential-provider-bin-dir", Text),
    option("image-credential-provider-config", Text),
    option("selinux", Switch),
    option("lb-server-port", Number),
    option("protect-kernel-defaults", Switch),
    option("container-runtime-endpoint", Text),
    option("default-runtime", Text),
    option("image-service-endpoint", Text),
    option("disable-default-registry-endpoint", Switch),
    option("nonroot-devices", Switch),
    option("pause-image", Text),
    option("snapshotter", Text),
    option("private-registry", Text),
    option("airgap-extra-registry", List),
    short("node-ip", "i", List),
    option("node-external-ip", List),
    option("node-internal-dns", List),
    option("node-external-dns", List),
    option("resolv-conf", Text),
    option("flannel-iface", Text),
    option("flannel-conf", Text),
    option("flannel-cni-conf", Text),
    option("kubelet-arg", List),
    option("kube-proxy-arg", List),
    option("rootless", Switch),
    option("prefer-bundled-bin", Switch),
    option("vpn-auth", Text),
    option("vpn-auth-file", Text),
    option("docker", Switch),
    option("enable-pprof", Switch),
];

const AGENT: &[Known] = &[option("disable-apiserver-lb", Switch)];

const SERVER: &[Known] = &[
    option("bind-address", Text),
    option("https-listen-port", Number),
    option("supervisor-port", Number),
    option("advertise-address", Text),
    option("advertise-port", Number),
    option("tls-san", List),
    option("tls-san-security", Switch),
    option("cluster-cidr", List),
    option("service-cidr", List),
    option("service-node-port-range", Text),
    option("cluster-dns", List),
    option("cluster-domain", Text),
    option("flannel-backend", Text),
    option("flannel-ipv6-masq", Switch),
    option("flannel-external-ip", Switch),
    option("egress-selector-mode", Text),
    option("servicelb-namespace", Text),
    short("write-kubeconfig", "o", Text),
    option("write-kubeconfig-mode", Text),
    option("write-kubeconfig-group", Text),
    option("helm-job-image", Text),
    option("agent-token", Text),
    option("agent-token-file", Text),
    option("cluster-init", Switch),
    option("cluster-reset", Switch),
    option("cluster-reset-restore-path", Text),
    option("kube-apiserver-arg", List),
    option("etcd-arg", List),
    option("kube-controller-manager-arg", List),
    option("kube-scheduler-arg", List),
    option("kube-cloud-controller-manager-arg", List),
    option("kine-tls", Switch),
    option("datastore-endpoint", Text),
    option("datastore-cafile", Text),
    option("datastore-certfile", Text),
    option("datastore-keyfile", Text),
    option("etcd-expose-metrics", Switch),
    option("etcd-disable-snapshots", Switch),
    option("etcd-snapshot-name", Text),
    option("etcd-snapshot-schedule-cron", Text),
    option("etcd-snapshot-retention", Number),
    option("etcd-snapshot-dir", Text),
    option("etcd-snapshot-compress", Switch),
    option("etcd-s3", Switch),
    option("etcd-s3-endpoint", Text),
    option("etcd-s3-endpoint-ca", Text),
    option("etcd-s3-skip-ssl-verify", Switch),
    option("etcd-s3-access-key", Text),
    option("etcd-s3-secret-key", Text),
    option("etcd-s3-session-token", Text),
    option("etcd-s3-bucket", Text),
    option("etcd-s3-bucket-lookup-type", Text),
    option("etcd-s3-region", Text),
    option("etcd-s3-folder", Text),
    option("etcd-s3-proxy", Text),
    option("etcd-s3-config-secret", Text),
    option("etcd-s3-retention", Number),
    option("etcd-s3-insecure", Switch),
    option("etcd-s3-timeout", Time),
    option("default-local-storage-path", Text),
    option("disable", List),
    option("disable-scheduler", Switch),
    option("disable-cloud-controller", Switch),
    option("disable-kube-proxy", Switch),
    option("disable-network-policy", Switch),
    option("disable-helm-controller", Switch),
    option("disable-agent", Switch),
    option("disable-apiserver", Switch),
    option("disable-controller-manager", Switch),
    option("disable-etcd", Switch),
    option("embedded-registry", Switch),
    option("supervisor-metrics", Switch),
    option("system-default-registry", Text),
    option("secrets-encryption", Switch),
    option("secrets-encryption-provider", Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_there_twice() {
        for own in [SERVER, AGENT] {
            let mut names: Vec<&str> = BOTH
                .iter()
                .chain(own)
                .flat_map(|option| [option.name, option.short])
                .filter(|name| !name.is_empty())
                .collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
