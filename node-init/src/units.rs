//! systemd over D-Bus (org.freedesktop.systemd1(5)).

use anyhow::Context;
use zbus::blocking::{Connection, Proxy};
use zbus::zvariant::OwnedObjectPath;

/// A row of `ListUnits`: name, description, load state, active state, sub state, followed unit, path, job id, job
/// type, job path.
type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// A row of `ListJobs`: id, unit, type, state, job path, unit path.
type JobRow = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);

/// A connection to the system's service manager.
#[derive(Debug)]
pub struct Manager {
    proxy: Proxy<'static>,
}

impl Manager {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// When there is no bus.
    pub fn connect() -> anyhow::Result<Self> {
        let connection = Connection::system().context("the system bus")?;
        let proxy = Proxy::new(
            &connection,
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
        )?;
        Ok(Self { proxy })
    }

    /// Names of failed units, sorted.
    ///
    /// # Errors
    /// The bus's.
    pub fn failed(&self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<UnitRow> = self.proxy.call("ListUnitsFiltered", &(vec!["failed"],))?;
        let mut names: Vec<String> = rows.into_iter().map(|row| row.0).collect();
        names.sort();
        Ok(names)
    }

    /// Units that still have a job, other than `own`.
    ///
    /// # Errors
    /// The bus's.
    pub fn jobs(&self, own: &str) -> anyhow::Result<Vec<String>> {
        let rows: Vec<JobRow> = self.proxy.call("ListJobs", &())?;
        Ok(rows.into_iter().map(|row| row.1).filter(|unit| unit != own).collect())
    }
}
