//! systemd over D-Bus (org.freedesktop.systemd1(5)).
//!
//! [`Manager::connect`] goes over the system bus, as everybody may. [`Manager::private`] goes over systemd's own socket:
//! it is there from the first unit on, when there is no bus yet, and takes only root.

use anyhow::Context;
use zbus::blocking::{Connection, Proxy, connection, proxy};
use zbus::proxy::CacheProperties;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

/// systemd's own socket.
const PRIVATE: &str = "unix:path=/run/systemd/private";
const NAME: &str = "org.freedesktop.systemd1";

/// A row of `ListUnits`: name, description, load state, active state, sub state, followed unit, path, job id, job
/// type, job path.
type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// A row of `ListJobs`: id, unit, type, state, job path, unit path.
type JobRow = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);

/// A connection to the system's service manager.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    proxy: Proxy<'static>,
}

/// A unit as the manager sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// A job is queued or running.
    pub job: bool,
    /// It was to be started, and its own conditions said no.
    pub condition_failed: bool,
}

impl UnitState {
    /// It runs, is about to, or has nothing to do here.
    pub fn is_started(&self) -> bool {
        self.job
            || self.condition_failed
            || ["active", "activating", "reloading"].contains(&self.active.as_str())
    }
}

fn proxy(connection: &Connection, path: &str, interface: &'static str) -> anyhow::Result<Proxy<'static>> {
    let builder = proxy::Builder::<Proxy<'static>>::new(connection);
    // Without a bus there is nobody who tells of changes: every property is asked for when it is needed.
    let builder = builder.destination(NAME)?.path(path.to_owned())?.interface(interface)?;
    Ok(builder.cache_properties(CacheProperties::No).build()?)
}

impl Manager {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// When there is no bus.
    pub fn connect() -> anyhow::Result<Self> {
        Self::over(Connection::system().context("the system bus")?)
    }

    /// Connects to systemd's own socket, also before there is a bus.
    ///
    /// # Errors
    /// When systemd does not run here, or the caller is not root.
    pub fn private() -> anyhow::Result<Self> {
        let connection = connection::Builder::address(PRIVATE)?.p2p().build().context(PRIVATE)?;
        Self::over(connection)
    }

    fn over(connection: Connection) -> anyhow::Result<Self> {
        let proxy = proxy(&connection, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")?;
        Ok(Self { connection, proxy })
    }

    /// Reads all units and the manager's own settings anew.
    ///
    /// # Errors
    /// The manager's.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.proxy.call::<_, _, ()>("Reload", &()).context("systemd cannot reload")
    }

    /// Queues a job and does not wait for it. `verb` is `Start`, `Stop`, `ReloadOrTryRestart`, `TryRestart`, ….
    ///
    /// # Errors
    /// The manager's, for example when there is no such unit.
    pub fn queue(&self, verb: &str, unit: &str) -> anyhow::Result<()> {
        let method = format!("{verb}Unit");
        self.proxy
            .call::<_, _, OwnedObjectPath>(method.as_str(), &(unit, "replace"))
            .with_context(|| format!("{} {unit}", verb.to_lowercase()))?;
        Ok(())
    }

    /// How a unit is.
    ///
    /// # Errors
    /// The manager's.
    pub fn state(&self, unit: &str) -> anyhow::Result<UnitState> {
        let path: OwnedObjectPath = self.proxy.call("LoadUnit", &(unit,)).with_context(|| unit.to_owned())?;
        let unit = proxy(&self.connection, path.as_str(), "org.freedesktop.systemd1.Unit")?;
        let text = |name: &str| -> anyhow::Result<String> { Ok(unit.get_property::<String>(name)?) };
        let job: (u32, OwnedObjectPath) = unit.get_property::<OwnedValue>("Job")?.try_into()?;
        let tried: u64 = unit.get_property("ConditionTimestampMonotonic")?;
        let condition: bool = unit.get_property("ConditionResult")?;
        Ok(UnitState {
            load: text("LoadState")?,
            active: text("ActiveState")?,
            job: job.0 != 0,
            condition_failed: tried != 0 && !condition,
        })
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
