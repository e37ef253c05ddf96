//! A PostgreSQL server on this computer: Debian's, with TLS, on the loopback and in a folder of its own. It is what
//! somebody brings who keeps the cluster's data elsewhere (`datastore = "external"`).

use super::Deadline;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepair_host_io::{Invocation, atomic};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

/// Nobody: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;
/// Its role, which is its database's name as well.
const ROLE: &str = "kine";
/// The role's password. It guards nothing but a test's folder.
const PASSWORD: &str = "word";

/// The server; it ends with this value.
#[derive(Debug)]
pub struct Database {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// Where Debian has a PostgreSQL server's programs, if it has.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions.map(|entry| entry.path().join("bin")).find(|bin| bin.join("initdb").is_file())
}

impl Database {
    /// Makes one in a folder, with role and database, and starts it.
    ///
    /// # Errors
    /// When there is no PostgreSQL on this computer, or it does not start.
    pub fn start(dir: &Path, port: u16) -> anyhow::Result<Self> {
        let bin = programs().context("there is no PostgreSQL server here (apt-get install postgresql)")?;
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
        let dir = dir.join("postgres");
        fs::create_dir(&dir)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let files = [
            ("server.crt", pem("CERTIFICATE", made.cert.der())),
            ("server.key", pem("PRIVATE KEY", made.signing_key.serialized_der())),
            ("password", format!("{PASSWORD}\n")),
        ];
        for (name, text) in files {
            atomic::write(&dir.join(name), text.as_bytes(), 0o600)?;
        }
        fs::copy(dir.join("server.crt"), dir.join("authority.crt"))?;
        if nix::unistd::geteuid().is_root() {
            for entry in fs::read_dir(&dir)? {
                chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
            }
            chown(&dir, Some(NOBODY), Some(NOBODY))?;
        }
        let mut database = Self { bin, dir, port, child: None };
        let words = ["-D", "data", "-U", ROLE, "--pwfile=password", "-A", "scram-sha-256", "-N"];
        done(&database.call("initdb").args(words).to_command().output()?)?;
        database.run()?;
        let deadline = Deadline::seconds(180);
        loop {
            match database.ask("postgres", &format!("CREATE DATABASE {ROLE}")) {
                Ok(_) => return Ok(database),
                Err(error) if deadline.passed() => return Err(error.context("a database")),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn call(&self, program: &str) -> Invocation {
        let path = self.bin.join(program).to_string_lossy().into_owned();
        let call = if nix::unistd::geteuid().is_root() {
            let nobody = NOBODY.to_string();
            // It ends with whoever started it, however that one ends.
            let words = [
                "--reuid",
                &nobody,
                "--regid",
                &nobody,
                "--clear-groups",
                "--pdeathsig",
                "QUIT",
                "--",
                &path,
            ];
            Invocation::new("setpriv").args(words)
        } else {
            Invocation::new(path)
        };
        call.cwd(&self.dir).env("LC_ALL", "C")
    }

    /// Starts the server again.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn run(&mut self) -> anyhow::Result<()> {
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "ssl=on",
            "ssl_cert_file=../server.crt",
            "ssl_key_file=../server.key",
        ];
        let mut call = self.call("postgres").args(["-D", "data", "-p", &self.port.to_string()]);
        for setting in settings {
            call = call.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.dir.join("log"))?;
        self.child = Some(call.to_command().stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    /// Ends the server at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGQUIT: PostgreSQL's own "immediate shutdown", which takes its children along.
            let pid = child.id().to_string();
            let _ = Invocation::new("kill").args(["-QUIT", &pid]).to_command().status();
            let _ = child.wait();
        }
    }

    /// As k3s on this computer is told of it.
    #[must_use]
    pub fn endpoint(&self, options: &str) -> String {
        endpoint("127.0.0.1", self.port, options)
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.dir.join("authority.crt")
    }

    /// Asks it.
    ///
    /// # Errors
    /// What it says.
    pub fn query(&self, sql: &str) -> anyhow::Result<String> {
        self.ask(ROLE, sql)
    }

    fn ask(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let place = ["-h", "127.0.0.1", "-p", &port, "-U", ROLE, "-d", database];
        let call = self.call("psql").args(["-X", "-q", "-t", "-A"]).args(place).args(["-c", sql]);
        done(&call.env("PGPASSWORD", PASSWORD).to_command().output()?)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As k3s is told of it, at an address.
#[must_use]
pub fn endpoint(address: &str, port: u16, options: &str) -> String {
    format!("postgres://{ROLE}:{PASSWORD}@{address}:{port}/{ROLE}?{options}")
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}

fn done(output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(std::str::from_utf8(&output.stdout)?.trim().to_owned())
}
