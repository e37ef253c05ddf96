//! A time limit for a program and whatever it starts.

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lets the program lead a process group of its own, so that it can be ended together with what it starts.
pub(super) fn own_group(command: &mut Command) {
    command.process_group(0);
}

/// Kills the group of a child when its time is over.
pub(super) struct Watch {
    child: Pid,
    ended: SyncSender<()>,
    thread: JoinHandle<bool>,
}

impl Watch {
    /// Watches a child that leads its own group.
    pub(super) fn over(child: &Child, limit: Duration) -> Self {
        let child = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let (ended, news) = sync_channel(1);
        let thread = std::thread::spawn(move || match news.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => killpg(child, Signal::SIGKILL).is_ok(),
            _ => false,
        });
        Self { child, ended, thread }
    }

    /// Waits until the child has ended, and says whether its time was over before. The child is left to be waited for: as
    /// long as it is, its number is nobody else's and the group that is killed is its own.
    pub(super) fn end(self) -> bool {
        while waitid(Id::Pid(self.child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
        let _ = self.ended.send(());
        self.thread.join().unwrap_or(false)
    }
}
