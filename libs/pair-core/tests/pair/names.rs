//! Moves by name, for tables and diagrams.

use crate::moves::Move;
use pair_core::event::{Command, Timer};

/// The name of a move, without its numbers.
pub fn kind(the: &Move) -> &'static str {
    match the {
        Move::Write(_) => "write",
        Move::Notice(_) => "kernel notices the loss",
        Move::Meet => "kernels meet",
        Move::Synced => "synchronised",
        Move::Flush(_) => "outdated flag reaches the disk",
        Move::Stop(_) => "goes down in order",
        Move::Mail(_) => "agent message",
        Move::DropMail(_) => "agent message lost",
        Move::RepeatMail(_) => "agent message repeated",
        Move::Carry(..) => "request answered",
        Move::Hold(..) => "answer held up",
        Move::Waste(..) => "answer lost",
        Move::Deliver(..) => "answer arrives",
        Move::Lose(..) => "request lost",
        Move::Delay(..) => "request or answer delayed past its bound",
        Move::Timer(_, Timer::Claim) => "timer claim",
        Move::Timer(_, Timer::Retry) => "timer retry",
        Move::Timer(_, Timer::SelfFence) => "timer self-fence",
        Move::Timer(_, Timer::Reread) => "timer reread",
        Move::Timer(_, Timer::PeerGone) => "timer peer gone",
        Move::Timer(_, Timer::Hello) => "timer hello",
        Move::SlowHello(_) => "timer hello, slow answer",
        Move::Boot(_) => "cold start",
        Move::Crash(_) => "crash",
        Move::AgentDies(_) => "agent dies",
        Move::Watchdog(_) => "watchdog resets",
        Move::Sleep(_) => "suspended",
        Move::Wake(_) => "woken",
        Move::Cut => "link cut",
        Move::Heal => "link healed",
        Move::WitnessDown => "witness down",
        Move::WitnessUp => "witness up",
        Move::Restore => "witness restored",
        Move::DiskError(_) => "disk error",
        Move::Replace(_) => "box replaced",
        Move::Clone(_) => "cloned disk put in",
        Move::Operator(_, Command::Switchover) => "operator switchover",
        Move::Operator(_, Command::Leave) => "operator leave",
        Move::Operator(_, Command::Promote) => "operator promote",
        Move::Operator(_, Command::SetPolicy(_)) => "operator policy",
        Move::Clients(_) => "clients lost",
    }
}
