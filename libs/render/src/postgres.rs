//! PostgreSQL 17 on the replicated file system, on the active node only.

use edgepair_seed::{Datastore, NodeId};
use ipnet::IpNet;

use crate::conf::Conf;
use crate::names::{
    DATA_MOUNT, KINE, POSTGRES_CERTIFICATE, POSTGRES_DATA, POSTGRES_ETC, POSTGRES_KEY, POSTGRES_UNIT, port,
};
use crate::output::Start;
use crate::{Context, RenderError, Rendered, database_key};

pub(crate) fn render(context: &Context<'_>, out: &mut Rendered) -> Result<(), RenderError> {
    if *context.seed.datastore() != Datastore::Postgres {
        return Ok(());
    }
    let pem = database_key::make(&context.seed.pair.secret)
        .map_err(|error| RenderError::Certificate(error.to_string()))?;
    out.add(POSTGRES_CERTIFICATE, pem.certificate);
    out.add_secret(POSTGRES_KEY, "postgres:postgres", pem.key);
    out.add(format!("{POSTGRES_ETC}/postgresql.conf"), config());
    out.put(format!("{POSTGRES_ETC}/pg_hba.conf"), 0o640, "root:postgres", hba(context), false);
    out.add(format!("{POSTGRES_ETC}/pg_ident.conf"), format!("# {}\n", crate::conf::NOTICE));
    out.add(format!("/etc/systemd/system/{POSTGRES_UNIT}"), unit());
    out.unit("postgresql.service", Start::Masked);
    out.unit(POSTGRES_UNIT, Start::Active);
    Ok(())
}

fn config() -> String {
    let mut conf = Conf::new();
    conf.lines([
        &format!("data_directory = '{POSTGRES_DATA}'"),
        &format!("hba_file = '{POSTGRES_ETC}/pg_hba.conf'"),
        &format!("ident_file = '{POSTGRES_ETC}/pg_ident.conf'"),
        "unix_socket_directories = '/run/postgresql'",
        "",
        "# All addresses: the virtual IP may come after the start. The firewall says who gets here.",
        "listen_addresses = '*'",
        &format!("port = {}", port::POSTGRES),
        "max_connections = 100",
        "password_encryption = 'scram-sha-256'",
        "tcp_keepalives_idle = 5",
        "tcp_keepalives_interval = 1",
        "tcp_keepalives_count = 3",
        "tcp_user_timeout = 5000",
        "",
        "# Between the nodes as well nobody reads or changes what k3s stores.",
        "ssl = on",
        &format!("ssl_cert_file = '{POSTGRES_CERTIFICATE}'"),
        &format!("ssl_key_file = '{POSTGRES_KEY}'"),
        "ssl_min_protocol_version = 'TLSv1.3'",
        "",
        "# What is acknowledged is on both disks. DRBD completes an empty flush locally, so every commit must write:",
        "# a recycled or prepared segment would let fdatasync find nothing new to write.",
        "fsync = on",
        "synchronous_commit = on",
        "full_page_writes = on",
        "wal_sync_method = fdatasync",
        "wal_recycle = off",
        "wal_init_zero = off",
        "wal_level = replica",
        "max_wal_senders = 0",
        "",
        "# Recovery after a failover replays what is left since the last checkpoint: little.",
        "checkpoint_timeout = 60s",
        "checkpoint_completion_target = 0.5",
        "max_wal_size = 96MB",
        "min_wal_size = 32MB",
        "recovery_prefetch = try",
        "",
        "# Small boards.",
        "shared_buffers = 64MB",
        "work_mem = 2MB",
        "maintenance_work_mem = 16MB",
        "jit = off",
        "huge_pages = try",
        "autovacuum = on",
        "",
        "lc_messages = 'C'",
        "datestyle = 'iso, ymd'",
        "timezone = 'UTC'",
        "log_timezone = 'UTC'",
        "log_destination = 'stderr'",
        "logging_collector = off",
        "log_line_prefix = ''",
        "log_checkpoints = on",
        "restart_after_crash = on",
    ]);
    conf.finish()
}

/// Who may log in: the server's own user locally, kine from the two nodes and only over TLS, and whom the seed names.
fn hba(context: &Context<'_>) -> String {
    let seed = context.seed;
    let host = |net: &IpNet| format!("{}/{}", net.addr(), net.max_prefix_len());
    let mut conf = Conf::new();
    conf.line("local all postgres peer");
    let boxes = [NodeId::A, NodeId::B].into_iter().flat_map(|id| &seed.node(id).addresses);
    for source in boxes.map(host).chain(["127.0.0.1/32".to_owned(), "::1/128".to_owned()]) {
        conf.line(format!("hostssl {KINE} {KINE} {source} scram-sha-256"));
    }
    for net in &seed.access.postgres_from {
        // `postgres` itself has no password and never logs in over the network.
        conf.line(format!("host all postgres {net} reject"));
        // Without TLS: libpq cannot bind its login to a certificate with Ed25519, and fails where it is offered.
        conf.line(format!("hostnossl all all {net} scram-sha-256"));
    }
    conf.finish()
}

fn unit() -> String {
    let mut conf = Conf::new();
    conf.section("Unit");
    conf.line("Description=PostgreSQL on the replicated storage");
    // Not WantedBy anything: the agent starts it where the storage is.
    conf.line(format!("BindsTo={DATA_MOUNT}"));
    conf.line(format!("After={DATA_MOUNT} network.target"));
    conf.line("StartLimitIntervalSec=0");
    conf.section("Service");
    conf.line("Type=notify");
    conf.line("User=postgres");
    conf.line("RuntimeDirectory=postgresql");
    conf.line("RuntimeDirectoryMode=0755");
    conf.line(format!(
        "ExecStart=/usr/lib/postgresql/17/bin/postgres -D {POSTGRES_DATA} -c config_file={POSTGRES_ETC}/postgresql.conf"
    ));
    conf.line("ExecReload=/bin/kill -HUP $MAINPID");
    // Fast shutdown: sessions are ended, a checkpoint is made (postgres(1)).
    conf.line("KillMode=mixed");
    conf.line("KillSignal=SIGINT");
    conf.line("Restart=on-failure");
    conf.line("RestartSec=500ms");
    conf.line("TimeoutStartSec=120");
    conf.line("TimeoutStopSec=20");
    conf.line("OOMScoreAdjust=-900");
    conf.line("Environment=PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj PG_OOM_ADJUST_VALUE=0");
    conf.line("NoNewPrivileges=yes");
    conf.line("PrivateTmp=yes");
    conf.line("PrivateDevices=yes");
    conf.line("ProtectSystem=strict");
    conf.line("ProtectHome=yes");
    conf.line("ProtectKernelTunables=yes");
    conf.line("ProtectKernelModules=yes");
    conf.line("ProtectControlGroups=yes");
    conf.line("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6");
    conf.line(format!("ReadWritePaths={POSTGRES_DATA}"));
    conf.finish()
}
