//! Looking at a pair: what the nodes say, and what they are asked when something is wrong.

use super::super::Deadline;
use super::super::guest::Guest;
use super::super::site::Side;
use super::Pair;
use anyhow::{Context, bail};
use edgepair_layout::path::NODE_INIT;
use edgepair_status::{Role, Status};
use std::fs;
use std::time::Duration;

impl Pair {
    /// What a node says about itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&mut self, side: Side) -> anyhow::Result<Status> {
        let deadline = self.spec.seconds(5);
        status(&mut self.node(side)?.guest, deadline)
    }

    /// What a node has written to its journal since its disk was made, over all boots.
    pub fn journal(&self, side: Side) -> String {
        let bytes = fs::read(self.spec.node(side).join("journal.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The node that holds storage, datastore and virtual IP, if one says so.
    ///
    /// # Errors
    /// When both say so.
    pub fn active(&mut self) -> anyhow::Result<Option<Side>> {
        let mut active = Vec::new();
        for side in Side::BOTH {
            if self.runs(side) && self.status(side).is_ok_and(|status| status.role == Role::Active) {
                active.push(side);
            }
        }
        match active[..] {
            [] => Ok(None),
            [side] => Ok(Some(side)),
            _ => bail!("both nodes say that they are active"),
        }
    }

    /// Waits until both nodes say that they are halves of a pair that works, one of them active; returns that one.
    ///
    /// # Errors
    /// When they are not in time; with what each said last.
    pub fn wait_formed(&mut self, deadline: Deadline, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Side> {
        loop {
            let said = Side::BOTH.map(|side| self.status(side));
            if let [Ok(a), Ok(b)] = &said {
                if a.role == Role::Active && b.role == Role::Active {
                    bail!("both nodes say that they are active");
                }
                let active =
                    Side::BOTH.into_iter().zip([a, b]).find(|(_, status)| status.role == Role::Active);
                if let (Some((side, _)), true) = (active, a.formed() && b.formed()) {
                    return Ok(side);
                }
            }
            let words = Side::BOTH.map(|side| match &said[side as usize] {
                Ok(status) => format!("{side}: {}, {}", status.role, status.why),
                Err(error) => format!("{side}: {}", error.to_string().lines().next().unwrap_or_default()),
            });
            tell(&words.join(" · "));
            for side in Side::BOTH {
                if !self.runs(side) {
                    bail!("node {side} went off while the pair was forming");
                }
                self.node(side)?.unstick()?;
            }
            if deadline.passed() {
                bail!("the pair did not form in time\n  {}", words.join("\n  "));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Asks both nodes what is the matter and leaves the answers beside their logs, for somebody to read.
    pub fn autopsy(&mut self) {
        const QUESTIONS: &str = "systemctl --failed --no-legend --plain; drbdsetup status --verbose --statistics 2>&1; ip address; \
                                 cat /proc/drbd; systemctl list-jobs --no-pager; losetup --list; findmnt --real; \
                                 journalctl --boot --priority=warning --no-pager | tail -n 60";
        for side in Side::BOTH {
            let deadline = self.spec.seconds(5);
            let text = match self.node(side) {
                Err(error) => format!("{error:#}\n"),
                Ok(vm) => [
                    format!("{NODE_INIT} status"),
                    format!("{NODE_INIT} status --json"),
                    QUESTIONS.to_owned(),
                ]
                .iter()
                .map(|question| match vm.guest.try_run(question, deadline) {
                    Ok(answer) => format!("# {question}\n{}\n\n", answer.text),
                    Err(error) => format!("# {question}\n{error:#}\n\n"),
                })
                .collect(),
            };
            let path = self.spec.node(side).join("autopsy.log");
            if let Err(error) = edgepair_host_io::atomic::write(&path, text.as_bytes(), 0o644) {
                eprintln!("lab: {}: {error}", path.display());
            }
        }
    }
}

/// What a node says about itself, by the shell inside.
///
/// # Errors
/// When it does not answer.
pub fn status(guest: &mut Guest, deadline: Deadline) -> anyhow::Result<Status> {
    let answer = guest.try_run(&format!("{NODE_INIT} status --json 2>&1"), deadline)?;
    if answer.status != 0 {
        bail!("{}", answer.text);
    }
    serde_json::from_str(&answer.text).with_context(|| format!("`status --json` said {}", answer.text))
}
