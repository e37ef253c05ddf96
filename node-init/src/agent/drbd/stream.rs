//! The running `drbdsetup events2`: its lines as they come, and the news of its end.

use edgepair_host_io::Invocation;
use edgepair_render::names::DRBD_RESOURCE;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use tokio::sync::mpsc::Sender;

/// A line longer than this is not of events2.
const LINE: u64 = 4096;

/// The call: all events of the resource, the present state first.
#[must_use]
pub fn call() -> Invocation {
    Invocation::new("drbdsetup").args(["events2", DRBD_RESOURCE])
}

/// A running `events2`; ended when dropped.
#[derive(Debug)]
pub struct Stream {
    child: Child,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stream {
    /// Starts it. Each line goes to `lines`, and `None` once when it ended, for whatever reason.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(lines: Sender<Option<String>>) -> std::io::Result<Self> {
        let mut command = call().to_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn()?;
        let pipe = child.stdout.take();
        std::thread::Builder::new().name("events2".to_owned()).spawn(move || {
            if let Some(pipe) = pipe {
                let mut reader = BufReader::new(pipe);
                let mut line = Vec::new();
                while let Ok(1..) = {
                    line.clear();
                    std::io::Read::take(&mut reader, LINE).read_until(b'\n', &mut line)
                } {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if lines.blocking_send(Some(text)).is_err() {
                        return;
                    }
                }
            }
            let _ = lines.blocking_send(None);
        })?;
        Ok(Self { child })
    }
}
