//! The addresses of this node, without loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Interface name and its addresses with prefix length, sorted.
pub fn list() -> Vec<(String, Vec<String>)> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    for interface in interfaces {
        if interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let mask = interface.netmask;
        let text = if let Some(v4) = address.as_sockaddr_in() {
            let bits = mask
                .as_ref()
                .and_then(|mask| mask.as_sockaddr_in())
                .map_or(32, |mask| u32::from(mask.ip()).count_ones());
            Some(format!("{}/{bits}", Ipv4Addr::from(u32::from(v4.ip()))))
        } else if let Some(v6) = address.as_sockaddr_in6() {
            let bits = mask
                .as_ref()
                .and_then(|mask| mask.as_sockaddr_in6())
                .map_or(128, |mask| u128::from(mask.ip()).count_ones());
            show_v6(v6.ip()).then(|| format!("{}/{bits}", v6.ip()))
        } else {
            None
        };
        if let Some(text) = text {
            all.entry(interface.interface_name).or_default().push(text);
        }
    }
    all.into_iter().collect()
}

/// Link-local addresses are on every interface and tell nobody anything (RFC 4291, section 2.5.6).
fn show_v6(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 != 0xfe80
}
