//! DRBD 8.4's rules, as far as they decide who may write and what a disk is worth. The comments name the kernel
//! function that a rule was read from (`drivers/block/drbd`).

use pair_core::{
    effect::Code,
    event::QuestionId,
    view::{Disk, Link, Role, View},
};

/// Flags in the metadata (`drbd_state.c: after_state_ch` writes them with every change of state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Meta {
    pub consistent: bool,
    pub was_up_to_date: bool,
    pub primary: bool,
    pub peer_outdated: bool,
}

/// Why the kernel asks its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// A Primary lost its peer (`conn_try_outdate_peer_async`).
    Lost,
    /// `drbdadm primary` without a connection (`drbd_set_role`).
    Promote,
    /// `local-io-error`.
    DiskError,
}

/// A call of a handler that has not exited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    pub id: QuestionId,
    pub why: Why,
    /// A connection was made meanwhile (`connect_cnt`): the exit code is ignored.
    pub void: bool,
}

/// The volatile half of one node's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    pub role: Role,
    pub disk: Disk,
    pub link: Link,
    pub peer: Option<Role>,
    pub peer_disk: Disk,
    pub frozen: bool,
    /// Was Primary when it crashed: its blocks win an otherwise equal handshake.
    pub crashed: bool,
    pub question: Option<Question>,
}

impl Kernel {
    pub const DOWN: Kernel = Kernel {
        role: Role::Secondary,
        disk: Disk::Diskless,
        link: Link::StandAlone,
        peer: None,
        peer_disk: Disk::Unknown,
        frozen: false,
        crashed: false,
        question: None,
    };

    /// `drbd_nl.c: drbd_adm_attach`, with `fencing resource-and-stonith`.
    pub fn attach(md: Meta) -> Kernel {
        let peer_disk = if md.peer_outdated { Disk::Outdated } else { Disk::Unknown };
        let disk = match (md.consistent, md.was_up_to_date, md.peer_outdated) {
            (false, _, _) => Disk::Inconsistent,
            (true, false, _) => Disk::Outdated,
            (true, true, false) => Disk::Consistent,
            (true, true, true) => Disk::UpToDate,
        };
        Kernel { disk, peer_disk, crashed: md.primary, ..Kernel::DOWN }
    }

    pub fn view(&self) -> View {
        View {
            role: self.role,
            disk: self.disk,
            link: self.link,
            peer: self.peer,
            peer_disk: self.peer_disk,
            frozen: self.frozen,
        }
    }

    /// The flags that belong to this state.
    pub fn meta(&self, old: Meta) -> Meta {
        if self.disk == Disk::Diskless {
            return old;
        }
        Meta {
            consistent: self.disk > Disk::Inconsistent,
            was_up_to_date: self.disk > Disk::Outdated,
            primary: self.role == Role::Primary
                || (self.peer_disk < Disk::Inconsistent && self.peer == Some(Role::Primary))
                || self.crashed,
            peer_outdated: matches!(self.peer_disk, Disk::Outdated | Disk::Inconsistent),
        }
    }

    /// The connection broke (`conn_disconnect`). Returns whether the handler is to be asked.
    pub fn lose(&mut self) -> bool {
        self.link = Link::Connecting;
        self.unpeer();
        self.freeze()
    }

    /// Without connection the peer's role is unknown, its disk too unless it was bad (`sanitize_state`).
    pub fn unpeer(&mut self) {
        self.peer = None;
        if self.peer_disk > Disk::Unknown || self.peer_disk < Disk::Inconsistent {
            self.peer_disk = Disk::Unknown;
        }
    }

    /// `sanitize_state`: FP_STONITH, Primary, not connected, peer's disk not known to be bad.
    fn freeze(&mut self) -> bool {
        let ask = self.role == Role::Primary && self.peer_disk > Disk::Outdated;
        self.frozen |= ask;
        ask
    }

    /// The exit code takes effect (`conn_try_outdate_peer`). Returns whether the code was looked at.
    pub fn exit(&mut self, code: Code, void: bool) -> bool {
        if void || self.link >= Link::Connected {
            return false;
        }
        match code {
            Code::PeerOutdated | Code::PeerFenced => {
                self.peer_disk = Disk::Outdated;
                if self.disk == Disk::Consistent {
                    self.disk = Disk::UpToDate;
                }
            }
            Code::Unreachable if self.disk == Disk::UpToDate => self.peer_disk = Disk::Outdated,
            // On a Primary the kernel refuses to outdate itself.
            Code::PeerActive if self.role == Role::Secondary && self.disk > Disk::Outdated => {
                self.disk = Disk::Outdated;
            }
            Code::PeerActive | Code::Unreachable | Code::Stay | Code::Done => {}
        }
        true
    }

    /// Connected to `other`: roles and disks are exchanged.
    pub fn meet(&mut self, link: Link, other: (Role, Disk)) {
        self.link = link;
        self.peer = Some(other.0);
        self.peer_disk = other.1;
        self.frozen = false;
        if let Some(question) = &mut self.question {
            question.void = question.why != Why::DiskError;
        }
    }
}

/// Which replica has the later data generation; stands for the comparison of UUIDs (`drbd_uuid_compare`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Later {
    Same,
    A,
    B,
    /// Each has a generation that the other does not know.
    Both,
}

impl Later {
    /// `side` writes without its peer: a new current UUID (`drbd_uuid_new_current`).
    #[must_use]
    pub fn bump(self, side: usize) -> Later {
        match (self, side) {
            (Later::Same | Later::A, 0) => Later::A,
            (Later::Same | Later::B, _) if side == 1 => Later::B,
            _ => Later::Both,
        }
    }

    /// The side that has the later one.
    pub fn side(self) -> Option<usize> {
        match self {
            Later::A => Some(0),
            Later::B => Some(1),
            Later::Same | Later::Both => None,
        }
    }
}
