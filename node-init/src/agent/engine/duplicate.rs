//! Whether another box uses an address of this one: a card that was copied, a box that was given the wrong seed, a
//! printer with a fixed address.
//!
//! It is told and nothing is done by itself: an address that is given up because somebody else shouts would let any box
//! in the network take a node away. For IPv4 the question is an ARP probe (RFC 5227, section 2.1.1), asked by arping(8);
//! for IPv6 the kernel has asked already (RFC 4862, section 5.4).

use super::{Agent, Input};
use edgepair_host_io::{Invocation, Runner};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tokio::task::spawn_local;

/// How many ticks (seconds) are between two looks.
const EVERY: u32 = 60;
/// `IFA_F_DADFAILED` of include/uapi/linux/if_addr.h.
const DAD_FAILED: u8 = 0x08;

impl Agent {
    /// Starts a look when it is time for one: at the first tick, then once a minute.
    pub(super) fn look_for_duplicates(&self) {
        if self.ticks % EVERY != 1 || !self.clients {
            return;
        }
        let (runner, inputs) = (Arc::clone(&self.ports.runner), self.inputs.clone());
        let (interface, addresses) = (self.config.lan.clone(), self.config.own.clone());
        let table = self.ports.kernel.ipv6_addresses();
        spawn_local(async move {
            let work = tokio::task::spawn_blocking(move || look(&*runner, &interface, &addresses, &table));
            // Without an answer there is nothing to tell: the next look comes in a minute.
            if let Ok(found) = work.await {
                let _ = inputs.send(Input::Duplicates(found)).await;
            }
        });
    }

    pub(super) fn duplicates(&mut self, found: &Found) {
        match &found.deaf {
            None => self.clear("arping"),
            Some(why) => self.problem(
                "arping",
                &format!("nobody can tell whether another box uses an address of this node: {why}"),
            ),
        }
        match found.said.as_slice() {
            [] => self.clear("duplicate"),
            found => self.problem(
                "duplicate",
                &format!("{}; take one of the two off the network, or correct its seed", found.join("; ")),
            ),
        }
    }
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is to be said of each address that another box uses as well.
    said: Vec<String>,
    /// Why the question could not be asked.
    deaf: Option<String>,
}

fn look(runner: &dyn Runner, interface: &str, addresses: &[IpAddr], table: &str) -> Found {
    let mut deaf = None;
    let say = |address: &IpAddr, who: &str| format!("{who} uses this node's address {address} as well");
    let mut one = |address: &IpAddr| match address {
        IpAddr::V4(v4) => {
            let call = Invocation::new("arping")
                .args(["-D", "-c", "2", "-w", "2", "-I", interface])
                .arg(v4.to_string());
            // Its exit status is 1 when somebody answered; what it printed says who.
            let printed = match runner.run(&call) {
                Ok(output) => output.text(),
                Err(error) => {
                    if error.code() != Some(1) {
                        deaf = Some(error.to_string());
                    }
                    error.tail().to_owned()
                }
            };
            answerer(&printed).map(|mac| say(address, &format!("the box with the MAC address {mac}")))
        }
        IpAddr::V6(v6) => refused(table, *v6).then(|| say(address, "another box")),
    };
    let said = addresses.iter().filter_map(&mut one).collect();
    Found { said, deaf }
}

/// The MAC address in arping's line `Unicast reply from 192.0.2.60 [52:54:00:00:00:77]  1.204ms`.
fn answerer(printed: &str) -> Option<&str> {
    let line = printed.lines().find(|line| line.contains(" reply from "))?;
    let (_, rest) = line.split_once('[')?;
    let (mac, _) = rest.split_once(']')?;
    Some(mac)
}

/// Whether the kernel found somebody else with this address; `table` is `/proc/net/if_inet6`: address, index, prefix
/// length, scope and flags in hexadecimal, name (net/ipv6/addrconf.c, if6_seq_show).
fn refused(table: &str, address: Ipv6Addr) -> bool {
    let wanted: String = address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = words.get(4).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        words.first() == Some(&wanted.as_str()) && flags.is_some_and(|flags| flags & DAD_FAILED != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::{CommandError, Output};
    use std::sync::Mutex;

    const TABLE: &str = "\
fe80000000000000505400fffe000001 02 40 20 80     eth0
20010db8000000000000000000000060 02 40 00 88     eth0
20010db8000000000000000000000061 02 40 00 80     eth0
";

    struct Arping(Mutex<Vec<String>>);

    impl Runner for Arping {
        fn run(&self, call: &Invocation) -> Result<Output, CommandError> {
            self.0.lock().unwrap().push(call.shell_line());
            // As iputils 20240905 prints it.
            let text = match call.args.last().map(String::as_str) {
                Some("192.0.2.60") => {
                    "ARPING 192.0.2.60 from 0.0.0.0 eth0\nUnicast reply from 192.0.2.60 [52:54:00:00:00:77]  1.204ms\nSent 1 probes (1 broadcast(s))\nReceived 1 response(s)\n"
                }
                _ => {
                    "ARPING 192.0.2.61 from 0.0.0.0 eth0\nSent 2 probes (2 broadcast(s))\nReceived 0 response(s)\n"
                }
            };
            Ok(Output { stdout: text.as_bytes().to_vec(), stderr: Vec::new() })
        }
    }

    #[test]
    fn an_address_that_another_box_uses_is_told_with_its_mac_address() {
        let arping = Arping(Mutex::default());
        let addresses: Vec<IpAddr> =
            ["192.0.2.60", "192.0.2.61", "2001:db8::60", "2001:db8::61"].map(|a| a.parse().unwrap()).to_vec();
        let found = look(&arping, "eth0", &addresses, TABLE);
        assert_eq!(found.deaf, None);
        assert_eq!(
            found.said,
            [
                "the box with the MAC address 52:54:00:00:00:77 uses this node's address 192.0.2.60 as well",
                "another box uses this node's address 2001:db8::60 as well",
            ]
        );
        let calls = arping.0.lock().unwrap();
        assert_eq!(calls[0], "arping -D -c 2 -w 2 -I eth0 192.0.2.60");
        assert_eq!(calls.len(), 2, "IPv6 is the kernel's");
    }

    struct NoArping;

    impl Runner for NoArping {
        fn run(&self, call: &Invocation) -> Result<Output, CommandError> {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            Err(CommandError::Start { argv: call.shell_line(), source })
        }
    }

    #[test]
    fn a_question_that_cannot_be_asked_is_told() {
        let addresses: Vec<IpAddr> = ["192.0.2.60", "2001:db8::60"].map(|a| a.parse().unwrap()).to_vec();
        let found = look(&NoArping, "eth0", &addresses, TABLE);
        assert_eq!(found.said, ["another box uses this node's address 2001:db8::60 as well"]);
        assert!(found.deaf.unwrap().contains("cannot start `arping"));
    }
}
