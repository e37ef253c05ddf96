//! HAProxy: the short way to the active database, and the balancer for the API (HAProxy 3.0).
//!
//! After a power cut an established connection to the virtual IP hangs for many seconds. The proxy checks both nodes
//! twice a second and cuts sessions to a node that is down, so that k3s connects anew at once.

use edgepair_seed::{Datastore, Kubernetes, NodeId};
use ipnet::IpNet;

use crate::conf::Conf;
use crate::names::port;
use crate::output::Start;
use crate::{Context, Rendered};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) {
    let Some(kubernetes) = &context.seed.kubernetes else { return };
    let database = kubernetes.datastore == Datastore::Postgres;
    if !database && kubernetes.balancer_port.is_none() {
        return;
    }
    out.add("/etc/haproxy/haproxy.cfg", config(context, kubernetes, database));
    out.unit("haproxy.service", Start::Boot);
}

fn config(context: &Context<'_>, kubernetes: &Kubernetes, database: bool) -> String {
    let mut conf = Conf::new();
    conf.section_like(
        "global",
        &[
            "log stderr format short daemon notice".to_owned(),
            "user haproxy".to_owned(),
            "group haproxy".to_owned(),
            "maxconn 2000".to_owned(),
        ],
    );
    conf.section_like("defaults", &[
        "mode tcp".to_owned(),
        "log global".to_owned(),
        "option dontlognull".to_owned(),
        "option tcpka".to_owned(),
        "retries 3".to_owned(),
        "option redispatch".to_owned(),
        "timeout connect 1s".to_owned(),
        "timeout check 1s".to_owned(),
        // Connections of kine and watches of the API live as long as they like.
        "timeout client 24h".to_owned(),
        "timeout server 24h".to_owned(),
        "timeout client-fin 5s".to_owned(),
        "timeout server-fin 5s".to_owned(),
        // Both checks fail within a second, one success is enough to come back.
        "default-server inter 500ms fastinter 250ms downinter 250ms fall 2 rise 1 on-marked-down shutdown-sessions"
            .to_owned(),
    ]);
    if database {
        let mut lines = vec![
            format!("bind 127.0.0.1:{} tcp-ut 5s", port::POSTGRES_PROXY),
            // Only the active node has a database, so a connection is proof enough.
            "option tcp-check".to_owned(),
            "tcp-check connect".to_owned(),
        ];
        lines.extend(servers(context, port::POSTGRES, "check"));
        conf.section_like("listen database", &lines);
    }
    if let Some(balancer) = kubernetes.balancer_port {
        let mut lines = vec![
            format!("bind :::{balancer} v4v6 tcp-ut 10s"),
            "option httpchk GET /readyz".to_owned(),
            // The API answers 401 to strangers when it is up, and 500 when it is not ready.
            "http-check expect rstatus ^(200|401)$".to_owned(),
        ];
        lines.extend(servers(context, kubernetes.api_port, "check check-ssl verify none"));
        conf.section_like("listen kubernetes-api", &lines);
    }
    conf.finish()
}

/// Both nodes; one family is enough, the first of each.
fn servers(context: &Context<'_>, port: u16, options: &str) -> Vec<String> {
    [NodeId::A, NodeId::B]
        .into_iter()
        .filter_map(|id| {
            let address = context.seed.node(id).addresses.first().map(IpNet::addr)?;
            let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            Some(format!("server {id} {host}:{port} {options}"))
        })
        .collect()
}

impl Conf {
    /// `head` and its lines, indented, as HAProxy has it.
    fn section_like(&mut self, head: &str, lines: &[String]) {
        self.line("");
        self.line(head);
        self.lines(lines.iter().map(|line| format!("  {line}")));
    }
}
