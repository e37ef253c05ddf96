//! Keys of Kubernetes and of container registries.

use super::Change::{Live, Pair, Reboot, Rebuild};
use super::Key;
use super::Kind::{
    Anything, Bool, File, Host, Integer, KubeLabel, KubeTaint, List, Network, OneOf, OneOrMore, Secret,
    SecretFile, Text, Url,
};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "kubernetes.datastore",
        OneOf(&["postgres", "sqlite", "external"]),
        Rebuild,
        "`postgres`: PostgreSQL on the replicated storage; `sqlite`: for small boards; `external`: your own.",
    )
    .default("\"postgres\""),
    Key::new("kubernetes.endpoint", Secret, Pair, "Endpoint of an external datastore, as k3s takes it."),
    Key::new("kubernetes.endpoint_file", SecretFile, Pair, "File beside the seed with that endpoint."),
    Key::new("kubernetes.tls_san", List(&Host), Live, "Further names in the certificate of the API.")
        .default("[]"),
    Key::new("kubernetes.cluster_cidr", OneOrMore(&Network), Rebuild, "Network of the pods.")
        .default("\"10.42.0.0/16\""),
    Key::new("kubernetes.service_cidr", OneOrMore(&Network), Rebuild, "Network of the services.")
        .default("\"10.43.0.0/16\""),
    Key::new(
        "kubernetes.overlay",
        OneOf(&["vxlan", "wireguard", "host-gw", "none"]),
        Rebuild,
        "How pods on different boxes reach each other. `none`: you bring a network of your own.",
    )
    .default("\"vxlan\""),
    Key::new("kubernetes.disable", List(&Text), Live, "Parts of k3s to leave out: `traefik`, `servicelb`, …")
        .default("[]"),
    Key::new("kubernetes.labels", List(&KubeLabel), Live, "Labels of both nodes.").default("[]"),
    Key::new("kubernetes.taints", List(&KubeTaint), Live, "Taints of both nodes.").default("[]"),
    Key::new(
        "kubernetes.api_port",
        Integer(1024, 65535),
        Pair,
        "Port of the Kubernetes API on each node and on the virtual IP.",
    )
    .default("6443"),
    Key::new("kubernetes.balancer.enabled", Bool, Reboot, "Whether the balancer runs.").default("true"),
    Key::new("kubernetes.balancer.port", Integer(1024, 65535), Reboot, "Port of the balancer on both nodes.")
        .default("7443"),
    Key::new("kubernetes.config.*", Anything, Live, "An option of k3s by its long name, without the dashes."),
];

pub(super) const REGISTRY: &[Key] = &[
    Key::new("registry.*.endpoints", List(&Url), Live, "Mirrors, asked in this order.").required(),
    Key::new("registry.*.username", Text, Live, "Login name there."),
    Key::new("registry.*.password", Secret, Live, "The password itself, in place of `password_file`."),
    Key::new("registry.*.password_file", SecretFile, Live, "File beside the seed with the password there."),
    Key::new("registry.*.ca_file", File, Live, "File beside the seed with the CA of the mirrors."),
];
