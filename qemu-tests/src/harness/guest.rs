//! A root shell inside the guest, on a virtio port, for tests and the lab.
//!
//! The shell's unit is handed to systemd as credentials in SMBIOS strings (systemd.system-credentials(7),
//! `systemd.extra-unit.*`), so the image holds nothing of it.

use super::Deadline;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the virtio port.
pub const PORT: &str = "edgepair.lab";

/// A port whose far end is not connected reads as at its end (virtio_console(4)), so the shell opens it again and
/// again, without ever failing as a unit.
const UNIT: &str = "[Unit]\nDescription=Shell for the lab, given from outside\nDefaultDependencies=no\n\
                    After=systemd-udevd.service\nConditionPathExists=!/etc/initrd-release\nStartLimitIntervalSec=0\n\
                    [Service]\nExecStart=/bin/bash -c 'while true; do sleep 0.3; [ -e /dev/virtio-ports/edgepair.lab ] || continue; \
                    exec 3<>/dev/virtio-ports/edgepair.lab || continue; \
                    while IFS= read -r -u 3 line; do eval \"$$line\" >&3 2>&1 3>&-; done; exec 3>&-; done'\n\
                    Restart=always\nRestartSec=1\nOOMScoreAdjust=-900\n";

/// Name of the virtio port on which the journal leaves the guest, as it is written: what a node said is kept even when
/// its plug is pulled.
pub const JOURNAL_PORT: &str = "edgepair.journal";

const JOURNAL_UNIT: &str = "[Unit]\nDescription=Journal for the lab, taken from outside\nDefaultDependencies=no\n\
                            After=systemd-journald.service systemd-udevd.service\nConditionPathExists=!/etc/initrd-release\nStartLimitIntervalSec=0\n\
                            [Service]\nExecStart=/bin/bash -c 'until [ -e /dev/virtio-ports/edgepair.journal ]; do sleep 0.3; done; \
                            exec journalctl --boot --follow --lines=all --output=short-monotonic --no-hostname >/dev/virtio-ports/edgepair.journal'\n\
                            StandardError=null\nRestart=always\nRestartSec=1\nOOMScoreAdjust=-900\n";

const DROP_IN: &str = "[Unit]\nWants=edgepair-lab-shell.service edgepair-lab-journal.service\n";

/// The SMBIOS strings (type 11) that bring the shell.
pub fn credentials() -> Vec<String> {
    let encode =
        |name: &str, text: &str| format!("io.systemd.credential.binary:{name}={}", STANDARD.encode(text));
    vec![
        encode("systemd.extra-unit.edgepair-lab-shell.service", UNIT),
        encode("systemd.extra-unit.edgepair-lab-journal.service", JOURNAL_UNIT),
        encode("systemd.unit-dropin.sysinit.target", DROP_IN),
    ]
}

/// The shell.
#[derive(Debug)]
pub struct Guest {
    path: PathBuf,
    stream: Option<UnixStream>,
    count: u32,
}

/// What a command in the guest did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Output and messages, in the order they came.
    pub text: String,
    /// Exit status.
    pub status: i32,
}

impl Guest {
    /// The shell behind this socket; nothing is connected yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stream: None, count: 0 }
    }

    /// Gives the port free for others; the next command takes it again.
    pub fn hang_up(&mut self) {
        self.stream = None;
    }

    /// Runs a command, whatever its exit status.
    ///
    /// # Errors
    /// When the guest does not answer by the deadline.
    pub fn try_run(&mut self, command: &str, deadline: Deadline) -> anyhow::Result<Answer> {
        self.count += 1;
        // Unlike anything a command prints, and not in the line that a terminal might echo.
        let mark = format!("@lab-{}-{}@", std::process::id(), self.count);
        let line = format!("( {command}\n ) </dev/null; printf '%s%s %d\\n' '@lab-' '{}' $?\n", &mark[5..])
            .replace('\n', " ");
        let line = line.trim_end().to_owned() + "\n";
        let stream = match &self.stream {
            Some(stream) => stream,
            None => self.stream.insert(UnixStream::connect(&self.path).context("the guest's port")?),
        };
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut writer = stream;
        writer.write_all(line.as_bytes())?;
        let mut bytes = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            let mut reader = stream;
            match reader.read(&mut chunk) {
                Ok(0) => bail!("the guest's port was closed while `{command}` ran"),
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("the guest's port"),
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Some(at) = text.find(&mark)
                && let Some(end) = text[at..].find('\n')
            {
                let status = text[at + mark.len()..at + end].trim().parse().unwrap_or(-1);
                // What came before an earlier command's late answer belongs to that one.
                let start = text[..at]
                    .rfind("@lab-")
                    .and_then(|old| text[old..at].find('\n').map(|end| old + end + 1))
                    .unwrap_or(0);
                return Ok(Answer { text: text[start..at].replace('\r', "").trim_end().to_owned(), status });
            }
            if deadline.passed() {
                // A late answer must not be taken for the next command's.
                self.stream = None;
                bail!("no answer from the guest to `{command}`; so far: {text}");
            }
        }
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// When it fails, or no answer comes in three minutes.
    pub fn run(&mut self, command: &str) -> anyhow::Result<String> {
        let answer = self.try_run(command, Deadline::seconds(180))?;
        if answer.status != 0 {
            bail!("in the guest, `{command}` ended with {}: {}", answer.status, answer.text);
        }
        Ok(answer.text)
    }

    /// Waits until the shell answers.
    ///
    /// # Errors
    /// When it does not by the deadline.
    pub fn wait(&mut self, deadline: Deadline) -> anyhow::Result<()> {
        loop {
            let patience = Deadline::seconds(5);
            match self.try_run("true", if deadline.left() < patience.left() { deadline } else { patience }) {
                Ok(_) => return Ok(()),
                Err(error) if deadline.passed() => return Err(error.context("the guest never answered")),
                Err(_) => std::thread::sleep(Duration::from_millis(300)),
            }
        }
    }
}
