//! Access, watchdog, console.

use super::Rules;
use edgepair_findings::Severity;

impl Rules<'_> {
    pub(super) fn system(&mut self) {
        let seed = self.seed;
        let keys = seed.texts("access.ssh_keys");
        if keys.is_empty() && !seed.is_bad("access.ssh_keys") && !seed.is_bad("access") {
            self.warn(
                "no-ssh-key",
                "access.ssh_keys",
                "there is no SSH key: nobody can log in, and there are no passwords",
                "add access.ssh_keys = [\"ssh-ed25519 …\"]",
            );
        }
        for (index, (value, span)) in seed.items("access.ssh_keys").iter().enumerate() {
            let crate::value::Value::Text(text) = value else { continue };
            let body = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
            if keys[..index].iter().any(|other| body(other) == body(text)) {
                let fix = "take one of them out";
                self.at(
                    Severity::Warning,
                    "duplicate-key",
                    "access.ssh_keys",
                    span.clone(),
                    "the key stands twice",
                    fix,
                );
            }
        }
        let no_postgres = seed.text("kubernetes.datastore").is_some_and(|word| word != "postgres");
        if no_postgres && !seed.items("access.postgres_from").is_empty() {
            self.warn(
                "unused",
                "access.postgres_from",
                "networks may reach PostgreSQL, and it does not run",
                "take it out, or use datastore = \"postgres\"",
            );
        }
        if !seed.items("access.api_from").is_empty()
            && !seed.written("kubernetes")
            && !seed.has_table("kubernetes")
        {
            self.warn(
                "unused",
                "access.api_from",
                "networks may reach the Kubernetes API, and there is no table [kubernetes]",
                "take it out, or add [kubernetes]",
            );
        }
        self.bound(
            "watchdog.timeout",
            5_000,
            15_000,
            "shorter resets a busy box, longer delays every failover",
        );
        self.bound("network.bond.monitor", 10, 1_000, "a dead link must be seen before the peer is given up");
        if seed.bool("watchdog.enabled") == Some(false) {
            self.warn(
                "no-watchdog",
                "watchdog.enabled",
                "without a hardware watchdog a hanging box is never reset, and nothing can be concluded from time",
                "take the line out",
            );
        }
    }
}
