//! What the pair core asks of DRBD, as calls of `drbdadm`.

use edgepair_host_io::{CommandError, Invocation, Runner};
use edgepair_render::names::DRBD_RESOURCE;

/// One order. Orders are carried out one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Become Primary; `force` only by an operator's word.
    Promote {
        /// `--force`.
        force: bool,
    },
    /// Become Secondary.
    Demote,
    /// Connect.
    Connect,
    /// Disconnect in order.
    Disconnect,
    /// Have the kernel call its fence handler again.
    AskAgain,
    /// Note durably that this disk is old.
    Outdate,
    /// Both disks are new and equal: skip the first synchronisation.
    SkipSync,
}

impl Order {
    /// The calls, in order.
    #[must_use]
    pub fn calls(self) -> Vec<Invocation> {
        let drbdadm = |arguments: &[&str]| {
            Invocation::new("drbdadm").args(arguments.iter().copied()).arg(DRBD_RESOURCE)
        };
        match self {
            Self::Promote { force: false } => vec![drbdadm(&["primary"])],
            Self::Promote { force: true } => vec![drbdadm(&["primary", "--force"])],
            Self::Demote => vec![drbdadm(&["secondary"])],
            Self::Connect => vec![drbdadm(&["connect"])],
            Self::Disconnect => vec![drbdadm(&["disconnect"])],
            // A frozen Primary: the receiver's clean-up of the connection asks the handler, each time
            // (drbd_receiver.c, conn_disconnect). Cut, not in order: if the kernels have met meanwhile, an orderly
            // disconnect would outdate the peer and go on without asking anybody.
            Self::AskAgain => vec![drbdadm(&["disconnect", "--force"]), drbdadm(&["connect"])],
            // The kernel answers `outdate` before its metadata is written (the write is queued to its worker). Without
            // the disk attached drbdadm writes the flag itself and waits for the disk; attached again, the kernel
            // has it from there.
            Self::Outdate => {
                vec![drbdadm(&["outdate"]), drbdadm(&["detach"]), drbdadm(&["outdate"]), drbdadm(&["attach"])]
            }
            Self::SkipSync => {
                let volume = format!("{DRBD_RESOURCE}/0");
                vec![Invocation::new("drbdadm").args(["new-current-uuid", "--clear-bitmap"]).arg(volume)]
            }
        }
    }

    /// Is it wrong once the link has come or gone since it was given? Leaving and outdating are agreed with the peer for
    /// one state of the link; carried out in the next they would cost a current copy, or let a peer go on without asking.
    #[must_use]
    pub fn of_one_link(self) -> bool {
        matches!(self, Self::Disconnect | Self::Outdate)
    }

    /// Carries it out.
    ///
    /// # Errors
    /// The first call that fails. After a failed `disconnect` the `connect` is still tried: whatever was wrong, a
    /// resource that is left alone helps nobody.
    pub fn carry_out(self, runner: &dyn Runner) -> Result<(), CommandError> {
        let mut result = Ok(());
        for call in self.calls() {
            match (runner.run(&call), self) {
                (Ok(_), _) => {}
                // What is missing of it shows in the state that is looked at next.
                (Err(error), Self::AskAgain | Self::Outdate) => result = result.and(Err(error)),
                (Err(error), _) => return Err(error),
            }
        }
        result
    }
}

/// Whether `drbdsetup get-gi` shows metadata that has never been in use: the current generation is `UUID_JUST_CREATED`
/// (4, `drbd_genl`'s `include/linux/drbd.h`; its lowest bit says Primary). `None` when it shows nothing of the kind.
#[must_use]
pub fn is_just_created(text: &str) -> Option<bool> {
    let current = u64::from_str_radix(text.trim().split(':').next()?, 16).ok()?;
    text.contains(':').then_some(current & !1 == 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_disk_is_told_from_a_used_one() {
        let zero = "0000000000000000";
        assert_eq!(
            is_just_created(&format!("0000000000000004:{zero}:{zero}:{zero}:0:0:0:0:0:0\n")),
            Some(true)
        );
        assert_eq!(
            is_just_created(&format!("A3B7C1D2E4F50618:{zero}:{zero}:{zero}:1:1:0:1:0:0")),
            Some(false)
        );
        assert_eq!(is_just_created(&format!("{zero}:{zero}:{zero}:{zero}:0:0:0:0:0:0")), Some(false));
        assert_eq!(is_just_created("No uuids found in reply!"), None);
        assert_eq!(is_just_created("4"), None);
    }

    #[test]
    fn the_calls() {
        let lines = |order: Order| order.calls().iter().map(Invocation::shell_line).collect::<Vec<_>>();
        assert_eq!(lines(Order::Promote { force: false }), ["drbdadm primary edgepair"]);
        assert_eq!(lines(Order::Promote { force: true }), ["drbdadm primary --force edgepair"]);
        assert_eq!(
            lines(Order::AskAgain),
            ["drbdadm disconnect --force edgepair", "drbdadm connect edgepair"]
        );
        assert_eq!(lines(Order::SkipSync), ["drbdadm new-current-uuid --clear-bitmap edgepair/0"]);
        let orders = [Order::Demote, Order::Connect, Order::Disconnect, Order::Outdate];
        for line in orders.into_iter().flat_map(lines) {
            assert!(!line.contains("--force"), "{line}");
        }
    }
}
