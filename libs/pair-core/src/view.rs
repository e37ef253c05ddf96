//! What DRBD 8.4 says about one resource (`drbdsetup events2`), in the kernel's words.

/// A DRBD role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Replicates only.
    Secondary,
    /// May read and write.
    Primary,
}

/// State of a replica; the order is the kernel's, so that comparisons read as in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disk {
    /// Not attached, or detached after an error.
    Diskless,
    /// Half synchronised: no usable data set.
    Inconsistent,
    /// A usable but old data set, durably known to be old.
    Outdated,
    /// Of the peer: not known.
    Unknown,
    /// Usable; whether it is current is not known (after attach with fencing on).
    Consistent,
    /// Usable and current as far as this kernel knows.
    UpToDate,
}

/// State of the replication link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// `StandAlone`: not configured, or given up by the kernel.
    StandAlone,
    /// `WFConnection`: tries to reach the peer.
    Connecting,
    /// Replicating; both disks are current.
    Connected,
    /// Sends the blocks that the peer lacks.
    SyncSource,
    /// Receives the blocks that it lacks.
    SyncTarget,
}

/// One line of `events2`, completed to the whole state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// Own role.
    pub role: Role,
    /// Own disk.
    pub disk: Disk,
    /// Replication link.
    pub link: Link,
    /// The peer's role; `None` while not connected.
    pub peer: Option<Role>,
    /// The peer's disk; survives a lost connection as `Outdated`, `Inconsistent` or `Unknown`.
    pub peer_disk: Disk,
    /// All I/O is suspended until the fence-peer handler has an answer.
    pub frozen: bool,
}

impl View {
    /// Before the resource is up.
    pub const DOWN: View = View {
        role: Role::Secondary,
        disk: Disk::Diskless,
        link: Link::StandAlone,
        peer: None,
        peer_disk: Disk::Unknown,
        frozen: false,
    };

    /// This view, or the safe one where the kernel cannot have been in it: a lone Primary whose peer is not known to
    /// be outdated is frozen (`sanitize_state`, `fencing resource-and-stonith`). One change of state reaches user space as
    /// several lines, and what a shell makes of half of them must not look like a granted node.
    #[must_use]
    pub fn safe(self) -> View {
        let alone = self.role == Role::Primary && !self.connected();
        let asks = self.disk >= Disk::Consistent && self.peer_disk > Disk::Outdated;
        View { frozen: self.frozen || (alone && asks), ..self }
    }

    /// Is there a connection?
    pub fn connected(&self) -> bool {
        self.link >= Link::Connected
    }

    /// Connected, and both disks hold everything.
    pub fn healthy(&self) -> bool {
        self.link == Link::Connected && self.disk == Disk::UpToDate && self.peer_disk == Disk::UpToDate
    }

    /// May acknowledge writes right now.
    pub fn writes(&self) -> bool {
        self.role == Role::Primary && !self.frozen
    }

    /// Writes without a current copy at the peer.
    pub fn writes_alone(&self) -> bool {
        self.writes() && !self.healthy()
    }
}
