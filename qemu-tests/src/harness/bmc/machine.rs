//! A machine's power over QMP.

use super::super::Deadline;
use super::super::qmp::Qmp;
use super::Power;
use serde_json::json;
use std::path::{Path, PathBuf};

/// A QEMU machine, by a control socket that nobody else uses.
#[derive(Debug)]
pub struct Machine {
    socket: PathBuf,
    off: bool,
}

impl Machine {
    /// The machine behind this socket; whether it runs is seen when it is asked for.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), off: false }
    }

    fn qmp(&self) -> anyhow::Result<Qmp> {
        Qmp::connect(&self.socket, Deadline::seconds(2))
    }
}

impl Power for Machine {
    fn is_on(&mut self) -> bool {
        // A QEMU that has ended has pulled the plug.
        !self.off && self.qmp().is_ok()
    }

    fn set(&mut self, on: bool) -> anyhow::Result<()> {
        let mut qmp = self.qmp()?;
        if on {
            qmp.command("system_reset", &json!({}))?;
            qmp.command("cont", &json!({}))?;
        } else {
            qmp.command("stop", &json!({}))?;
        }
        self.off = !on;
        Ok(())
    }
}
