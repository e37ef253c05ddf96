//! Names and numbers that several rendered files share with each other and with node-init.

/// Name of the DRBD resource.
pub const DRBD_RESOURCE: &str = "edgepair";
/// The replicated block device.
pub const DRBD_DEVICE: &str = "/dev/drbd0";
/// Where the replicated file system is mounted on the active node. Not below node-init's own folder, which nobody else
/// may enter: the database runs as a user of its own.
pub const DATA: &str = "/var/lib/pair";
/// systemd's name of that mount.
pub const DATA_MOUNT: &str = "var-lib-pair.mount";
/// The preallocated file of mode `loop`.
pub const BACKING_FILE: &str = "/var/lib/edgepair/backing.img";
/// Name by which the loop device is found again (`losetup --loop-ref`, /dev/disk/by-loop-ref/).
pub const BACKING_REF: &str = "edgepair";
/// The backing file while it is being written.
pub const BACKING_PART: &str = "/var/lib/edgepair/backing.img.part";
/// Unit that makes and attaches the disk below the replicated storage.
pub const STORAGE_UNIT: &str = "edgepair-storage.service";
/// Cluster of PostgreSQL on the replicated file system.
pub const POSTGRES_DATA: &str = "/var/lib/pair/postgres";
/// Unit of PostgreSQL.
pub const POSTGRES_UNIT: &str = "edgepair-postgres.service";
/// Folder of PostgreSQL's configuration.
pub const POSTGRES_ETC: &str = "/etc/edgepair/postgres";
/// Certificate of the database, which its clients pin.
pub const POSTGRES_CERTIFICATE: &str = "/etc/edgepair/postgres/server.crt";
/// Its key.
pub const POSTGRES_KEY: &str = "/etc/edgepair/postgres/server.key";
/// Role and database of kine, the part of k3s that speaks SQL.
pub const KINE: &str = "kine";
/// Unit of the agent.
pub const AGENT_UNIT: &str = "edgepair-agent.service";
/// Unit that lets the other node go on before this one goes down.
pub const LEAVE_UNIT: &str = "edgepair-leave.service";
/// Unit of the k3s server.
pub const K3S_SERVER_UNIT: &str = "edgepair-k3s-server.service";
/// Unit of the k3s agent.
pub const K3S_AGENT_UNIT: &str = "edgepair-k3s-agent.service";
/// Unit that puts the pair's version of k3s in use.
pub const EXTENSION_UNIT: &str = "edgepair-extension.service";
/// Ends all pods of a node.
pub const PODS_END_UNIT: &str = "edgepair-pods-end.service";
/// Unit that takes archives of container images from beside the seed.
pub const IMAGES_UNIT: &str = "edgepair-images.service";
/// Unit that keeps a copy of it on state.
pub const EXTENSION_KEEP_UNIT: &str = "edgepair-extension-keep.service";
/// k3s as the extension brings it: a link of the image into the extension that is in use.
pub const K3S: &str = "/usr/bin/k3s";
/// State of the k3s server.
pub const K3S_SERVER_DIR: &str = "/var/lib/rancher/k3s/server";
/// systemd's name of the bind mount over it, for the sqlite datastore.
pub const K3S_SERVER_MOUNT: &str = "var-lib-rancher-k3s-server.mount";
/// What keepalived tracks: `0` lets this node hold the virtual IP, anything else is FAULT.
pub const FAULT_FILE: &str = "/run/edgepair/keepalived.fault";
/// Where keepalived reports its states.
pub const KEEPALIVED_FIFO: &str = "/run/edgepair/keepalived.fifo";
/// SSH host keys and other things that outlive a boot.
pub const SSH_HOST_KEY: &str = "/var/lib/edgepair/ssh/ssh_host_ed25519_key";

/// TCP ports that the seed does not set.
pub mod port {
    /// SSH.
    pub const SSH: u16 = 22;
    /// PostgreSQL.
    pub const POSTGRES: u16 = 5432;
    /// HAProxy's way to the active PostgreSQL, on the loopback.
    pub const POSTGRES_PROXY: u16 = 5433;
    /// Channel between the two agents.
    pub const AGENT: u16 = 7790;
    /// Status page.
    pub const STATUS: u16 = 7791;
    /// Blocks of an update, for the other node.
    pub const BUNDLES: u16 = 7792;
    /// Kubelet.
    pub const KUBELET: u16 = 10250;
}
