//! A datastore that fails again and again: one planned switchover, then an alarm and no more moves.
//!
//! The other node has the same data. It may have what this one lacks (memory, a whole disk below the system, a sane
//! configuration), so one move is worth its gap; a second one would only carry the fault back. A full file system is the
//! same on both nodes and moves nothing.

use super::Agent;
use edgepair_render::names::DATA;
use pair_core::event::{Command, Event};

/// After so many failures in a row the role is handed over.
const MANY: u32 = 3;
/// Less free space than this is full: PostgreSQL needs a segment of its log (16 MiB) to begin at all.
const FULL: u64 = 24 << 20;

/// What is done about a datastore that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is started again and again, with longer and longer waits.
    Again,
    /// The same, and somebody must make room.
    Full,
    /// The other node tries.
    HandOver,
    /// Neither node can run it.
    Stay,
}

/// `well`: it was well here since this node became active.
fn verdict(times: u32, well: bool, free: Option<u64>) -> Verdict {
    match (times, free) {
        (_, Some(free)) if free < FULL => Verdict::Full,
        (times, _) if times < MANY => Verdict::Again,
        _ if well => Verdict::HandOver,
        _ => Verdict::Stay,
    }
}

impl Agent {
    /// It runs, and has for a while.
    pub(super) fn datastore_well(&mut self) {
        self.well = true;
        self.clear("datastore");
    }

    pub(super) fn datastore_failed(&mut self, times: u32) {
        let free = self.ports.kernel.space(&self.ports.place.path(DATA)).map(|(free, _)| free);
        match verdict(times, self.well, free) {
            Verdict::Again => {}
            Verdict::Full => self.problem(
                "datastore",
                "the datastore cannot run because its file system is full; the other node has the same one, so nothing is \
                 moved: make room on it (docs/failover.md)",
            ),
            Verdict::Stay => self.problem(
                "datastore",
                &format!(
                    "the datastore failed {times} times and was never well since this node became active: the role stays \
                     here and it is tried on; `journalctl -u 'edgepair-*'` says what it said"
                ),
            ),
            Verdict::HandOver => {
                self.refusal = None;
                self.event(Event::Operator(Command::Switchover));
                match self.refusal.take() {
                    Some(reason) => self.problem(
                        "datastore",
                        &format!("the datastore failed {times} times, and cannot be handed over: {reason}"),
                    ),
                    None => {
                        self.well = false;
                        self.node.prefer(!self.config.side);
                        self.alarm(&format!(
                            "the datastore failed {times} times on {}: the role is handed over to {}",
                            self.config.names.0, self.config.names.1
                        ));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_handing_over_and_none_for_a_full_file_system() {
        let room = Some(FULL);
        assert_eq!(verdict(MANY - 1, true, room), Verdict::Again);
        assert_eq!(verdict(MANY, true, room), Verdict::HandOver);
        assert_eq!(verdict(MANY, true, None), Verdict::HandOver);
        assert_eq!(verdict(MANY + 5, false, room), Verdict::Stay);
        assert_eq!(verdict(1, true, Some(FULL - 1)), Verdict::Full);
        assert_eq!(verdict(MANY, true, Some(0)), Verdict::Full);
    }
}
