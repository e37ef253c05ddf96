//! When the switch is used: what is known of it, and what is due. Nothing is done here.

use super::{HEAD_START, Said};
use crate::agent::fence::Device;
use crate::agent::fence::note::Note;
use crate::agent::log;
use crate::member::Place;
use edgepair_status::Fence;
use pair_core::event::RequestId;
use pair_core::view::{Role, View};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::Instant;

/// After its start the agent has better things to do.
const FIRST_LOOK: Duration = Duration::from_secs(30);
/// After a failed attempt; doubled up to [`AGAIN_MOST`].
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// A node that waits leaves a box off for so long after it has read it as off: it may be about to use that.
const QUIET: Duration = Duration::from_secs(20);

/// What is known of the switch, and what is under way there.
#[derive(Debug)]
pub(in crate::agent::engine) struct Switch {
    pub(super) device: Device,
    pub(super) limit: Duration,
    pub(super) note: Option<Note>,
    /// Who waits for the box to be off.
    pub(super) requests: Vec<RequestId>,
    /// Off or on is under way; set to end an attempt that is not wanted any more.
    pub(super) running: Option<Arc<AtomicBool>>,
    pub(super) looking: bool,
    pub(super) said: Option<(Result<Said, String>, Instant)>,
    pub(super) took: Duration,
    pub(super) deaf: u32,
    pub(super) next_look: Instant,
    pub(super) failures: u32,
    pub(super) next_try: Instant,
    pub(super) off_at: Option<Instant>,
    /// Attempts left at proving the other node's death.
    pub(super) proofs: u32,
    pub(super) proven: Option<Instant>,
}

/// What is due at the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Off,
    On,
    Look,
}

/// What the choice depends on beside the switch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) view: View,
    /// An order to DRBD waits or runs.
    pub(super) ordered: bool,
    /// The other agent spoke lately.
    pub(super) heard: bool,
    pub(super) now: Instant,
}

impl Switch {
    pub(in crate::agent::engine) fn new(device: Device, limit: Duration, place: &Place) -> Self {
        let note = Note::load(place).unwrap_or_else(|error| {
            log::warn(&error.to_string());
            None
        });
        let now = Instant::now();
        Self {
            device,
            limit,
            note,
            requests: Vec::new(),
            running: None,
            looking: false,
            said: None,
            took: HEAD_START / 2,
            deaf: 0,
            next_look: now + FIRST_LOOK,
            failures: 0,
            next_try: now,
            off_at: None,
            proofs: 0,
            proven: None,
        }
    }

    pub(super) fn due(&self, seen: Seen) -> Option<Due> {
        if self.running.is_none() && seen.now >= self.next_try {
            let proof = self.proofs > 0 && seen.view.writes() && !seen.view.connected() && !seen.heard;
            if !self.requests.is_empty() || proof {
                return Some(Due::Off);
            }
            if self.note.is_some() && self.may_be_on(seen) {
                return Some(Due::On);
            }
        }
        (!self.looking && self.running.is_none() && seen.now >= self.next_look).then_some(Due::Look)
    }

    /// Nobody here waits for the box to be off any more: this node goes on, or it is not about to.
    fn may_be_on(&self, seen: Seen) -> bool {
        let quiet = self.off_at.is_none_or(|at| seen.now.duration_since(at) >= QUIET);
        match seen.view.role {
            Role::Primary => !seen.view.frozen,
            Role::Secondary => quiet && !seen.ordered,
        }
    }

    /// A failed attempt is not repeated at once.
    pub(super) fn failed(&mut self, now: Instant) {
        let wait = AGAIN.saturating_mul(1 << self.failures.min(8)).min(AGAIN_MOST);
        self.failures = self.failures.saturating_add(1);
        self.next_try = now + wait;
    }

    pub(super) fn status(&self) -> Fence {
        let (answer, answers, at) = match &self.said {
            None => ("not asked yet".to_owned(), false, None),
            Some((Ok(Said::On), at)) => ("on".to_owned(), true, Some(at)),
            Some((Ok(Said::Off), at)) => ("off".to_owned(), true, Some(at)),
            Some((Err(why), at)) => (why.clone(), false, Some(at)),
        };
        let seconds_ago = at.map(|at| at.elapsed().as_secs());
        Fence { device: self.device.name(), answer, answers, seconds_ago }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PROOFS;
    use super::*;
    use edgepair_seed::FenceDevice;
    use pair_core::view::{Disk, Link};

    fn switch() -> Switch {
        let fence = FenceDevice {
            agent: "fence_apc".into(),
            address: "192.0.2.12".into(),
            port: None,
            username: None,
            password: None,
            plug: Some("3".into()),
            options: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        Switch::new(Device::of(&fence), Duration::from_secs(60), &Place::at(folder.path()))
    }

    fn alone(role: Role, frozen: bool, switch: &Switch) -> Seen {
        let view = View {
            role,
            disk: Disk::UpToDate,
            link: Link::Connecting,
            peer: None,
            peer_disk: Disk::Unknown,
            frozen,
        };
        Seen { view, ordered: false, heard: false, now: switch.next_try }
    }

    #[test]
    fn off_is_wanted_before_anything_else_and_failed_attempts_are_spaced() {
        let mut switch = switch();
        let seen = alone(Role::Primary, true, &switch);
        assert_eq!(switch.due(seen), None, "the first look comes later");
        assert_eq!(switch.due(Seen { now: seen.now + FIRST_LOOK, ..seen }), Some(Due::Look));
        switch.requests.push(RequestId(1));
        assert_eq!(switch.due(seen), Some(Due::Off));
        let mut now = seen.now;
        for wait in [5, 10, 20, 40, 60, 60] {
            switch.failed(now);
            let before = Seen { now: now + Duration::from_millis(wait * 1000 - 1), ..seen };
            assert_ne!(switch.due(before), Some(Due::Off), "after {wait} s");
            now += Duration::from_secs(wait);
            assert_eq!(switch.due(Seen { now, ..seen }), Some(Due::Off));
        }
        switch.running = Some(Arc::default());
        assert_eq!(switch.due(Seen { now, ..seen }), None, "one at a time");
    }

    #[test]
    fn what_was_switched_off_is_on_again_when_nobody_waits_for_it() {
        let mut switch = switch();
        switch.note = Some(Note { device: String::new(), off: true });
        assert_eq!(
            switch.due(alone(Role::Primary, true, &switch)),
            None,
            "frozen: it may be asked for again"
        );
        assert_eq!(switch.due(alone(Role::Primary, false, &switch)), Some(Due::On));
        // The standby has read it as off and is on its way to be active.
        let seen = alone(Role::Secondary, false, &switch);
        switch.off_at = Some(seen.now);
        assert_eq!(switch.due(seen), None);
        let later = Seen { now: seen.now + QUIET, ..seen };
        assert_eq!(switch.due(Seen { ordered: true, ..later }), None, "drbdadm primary is under way");
        assert_eq!(switch.due(later), Some(Due::On));
    }

    #[test]
    fn beside_a_witness_only_a_silent_node_is_switched_off_and_only_by_who_goes_on() {
        let mut switch = switch();
        switch.proofs = PROOFS;
        let seen = alone(Role::Primary, false, &switch);
        assert_eq!(switch.due(seen), Some(Due::Off));
        assert_eq!(switch.due(Seen { heard: true, ..seen }), None, "it lives");
        assert_eq!(switch.due(alone(Role::Primary, true, &switch)), None, "the claim is not answered yet");
        assert_eq!(switch.due(alone(Role::Secondary, false, &switch)), None);
        let view = View { link: Link::Connected, peer: Some(Role::Secondary), ..seen.view };
        assert_eq!(switch.due(Seen { view, ..seen }), None);
    }
}
