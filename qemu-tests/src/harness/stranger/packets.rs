//! Frames of the stranger, as bytes: made and read. Pure.
//!
//! Ethernet II; ARP (RFC 826); IPv4 (RFC 791) and IPv6 (RFC 8200) without options; TCP (RFC 9293) as far as a scan
//! needs it; UDP (RFC 768); neighbour discovery (RFC 4861) and the two ICMP "unreachable" messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Who the stranger is.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Ethernet address.
    pub mac: Mac,
    /// IPv4 address.
    pub v4: Ipv4Addr,
    /// IPv6 address.
    pub v6: Ipv6Addr,
}

/// What a frame that arrived says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Somebody asks for the stranger's Ethernet address.
    WhoIs {
        /// Who asks.
        mac: Mac,
        /// Its address.
        address: IpAddr,
    },
    /// Somebody says which Ethernet address is its.
    Here {
        /// The Ethernet address.
        mac: Mac,
        /// The address.
        address: IpAddr,
    },
    /// A TCP segment for the stranger.
    Tcp {
        /// Sender.
        from: IpAddr,
        /// Sender's port.
        port: u16,
        /// The stranger's port.
        to: u16,
        /// Flags: 0x02 SYN, 0x04 RST, 0x10 ACK.
        flags: u8,
        /// Acknowledgement number.
        acknowledged: u32,
    },
    /// A UDP datagram for the stranger.
    Udp {
        /// Sender.
        from: IpAddr,
        /// Sender's port.
        port: u16,
    },
    /// Somebody says that a port cannot be reached.
    Unreachable {
        /// Sender.
        from: IpAddr,
        /// The port that was asked for.
        port: u16,
    },
}

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

fn ethernet(to: Mac, from: Mac, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind, payload].concat();
    // Shorter ones are no Ethernet frames (IEEE 802.3: 64 bytes with the checksum).
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The question for an address's Ethernet address.
pub fn who_is(own: &Own, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let body =
                [&[0, 1, 8, 0, 6, 4, 0, 1][..], &own.mac, &own.v4.octets(), &[0; 6], &address.octets()]
                    .concat();
            ethernet([0xff; 6], own.mac, ARP, &body)
        }
        IpAddr::V6(address) => {
            let last = &address.octets()[13..];
            let mac = [0x33, 0x33, 0xff, last[0], last[1], last[2]];
            let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
            group[13..].copy_from_slice(last);
            let body = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &address.octets(), &[1, 1], &own.mac].concat();
            internet(own, mac, IpAddr::V6(group.into()), ICMP6, body)
        }
    }
}

/// The answer to somebody who asks for the stranger.
pub fn here(own: &Own, mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let body =
                [&[0, 1, 8, 0, 6, 4, 0, 2][..], &own.mac, &own.v4.octets(), &mac, &address.octets()].concat();
            ethernet(mac, own.mac, ARP, &body)
        }
        IpAddr::V6(_) => {
            // Solicited, override.
            let body = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &own.v6.octets(), &[2, 1], &own.mac].concat();
            internet(own, mac, address, ICMP6, body)
        }
    }
}

/// A TCP segment without data.
pub fn tcp(own: &Own, mac: Mac, to: IpAddr, ports: (u16, u16), flags: u8, sequence: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(20);
    body.extend(ports.0.to_be_bytes());
    body.extend(ports.1.to_be_bytes());
    body.extend(sequence.to_be_bytes());
    body.extend([0; 4]);
    body.extend([0x50, flags, 0x04, 0x00, 0, 0, 0, 0]);
    internet(own, mac, to, TCP, body)
}

/// A UDP datagram.
pub fn udp(own: &Own, mac: Mac, to: IpAddr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 + data.len());
    body.extend(ports.0.to_be_bytes());
    body.extend(ports.1.to_be_bytes());
    body.extend(u16::try_from(8 + data.len()).unwrap_or(8).to_be_bytes());
    body.extend([0, 0]);
    body.extend(data);
    internet(own, mac, to, UDP, body)
}

/// An IP packet in a frame, with the checksum of what it carries.
fn internet(own: &Own, mac: Mac, to: IpAddr, protocol: u8, mut body: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(0);
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    };
    match to {
        IpAddr::V4(to) => {
            let (from, to) = (own.v4.octets(), to.octets());
            let pseudo = [&from[..], &to, &[0, protocol], &length.to_be_bytes()].concat();
            let sum = checksum(&[pseudo, body.clone()].concat());
            body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            let mut head =
                [&[0x45, 0][..], &(length + 20).to_be_bytes(), &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
            head.extend(from);
            head.extend(to);
            let sum = checksum(&head);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            ethernet(mac, own.mac, IPV4, &[head, body].concat())
        }
        IpAddr::V6(to) => {
            let (from, to) = (own.v6.octets(), to.octets());
            let long = u32::from(length).to_be_bytes();
            let pseudo = [&from[..], &to, &long, &[0, 0, 0, protocol]].concat();
            let sum = checksum(&[pseudo, body.clone()].concat());
            body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            // Neighbour discovery is believed only with hop limit 255.
            let head = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, 255], &from, &to].concat();
            ethernet(mac, own.mac, IPV6, &[head, body].concat())
        }
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// What a frame says, if it concerns the stranger.
pub fn read(own: &Own, frame: &[u8]) -> Option<Seen> {
    let payload = frame.get(14..)?;
    match frame.get(12..14)?.try_into().ok()? {
        ARP => {
            let mac: Mac = payload.get(8..14)?.try_into().ok()?;
            let address = IpAddr::V4(octets4(payload, 14)?.into());
            match payload.get(6..8)? {
                [0, 1] if octets4(payload, 24)? == own.v4.octets() => Some(Seen::WhoIs { mac, address }),
                [0, 2] => Some(Seen::Here { mac, address }),
                _ => None,
            }
        }
        IPV4 => {
            let header = usize::from(payload.first()? & 15) * 4;
            if octets4(payload, 16)? != own.v4.octets() {
                return None;
            }
            let from = IpAddr::V4(octets4(payload, 12)?.into());
            let length = usize::from(number16(payload, 2)?).min(payload.len());
            carried(own, from, *payload.get(9)?, payload.get(header..length)?)
        }
        IPV6 => {
            let from = IpAddr::V6(octets6(payload, 8)?.into());
            let length = (40 + usize::from(number16(payload, 4)?)).min(payload.len());
            carried(own, from, *payload.get(6)?, payload.get(40..length)?)
        }
        _ => None,
    }
}

fn carried(own: &Own, from: IpAddr, protocol: u8, body: &[u8]) -> Option<Seen> {
    match (protocol, body.first()?) {
        (TCP, _) => Some(Seen::Tcp {
            from,
            port: number16(body, 0)?,
            to: number16(body, 2)?,
            flags: *body.get(13)?,
            acknowledged: u32::from_be_bytes(octets4(body, 8)?),
        }),
        (UDP, _) => Some(Seen::Udp { from, port: number16(body, 0)? }),
        // Destination unreachable: the packet that was refused follows.
        (ICMP, 3) => {
            let header = usize::from(body.get(8)? & 15) * 4;
            Some(Seen::Unreachable { from, port: number16(body, 8 + header + 2)? })
        }
        (ICMP6, 1) => Some(Seen::Unreachable { from, port: number16(body, 8 + 40 + 2)? }),
        (ICMP6, 135) if octets6(body, 8)? == own.v6.octets() => {
            let mac = body.get(26..32)?.try_into().ok()?;
            Some(Seen::WhoIs { mac, address: from })
        }
        (ICMP6, 136) => {
            let mac = body.get(26..32)?.try_into().ok()?;
            Some(Seen::Here { mac, address: IpAddr::V6(octets6(body, 8)?.into()) })
        }
        _ => None,
    }
}

fn octets4(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

fn octets6(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..at + 16)?.try_into().ok()
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Own = Own {
        mac: [2, 0, 0, 0, 0, 9],
        v4: Ipv4Addr::new(192, 0, 2, 99),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x99),
    };
    const OTHER: Own = Own {
        mac: [2, 0, 0, 0, 0, 1],
        v4: Ipv4Addr::new(192, 0, 2, 60),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x60),
    };

    #[test]
    fn what_one_makes_the_other_reads() {
        for (mine, theirs) in
            [(IpAddr::V4(OWN.v4), IpAddr::V4(OTHER.v4)), (IpAddr::V6(OWN.v6), IpAddr::V6(OTHER.v6))]
        {
            assert_eq!(
                read(&OTHER, &who_is(&OWN, theirs)),
                Some(Seen::WhoIs { mac: OWN.mac, address: mine })
            );
            assert_eq!(
                read(&OWN, &here(&OTHER, OWN.mac, mine)),
                Some(Seen::Here { mac: OTHER.mac, address: theirs })
            );
            let segment = tcp(&OTHER, OWN.mac, mine, (22, 40000), 0x12, 7);
            assert_eq!(
                read(&OWN, &segment),
                Some(Seen::Tcp { from: theirs, port: 22, to: 40000, flags: 0x12, acknowledged: 0 })
            );
            let datagram = udp(&OTHER, OWN.mac, mine, (123, 40000), b"time");
            assert_eq!(read(&OWN, &datagram), Some(Seen::Udp { from: theirs, port: 123 }));
        }
    }

    #[test]
    fn checksums_are_those_of_the_standards() {
        // RFC 1071, section 3: the sum is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // A receiver sums everything with the checksum and gets zero.
        let frame = tcp(&OWN, OTHER.mac, IpAddr::V4(OTHER.v4), (40000, 22), 2, 1);
        assert_eq!(checksum(&frame[14..34]), 0);
        let pseudo = [&frame[26..34], &[0, TCP, 0, 20], &frame[34..54]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn a_refusal_names_the_port_that_was_asked_for() {
        let asked = udp(&OWN, OTHER.mac, IpAddr::V4(OTHER.v4), (40000, 161), b"x");
        let body = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &asked[14..]].concat();
        let frame = internet(&OTHER, OWN.mac, IpAddr::V4(OWN.v4), ICMP, body);
        assert_eq!(read(&OWN, &frame), Some(Seen::Unreachable { from: IpAddr::V4(OTHER.v4), port: 161 }));
    }

    #[test]
    fn half_a_frame_is_nothing() {
        let whole = tcp(&OWN, OTHER.mac, IpAddr::V4(OTHER.v4), (40000, 22), 2, 1);
        for length in 0..48 {
            assert_eq!(read(&OTHER, &whole[..length]), None, "{length}");
        }
    }
}
