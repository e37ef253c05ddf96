//! The switch between machines: a small learning Ethernet switch over Unix datagram sockets, without any privilege.
//!
//! Each port is a pair of socket paths: QEMU sends to ours (`-netdev dgram,…,remote.path=`) and listens on its own.
//! The switch learns source addresses (IEEE 802.1D, clause 7.8), so a virtual address that moves is followed as on a
//! real one; it can cut ports from each other (frames vanish, the carrier stays), and counts what it carries. A port
//! that takes nothing any more, because its machine is stopped, holds nobody else up: its frames are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Largest frame: Ethernet with a 9000-byte payload and a VLAN tag.
pub const FRAME: usize = 9018;

/// How long a frame waits for a port that is full, milliseconds. The kernel queues only a few frames for a socket, and
/// a machine that is emulated takes its time.
const PATIENCE: u64 = 100;

#[derive(Debug, Default)]
struct Shared {
    cut: BTreeSet<(usize, usize)>,
    silent: bool,
    stop: bool,
    carried: u64,
    dropped: u64,
}

/// A switch with a thread per port.
#[derive(Debug)]
pub struct Switch {
    table: Arc<Mutex<BTreeMap<[u8; 6], usize>>>,
    shared: Arc<Mutex<Shared>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Where a port's sockets are.
#[derive(Debug, Clone)]
pub struct Port {
    /// The switch's socket.
    pub switch: PathBuf,
    /// The machine's socket.
    pub machine: PathBuf,
}

impl Port {
    /// The `-netdev` value for the machine; `inside` is the folder as QEMU sees it.
    pub fn netdev(&self, inside: &str) -> String {
        let name = |path: &Path| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        format!(
            "dgram,local.type=unix,local.path={inside}/{},remote.type=unix,remote.path={inside}/{}",
            name(&self.machine),
            name(&self.switch)
        )
    }
}

impl Switch {
    /// Starts a switch with these ports.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn start(ports: &[Port]) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let table: Arc<Mutex<BTreeMap<[u8; 6], usize>>> = Arc::default();
        let mut sockets = Vec::new();
        for port in ports {
            let _ = std::fs::remove_file(&port.switch);
            let socket = UnixDatagram::bind(&port.switch)?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            sockets.push(Arc::new(socket));
        }
        let machines: Vec<PathBuf> = ports.iter().map(|port| port.machine.clone()).collect();
        let threads = (0..ports.len())
            .map(|own| {
                let (shared, table, sockets, machines) =
                    (Arc::clone(&shared), Arc::clone(&table), sockets.clone(), machines.clone());
                std::thread::spawn(move || carry(own, &shared, &table, &sockets, &machines))
            })
            .collect();
        Ok(Self { shared, table, threads })
    }

    /// Teaches it where a machine is, for one that does not show itself: libslirp answers ARP for an address and then sends
    /// from another, and a node that was taken back to a saved state does not ask again.
    pub fn know(&self, machine: [u8; 6], port: usize) {
        if let Ok(mut table) = self.table.lock() {
            table.insert(machine, port);
        }
    }

    /// Cuts two ports from each other, or joins them again.
    pub fn cut(&self, a: usize, b: usize, cut: bool) {
        if let Ok(mut shared) = self.shared.lock() {
            let pair = (a.min(b), a.max(b));
            if cut {
                shared.cut.insert(pair);
            } else {
                shared.cut.remove(&pair);
            }
        }
    }

    /// The pairs of ports that are cut from each other.
    pub fn cuts(&self) -> Vec<(usize, usize)> {
        self.shared.lock().map_or_else(|_| Vec::new(), |shared| shared.cut.iter().copied().collect())
    }

    /// Carries nothing at all while it is on: for the moment in which machines are taken back to a saved state.
    pub fn silence(&self, on: bool) {
        if let Ok(mut shared) = self.shared.lock() {
            shared.silent = on;
        }
    }

    /// Frames carried and dropped by a cut so far.
    pub fn counters(&self) -> (u64, u64) {
        self.shared.lock().map_or((0, 0), |shared| (shared.carried, shared.dropped))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            shared.stop = true;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn carry(
    own: usize,
    shared: &Mutex<Shared>,
    table: &Mutex<BTreeMap<[u8; 6], usize>>,
    sockets: &[Arc<UnixDatagram>],
    machines: &[PathBuf],
) {
    let mut frame = [0_u8; FRAME];
    // Sending from the port's own socket would wait without end for a machine that is stopped.
    let Ok(sender) = UnixDatagram::unbound() else { return };
    if sender.set_nonblocking(true).is_err() {
        return;
    }
    let mut full = vec![false; machines.len()];
    loop {
        let length = match sockets[own].recv(&mut frame) {
            Ok(length) => length,
            Err(_) => {
                if shared.lock().map_or(true, |shared| shared.stop) {
                    return;
                }
                continue;
            }
        };
        let Some((to, from)) = addresses(&frame[..length]) else { continue };
        let known = match table.lock() {
            Ok(mut table) => {
                table.insert(from, own);
                table.get(&to).copied()
            }
            Err(_) => return,
        };
        let targets: Vec<usize> = match known {
            Some(port) if to[0] & 1 == 0 => vec![port],
            _ => (0..machines.len()).collect(),
        };
        for target in targets.into_iter().filter(|target| *target != own) {
            let Ok(mut shared) = shared.lock() else { return };
            if shared.silent || shared.cut.contains(&(own.min(target), own.max(target))) {
                shared.dropped += 1;
                continue;
            }
            shared.carried += 1;
            drop(shared);
            full[target] = !deliver(&sender, &frame[..length], &machines[target], full[target]);
        }
    }
}

/// Hands a frame to a machine; says no when it is stopped and takes nothing.
fn deliver(sender: &UnixDatagram, frame: &[u8], machine: &Path, was_full: bool) -> bool {
    for _ in 0..PATIENCE {
        match sender.send_to(frame, machine) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && was_full => return false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // A machine that is off has no socket; a real switch has no link there either.
            _ => return true,
        }
    }
    false
}

/// Destination and source address of an Ethernet frame.
fn addresses(frame: &[u8]) -> Option<([u8; 6], [u8; 6])> {
    let to = frame.get(..6)?.try_into().ok()?;
    let from = frame.get(6..12)?.try_into().ok()?;
    Some((to, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![to, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0];
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    fn got(socket: &UnixDatagram) -> Option<Vec<u8>> {
        let mut bytes = [0_u8; 100];
        socket.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec())
    }

    #[test]
    fn it_learns_floods_and_cuts() {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<Port> = (0..3)
            .map(|index| Port {
                switch: dir.path().join(format!("s{index}")),
                machine: dir.path().join(format!("m{index}")),
            })
            .collect();
        let machines: Vec<UnixDatagram> =
            ports.iter().map(|port| UnixDatagram::bind(&port.machine).unwrap()).collect();
        for machine in &machines {
            machine.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        }
        let switch = Switch::start(&ports).unwrap();
        let send = |from: usize, bytes: &[u8]| machines[from].send_to(bytes, &ports[from].switch).unwrap();
        // Unknown destination: flooded, not back to where it came from.
        let hello = frame(2, 10, "hello");
        send(0, &hello);
        assert_eq!(got(&machines[1]), Some(hello.clone()));
        assert_eq!(got(&machines[2]), Some(hello));
        // Port 1 answers the learned address: only port 0 hears it.
        let mut answer = frame(2, 11, "answer");
        answer[..6].copy_from_slice(&[2, 0, 0, 0, 0, 10]);
        send(1, &answer);
        assert_eq!(got(&machines[0]), Some(answer.clone()));
        assert_eq!(got(&machines[2]), None);
        switch.cut(0, 1, true);
        send(1, &answer);
        assert_eq!(got(&machines[0]), None);
        assert_eq!(switch.counters().1, 1);
        switch.cut(0, 1, false);
        send(1, &answer);
        assert_eq!(got(&machines[0]), Some(answer));
        switch.silence(true);
        send(1, &frame(2, 11, "answer"));
        assert_eq!(got(&machines[0]), None);
    }

    #[test]
    fn a_machine_that_takes_nothing_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<Port> = (0..3)
            .map(|index| Port {
                switch: dir.path().join(format!("s{index}")),
                machine: dir.path().join(format!("m{index}")),
            })
            .collect();
        let machines: Vec<UnixDatagram> =
            ports.iter().map(|port| UnixDatagram::bind(&port.machine).unwrap()).collect();
        let _switch = Switch::start(&ports).unwrap();
        machines[2].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Machine 1 never reads. Whatever is flooded must still reach machine 2, to the last frame.
        let reader = std::thread::spawn({
            let two = machines[2].try_clone().unwrap();
            move || {
                let mut seen = 0;
                while let Some(bytes) = got(&two) {
                    seen += 1;
                    if bytes.ends_with(b"last") {
                        break;
                    }
                }
                seen
            }
        });
        for number in 0..300 {
            let text = if number == 299 { "last".to_owned() } else { number.to_string() };
            machines[0].send_to(&frame(9, 10, &text), &ports[0].switch).unwrap();
        }
        assert_eq!(reader.join().unwrap(), 300);
    }
}
