//! The witness of the lab: node-init, as it is in the image, as a process of this computer.

use super::{Deadline, Image, vm};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// A witness with its folder; it runs or it does not.
#[derive(Debug)]
pub struct Witness {
    sandbox: Sandbox,
    mounts: Vec<Mount>,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

const PLACE: [&str; 2] = ["--data-dir", "/build/data"];

impl Witness {
    /// Prepares one; nothing runs yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(image: &Image, dir: &Path, port: u16) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let mounts = vec![
            Mount { source: dir.to_owned(), target: "/build".into(), writable: true },
            Mount { source: image.node_init.clone(), target: "/in/node-init".into(), writable: false },
        ];
        let sandbox = Sandbox { tools: image.tools.clone() };
        Ok(Self { sandbox, mounts, dir: dir.to_owned(), port, child: None })
    }

    fn argv(words: &[&str]) -> Vec<String> {
        ["/in/node-init", "witness"].iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        let call = self.sandbox.wrap(&Self::argv(words), &[], &self.mounts, true);
        Ok(HostRunner.run(&call)?.text().trim().to_owned())
    }

    /// The fingerprint for the seed; makes the witness's key if there is none.
    ///
    /// # Errors
    /// The witness's.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        self.ask(&[&["fingerprint"], &PLACE[..]].concat())
    }

    /// Lets a pair use it; the secret itself stays where it is.
    ///
    /// # Errors
    /// The witness's.
    pub fn enrol(&self, pair: &str, secret_file: &Path) -> anyhow::Result<()> {
        let mut mounts = self.mounts.clone();
        mounts.push(Mount {
            source: secret_file.to_owned(),
            target: "/in/pair.secret".into(),
            writable: false,
        });
        let words = Self::argv(&["pair-key", "--pair", pair, "--secret-file", "/in/pair.secret"]);
        let key = HostRunner.run(&self.sandbox.wrap(&words, &[], &mounts, true))?.text().trim().to_owned();
        self.ask(&[&["enrol", "--name", pair, "--key", &key], &PLACE[..]].concat()).map(|_| ())
    }

    /// What it knows, as JSON.
    ///
    /// # Errors
    /// The witness's, also when it does not run.
    pub fn status(&self) -> anyhow::Result<String> {
        self.ask(&[&["status", "--json", "--pairs"], &PLACE[..]].concat())
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.runs() {
            return Ok(());
        }
        let listen = format!("127.0.0.1:{}", self.port);
        let argv = Self::argv(&[&["serve", "--listen", &listen], &PLACE[..]].concat());
        let log = self.dir.join("witness.log");
        self.child = Some(vm::spawn(&self.sandbox.wrap(&argv, &[], &self.mounts, true), &log)?);
        let deadline = Deadline::seconds(30);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if !self.runs() || deadline.passed() {
                bail!("the witness does not start: {}", fs::read_to_string(&log).unwrap_or_default().trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // Its namespace has no other process: what started it takes it along.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Takes it back to what it was: copies its folders aside, or back. It must not run.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn keep(&self, name: &str, back: bool) -> anyhow::Result<()> {
        let kept = self.dir.join(format!("kept-{name}"));
        let (from, to) = if back { (&kept, &self.dir) } else { (&self.dir, &kept) };
        for folder in ["data", "data-stamp"] {
            let _ = fs::remove_dir_all(to.join(folder));
            copy(&from.join(folder), &to.join(folder))
                .with_context(|| format!("copy of the witness's {folder}"))?;
        }
        Ok(())
    }

    /// Puts back only its database from what was kept under a name, as an administrator who restores a backup does. It
    /// must not run.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn restore_database(&self, name: &str) -> anyhow::Result<()> {
        let data = self.dir.join("data");
        fs::remove_dir_all(&data)?;
        copy(&self.dir.join(format!("kept-{name}")).join("data"), &data).context("the witness's database")
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Its socket is made anew at each start.
        if !entry.file_type()?.is_socket() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
