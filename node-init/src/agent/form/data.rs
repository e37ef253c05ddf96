//! The data set on the active node: file system, mount, database. Made once, and after that only used.

use super::Formation;
use crate::agent::config::{Config, Store};
use crate::agent::log;
use crate::agent::ports::Ports;
use anyhow::{Context, bail};
use edgepair_host_io::{Invocation, atomic};
use edgepair_render::names::{DATA, DATA_MOUNT, DRBD_DEVICE, KINE, POSTGRES_DATA, POSTGRES_UNIT};
use edgepair_render::plan::{EmptyTarget, Seen, Target};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the data set says whose it is. Last file of the forming, on the replicated file system itself.
const MARKER: &str = "/var/lib/pair/edgepair.json";
/// The database before it is whole.
const UNFINISHED: &str = "/var/lib/pair/.postgres.unfinished";
/// Programs of PostgreSQL 17 in Debian.
const INITDB: &str = "/usr/lib/postgresql/17/bin/initdb";
const PSQL: &str = "/usr/lib/postgresql/17/bin/psql";

/// Content of the marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    /// Name of the pair.
    pair: String,
    /// Fingerprint of the secret that the database's password is derived from.
    secret: String,
}

/// The steps on the data set.
#[derive(Debug)]
pub struct Data<'a> {
    /// Ends.
    pub ports: &'a Ports,
    /// What the seed says.
    pub config: &'a Config,
}

/// What is on the replicated device.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A file system of the kind we make.
    Ext4,
    /// Anything else.
    Other(Seen),
}

impl Data<'_> {
    fn path(&self, path: &str) -> PathBuf {
        self.ports.place.path(path)
    }

    /// Mounts the data set, and makes its file system first where `formation` allows that.
    /// `note` makes [`Formation::Formatting`] durable on both nodes.
    ///
    /// # Errors
    /// What failed, why, what to do.
    pub async fn mount(
        &self,
        formation: Formation,
        note: impl AsyncFnOnce(Formation) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.ports.units.state(DATA_MOUNT).await? == "active" {
            return Ok(());
        }
        if matches!(formation, Formation::Begun | Formation::Formatting) {
            let unfinished = Seen::Unfinished { same_target: true };
            match self.look().await? {
                // Made before a power cut, perhaps not to its end. There is nothing on it that anybody was promised.
                Found::Ext4 if formation == Formation::Formatting => {
                    let whole = match self.check().await {
                        Ok(()) => self.ports.units.start(DATA_MOUNT).await,
                        Err(error) => Err(error),
                    };
                    if whole.is_ok() {
                        return Ok(());
                    }
                    let proof = EmptyTarget::prove(Target::ReplicatedDevice, &unfinished)?;
                    self.ports.run(Invocation::new("wipefs").args(["--all", DRBD_DEVICE])).await?;
                    self.make_file_system(proof).await?;
                }
                Found::Ext4 => {
                    let seen = Seen::Device { signatures: vec!["ext4".to_owned()], ends_are_zero: false };
                    EmptyTarget::prove(Target::ReplicatedDevice, &seen)?;
                }
                Found::Other(seen) => {
                    let seen = match EmptyTarget::prove(Target::ReplicatedDevice, &seen) {
                        Ok(_) => seen,
                        Err(_) if formation == Formation::Formatting => unfinished,
                        Err(error) => return Err(error.into()),
                    };
                    note(Formation::Formatting).await?;
                    let proof = EmptyTarget::prove(Target::ReplicatedDevice, &seen)?;
                    self.make_file_system(proof).await?;
                }
            }
        }
        self.check().await?;
        self.ports.units.start(DATA_MOUNT).await
    }

    async fn look(&self) -> anyhow::Result<Found> {
        let call = Invocation::new("wipefs").args(["--no-act", "--json", DRBD_DEVICE]);
        let signatures = signatures(&self.ports.run(call).await?.text())?;
        if signatures == ["ext4"] {
            return Ok(Found::Ext4);
        }
        let ends_are_zero = self.ports.kernel.ends_are_zero(DRBD_DEVICE).context(DRBD_DEVICE)?;
        Ok(Found::Other(Seen::Device { signatures, ends_are_zero }))
    }

    /// Replays the journal and repairs what can be repaired without a question.
    async fn check(&self) -> anyhow::Result<()> {
        let call = Invocation::new("fsck.ext4").args(["-p", DRBD_DEVICE]);
        match self.ports.run(call).await {
            Ok(_) => Ok(()),
            // Bit 0: errors were corrected (fsck(8)).
            Err(error) if exit_code(&error) == Some(1) => Ok(()),
            Err(error) => Err(error.context(format!(
                "the file system on {DRBD_DEVICE} is damaged; look at it with fsck.ext4 before anything else"
            ))),
        }
    }

    async fn make_file_system(&self, proof: EmptyTarget) -> anyhow::Result<()> {
        if proof.target() != Target::ReplicatedDevice {
            bail!("the proof is about another target");
        }
        // Nothing is left to be written later by the kernel, and no hole is made in the preallocated disk.
        let options = ["-q", "-L", "pair", "-m", "1"];
        let extended = ["-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"];
        let call = Invocation::new("mkfs.ext4").args(options).args(extended).arg(DRBD_DEVICE);
        log::step("file-system", "make the file system on the replicated device", self.ports.run(call))
            .await
            .map(drop)
    }

    /// Whether the mounted data set is this pair's and finished.
    ///
    /// # Errors
    /// When it is another pair's, or none of ours at all.
    pub fn finished(&self, formation: Formation) -> anyhow::Result<bool> {
        match self.marker()? {
            Some(marker) if marker.pair == self.config.pair => Ok(true),
            Some(marker) => {
                bail!("the storage belongs to the pair \"{}\": this is not its box", marker.pair)
            }
            None if matches!(formation, Formation::Begun | Formation::Formatting) => Ok(false),
            None => bail!(
                "the file system at {DATA} is not one that a pair has made: there is no {MARKER}; nothing is changed on it"
            ),
        }
    }

    fn marker(&self) -> anyhow::Result<Option<Marker>> {
        Ok(self.ports.place.read(MARKER)?)
    }

    /// Makes the database, before its server has ever run.
    ///
    /// # Errors
    /// The programs'.
    pub async fn make_database(&self) -> anyhow::Result<()> {
        match self.config.store {
            Store::Postgres => {}
            Store::Sqlite => {
                let folder = self.path(&format!("{DATA}/k3s-server"));
                std::fs::create_dir_all(&folder)?;
                std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
                return Ok(());
            }
            Store::External => return Ok(()),
        }
        if self.path(POSTGRES_DATA).exists() {
            // It got its name when it was whole.
            return Ok(());
        }
        let proof = EmptyTarget::prove(Target::DatabaseFolder, &Seen::Nothing)?;
        self.init_cluster(proof).await
    }

    async fn init_cluster(&self, proof: EmptyTarget) -> anyhow::Result<()> {
        if proof.target() != Target::DatabaseFolder {
            bail!("the proof is about another target");
        }
        let unfinished = self.path(UNFINISHED);
        // Ours by its name, on a file system that nobody else has written to.
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        let folder = ["-d", "-m", "0700", "-o", "postgres", "-g", "postgres"];
        self.ports.run(Invocation::new("install").args(folder).arg(unfinished.to_string_lossy())).await?;
        let options = [
            "--data-checksums",
            "--locale=C",
            "--encoding=UTF8",
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
            "--no-instructions",
            "-D",
        ];
        let call = as_postgres(INITDB).args(options).arg(unfinished.to_string_lossy());
        log::step("cluster", "make the database cluster", async {
            self.ports.run(call).await?;
            // initdb has synced every file.
            Ok(atomic::publish(&unfinished, &self.path(POSTGRES_DATA))?)
        })
        .await
    }

    /// Role, database and marker, once the server runs. Also when the pair's secret has changed since.
    ///
    /// # Errors
    /// The programs'.
    pub async fn finish(&self, salt: [u8; 16]) -> anyhow::Result<()> {
        log::step("database", "make role and database, and mark the data set as this pair's", async {
            if self.config.store == Store::Postgres {
                let verifier = super::verifier::scram_sha_256(self.config.database_password(), &salt);
                self.sql(&role_and_database(&verifier)).await?;
            }
            Ok(self.ports.place.write(MARKER, &self.own_marker())?)
        })
        .await
    }

    fn own_marker(&self) -> Marker {
        Marker { pair: self.config.pair.clone(), secret: self.config.secret_fingerprint.clone() }
    }

    /// Whether role and password are still to be set.
    ///
    /// # Errors
    /// When the marker cannot be read.
    pub fn unfinished(&self) -> anyhow::Result<bool> {
        Ok(self.marker()? != Some(self.own_marker()))
    }

    /// A write that reached the disk, both disks where there are two: the datastore is ready.
    ///
    /// # Errors
    /// What the server said.
    pub async fn prove_writable(&self) -> anyhow::Result<()> {
        if self.config.store != Store::Postgres {
            return Ok(());
        }
        // A record of the log with nothing in it, flushed when it is committed.
        self.sql("SELECT pg_logical_emit_message(true, 'edgepair', 'active');\n").await
    }

    /// A checkpoint, so that the stop and the other node's start are short.
    ///
    /// # Errors
    /// What the server said.
    pub async fn checkpoint(&self) -> anyhow::Result<()> {
        if self.config.store != Store::Postgres || self.ports.units.state(POSTGRES_UNIT).await? != "active" {
            return Ok(());
        }
        self.sql("CHECKPOINT;\n").await
    }

    async fn sql(&self, text: &str) -> anyhow::Result<()> {
        let options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-f", "-"];
        let call = as_postgres(PSQL).args(options).arg("postgres").stdin(text);
        self.ports.run(call).await.map(drop)
    }
}

fn as_postgres(program: &str) -> Invocation {
    let options = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--"];
    Invocation::new("setpriv").args(options).arg(program).cwd("/")
}

/// Runs again without harm. `\gexec` runs what the query before gave: CREATE has no IF NOT EXISTS for these.
fn role_and_database(verifier: &str) -> String {
    format!(
        "SET log_min_error_statement = 'panic';\n\
         SELECT 'CREATE ROLE {KINE} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{KINE}')\\gexec\n\
         ALTER ROLE {KINE} WITH LOGIN PASSWORD '{verifier}';\n\
         SELECT 'CREATE DATABASE {KINE} OWNER {KINE}' \
         WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{KINE}')\\gexec\n"
    )
}

fn exit_code(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| cause.downcast_ref::<edgepair_host_io::CommandError>()?.code())
}

/// Types of the signatures in wipefs' JSON (wipefs(8)): an empty text or an empty list when there is none.
fn signatures(text: &str) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(default)]
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        #[serde(rename = "type")]
        kind: String,
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let report: Report =
        serde_json::from_str(text).context("wipefs said something that is not understood")?;
    Ok(report.signatures.into_iter().map(|signature| signature.kind).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_wipefs() {
        assert_eq!(signatures("").unwrap(), [""; 0]);
        assert_eq!(signatures("{\"signatures\": []}").unwrap(), [""; 0]);
        let text =
            r#"{"signatures": [{"device":"drbd0","offset":"0x438","type":"ext4","uuid":"1","label":null}]}"#;
        assert_eq!(signatures(text).unwrap(), ["ext4"]);
        assert!(signatures("wipefs: error").is_err());
    }
}
