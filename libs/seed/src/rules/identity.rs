//! Every box must be told from every other, and must be able to find itself.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use super::Rules;
use edgepair_findings::Severity;

impl Rules<'_> {
    /// Paths of all boxes: `node.a`, `node.b`, `worker.NAME`.
    pub(super) fn boxes(&self) -> Vec<String> {
        let workers = self.seed.names_under("worker").into_iter().map(|name| format!("worker.{name}"));
        ["node.a", "node.b"]
            .into_iter()
            .filter(|path| self.seed.has_table(path))
            .map(str::to_owned)
            .chain(workers)
            .collect()
    }

    pub(super) fn identity(&mut self) {
        let seed = self.seed;
        let mut macs = Vec::new();
        let mut serials = Vec::new();
        let mut hostnames = Vec::new();
        let pair = seed.text("pair.name").unwrap_or_default();
        for path in self.boxes() {
            for key in [format!("{path}.mac"), format!("{path}.replication_mac")] {
                macs.extend(seed.macs(&key).into_iter().map(|(mac, span)| (mac, key.clone(), span)));
            }
            let serial = format!("{path}.serial");
            serials
                .extend(seed.text(&serial).map(|text| (text.to_owned(), serial.clone(), seed.span(&serial))));
            let key = format!("{path}.hostname");
            let short = path.rsplit('.').next().unwrap_or_default();
            let name = seed.text(&key).map_or_else(|| format!("{pair}-{short}"), str::to_owned);
            if name.len() > 63 {
                self.error(
                    "name-too-long",
                    &key,
                    format!("the host name {name} has {} characters; 63 are allowed", name.len()),
                    format!("give [{path}] a shorter hostname"),
                );
            }
            hostnames.push((name, key.clone(), seed.span(&key)));
            self.finds_itself(&path);
            self.bond_members(&path);
        }
        self.unique("duplicate-mac", "MAC address", macs);
        self.unique("duplicate-serial", "serial number", serials);
        self.unique("duplicate-hostname", "host name", hostnames);
    }

    fn finds_itself(&mut self, path: &str) {
        if !self.seed.written(&format!("{path}.mac")) && !self.seed.written(&format!("{path}.serial")) {
            self.warn(
                "no-identity",
                path,
                format!("[{path}] has neither mac nor serial: the box knows what it is only from a file `node`"),
                "add the MAC address of its network card, or write the seed with `edgepair seed write --node`",
            );
        }
    }

    fn bond_members(&mut self, path: &str) {
        let key = format!("{path}.mac");
        let cards = self.seed.macs(&key).len();
        // Workers have one card: a bond is a matter of the two nodes.
        let bonded = self.seed.has_table("network.bond") && path.starts_with("node.");
        if bonded && cards < 2 && !self.seed.is_bad(&key) {
            self.error(
                "bond-members",
                if cards == 0 { path } else { &key },
                format!("a bond needs the MAC addresses of at least two cards; [{path}] has {cards}"),
                "write mac = [\"…\", \"…\"] with every card of the bond",
            );
        }
        if !bonded && cards > 1 {
            self.error(
                "bond-missing",
                &key,
                format!("[{path}] lists {cards} cards and there is no bond to put them in"),
                "add [network.bond] with a mode, or name one card",
            );
        }
    }

    /// Reports every value after the first that stands a second time.
    pub(super) fn unique<T: Ord + Display>(
        &mut self,
        code: &'static str,
        what: &str,
        all: Vec<(T, String, Range<usize>)>,
    ) {
        let mut seen: BTreeMap<T, String> = BTreeMap::new();
        for (value, key, span) in all {
            if let Some(first) = seen.get(&value) {
                let reason = format!("{first} has the {what} {value} as well");
                let fix = format!("give each its own {what}");
                self.at(Severity::Error, code, &key, span, reason, fix);
            } else {
                seen.insert(value, key);
            }
        }
    }
}
