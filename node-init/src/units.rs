//! systemd over D-Bus (org.freedesktop.systemd1(5)).
//!
//! [`Manager::connect`] goes over the system bus, as everybody may. [`Manager::private`] goes over systemd's own socket:
//! it is there from the first unit on, when there is no bus yet, and takes only root.

mod private;

use std::future::Future;

use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;
use zbus::connection;
use zbus::proxy::CacheProperties;
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Type};
use zbus::{Connection, Proxy};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const WATCHDOG: &str = "RuntimeWatchdogUSec";
/// How long the manager may take for an answer. To read all units anew takes the slowest board a few seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

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
    runtime: Runtime,
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

impl Manager {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// When there is no bus.
    pub fn connect() -> anyhow::Result<Self> {
        Self::over(async { Connection::system().await.context("the system bus") })
    }

    /// Connects to systemd's own socket, also before there is a bus.
    ///
    /// # Errors
    /// When systemd does not run here, or the caller is not root.
    pub fn private() -> anyhow::Result<Self> {
        let manager = Self::over(async {
            let socket = private::connect().await.context("systemd's private socket")?;
            connection::Builder::socket(socket).p2p().build().await.context("systemd's private socket")
        })?;
        // systemd reads the end of the handshake in pieces of 256 bytes. A first message that came in whole with such a
        // piece, because it was busy, is only looked at when more comes in (sd-bus, bus_socket_read_auth). So the first
        // one is longer than that, a question after a unit that cannot be; it has no other purpose.
        let nothing = "x".repeat(4096);
        let answer: anyhow::Result<OwnedObjectPath> = manager.call("GetUnit", &(nothing,));
        match answer.map_err(|error| error.downcast::<zbus::Error>()) {
            Ok(_) | Err(Ok(zbus::Error::MethodError(..))) => Ok(manager),
            Err(Ok(error)) => Err(error).context("systemd's private socket"),
            Err(Err(error)) => Err(error),
        }
    }

    fn over(connect: impl Future<Output = anyhow::Result<Connection>>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(async { tokio::time::timeout(PATIENCE, connect).await })??;
        Ok(Self { connection, runtime })
    }

    async fn proxy(&self, path: &str, interface: &'static str) -> zbus::Result<Proxy<'static>> {
        let builder = zbus::proxy::Builder::<Proxy<'static>>::new(&self.connection);
        // Without a bus there is nobody who tells of changes: every property is asked for when it is needed.
        let builder = builder.destination(NAME)?.path(path.to_owned())?.interface(interface)?;
        builder.cache_properties(CacheProperties::No).build().await
    }

    fn wait<T>(&self, answer: impl Future<Output = zbus::Result<T>>) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        Ok(answer.context("systemd does not answer")??)
    }

    /// Calls a method of the manager.
    fn call<B, R>(&self, method: &str, body: &B) -> anyhow::Result<R>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.wait(async { self.proxy(PATH, MANAGER).await?.call(method, body).await })
    }

    /// Reads all units and the manager's own settings anew.
    ///
    /// # Errors
    /// The manager's.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.call::<_, ()>("Reload", &()).context("systemd cannot reload")
    }

    /// Queues a job and does not wait for it. `verb` is `Start`, `Stop`, `ReloadOrTryRestart`, `TryRestart`, ….
    ///
    /// # Errors
    /// The manager's, for example when there is no such unit.
    pub fn queue(&self, verb: &str, unit: &str) -> anyhow::Result<()> {
        let method = format!("{verb}Unit");
        self.call::<_, OwnedObjectPath>(&method, &(unit, "replace"))
            .with_context(|| format!("{} {unit}", verb.to_lowercase()))?;
        Ok(())
    }

    /// How a unit is.
    ///
    /// # Errors
    /// The manager's.
    pub fn state(&self, unit: &str) -> anyhow::Result<UnitState> {
        let path: OwnedObjectPath = self.call("LoadUnit", &(unit,)).with_context(|| unit.to_owned())?;
        let ask = async {
            let unit = self.proxy(path.as_str(), UNIT).await?;
            let job: (u32, OwnedObjectPath) = unit.get_property::<OwnedValue>("Job").await?.try_into()?;
            let tried: u64 = unit.get_property("ConditionTimestampMonotonic").await?;
            let condition: bool = unit.get_property("ConditionResult").await?;
            Ok(UnitState {
                load: unit.get_property("LoadState").await?,
                active: unit.get_property("ActiveState").await?,
                job: job.0 != 0,
                condition_failed: tried != 0 && !condition,
            })
        };
        self.wait(ask).with_context(|| unit.to_owned())
    }

    /// The hardware watchdog's time, in milliseconds; 0 is off.
    ///
    /// # Errors
    /// The manager's.
    pub fn watchdog_ms(&self) -> anyhow::Result<u64> {
        let micros: u64 =
            self.wait(async { self.proxy(PATH, MANAGER).await?.get_property(WATCHDOG).await })?;
        // All ones stand for "as the hardware has it", which is on.
        Ok(micros / 1000)
    }

    /// Sets the hardware watchdog's time for the rest of this boot, whatever the configuration says.
    ///
    /// # Errors
    /// The manager's.
    pub fn set_watchdog_ms(&self, millis: u64) -> anyhow::Result<()> {
        let set = async { Ok(self.proxy(PATH, MANAGER).await?.set_property(WATCHDOG, millis * 1000).await?) };
        self.wait(set).context("the hardware watchdog's time")
    }

    /// Names of failed units, sorted.
    ///
    /// # Errors
    /// The bus's.
    pub fn failed(&self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<UnitRow> = self.call("ListUnitsFiltered", &(vec!["failed"],))?;
        let mut names: Vec<String> = rows.into_iter().map(|row| row.0).collect();
        names.sort();
        Ok(names)
    }

    /// Units that still have a job, other than `own`.
    ///
    /// # Errors
    /// The bus's.
    pub fn jobs(&self, own: &str) -> anyhow::Result<Vec<String>> {
        let rows: Vec<JobRow> = self.call("ListJobs", &())?;
        Ok(rows.into_iter().map(|row| row.1).filter(|unit| unit != own).collect())
    }
}
