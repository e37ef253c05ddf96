//! Parsers of single values: addresses, sizes, times, names. Each says in words what is wrong.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The MAC address of a network card. Prints in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Reads `52:54:00:00:00:01`; hyphens do as well. Group and zero addresses belong to no card and are refused.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let bytes: Vec<u8> = parts
            .iter()
            .filter(|part| part.len() == 2 && part.bytes().all(|letter| letter.is_ascii_hexdigit()))
            .filter_map(|part| u8::from_str_radix(part, 16).ok())
            .collect();
        let bytes: [u8; 6] = match bytes.try_into() {
            Ok(bytes) if parts.len() == 6 => bytes,
            _ => return Err(format!("\"{text}\" is not six pairs of hexadecimal digits")),
        };
        if bytes[0] & 1 == 1 {
            return Err(format!("{text} is a group address; no card has it"));
        }
        if bytes == [0; 6] {
            return Err("the address is all zero; no card has it".to_owned());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// SHA-256 of a certificate. Prints as `sha256:` and 64 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads `sha256:` and 64 hexadecimal digits; colons between pairs, as openssl prints them, do as well.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits =
            text.strip_prefix("sha256:").ok_or("the kind of fingerprint is missing")?.replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("there are {} characters where 64 hexadecimal digits belong", digits.len()));
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[index * 2..index * 2 + 2], 16)
                .map_err(|error| error.to_string())?;
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port or a range of ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// First port.
    pub first: u16,
    /// Last port, the same for a single one.
    pub last: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl Port {
    /// Reads `443/tcp` or `30000-32767/udp`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a port and a protocol");
        let (range, protocol) = text.split_once('/').ok_or_else(bad)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(format!("the protocol \"{protocol}\" is neither tcp nor udp")),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (whole(first).ok_or_else(bad)?, whole(last).ok_or_else(bad)?);
        match (u16::try_from(first), u16::try_from(last)) {
            (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(Self { first, last, protocol }),
            _ => Err("ports go from 1 to 65535, the smaller one first".to_owned()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}/{}", self.first, self.protocol)
        } else {
            write!(f, "{}-{}/{}", self.first, self.last, self.protocol)
        }
    }
}

/// Only digits: `u64::from_str` alone would also take a plus sign.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Splits `8GiB` into 8 and `GiB`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    Some((whole(&text[..end]).filter(|_| end > 0)?, text[end..].trim_start()))
}

/// A size in bytes, as seeds have it: whole numbers with KiB, MiB, GiB, TiB or KB, MB, GB, TB.
///
/// # Errors
/// What is wrong, in words.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| format!("\"{text}\" is not a number with a unit"))?;
    let factor: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "" => return Err("the unit is missing".to_owned()),
        _ => return Err(format!("the unit \"{unit}\" is not known")),
    };
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "the size is zero or too large".to_owned())
}

/// A size as a person would write it: the largest unit without a remainder.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units
        .iter()
        .find(|(factor, _)| bytes >= *factor && bytes % factor == 0)
        .map_or_else(|| format!("{bytes} bytes"), |(factor, unit)| format!("{} {unit}", bytes / factor))
}

/// A time in milliseconds: whole numbers with ms, s, min or h.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| format!("\"{text}\" is not a number with a unit"))?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "" => return Err("the unit is missing".to_owned()),
        _ => return Err(format!("the unit \"{unit}\" is not known")),
    };
    // A day is more than any wait in a seed; the bound keeps sums of times far from overflow.
    number
        .checked_mul(factor)
        .filter(|millis| *millis <= 86_400_000)
        .ok_or_else(|| "more than a day".to_owned())
}

pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an IP address"))
}

/// An address a box can have, with its network.
pub(crate) fn interface(text: &str) -> Result<IpNet, String> {
    if !text.contains('/') {
        address(text)?;
        return Err("the length of the network is missing".to_owned());
    }
    let net: IpNet = text.parse().map_err(|_| format!("\"{text}\" is not an address with prefix length"))?;
    let address = net.addr();
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(format!("{address} is not an address a box can have in a network"));
    }
    match net {
        IpNet::V4(v4)
            if v4.prefix_len() < 31 && (v4.addr() == v4.network() || v4.addr() == v4.broadcast()) =>
        {
            Err(format!("{address} is the network's own or its broadcast address"))
        }
        IpNet::V4(v4) if v4.addr().is_link_local() => Err(format!("{address} is a link-local address")),
        IpNet::V6(v6) if v6.addr().segments()[0] & 0xffc0 == 0xfe80 => {
            Err(format!("{address} is a link-local address"))
        }
        IpNet::V6(v6) if v6.prefix_len() < 127 && v6.addr() == v6.network() => {
            Err(format!("{address} is the anycast address of the network's routers"))
        }
        _ => Ok(net),
    }
}

pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| format!("\"{text}\" is not a network"))?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("{text} is an address inside the network {}", net.trunc()))
    }
}

/// RFC 1123: letters, digits and hyphens, neither first nor last a hyphen, at most 63. Lower case, because names
/// of Kubernetes nodes are.
pub(crate) fn label(text: &str) -> Result<(), String> {
    let good = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    if text.len() > 63 {
        return Err(format!("the name has {} characters; 63 are allowed", text.len()));
    }
    if text.is_empty() || text.starts_with('-') || text.ends_with('-') || !text.bytes().all(good) {
        return Err(format!("\"{text}\" has other than lower case letters, digits and inner hyphens"));
    }
    Ok(())
}

pub(crate) fn domain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err("the domain has more than 253 characters".to_owned());
    }
    text.trim_end_matches('.').split('.').try_for_each(label)
}

pub(crate) fn host(text: &str) -> Result<(), String> {
    if text.parse::<IpAddr>().is_ok() { Ok(()) } else { domain(text) }
}

/// Letters that cannot end a word or a quotation in any of the files this text gets into.
pub(crate) fn plain(text: &str) -> Result<(), String> {
    match text.chars().find(|letter| matches!(letter, '"' | '\'' | '\\' | '`' | '$' | '{' | '}' | ';' | '#'))
    {
        Some(letter) => Err(format!("the character {letter} is not allowed here")),
        None => Ok(()),
    }
}

pub(crate) fn url(text: &str) -> Result<(), String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(|| format!("\"{text}\" does not start with https:// or http://"))?;
    if rest.chars().any(|letter| letter.is_whitespace() || matches!(letter, '"' | '\'' | '\\' | '<' | '>')) {
        return Err("there are spaces or quotes in it".to_owned());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("there is a login in it; addresses are printed, so it would be seen".to_owned());
    }
    let (name, port) = if let Some(bracket) = authority.strip_prefix('[') {
        let (name, port) = bracket.split_once(']').ok_or("the bracket of the address is not closed")?;
        (name, port.strip_prefix(':').or(port.is_empty().then_some("443")))
    } else {
        authority.split_once(':').map_or((authority, Some("443")), |(name, port)| (name, Some(port)))
    };
    host(name)?;
    match port.and_then(whole).and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok(()),
        _ => Err("the port is not a number from 1 to 65535".to_owned()),
    }
}

pub(crate) fn device(text: &str) -> Result<(), String> {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"/._:+-@".contains(&letter);
    if !text.starts_with("/dev/") || text.ends_with('/') || !text.bytes().all(good) {
        return Err(format!("\"{text}\" is not the path of a device under /dev"));
    }
    if text.split('/').any(|part| part == ".." || part == ".") {
        return Err("the path must be straight, without . and ..".to_owned());
    }
    Ok(())
}

/// A file beside the seed: one plain name, so that a seed cannot reach for other files of the machine.
pub(crate) fn companion(text: &str) -> Result<(), String> {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
    if text.len() > 64 || text.starts_with('.') || !text.bytes().all(good) {
        return Err(format!(
            "\"{text}\" is not a plain file name (letters, digits, dot, hyphen, underscore)"
        ));
    }
    if matches!(text.to_ascii_lowercase().as_str(), "seed.toml" | "node") {
        return Err(format!("\"{text}\" is the name of another file there"));
    }
    Ok(())
}

/// A name of the time zone database, which is a path below its folder.
pub(crate) fn zone(text: &str) -> Result<(), String> {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"_+-".contains(&letter);
    let part = |part: &str| !part.is_empty() && part.bytes().all(good);
    if text.len() > 64 || !text.split('/').all(part) {
        return Err(format!("\"{text}\" is not the name of a time zone"));
    }
    Ok(())
}

/// One line of `authorized_keys`, without options: those could run commands.
pub(crate) fn ssh_key(text: &str) -> Result<(), String> {
    const KINDS: &[&str] = &[
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    if text.contains("PRIVATE KEY") {
        return Err("this is a private key; take it out and never put it here".to_owned());
    }
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err(format!("\"{kind}\" is no kind of SSH key known here"));
    }
    let blob = words.next().unwrap_or_default();
    let letters = |letter: u8| letter.is_ascii_alphanumeric() || b"+/=".contains(&letter);
    // The coded key repeats its kind: length (4 bytes) and name, which base64 shows as "AAAA".
    let short = if kind == "ssh-ed25519" { blob.len() != 68 } else { blob.len() < 64 };
    if short || blob.len() % 4 != 0 || !blob.starts_with("AAAA") || !blob.bytes().all(letters) {
        return Err("the key itself is cut off or damaged".to_owned());
    }
    Ok(())
}

fn kube_name(text: &str) -> bool {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(good) && edge(text.chars().next()) && edge(text.chars().last())
}

fn kube_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => domain(prefix).is_ok() && kube_name(name),
        None => kube_name(text),
    }
}

pub(crate) fn kube_label(text: &str) -> Result<(), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" has no ="))?;
    if kube_key(key) && (value.is_empty() || kube_name(value)) {
        Ok(())
    } else {
        Err(format!("\"{text}\" has characters that Kubernetes does not take in a label"))
    }
}

pub(crate) fn kube_taint(text: &str) -> Result<(), String> {
    let (label, effect) =
        text.rsplit_once(':').ok_or_else(|| format!("\"{text}\" has no effect behind a colon"))?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(format!("\"{effect}\" is none of NoSchedule, PreferNoSchedule, NoExecute"));
    }
    if label.contains('=') {
        kube_label(label)
    } else if kube_key(label) {
        Ok(())
    } else {
        Err(format!("\"{label}\" has characters that Kubernetes does not take in a taint"))
    }
}
