//! SSH: keys only, as root; no key, no SSH (sshd_config(5)).

use crate::conf::Conf;
use crate::names::SSH_HOST_KEY;
use crate::output::Start;
use crate::{Context, Rendered};

/// Keys that may log in.
const KEYS: &str = "/etc/ssh/authorized_keys";

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    let keys = &context.seed.access.ssh_keys;
    out.add("/etc/ssh/sshd_config", config());
    let mut authorized = Conf::new();
    authorized.lines(keys);
    out.put(KEYS.to_owned(), 0o600, "root:root", authorized.finish(), false);
    let start = if keys.is_empty() { Start::Masked } else { Start::Boot };
    // Socket activation would answer even where the service is masked.
    out.unit("ssh.socket", Start::Masked);
    out.unit("ssh.service", start);
}

fn config() -> String {
    let mut conf = Conf::new();
    conf.lines([
        // One modern key, kept on the state partition: known_hosts of the operators stays true over updates.
        &format!("HostKey {SSH_HOST_KEY}"),
        &format!("AuthorizedKeysFile {KEYS}"),
        "PermitRootLogin prohibit-password",
        "AllowUsers root",
        "AuthenticationMethods publickey",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitEmptyPasswords no",
        "HostbasedAuthentication no",
        // PAM only opens the session: without it a locked root account would be refused even with a key.
        "UsePAM yes",
        "X11Forwarding no",
        "AllowAgentForwarding no",
        "PermitTunnel no",
        // Name servers may be away just when somebody has to log in.
        "UseDNS no",
        "LoginGraceTime 30",
        "MaxAuthTries 3",
        "MaxStartups 10:30:60",
        "ClientAliveInterval 15",
        "ClientAliveCountMax 4",
        "PrintMotd no",
        "Subsystem sftp internal-sftp",
    ]);
    conf.finish()
}
