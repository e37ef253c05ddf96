//! Mirrors of container registries, as k3s takes them (`registries.yaml`, JSON here).

use edgepair_seed::Registry;
use serde_json::{Map, Value, json};

use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    let seed = context.seed;
    if seed.kubernetes.is_none() || seed.registries.is_empty() {
        return;
    }
    let mut mirrors = Map::new();
    let mut configs = Map::new();
    for (host, registry) in &seed.registries {
        mirrors.insert(host.clone(), json!({"endpoint": registry.endpoints}));
        let config = credentials(host, registry);
        for endpoint in
            registry.endpoints.iter().filter(|_| config.as_object().is_some_and(|map| !map.is_empty()))
        {
            // Credentials belong to the host that is asked, which is the mirror's.
            let authority =
                endpoint.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
            configs.insert(authority.to_owned(), config.clone());
        }
        if let Some(ca) = &registry.ca {
            out.put(ca_path(host), 0o644, "root:root", ca.expose_secret().to_owned(), false);
        }
    }
    let file = json!({"mirrors": mirrors, "configs": configs});
    out.add_secret(
        "/etc/rancher/k3s/registries.yaml",
        "root:root",
        format!("# {}\n{file:#}\n", crate::conf::NOTICE),
    );
}

fn credentials(host: &str, registry: &Registry) -> Value {
    let mut config = Map::new();
    if let (Some(username), Some(password)) = (&registry.username, &registry.password) {
        config.insert("auth".into(), json!({"username": username, "password": password.expose_secret()}));
    }
    if registry.ca.is_some() {
        config.insert("tls".into(), json!({"ca_file": ca_path(host)}));
    }
    Value::Object(config)
}

fn ca_path(host: &str) -> String {
    let plain: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
    format!("/etc/rancher/k3s/ca-{plain}.pem")
}
