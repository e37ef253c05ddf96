//! The first forming of a pair: what both nodes remember of it, and what is to be done next. Pure; [`data`] acts.
//!
//! ```text
//!  a and b new, connected        b                       the active node, usually a
//!  a: note Begun, greet ───────▶ note Begun, greet
//!  a: drbdadm new-current-uuid --clear-bitmap  (proof: both disks just created, connected)
//!  … the pair core makes one node active …
//!                                note ◀──── note Formatting, greet; mkfs.ext4 (proof: empty, or begun by us), mount,
//!                                           initdb under another name, rename, start, role and database, marker file
//!                                note ◀──── note Done, greet; only now the datastore counts as ready
//! ```
//! Each state is durable before the next thing happens, on the node that acts and, while it is connected, on the
//! other one. So the pair may lose power at any instant, and whichever node is active next goes on. `Begun` and
//! `Formatting` mean that nobody has been served from this data set yet; that is why a node may format what it finds
//! then, and never again after `Done`. A power cut while the synchronisation is skipped can leave a generation on one disk
//! only; provisioning makes such a disk new again (`provision::storage`). A connected node that has not noted `Done` keeps the other from serving.

pub mod data;
pub mod verifier;

use edgepair_render::plan::{EmptyTarget, NotEmpty, Seen, Target};
use pair_core::record::{DiskId, Side};
use pair_core::view::{Disk, Link, View};
use serde::{Deserialize, Serialize};

/// How far the first forming of the data set is. Only ever goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formation {
    /// This node knows of none: its disk is new, or joined a pair that has not told it yet.
    #[default]
    None,
    /// Both disks were new and connected. There is nothing on them.
    Begun,
    /// There may be half a file system or half a database.
    Formatting,
    /// The data set is in use.
    Done,
}

/// What is kept: it is about one disk, and says nothing about another one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// How far.
    pub formation: Formation,
    /// On which disk.
    pub disk: Option<DiskId>,
}

impl Note {
    /// What it says about `disk`.
    #[must_use]
    pub fn about(&self, disk: DiskId) -> Formation {
        if self.disk == Some(disk) { self.formation } else { Formation::None }
    }
}

/// What is known when the next move is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Own side.
    pub side: Side,
    /// DRBD.
    pub view: View,
    /// Own durable note.
    pub own: Formation,
    /// The own disk has no data generation yet.
    pub just_created: bool,
    /// The other node's greeting on a conversation that stands: its note, and whether its disk is new as well.
    pub peer: Option<(Formation, bool)>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Keep this durably, then greet.
    Note(Formation),
    /// Skip the first synchronisation.
    SkipSync,
}

impl Facts {
    fn both_new(&self) -> bool {
        self.view.link == Link::Connected
            && self.view.disk == Disk::Inconsistent
            && self.view.peer_disk == Disk::Inconsistent
            && self.just_created
            && self.peer.is_some_and(|(_, just_created)| just_created)
    }

    /// What was seen, for [`EmptyTarget`].
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen::Disks { both_just_created: self.both_new(), connected: self.view.connected() }
    }

    /// The proof that skipping the first synchronisation loses nothing.
    ///
    /// # Errors
    /// [`NotEmpty`].
    pub fn prove(&self) -> Result<EmptyTarget, NotEmpty> {
        EmptyTarget::prove(Target::BothNodesData, &self.seen())
    }

    /// The next move, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Move> {
        let (peer, _) = self.peer?;
        // Learned from the other node. A disk that is being made from its data, or was with it from the beginning,
        // shares its state; one that came with data of its own does not become unfinished by hearsay.
        let joins = self.own > Formation::None || self.view.disk == Disk::Inconsistent;
        if peer > self.own && (peer == Formation::Done || joins) {
            return Some(Move::Note(peer));
        }
        if self.side == Side::A && self.both_new() {
            return match (self.own, peer) {
                (Formation::None, _) => Some(Move::Note(Formation::Begun)),
                (Formation::Begun, Formation::Begun) => Some(Move::SkipSync),
                _ => None,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pair_core::view::Role;

    fn fresh(side: Side) -> Facts {
        let view = View {
            role: Role::Secondary,
            disk: Disk::Inconsistent,
            link: Link::Connected,
            peer: Some(Role::Secondary),
            peer_disk: Disk::Inconsistent,
            frozen: false,
        };
        Facts { side, view, own: Formation::None, just_created: true, peer: Some((Formation::None, true)) }
    }

    #[test]
    fn two_new_boxes_begin_and_then_skip_the_synchronisation() {
        let mut a = fresh(Side::A);
        let mut b = fresh(Side::B);
        assert_eq!((a.next(), b.next()), (Some(Move::Note(Formation::Begun)), None));
        a.own = Formation::Begun;
        assert_eq!(a.next(), None, "not before b has noted it");
        b.peer = Some((a.own, true));
        assert_eq!(b.next(), Some(Move::Note(Formation::Begun)));
        b.own = Formation::Begun;
        a.peer = Some((b.own, true));
        assert_eq!((a.next(), b.next()), (Some(Move::SkipSync), None));
        assert!(a.prove().is_ok());
    }

    #[test]
    fn a_disk_that_was_in_use_is_never_skipped() {
        let ready = Facts { own: Formation::Begun, peer: Some((Formation::Begun, true)), ..fresh(Side::A) };
        assert_eq!(ready.next(), Some(Move::SkipSync));
        let others = [
            Facts { just_created: false, ..ready },
            Facts { peer: Some((Formation::Begun, false)), ..ready },
            Facts { peer: None, ..ready },
            Facts { view: View { link: Link::Connecting, peer: None, ..ready.view }, ..ready },
            Facts { view: View { link: Link::SyncTarget, ..ready.view }, ..ready },
            Facts { view: View { disk: Disk::Consistent, ..ready.view }, ..ready },
            Facts { view: View { peer_disk: Disk::UpToDate, ..ready.view }, ..ready },
        ];
        for facts in others {
            assert_ne!(facts.next(), Some(Move::SkipSync), "{facts:?}");
            assert!(facts.prove().is_err(), "{facts:?}");
        }
    }

    #[test]
    fn a_box_with_data_does_not_become_unfinished_by_hearsay() {
        let mut b = fresh(Side::B);
        b.just_created = false;
        b.view.disk = Disk::UpToDate;
        for peer in [Formation::Begun, Formation::Formatting] {
            b.peer = Some((peer, true));
            assert_eq!(b.next(), None);
        }
        b.peer = Some((Formation::Done, true));
        assert_eq!(b.next(), Some(Move::Note(Formation::Done)));
        b.own = Formation::Done;
        b.peer = Some((Formation::Formatting, true));
        assert_eq!(b.next(), None, "never down");
    }

    #[test]
    fn a_replaced_box_joins() {
        let mut b = fresh(Side::B);
        b.view.link = Link::SyncTarget;
        b.view.peer_disk = Disk::UpToDate;
        b.peer = Some((Formation::Done, false));
        assert_eq!(b.next(), Some(Move::Note(Formation::Done)));
        b.peer = Some((Formation::Formatting, false));
        assert_eq!(
            b.next(),
            Some(Move::Note(Formation::Formatting)),
            "it replaces one that left while forming"
        );
    }

    #[test]
    fn a_note_is_about_one_disk() {
        let note = Note { formation: Formation::Begun, disk: Some(DiskId([1; 16])) };
        assert_eq!(note.about(DiskId([1; 16])), Formation::Begun);
        assert_eq!(note.about(DiskId([2; 16])), Formation::None);
    }
}
