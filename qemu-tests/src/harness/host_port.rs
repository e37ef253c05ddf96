//! The port by which this computer takes part in the lab's network, without any privilege: a QEMU without a machine,
//! whose user-mode network (libslirp) turns connections to the loopback into connections in the lab, and the other
//! way round. It has no way out: `restrict=on`.

use super::lan::Port;
use super::qmp::Qmp;
use super::{Image, vm};
use anyhow::Context;
use edgepair_host_io::atomic;
use edgepair_host_io::sandbox::{Mount, Sandbox};
use nix::unistd::Pid;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Child;

/// A port of this computer that leads to a port in the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// TCP port on 127.0.0.1.
    pub here: u16,
    /// Address in the lab.
    pub address: String,
    /// TCP port there.
    pub port: u16,
}

/// A port in the lab that leads to a port of this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backward {
    /// Address in the lab; nobody else may have it.
    pub address: String,
    /// TCP port there.
    pub port: u16,
    /// TCP port on 127.0.0.1.
    pub here: u16,
}

/// What a port does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leads {
    /// Its own address in the lab.
    pub own: String,
    /// Ways in.
    pub forward: Vec<Forward>,
    /// Ways out.
    pub backward: Vec<Backward>,
}

/// A running port.
#[derive(Debug)]
pub struct HostPort {
    child: Option<Child>,
    qemu: Pid,
    // QEMU serves one client at a time; this one keeps others off.
    _qmp: Qmp,
}

/// One connection: standard input and output of the program are the machine's side (libslirp starts it for each).
const RELAY: &str = "exec 3<>/dev/tcp/127.0.0.1/$1 || exit 1\nexec 4<&0\ncat <&3 &\ncat <&4 >&3 &\nwait -n\nkill $(jobs -p) 2>/dev/null\n";

impl HostPort {
    /// Starts it; `dir` is its own folder, `lan` the one with the switch's sockets.
    ///
    /// # Errors
    /// When QEMU does not start, for example because a port of this computer is taken.
    pub fn start(image: &Image, dir: &Path, lan: &Path, port: &Port, leads: &Leads) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let _ = fs::remove_file(dir.join("qmp.sock"));
        let _ = fs::remove_file(dir.join("qemu.log"));
        atomic::write(&dir.join("relay"), RELAY.as_bytes(), 0o755)?;
        let sandbox = Sandbox { tools: image.tools.clone() };
        let mounts = [
            Mount { source: dir.to_owned(), target: "/build".into(), writable: true },
            Mount { source: lan.to_owned(), target: "/in/lan".into(), writable: true },
        ];
        let mut user =
            format!("user,id=host,net={},host={},restrict=on,ipv6=off", super::site::NETWORK, leads.own);
        for Forward { here, address, port } in &leads.forward {
            user += &format!(",hostfwd=tcp:127.0.0.1:{here}-{address}:{port}");
        }
        for Backward { address, port, here } in &leads.backward {
            user += &format!(",guestfwd=tcp:{address}:{port}-cmd:/bin/bash /build/relay {here}");
        }
        let argv = [
            &image.qemu.program,
            "-machine",
            "none",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-qmp",
            "unix:/build/qmp.sock,server=on,wait=off",
            "-netdev",
            &format!("{},id=lan", port.netdev("/in/lan")),
            "-netdev",
            &user,
            "-netdev",
            "hubport,id=hub-lan,hubid=0,netdev=lan",
            "-netdev",
            "hubport,id=hub-host,hubid=0,netdev=host",
        ]
        .map(str::to_owned);
        let call = sandbox.wrap(&argv, &[], &mounts, true);
        let mut child = Some(vm::spawn(&call, &dir.join("qemu.log"))?);
        match vm::answers(&mut child, dir).context("the port of this computer") {
            Ok((qemu, qmp)) => Ok(Self { child, qemu, _qmp: qmp }),
            Err(error) => {
                vm::end(&mut child, None);
                Err(error)
            }
        }
    }
}

impl Drop for HostPort {
    fn drop(&mut self) {
        vm::end(&mut self.child, Some(self.qemu));
    }
}

/// TCP ports of this computer that nobody listens on at this moment.
///
/// # Errors
/// The kernel's.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Result<Vec<_>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
