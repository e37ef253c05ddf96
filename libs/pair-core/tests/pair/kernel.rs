//! What the kernels do: handlers, promotion, connection, resynchronisation.

use crate::{
    act::Act,
    drbd::{Kernel, Later, Question, Why},
    table,
    world::{Held, Twist, World},
};
use pair_core::{
    effect::Code,
    event::{Asked, Event, QuestionId},
    view::{Disk, Link, Role},
};

impl World {
    /// The kernel runs a handler.
    pub fn question(&mut self, at: usize, why: Why, act: &mut Act) {
        let id = QuestionId(self.fresh().0);
        self.hosts[at].kernel.question = Some(Question { id, why, void: false });
        let asked = if why == Why::DiskError { Asked::LocalIoError } else { Asked::FencePeer };
        table::count(
            "kernel asks",
            match why {
                Why::Lost => "a Primary lost its peer",
                Why::Promote => "drbdadm primary alone",
                Why::DiskError => "local-io-error",
            },
        );
        let host = &mut self.hosts[at];
        if host.slow {
            host.slow = false;
            host.held.push(Held::Question(id, asked));
        } else {
            act.queue.push_back((at, Event::Question { id, asked }));
        }
    }

    /// The link of a frozen Primary is cut, hard, and taken up again.
    pub fn ask_again(&mut self, at: usize, act: &mut Act) {
        let live = self.live();
        let kernel = &mut self.hosts[at].kernel;
        if kernel.role == Role::Secondary || kernel.question.is_some() {
            return;
        }
        if kernel.link < Link::Connected {
            if kernel.frozen {
                kernel.link = Link::Connecting;
                self.question(at, Why::Lost, act);
            }
            return;
        }
        // The kernels have met meanwhile.
        if act.scenario.twist == Twist::OrderlyAskAgain && live {
            // `conn_try_disconnect`, `SS_PRIMARY_NOP`: the peer is outdated with it.
            kernel.link = Link::Connecting;
            kernel.peer_disk = Disk::Outdated;
            kernel.unpeer();
            let peer = &mut self.hosts[1 - at];
            peer.kernel.link = Link::Connecting;
            peer.kernel.unpeer();
            if peer.kernel.disk > Disk::Outdated {
                peer.kernel.disk = Disk::Outdated;
                peer.unflushed = true;
            }
        } else if kernel.lose() {
            self.question(at, Why::Lost, act);
        }
    }

    /// A handler exits.
    pub fn answer(&mut self, at: usize, id: QuestionId, code: Code, act: &mut Act) {
        let Some(question) = self.hosts[at].kernel.question.filter(|q| q.id == id) else { return };
        table::count("handler exits", table::code(code));
        self.hosts[at].kernel.question = None;
        if question.why == Why::DiskError {
            let live = self.live();
            self.hosts[at].kernel.disk = Disk::Diskless;
            if live {
                self.hosts[1 - at].kernel.peer_disk = Disk::Diskless;
            }
            return;
        }
        let seen = self.hosts[at].kernel.exit(code, question.void);
        if !seen {
            table::count("handler exits", "void");
        }
        let kernel = &mut self.hosts[at].kernel;
        match (question.why, kernel.role) {
            (Why::Promote, Role::Secondary) if kernel.link >= Link::Connected => self.promote(at, false, act),
            (Why::Promote, Role::Secondary) => {
                if kernel.peer_disk <= Disk::Outdated && kernel.disk == Disk::UpToDate {
                    kernel.role = Role::Primary;
                }
            }
            _ => self.thaw(at),
        }
    }

    /// `after_state_ch`: the outdate-peer handler was successful. What waited is completed.
    fn thaw(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let granted = host.kernel.peer_disk <= Disk::Outdated && host.kernel.link < Link::Connected;
        if host.kernel.frozen && granted {
            host.kernel.frozen = false;
            self.acked |= host.waiting;
            host.waiting = 0;
        }
    }

    /// `drbd_set_role`.
    pub fn promote(&mut self, at: usize, force: bool, act: &mut Act) {
        let live = self.live();
        let kernel = self.hosts[at].kernel;
        if kernel.role == Role::Primary || kernel.question.is_some() {
            return;
        }
        if kernel.link >= Link::Connected {
            if !live {
                // It pings the peer at once.
                self.notice(at, act);
            } else if kernel.disk == Disk::UpToDate && self.hosts[1 - at].kernel.role == Role::Secondary {
                self.hosts[at].kernel.role = Role::Primary;
                self.hosts[1 - at].kernel.peer = Some(Role::Primary);
            }
            return;
        }
        if force && kernel.disk >= Disk::Outdated {
            self.hosts[at].kernel =
                Kernel { role: Role::Primary, disk: Disk::UpToDate, peer_disk: Disk::Outdated, ..kernel };
        } else if kernel.disk == Disk::UpToDate && kernel.peer_disk <= Disk::Outdated {
            self.hosts[at].kernel.role = Role::Primary;
        } else if kernel.disk >= Disk::Consistent {
            self.question(at, Why::Promote, act);
        }
    }

    /// This kernel finds its connection dead.
    pub fn notice(&mut self, at: usize, act: &mut Act) {
        if self.hosts[at].kernel.lose() {
            self.question(at, Why::Lost, act);
        }
    }

    /// `drbdadm disconnect` on a Secondary: outdates it in one cluster-wide change of state.
    pub fn disconnect(&mut self, at: usize) {
        let live = self.live();
        let primary = self.hosts[at].kernel.peer == Some(Role::Primary);
        let kernel = &mut self.hosts[at].kernel;
        let outdates = live && primary && kernel.disk > Disk::Outdated;
        kernel.link = Link::StandAlone;
        kernel.unpeer();
        if outdates {
            kernel.disk = Disk::Outdated;
            self.hosts[at].unflushed = true;
        }
        if live {
            let peer = &mut self.hosts[1 - at].kernel;
            peer.link = Link::Connecting;
            if outdates {
                peer.peer_disk = Disk::Outdated;
            }
            peer.unpeer();
        }
    }

    /// Both kernels find each other: `receive_state` and `drbd_sync_handshake`.
    pub fn meet(&mut self, act: &mut Act) {
        let kernels = [self.hosts[0].kernel, self.hosts[1].kernel];
        let primaries = kernels.iter().filter(|kernel| kernel.role == Role::Primary).count();
        if primaries == 2 {
            table::count("handshake", "two primaries: StandAlone");
            // A frozen loser, or two writers: either way nobody discards data by itself.
            for (at, kernel) in kernels.iter().enumerate() {
                if kernel.frozen || kernels.iter().all(|k| !k.frozen) {
                    self.hosts[at].kernel.link = Link::StandAlone;
                }
            }
            return;
        }
        for at in 0..2 {
            let meets =
                kernels[at].frozen && kernels[1 - at].disk == Disk::Consistent && self.later == Later::Same;
            if meets {
                // "can not thaw IO with an only Consistent peer": tl_clear completes what waited.
                table::count("handshake", "frozen meets Consistent: tl_clear");
                self.acked |= self.hosts[at].waiting;
                self.hosts[at].waiting = 0;
                self.later = self.later.bump(at);
                self.hosts[at].kernel.question = None;
                self.question(at, Why::Lost, act);
                return;
            }
        }
        let bad = |at: usize| kernels[at].disk == Disk::Inconsistent;
        let source = match (bad(0), bad(1), self.later) {
            (true, true, _) | (false, false, Later::Both) => {
                table::count("handshake", "diverged: StandAlone");
                for at in 0..2 {
                    self.hosts[at].kernel.link = Link::StandAlone;
                    act.queue.push_back((at, Event::SplitBrain));
                }
                return;
            }
            (true, false, _) => Some(1),
            (false, true, _) => Some(0),
            (false, false, Later::Same) => match (kernels[0].crashed, kernels[1].crashed) {
                (true, _) if primaries == 0 => Some(0),
                (false, true) if primaries == 0 => Some(1),
                _ => None,
            },
            (false, false, later) => later.side(),
        };
        let Some(source) = source else {
            table::count("handshake", "equal");
            let both = self.hosts[0].waiting | self.hosts[1].waiting;
            for (at, kernel) in kernels.iter().enumerate() {
                self.hosts[at].data |= both;
                self.hosts[at].waiting = 0;
                self.hosts[at].kernel.disk = Disk::UpToDate;
                self.hosts[at].kernel.crashed &= kernel.role == Role::Primary;
            }
            self.acked |= both;
            for at in 0..2 {
                let other = (kernels[1 - at].role, Disk::UpToDate);
                self.hosts[at].kernel.meet(Link::Connected, other);
            }
            return;
        };
        let target = 1 - source;
        if kernels[target].role == Role::Primary {
            table::count("handshake", "a Primary would be target: StandAlone");
            self.hosts[target].kernel.link = Link::StandAlone;
            return;
        }
        table::count("handshake", "synchronise");
        let waiting = self.hosts[source].waiting;
        self.hosts[target].data |= waiting;
        self.hosts[source].waiting = 0;
        self.acked |= waiting;
        self.hosts[source].kernel.disk = Disk::UpToDate;
        self.hosts[target].kernel.disk = Disk::Inconsistent;
        self.later = if source == 0 { Later::A } else { Later::B };
        self.hosts[source].kernel.meet(Link::SyncSource, (kernels[target].role, Disk::Inconsistent));
        self.hosts[target].kernel.meet(Link::SyncTarget, (kernels[source].role, Disk::UpToDate));
    }

    /// Resynchronisation ends.
    pub fn synced(&mut self) {
        let source = usize::from(self.hosts[1].kernel.link == Link::SyncSource);
        let target = 1 - source;
        self.hosts[target].data = self.hosts[source].data;
        self.hosts[target].cached = 0;
        self.later = Later::Same;
        for at in 0..2 {
            let kernel = &mut self.hosts[at].kernel;
            kernel.link = Link::Connected;
            kernel.disk = Disk::UpToDate;
            kernel.peer_disk = Disk::UpToDate;
            kernel.crashed = false;
        }
    }
}
