//! What a box knows about itself: its wired cards, its serial number, what the kernel command line says.

use std::fs;
use std::path::Path;

use anyhow::Context;
use edgepair_host_io::{Invocation, Runner};
use edgepair_render::{Card, Facts};
use serde::Deserialize;

use crate::member::{Place, mac};

/// A row of `ip -json link` (ip-link(8)).
#[derive(Debug, Deserialize)]
struct Link {
    ifname: String,
    link_type: Option<String>,
    address: Option<String>,
    /// Only there when it is not the present one: in a bond, for example.
    permaddr: Option<String>,
}

/// Pure: all wired cards in the kernel's order. `wired` says whether an interface is a card with a cable.
///
/// # Errors
/// When the text is not what ip(8) prints.
pub fn parse(text: &str, wired: impl Fn(&str) -> bool) -> serde_json::Result<Facts> {
    let links: Vec<Link> = serde_json::from_str(text)?;
    let cards = links
        .into_iter()
        .filter(|link| link.link_type.as_deref() == Some("ether") && wired(&link.ifname))
        .map(|link| Card {
            mac: link.permaddr.or(link.address).and_then(|text| mac(&text)),
            name: link.ifname,
        })
        .collect();
    Ok(Facts { cards })
}

/// Looks at the cards.
///
/// # Errors
/// When ip(8) cannot be run.
pub fn observe(runner: &dyn Runner, place: &Place) -> anyhow::Result<Facts> {
    let output = runner.run(&Invocation::new("ip").args(["-json", "link", "show"]))?;
    let wired = |name: &str| {
        let card = place.path("/sys/class/net").join(name);
        card.join("device").exists() && !card.join("wireless").exists() && !card.join("phy80211").exists()
    };
    parse(&output.text(), wired).context("ip -json link show")
}

/// Whether udev has dealt with all of these cards: only then they have their names for good (udev(7), `NAME=`; its
/// database has a file for each device that its rules are done with).
pub fn named(place: &Place, facts: &Facts) -> bool {
    facts.cards.iter().all(|card| {
        let index = fs::read_to_string(place.path("/sys/class/net").join(&card.name).join("ifindex"));
        index.is_ok_and(|index| place.path("/run/udev/data").join(format!("n{}", index.trim())).exists())
    })
}

/// Serial number from the firmware or the device tree.
pub fn serial(place: &Place) -> Option<String> {
    [
        "/sys/class/dmi/id/product_serial",
        "/sys/class/dmi/id/board_serial",
        "/sys/firmware/devicetree/base/serial-number",
    ]
    .into_iter()
    .filter_map(|path| fs::read(place.path(path)).ok())
    .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', "").trim().to_owned())
    .find(|text| !text.is_empty())
}

/// What the kernel command line says about the seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `edgepair.seed=`: where the seed is.
    pub seed: Option<String>,
    /// `edgepair.node=`: which box this is.
    pub node: Option<String>,
}

impl Arguments {
    /// Pure: reads a command line; of two values the later one counts, as everywhere on it.
    pub fn parse(line: &str) -> Self {
        let value = |name: &str| {
            let words = line.split_whitespace().map(|word| word.trim_matches('"'));
            let found = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next_back();
            found.map(|text| text.trim_matches('"').to_owned()).filter(|text| !text.is_empty())
        };
        Self { seed: value("edgepair.seed"), node: value("edgepair.node") }
    }

    /// Of this boot.
    pub fn observe(place: &Place) -> Self {
        Self::parse(&fs::read_to_string(place.path("/proc/cmdline")).unwrap_or_default())
    }
}

/// Whether a name can be a plain file name beside a seed.
pub fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name) && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_their_permanent_address() {
        let text = r#"[
            {"ifindex":1,"ifname":"lo","link_type":"loopback","address":"00:00:00:00:00:00"},
            {"ifindex":3,"ifname":"enp0s3","link_type":"ether","address":"52:54:00:00:00:01","permaddr":"52:54:00:00:00:02"},
            {"ifindex":2,"ifname":"enp0s2","link_type":"ether","address":"52:54:00:00:00:01","broadcast":"ff:ff:ff:ff:ff:ff"},
            {"ifindex":4,"ifname":"lan-bond","link_type":"ether","address":"52:54:00:00:00:01"}
        ]"#;
        let facts = parse(text, |name| name.starts_with("enp")).unwrap();
        let seen: Vec<String> =
            facts.cards.iter().map(|card| format!("{} {}", card.name, card.mac.unwrap())).collect();
        assert_eq!(seen, ["enp0s3 52:54:00:00:00:02", "enp0s2 52:54:00:00:00:01"]);
        assert!(parse("", |_| true).is_err());
        assert!(parse("[]", |_| true).unwrap().cards.is_empty());
    }

    #[test]
    fn a_card_has_its_name_when_udev_is_done_with_it() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            edgepair_host_io::atomic::write(&path, text.as_bytes(), 0o644).unwrap();
        };
        let facts = Facts { cards: vec![Card { name: "enp0s6".into(), mac: None }] };
        assert!(!named(&place, &facts), "a card that is not there");
        put("sys/class/net/enp0s6/ifindex", "2\n");
        put("run/udev/data/n3", "");
        assert!(!named(&place, &facts), "udev is done with another one");
        put("run/udev/data/n2", "I:1\n");
        assert!(named(&place, &facts));
    }

    #[test]
    fn the_command_line_names_seed_and_node() {
        let line =
            "quiet edgepair.seed=/dev/vdb:/x.toml \"edgepair.node=a\" edgepair.node=b edgepair.seeds=no";
        let want = Arguments { seed: Some("/dev/vdb:/x.toml".into()), node: Some("b".into()) };
        assert_eq!(Arguments::parse(line), want);
        assert_eq!(Arguments::parse("quiet edgepair.node="), Arguments::default());
    }

    #[test]
    fn a_companion_is_a_plain_name() {
        assert!(is_plain("pair.secret"));
        for name in ["../pair.secret", "/etc/shadow", "a/b", "..", "", "x/"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
