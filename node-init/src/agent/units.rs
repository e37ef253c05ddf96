//! systemd's units over D-Bus (org.freedesktop.systemd1(5)).

use super::ports::{Task, Units};
use anyhow::{Context, bail};
use tokio::sync::OnceCell;
use zbus::export::futures_core::Stream;
use zbus::proxy::CacheProperties;
use zbus::zvariant::OwnedObjectPath;
use zbus::{Connection, Proxy};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// A signal `JobRemoved`: id, job, unit, result.
type JobRemoved = (u32, OwnedObjectPath, String, String);

/// systemd of this machine.
#[derive(Debug, Default)]
pub struct Systemd {
    bus: OnceCell<Connection>,
}

/// The next value of a stream.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *stream).poll_next(context)).await
}

impl Systemd {
    async fn bus(&self) -> anyhow::Result<&Connection> {
        let connect = || async {
            let bus = Connection::system().await.context("the system bus cannot be reached")?;
            // Without it systemd sends no signals.
            let manager = Proxy::new(&bus, SYSTEMD, "/org/freedesktop/systemd1", MANAGER).await?;
            let _: () = manager.call("Subscribe", &()).await?;
            anyhow::Ok(bus)
        };
        self.bus.get_or_try_init(connect).await
    }

    async fn manager(&self) -> anyhow::Result<Proxy<'static>> {
        let bus = self.bus().await?;
        Ok(Proxy::new(bus, SYSTEMD, "/org/freedesktop/systemd1", MANAGER).await?)
    }

    async fn unit(&self, name: &str, cache: CacheProperties) -> anyhow::Result<Proxy<'static>> {
        self.at(name, UNIT, cache).await
    }

    async fn at(
        &self,
        name: &str,
        interface: &'static str,
        cache: CacheProperties,
    ) -> anyhow::Result<Proxy<'static>> {
        let path: OwnedObjectPath = self.manager().await?.call("LoadUnit", &(name,)).await?;
        let builder = zbus::proxy::Builder::<Proxy<'static>>::new(self.bus().await?);
        let builder = builder.destination(SYSTEMD)?.path(path)?.interface(interface)?;
        Ok(builder.cache_properties(cache).build().await?)
    }

    async fn job(&self, method: &str, unit: &str) -> anyhow::Result<()> {
        let manager = self.manager().await?;
        // Before the job exists: it may be over before its name is known.
        let mut removed = manager.receive_signal("JobRemoved").await?;
        let job: OwnedObjectPath =
            manager.call(method, &(unit, "replace")).await.with_context(|| format!("{method} {unit}"))?;
        while let Some(signal) = next(&mut removed).await {
            let (_, path, _, result): JobRemoved = signal.body().deserialize()?;
            if path == job {
                if result == "done" {
                    return Ok(());
                }
                bail!("{unit}: {result}; its own words: journalctl -u {unit}");
            }
        }
        bail!("the bus is gone")
    }
}

impl Units for Systemd {
    fn start<'a>(&'a self, unit: &'a str) -> Task<'a, ()> {
        Box::pin(self.job("StartUnit", unit))
    }

    fn begin<'a>(&'a self, unit: &'a str) -> Task<'a, ()> {
        Box::pin(async move {
            let manager = self.manager().await?;
            let _: OwnedObjectPath = manager
                .call("StartUnit", &(unit, "replace"))
                .await
                .with_context(|| format!("StartUnit {unit}"))?;
            Ok(())
        })
    }

    fn stop<'a>(&'a self, unit: &'a str) -> Task<'a, ()> {
        Box::pin(self.job("StopUnit", unit))
    }

    fn state<'a>(&'a self, unit: &'a str) -> Task<'a, String> {
        Box::pin(async move {
            let proxy = self.unit(unit, CacheProperties::No).await?;
            Ok(proxy.get_property("ActiveState").await?)
        })
    }

    fn ended<'a>(&'a self, unit: &'a str) -> Task<'a, (u32, String)> {
        Box::pin(async move {
            let proxy = self.at(unit, SERVICE, CacheProperties::No).await?;
            Ok((proxy.get_property("NRestarts").await?, proxy.get_property("Result").await?))
        })
    }

    fn left_active<'a>(&'a self, unit: &'a str) -> Task<'a, String> {
        Box::pin(async move {
            let proxy = self.unit(unit, CacheProperties::Yes).await?;
            let mut changes = proxy.receive_property_changed::<String>("ActiveState").await;
            loop {
                let state: String = proxy.get_property("ActiveState").await?;
                if state != "active" {
                    return Ok(state);
                }
                if next(&mut changes).await.is_none() {
                    bail!("the bus is gone");
                }
            }
        })
    }
}
