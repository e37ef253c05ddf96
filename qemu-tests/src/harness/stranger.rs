//! A third host on the switch that tries every port: without a machine of its own, it speaks raw frames.
//!
//! So that silence means a firewall and not a lost frame, every batch of a scan ends with a port that is known to be
//! open: frames arrive in order, and only when that port has answered does the next batch begin. Two passes.

pub mod packets;

use super::Deadline;
use super::lan::{FRAME, Port};
use anyhow::{Context, bail};
use packets::{Mac, Own, Seen};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// How often a silent port is tried at most.
const PASSES: usize = 8;
/// How many ports are tried before an answer is waited for.
const BATCH: usize = 2048;

/// The host.
#[derive(Debug)]
pub struct Stranger {
    own: Own,
    socket: UnixDatagram,
    switch: PathBuf,
    /// Source port: another one for each scan, so that late answers are known as such.
    port: u16,
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Ports that accept.
    pub open: BTreeSet<u16>,
    /// Ports that refuse: the firewall lets one through, and nobody listens.
    pub refused: BTreeSet<u16>,
}

impl Stranger {
    /// Plugs it into the switch.
    ///
    /// # Errors
    /// When its socket cannot be made.
    pub fn plug_in(port: &Port) -> anyhow::Result<Self> {
        let _ = std::fs::remove_file(&port.machine);
        let socket = UnixDatagram::bind(&port.machine).context("the stranger's socket")?;
        let own = Own {
            mac: [0x52, 0x54, 0, 0, 0, 9],
            v4: Ipv4Addr::new(192, 0, 2, 99),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x99),
        };
        Ok(Self { own, socket, switch: port.switch.clone(), port: 40_000 })
    }

    fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        self.socket.send_to(frame, &self.switch).context("the switch")?;
        Ok(())
    }

    /// The next frame that means something, if one comes in that time; whoever asks for the stranger is answered.
    fn next(&self, wait: Duration) -> anyhow::Result<Option<Seen>> {
        self.socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let mut frame = [0_u8; FRAME];
        loop {
            let Ok(length) = self.socket.recv(&mut frame) else { return Ok(None) };
            match packets::read(&self.own, &frame[..length]) {
                Some(Seen::WhoIs { mac, address }) => self.send(&packets::here(&self.own, mac, address))?,
                Some(seen) => return Ok(Some(seen)),
                None => {}
            }
        }
    }

    /// The Ethernet address of a host.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn find(&self, address: IpAddr, deadline: Deadline) -> anyhow::Result<Mac> {
        while !deadline.passed() {
            self.send(&packets::who_is(&self.own, address))?;
            let patience = Deadline::seconds(1);
            while !patience.passed() {
                match self.next(patience.left())? {
                    Some(Seen::Here { mac, address: said }) if said == address => return Ok(mac),
                    _ => {}
                }
            }
        }
        bail!("{address} does not answer on the network")
    }

    /// Tries all 65,535 TCP ports. `known` is one that is open.
    ///
    /// # Errors
    /// When the host does not answer, or the known port does not.
    pub fn scan_tcp(&mut self, address: IpAddr, known: u16, patience: u64) -> anyhow::Result<Scan> {
        let mac = self.find(address, Deadline::seconds(patience))?;
        let mut found = Scan::default();
        // Twice at least: an answer may be lost. As long as a pass finds more, another one might.
        let mut before = usize::MAX;
        for pass in 0..PASSES {
            let known_so_far = found.open.len() + found.refused.len();
            if pass >= 2 && known_so_far == before {
                break;
            }
            before = known_so_far;
            self.port += 1;
            let silent: Vec<u16> = (1..=u16::MAX)
                .filter(|port| *port != known && !found.open.contains(port) && !found.refused.contains(port))
                .collect();
            for batch in silent.chunks(BATCH) {
                for port in batch {
                    self.send(&packets::tcp(&self.own, mac, address, (self.port, *port), 0x02, 1))?;
                    // Answers are taken as they come, or the switch would have to drop them.
                    while let Some(seen) = self.waiting()? {
                        self.note(seen, address, mac, &mut found)?;
                    }
                }
                self.settle(address, mac, known, patience, &mut found)?;
            }
        }
        found.open.insert(known);
        Ok(found)
    }

    /// A frame that is already there.
    fn waiting(&self) -> anyhow::Result<Option<Seen>> {
        self.socket.set_nonblocking(true)?;
        let mut frame = [0_u8; FRAME];
        let got = self.socket.recv(&mut frame);
        self.socket.set_nonblocking(false)?;
        let Ok(length) = got else { return Ok(None) };
        match packets::read(&self.own, &frame[..length]) {
            Some(Seen::WhoIs { mac, address }) => {
                self.send(&packets::here(&self.own, mac, address))?;
                Ok(None)
            }
            seen => Ok(seen),
        }
    }

    /// Waits until the known port has answered: everything sent before has been dealt with by then.
    fn settle(
        &mut self,
        address: IpAddr,
        mac: Mac,
        known: u16,
        patience: u64,
        found: &mut Scan,
    ) -> anyhow::Result<()> {
        let deadline = Deadline::seconds(patience);
        let mut answered = false;
        while !answered {
            if deadline.passed() {
                bail!("port {known} of {address} is known to be open and does not answer any more");
            }
            // A port of its own for each question, so that no old answer is taken for the new one.
            self.port = if self.port >= 60_000 { 40_000 } else { self.port + 1 };
            self.send(&packets::tcp(&self.own, mac, address, (self.port, known), 0x02, 1))?;
            let patience = Deadline::seconds(1);
            while !patience.passed() && !answered {
                let Some(seen) = self.next(patience.left())? else { break };
                answered = matches!(seen, Seen::Tcp { from, port, to, .. } if from == address && port == known && to == self.port);
                self.note(seen, address, mac, found)?;
            }
        }
        Ok(())
    }

    fn note(&self, seen: Seen, address: IpAddr, mac: Mac, found: &mut Scan) -> anyhow::Result<()> {
        let Seen::Tcp { from, port, to, flags, acknowledged } = seen else { return Ok(()) };
        if from != address {
            return Ok(());
        }
        if flags & 0x12 == 0x12 {
            found.open.insert(port);
            // The host is told not to wait for the rest of a connection.
            self.send(&packets::tcp(&self.own, mac, address, (to, port), 0x04, acknowledged))?;
        } else if flags & 0x04 != 0 {
            found.refused.insert(port);
        }
        Ok(())
    }

    /// Tries UDP ports with a datagram each, several times: a kernel says only once a second that nobody listens.
    ///
    /// # Errors
    /// When the host does not answer on the network.
    pub fn probe_udp(&mut self, address: IpAddr, ports: &[u16], patience: u64) -> anyhow::Result<Scan> {
        let mac = self.find(address, Deadline::seconds(patience))?;
        let mut found = Scan::default();
        for _pass in 0..3 {
            for port in ports {
                if found.open.contains(port) || found.refused.contains(port) {
                    continue;
                }
                let data = question(*port);
                self.send(&packets::udp(&self.own, mac, address, (self.port, *port), &data))?;
                let answer = Deadline::seconds(1);
                while !answer.passed() {
                    match self.next(answer.left())? {
                        Some(Seen::Udp { from, port }) if from == address => {
                            found.open.insert(port);
                        }
                        Some(Seen::Unreachable { from, port }) if from == address => {
                            found.refused.insert(port);
                        }
                        _ => {}
                    }
                    if found.open.contains(port) || found.refused.contains(port) {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }
}

/// What a server on that port would answer.
fn question(port: u16) -> Vec<u8> {
    match port {
        // NTP version 4, client (RFC 5905).
        123 => {
            let mut packet = vec![0_u8; 48];
            packet[0] = 0x23;
            packet
        }
        // DNS: the root's name servers (RFC 1035).
        53 | 5353 | 5355 => vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1],
        _ => b"hello".to_vec(),
    }
}
