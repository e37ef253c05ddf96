//! QEMU's control socket (QMP): one JSON object a line.

use super::Deadline;
use anyhow::{Context, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    jobs: u32,
}

impl Qmp {
    /// Connects as soon as QEMU listens.
    ///
    /// # Errors
    /// When it does not by the deadline.
    pub fn connect(path: &Path, deadline: Deadline) -> anyhow::Result<Self> {
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if deadline.passed() => return Err(error).context("QEMU's control socket"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut qmp = Self { reader: BufReader::new(stream.try_clone()?), writer: stream, jobs: 0 };
        qmp.read()?;
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// The process that listens, as this side sees its number (unix(7), SO_PEERCRED).
    ///
    /// # Errors
    /// The kernel's.
    pub fn peer(&self) -> anyhow::Result<Pid> {
        let peer = getsockopt(&self.writer, PeerCredentials).context("QEMU's process")?;
        Ok(Pid::from_raw(peer.pid()))
    }

    fn read(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).context("QEMU's answer")
    }

    /// Runs a command and returns its result; events in between are passed over.
    ///
    /// # Errors
    /// QEMU's.
    pub fn command(&mut self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        let line = json!({ "execute": name, "arguments": arguments }).to_string() + "\n";
        self.writer.write_all(line.as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {name}: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }

    /// Starts a job and waits until it has ended (QMP reference, "Background jobs").
    ///
    /// # Errors
    /// QEMU's, and when the job does not end in ten minutes.
    pub fn job(&mut self, name: &str, mut arguments: Value) -> anyhow::Result<()> {
        self.jobs += 1;
        let id = format!("{name}-{}", self.jobs);
        arguments["job-id"] = json!(id);
        self.command(name, &arguments)?;
        let deadline = Deadline::seconds(600);
        loop {
            let jobs = self.command("query-jobs", &json!({}))?;
            let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == id.as_str()));
            let Some(job) = job else { bail!("QEMU's job {id} is gone") };
            if job["status"] == "concluded" {
                let error = job["error"].as_str().map(str::to_owned);
                self.command("job-dismiss", &json!({ "id": id }))?;
                return error.map_or(Ok(()), |why| bail!("QEMU's {name} failed: {why}"));
            }
            if deadline.passed() {
                bail!("QEMU's job {id} does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command of the human monitor.
    ///
    /// # Errors
    /// QEMU's, also when the monitor prints one.
    pub fn human(&mut self, line: &str) -> anyhow::Result<String> {
        let said = self.command("human-monitor-command", &json!({ "command-line": line }))?;
        let said = said.as_str().unwrap_or_default().trim().to_owned();
        if said.starts_with("Error") {
            bail!("QEMU refused `{line}`: {said}");
        }
        Ok(said)
    }
}
